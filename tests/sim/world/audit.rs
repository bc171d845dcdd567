//! The check from outside, when everything has come to rest: the logs are read as anyone could, and held
//! against what clients were told.

use std::collections::{BTreeMap, BTreeSet};

use headwater::log::Log;
use headwater::protocol::event::TaskResult;
use headwater::protocol::producer::ProducerName;
use headwater::protocol::result::Located;
use headwater::protocol::task::{Argument, ErrorKind};
use headwater::protocol::template::HOLE;
use headwater::protocol::{ChannelEvent, Digest, Element, LogId, Outcome, Submission, TaskEvent, TaskId};
use headwater::scheduler::core::{Channel, Event, State};
use rmpv::Value;

use super::World;
use crate::server::SETTINGS;
use crate::shadow::{Commit, mark};
use crate::stores::described;
use crate::workers::{COUNT_TO, result};
use crate::{grants, groups, progress, retention, scattered, terms, transactions, transcript};

impl World {
    /// Reads all logs as anyone could, and holds them against what clients were told.
    pub(super) fn audit(&mut self) {
        let state = self.state().expect("it runs").clone();
        self.audit_outcomes(&state);
        progress::audit(&self.log, &state);
        terms::audit(&self.log, &state, self.now());
        grants::audit(&self.log);
        scattered::audit(&self.log, &self.shadow, &state);
        transactions::audit(&self.log, &self.shadow);
        groups::audit(&self.log, &self.shadow, &state);
        for (log, channel) in &state.channels {
            let records = self.records_of(*log);
            let appended = records.iter().filter_map(ChannelEvent::appended);
            let digest = appended.fold(Digest::default(), |digest, appended| digest.with_appended(&appended));
            assert_eq!(digest, channel.digest, "the digest of {}", channel.name);
            let mut seen = BTreeSet::new();
            for element in elements(&records).filter(|element| matches!(element, Element::Value(_))) {
                assert!(seen.insert(mark(element)), "{element:?} is twice on {}", channel.name);
                assert!(
                    !self.shadow.refused.contains(&mark(element)),
                    "{element:?} was refused and is there"
                );
            }
            if channel.name.as_str() == "counts" {
                let counted: Vec<u64> = elements(&records).map(count).collect();
                assert_eq!(counted, (0..counted.len() as u64).collect::<Vec<_>>(), "two attempts wrote");
                self.told.push(format!("counted to {}", counted.len()));
            }
            self.audit_stop(&records);
            self.audit_producers(*log, channel, &records);
            retention::audit(&self.log, *log, channel);
        }
        for (log, first) in &self.shadow.trimmed {
            let records = self.records_of(*log);
            let trims = (0..).zip(&records).any(|(offset, record)| match record {
                ChannelEvent::Trimmed { before, .. } => before == first,
                ChannelEvent::Deleted { .. } => offset == *first,
                _ => false,
            });
            assert!(trims, "a reader of log {log} was told that it begins at {first}");
        }
        let shadow = &self.shadow;
        let is_kept = |commit: &Commit| !shadow.is_lost(*commit);
        for ((log, offset), expected) in shadow.acked.iter().filter(|(_, (.., commit))| is_kept(commit)) {
            let records = self.records_of(*log);
            let there = records.get(*offset as usize).and_then(ChannelEvent::appended);
            let Some(appended) = there else {
                panic!("acknowledged at {offset} of log {log}, and not there")
            };
            let found = (mark(appended.element), appended.headers);
            assert_eq!(found, (expected.0.clone(), &expected.1), "acknowledged at {offset} of log {log}");
        }
        for ((log, first), commit) in shadow.commits.iter().filter(|(_, commit)| is_kept(commit)) {
            let batch = self.log.read(*log, *first, 0).expect("the log can be read").into_iter().next();
            let of = batch.map(|batch| (batch.header().seq, batch.header().epoch));
            assert_eq!(of, Some(*commit), "the commit of what was acknowledged at {first} of log {log}");
        }
        for (log, expected, first, _) in shadow.expected.iter().filter(|(.., commit)| is_kept(commit)) {
            let records = self.records_of(*log);
            let between = records.get(*expected as usize..*first as usize);
            let is_as_expected = between.is_some_and(|between| !between.iter().any(is_written));
            assert!(is_as_expected, "taken at {first} of log {log}, and not as expected from {expected} on");
        }
        for (log, expected, head) in &self.shadow.conflicts {
            let records = self.records_of(*log);
            let is_conflict =
                expected > head || records[*expected as usize..*head as usize].iter().any(is_written);
            assert!(is_conflict, "refused at {head} of {log}, and {expected} holds");
        }
        for ((session, log), expected) in &self.shadow.order {
            let records = self.records_of(*log);
            let (kept, lost): (Vec<_>, Vec<_>) = expected.iter().partition(|(_, commit)| is_kept(commit));
            let [kept, lost] =
                [kept, lost].map(|marks| marks.iter().map(|(mark, _)| mark.clone()).collect::<Vec<_>>());
            assert!(!elements(&records).any(|element| lost.contains(&mark(element))), "lost, and there");
            let there: Vec<_> = elements(&records).map(mark).filter(|mark| kept.contains(mark)).collect();
            assert_eq!(there, kept, "the order in which {session} appended to {log}");
        }
        for ((log, offset), expected) in &self.shadow.read {
            assert_eq!(self.records_of(*log).get(*offset as usize), Some(expected), "what a reader saw");
        }
        for ((log, offset, _), expected) in
            self.shadow.read_ahead.iter().filter(|((.., commit), _)| is_kept(commit))
        {
            assert_eq!(
                self.records_of(*log).get(*offset as usize),
                Some(expected),
                "what a reader saw ahead"
            );
        }
        let (acked, lost, undone) = (self.shadow.acked.len(), self.shadow.lost, self.shadow.undone);
        self.told.push(format!(
            "{acked} acknowledged, {lost} buffered commits lost, {undone} readers told, {} crashes, {} records",
            self.crashes,
            state.records()
        ));
    }

    /// Each outcome is in the task log once, of the newest attempt, made of what was submitted; and
    /// watchers heard nothing else.
    fn audit_outcomes(&mut self, state: &State) {
        let (mut ended, mut newest, mut given) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let mut outcomes: BTreeMap<TaskId, Vec<Outcome>> = BTreeMap::new();
        let mut deaths: BTreeMap<TaskId, u32> = BTreeMap::new();
        // The tasks whose result workers keep, or kept: with their attempts.
        let (mut stored, mut lost) = (BTreeSet::new(), BTreeSet::new());
        let (mut needs, mut keys, mut values) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (mut failed, mut renewed): (BTreeSet<TaskId>, BTreeSet<TaskId>) = Default::default();
        for batch in self.log.read(LogId::TASKS, 0, usize::MAX).expect("the log can be read") {
            for record in batch.records::<TaskEvent>() {
                let event = record.expect("records decode").1;
                match &event {
                    TaskEvent::Submitted { submission, .. }
                    | TaskEvent::SubmittedUnder { submission, .. } => {
                        let key = &submission.key;
                        assert!(
                            !self.shadow.refused_tasks.contains(&key.id),
                            "{key} was refused and is there"
                        );
                        needs.insert(submission.key.id, needed_by(submission));
                        keys.insert(submission.key.id, submission.key.clone());
                        let first = match submission.arguments.first() {
                            Some(Argument::Value(first)) => Some(first.clone()),
                            Some(Argument::Future(task)) => values.get(task).cloned(),
                            _ => None,
                        };
                        given.remove(&key.id);
                        given.extend(first.map(|first| (key.id, first)));
                    }
                    TaskEvent::Scattered { key, value, .. } => {
                        assert!(ended.insert(key.id), "{key} is there twice");
                        values.insert(key.id, value.clone());
                        outcomes.entry(key.id).or_default().push(Outcome::Finished(value.clone()));
                    }
                    TaskEvent::Started { task, attempt, .. }
                    | TaskEvent::StartedWith { task, attempt, .. } => {
                        let before = newest.insert(*task, *attempt);
                        assert!(before < Some(*attempt), "{task} has two attempts {attempt}");
                        assert!(
                            !ended.contains(task) && !lost.contains(task),
                            "{task} started, and was not to"
                        );
                        for needed in &needs[task] {
                            let is_there = ended.contains(needed) && !failed.contains(needed);
                            assert!(is_there, "{task} started without {needed}");
                        }
                    }
                    TaskEvent::Retried { task, attempt, .. }
                    | TaskEvent::RetriedAfter { task, attempt, .. }
                    | TaskEvent::Requeued { task, attempt, .. }
                    | TaskEvent::Deferred { task, attempt, .. }
                    | TaskEvent::Returned { task, attempt } => {
                        assert_eq!(newest.get(task), Some(attempt), "an older attempt of {task} counted");
                    }
                    TaskEvent::Died { task, attempt, reason, counts, .. } => {
                        assert_eq!(newest.get(task), Some(attempt), "an older attempt of {task} died");
                        assert!(reason.is_death(), "{reason}");
                        let row = deaths.entry(*task).or_default();
                        *row = if *counts { *row + 1 } else { 0 };
                    }
                    TaskEvent::Finished { task, attempt, result: TaskResult::Inline(brought) } => {
                        assert_eq!(newest.get(task), Some(attempt), "an older attempt of {task} counted");
                        assert!(ended.insert(*task), "{task} ended twice");
                        if let Some(given) = given.get(task) {
                            assert_eq!(*brought, result(given, *attempt), "{task} ended as another one");
                        }
                        outcomes.entry(*task).or_default().push(Outcome::Finished(brought.clone()));
                    }
                    TaskEvent::Finished { task, attempt, result: TaskResult::Stored(brought) } => {
                        assert_eq!(newest.get(task), Some(attempt), "an older attempt of {task} counted");
                        assert!(ended.insert(*task) && stored.insert(*task), "{task} ended twice");
                        if let Some(given) = given.get(task) {
                            let expected = described(&result(given, *attempt));
                            assert_eq!(*brought, expected, "{task} ended as another one");
                        }
                        let (key, attempt) = (keys[task].clone(), *attempt);
                        let located = Located { key, attempt, result: *brought, holders: vec![] };
                        outcomes.entry(*task).or_default().push(Outcome::Stored(located));
                    }
                    TaskEvent::Lost { task, .. } => {
                        assert!(stored.remove(task) && ended.remove(task), "{task} has lost what it had not");
                        lost.insert(*task);
                    }
                    TaskEvent::Reopened { task } => {
                        assert!(lost.remove(task), "{task} is computed anew, and was not lost");
                        deaths.remove(task);
                    }
                    TaskEvent::Failed { task, error } => {
                        failed.insert(*task);
                        if error.kind == ErrorKind::Poison {
                            let deaths = deaths.get(task).copied();
                            assert_eq!(deaths, Some(SETTINGS.deaths_max), "{task} is poison");
                            assert_eq!(error.causes.len(), SETTINGS.deaths_max as usize, "{task}: {error}");
                            assert_eq!(
                                newest.get(task),
                                Some(&error.attempt),
                                "an older attempt of {task} counted"
                            );
                        }
                        assert!(ended.insert(*task), "{task} ended twice");
                        outcomes.entry(*task).or_default().push(Outcome::Failed(error.clone()));
                    }
                    TaskEvent::Cancelled { .. } => panic!("it is said who cancels"),
                    TaskEvent::CancelledBy { task, .. } => {
                        failed.insert(*task);
                        assert!(ended.insert(*task), "{task} ended twice");
                        outcomes.entry(*task).or_default().push(Outcome::Cancelled);
                    }
                    TaskEvent::Advanced { task, attempt, .. } => {
                        let is_newest = newest.get(task) == Some(attempt) && !ended.contains(task);
                        assert!(is_newest, "attempt {attempt} of {task} is over, and advanced");
                    }
                    TaskEvent::Renewed { tasks, .. } => {
                        for task in tasks {
                            assert!(failed.remove(task) && ended.remove(task), "{task} had not failed");
                            let still_failed = needs[task].iter().find(|needed| failed.contains(*needed));
                            assert_eq!(still_failed, None, "{task} is tried again in vain");
                            deaths.remove(task);
                            renewed.insert(*task);
                        }
                    }
                    // What is forgotten may be submitted again.
                    TaskEvent::Forgotten { task } => {
                        for tasks in [&mut ended, &mut stored, &mut lost, &mut failed] {
                            tasks.remove(task);
                        }
                        deaths.remove(task);
                        values.remove(task);
                    }
                    _ => {}
                }
                self.told.push(transcript::event(state, &Event::Task(event)));
            }
        }
        for (task, heard) in &self.shadow.outcomes {
            let ended = outcomes.get(task).map_or(&[][..], Vec::as_slice);
            assert!(heard.iter().all(|outcome| ended.contains(outcome)), "{task}: {heard:?}, not {ended:?}");
        }
        let told = self.shadow.renewed.iter();
        assert!(
            told.into_iter().all(|task| renewed.contains(task)),
            "not all are tried again that were to be"
        );
        for task in &self.shadow.cancelled {
            let ended = outcomes.get(task).map_or(&[][..], Vec::as_slice);
            assert!(ended.contains(&Outcome::Cancelled), "{task} was said to be cancelled: {ended:?}");
        }
    }

    /// The numbers of each named producer grow, so that each is there once; and those that clients were told of are there.
    fn audit_producers(&self, log: LogId, channel: &Channel, records: &[ChannelEvent]) {
        let mut newest: BTreeMap<&ProducerName, u64> = BTreeMap::new();
        let mut there = BTreeSet::new();
        for (at, record) in records.iter().enumerate() {
            match record {
                ChannelEvent::Produced { producer, number, count, origin, .. } => {
                    let before = newest.insert(producer, *number);
                    assert!(before < Some(*number), "{number} of {producer} comes behind {before:?}");
                    let all = &records[at..at + *count as usize];
                    let origins = all.iter().map(|record| record.appended().map(|appended| appended.origin));
                    assert!(origins.eq(all.iter().map(|_| Some(*origin))), "all of {number} of {producer}");
                    there.insert((log, producer.clone(), *number, at as u64, *count));
                }
                ChannelEvent::ProducerForgotten { producer, .. } => drop(newest.remove(producer)),
                ChannelEvent::Deleted { .. } => newest.clear(),
                _ => {}
            }
        }
        let known = channel.producers.iter().map(|(name, newest)| (name, newest.number));
        assert!(known.eq(newest), "what is known of the producers of {}", channel.name);
        let is_kept = |commit: &Commit| !self.shadow.is_lost(*commit);
        let produced = self.shadow.produced.iter().filter(|(of, .., commit)| *of == log && is_kept(commit));
        for (of, name, number, first, count, _) in produced {
            let acked = (*of, name.clone(), *number, *first, *count);
            assert!(there.contains(&acked), "acknowledged and not there: {acked:?}");
        }
        for (of, name, newest) in self.shadow.produced_before.iter().filter(|(of, ..)| *of == log) {
            let is_there = there.iter().any(|(_, producer, number, ..)| (producer, number) == (name, newest));
            assert!(is_there, "{name} of {of} was said to be at {newest}");
        }
    }

    fn audit_stop(&self, records: &[ChannelEvent]) {
        let mut is_stopped = false;
        for record in records {
            match record {
                ChannelEvent::Stopped { .. } | ChannelEvent::Deleted { .. } => is_stopped = true,
                ChannelEvent::Resumed { .. } => is_stopped = false,
                other => assert!(!is_stopped || !other.is_element(), "an element after the stop"),
            }
        }
    }

    fn records_of(&self, log: LogId) -> Vec<ChannelEvent> {
        let batches = self.log.read(log, 0, usize::MAX).expect("the log can be read");
        batches
            .iter()
            .flat_map(|batch| {
                batch.records().map(|record| record.expect("records decode").1).collect::<Vec<_>>()
            })
            .collect()
    }
}

fn elements(records: &[ChannelEvent]) -> impl Iterator<Item = &Element> {
    records.iter().filter_map(|record| record.appended().map(|appended| appended.element))
}

/// The tasks that a call needs, as anyone reads them who knows MessagePack.
fn needed_by(submission: &Submission) -> Vec<TaskId> {
    fn add(needed: &mut Vec<TaskId>, value: &Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| add(needed, value)),
            Value::Ext(HOLE, id) => needed.push(TaskId(id[..].try_into().expect("16 bytes"))),
            _ => {}
        }
    }
    let mut needed = Vec::new();
    for argument in &submission.arguments {
        match argument {
            Argument::Value(_) => {}
            Argument::Future(task) => needed.push(*task),
            Argument::Nested(template) => {
                let value = rmpv::decode::read_value(&mut &template.bytes()[..]).expect("it is MessagePack");
                add(&mut needed, &value);
            }
        }
    }
    needed
}

/// Whether somebody wrote it by hand.
fn is_written(record: &ChannelEvent) -> bool {
    record.is_element() || matches!(record, ChannelEvent::Stopped { .. } | ChannelEvent::Deleted { .. })
}

fn count(element: &Element) -> u64 {
    let Element::Value(payload) = element else { panic!("a future on the counters' channel") };
    let count = payload.decode().expect("a number");
    assert!(count < COUNT_TO);
    count
}
