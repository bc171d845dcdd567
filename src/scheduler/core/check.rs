//! The invariants of the state, checked after every step of the simulator and of the scenarios. Each
//! index is compared with what it follows from.

use std::collections::{BTreeMap, BTreeSet};

use super::Core;
use super::demand::Demand;
use super::moments::{Moment, When};
use super::state::{Channel, Counts, State};
use super::task::Phase;
use crate::protocol::group::GroupId;
use crate::protocol::limits::{IN_FLIGHT_MAX, PRODUCERS_PER_CHANNEL_MAX};
use crate::protocol::session::SessionKind;
use crate::protocol::{LogId, Producer, TaskId, TaskMap};

impl Core {
    /// Panics, with what is wrong, unless everything that must be true between steps is.
    pub fn check(&self) {
        self.state.check();
        self.presence.check(&self.state);
        self.consumers.check(&self.state, |member| self.presence.connection_of(member).is_some());
    }
}

impl State {
    /// Panics, with what is wrong, unless every invariant holds.
    pub fn check(&self) {
        self.check_keepers();
        self.check_phases();
        self.check_sessions();
        self.check_channels();
        self.check_groups();
        self.retired.check(|task| self.tasks.contains_key(task));
    }

    fn check_keepers(&self) {
        let mut elements: TaskMap<BTreeMap<LogId, u64>> = TaskMap::default();
        for (log, channel) in &self.channels {
            for (_, task) in &channel.kept.futures {
                *elements.entry(*task).or_default().entry(*log).or_default() += 1;
            }
        }
        let mut sessions: TaskMap<BTreeSet<Producer>> = TaskMap::default();
        for (producer, session) in &self.sessions {
            for task in &session.holds {
                sessions.entry(*task).or_default().insert(*producer);
            }
        }
        let (mut dependents, mut lineage): (TaskMap<u32>, TaskMap<u32>) = Default::default();
        for (id, task) in self.tasks.iter() {
            for dependency in task.call.iter().flat_map(|call| &call.dependencies) {
                // What is lost is known of nobody, and who needs it is to be failed.
                if self.tasks.contains_key(dependency) {
                    let needing = if task.phase.is_open() { &mut dependents } else { &mut lineage };
                    *needing.entry(*dependency).or_default() += 1;
                } else {
                    let waits = matches!(task.phase, Phase::Waiting { .. });
                    assert!(
                        !waits || self.doomed.contains(id),
                        "{id} needs {dependency}, which is not known"
                    );
                }
            }
        }
        for (id, task) in self.tasks.iter() {
            let holders: BTreeSet<Producer> = task.keepers.sessions.iter().collect();
            assert_eq!(holders, sessions.remove(id).unwrap_or_default(), "{id}: sessions that hold it");
            assert_eq!(
                task.keepers.dependents,
                dependents.remove(id).unwrap_or(0),
                "{id}: tasks that need it"
            );
            assert_eq!(
                task.keepers.lineage,
                lineage.remove(id).unwrap_or(0),
                "{id}: tasks that may need it again"
            );
            assert_eq!(self.unkept.contains(id), !task.keepers.any(), "{id}: unkept");
            let (stored, lost) = (task.phase.stored().is_some(), task.phase == Phase::Lost);
            let needed = task.keepers.need_result();
            assert_eq!(self.unneeded.contains(id), stored && !needed, "{id}: unneeded");
            assert_eq!(self.wanted.contains(id), lost && needed, "{id}: wanted");
            let on_channels = elements.remove(id).unwrap_or_default();
            assert!(task.keepers.channels().iter().copied().eq(on_channels), "{id}: elements on channels");
        }
        assert!(
            sessions.is_empty() && dependents.is_empty() && lineage.is_empty(),
            "unknown tasks held {sessions:?} or needed {dependents:?} {lineage:?}"
        );
        let indexed = [&self.unneeded, &self.wanted].into_iter().flatten();
        assert!(indexed.into_iter().all(|id| self.tasks.contains_key(id)), "needed or not, and unknown");
        assert!(self.unkept.iter().all(|id| self.tasks.contains_key(id)), "unkept and unknown");
    }

    fn check_phases(&self) {
        let (mut counts, mut ready, mut doomed) = (Counts::default(), 0, BTreeSet::new());
        for (id, task) in self.tasks.iter() {
            *counts.of(&task.phase) += 1;
            assert_eq!(
                self.tasks.submitted_at(task.submitted_at),
                Some(*id),
                "{id} at its place in the order"
            );
            let is_running = matches!(task.phase, Phase::Running { .. });
            assert!(
                is_running || task.grants().is_empty(),
                "{id} does not run, and has something of a worker's"
            );
            let demand = task.terms().and_then(|terms| Demand::of(&task.function, terms));
            assert_eq!(task.demand().map(AsRef::as_ref), demand.as_ref(), "{id}: what it asks of a worker");
            let (is_over, has_call) = (matches!(task.phase, Phase::Finished(_)), task.call.is_some());
            // An older version has forgotten how to call those that have failed.
            assert!(
                has_call != is_over || task.phase.has_none(),
                "{id}: tasks that never run again have no call, others do"
            );
            match &task.phase {
                Phase::Waiting { missing } => {
                    let call = task.call.as_ref().expect("checked above");
                    let phase = |dependency: &TaskId| self.tasks.get(dependency).map(|task| &task.phase);
                    let unfinished =
                        call.dependencies.iter().filter(|d| !phase(d).is_some_and(Phase::has_result));
                    assert_eq!(*missing as usize, unfinished.count(), "{id}: dependencies that it waits for");
                    assert!(*missing > 0, "{id} waits for nothing");
                    if call.dependencies.iter().any(|d| phase(d).is_none_or(Phase::has_none)) {
                        doomed.insert(*id);
                    }
                }
                Phase::Ready => {
                    ready += 1;
                    let turns = match task.demand() {
                        Some(demand) => &self.ready_with[demand],
                        None => &self.ready[&task.function],
                    };
                    assert!(turns.contains(&task.turn()), "{id} is ready and has no turn");
                }
                Phase::Running { worker } => {
                    assert!(self.sessions[worker].running.contains(id), "{id}: its worker does not have it");
                    assert!(task.attempt.0 > 0, "{id} runs without an attempt");
                }
                Phase::Stored(stored) => {
                    assert!(!stored.holders.is_empty(), "{id}: nobody keeps its result");
                    for (at, holder) in stored.holders.iter().enumerate() {
                        assert!(!stored.holders[..at].contains(holder), "{id}: {holder:?} keeps it twice");
                        assert!(self.sessions[holder].stored.contains(id), "{id}: its holder does not know");
                    }
                }
                _ => {}
            }
            for waiting in task.call.iter().flat_map(|call| call.waiting()) {
                let other = self.tasks[&waiting].call.as_ref().expect("a task that may wait has its call");
                assert!(other.dependencies.contains(id), "{waiting} is said to depend on {id}");
            }
            for needed in task.call.iter().flat_map(|call| &call.dependencies) {
                let needed = self.tasks.get(needed).and_then(|needed| needed.call.as_ref());
                assert!(needed.is_none_or(|call| call.is_waited_for_by(id)), "{id} would not be told");
            }
        }
        assert_eq!(self.counts, counts);
        assert_eq!(
            self.tasks.submitted_from(0).count(),
            self.tasks.len(),
            "tasks in the order of submission"
        );
        assert_eq!(self.doomed, doomed);
        self.check_moments();
        let turns = || self.ready.values().chain(self.ready_with.values());
        assert_eq!(turns().map(BTreeSet::len).sum::<usize>(), ready, "turns of tasks that are not ready");
        assert!(turns().all(|turns| !turns.is_empty()), "an empty set of turns");
    }

    fn check_moments(&self) {
        let mut dated = 0;
        for (id, task) in self.tasks.iter() {
            let (next, deadline) =
                task.conditions.as_ref().map_or((None, None), |found| (found.next_attempt, found.deadline));
            assert_eq!(next.is_some(), task.phase == Phase::Delayed, "{id}: delayed");
            assert!(deadline.is_none() || task.phase.is_open(), "{id} is over and has a deadline");
            for (moment, when) in [(Moment::Retry, next), (Moment::Deadline, deadline)] {
                let time = when.and_then(When::time);
                assert_eq!(self.moments.of(*id, moment), time, "{id}: {moment:?}");
                dated += usize::from(time.is_some());
                assert!(when.is_none() || time.is_some() || !self.moments.are_dated(), "{id}: {moment:?}");
            }
        }
        assert_eq!(self.moments.len(), dated, "moments of tasks that have none");
    }

    fn check_sessions(&self) {
        let mut attempts: TaskMap<BTreeSet<Producer>> = TaskMap::default();
        let mut overdue = BTreeSet::new();
        for (producer, session) in &self.sessions {
            assert!(*producer <= self.last_producer);
            assert_eq!(
                self.producers.get(&session.id),
                Some(producer),
                "session {} under its identity",
                session.id
            );
            assert!(session.remembered.len() as u64 <= IN_FLIGHT_MAX, "too much remembered of {producer:?}");
            for task in &session.running {
                assert!(
                    matches!(self.tasks[task].phase, Phase::Running { worker } if worker == *producer),
                    "{task} does not run"
                );
            }
            for task in &session.stored {
                let stored = self.tasks[task].phase.stored();
                assert!(stored.is_some_and(|stored| stored.holders.contains(producer)), "{task} is not kept");
            }
            match session.kind {
                SessionKind::Attempt { task, attempt } => {
                    attempts.entry(task).or_default().insert(*producer);
                    let current = self.tasks.get(&task).is_some_and(|task| {
                        task.attempt == attempt && matches!(task.phase, Phase::Running { .. })
                    });
                    if !current {
                        overdue.insert(*producer);
                    }
                }
                SessionKind::Worker { .. } => {}
                SessionKind::Client => assert!(session.running.is_empty(), "a client that runs tasks"),
            }
        }
        assert_eq!(self.sessions.len(), self.producers.len());
        assert_eq!(self.attempt_sessions, attempts);
        assert_eq!(self.overdue, overdue);
    }

    fn check_channels(&self) {
        assert_eq!(self.names.len(), self.channels.len());
        for (name, log) in &self.names {
            let channel = &self.channels[log];
            assert!(channel.name == *name && *log <= self.last_log && *log != LogId::TASKS);
            assert!(channel.elements <= channel.written_to && channel.written_to <= channel.head);
            channel.check_kept();
            channel.check_producers();
        }
    }
}

impl State {
    fn check_groups(&self) {
        let mut leased: BTreeMap<Producer, BTreeMap<GroupId, u64>> = BTreeMap::new();
        for (id, group) in &self.groups {
            let channel = &self.channels[&group.log];
            assert_eq!(channel.groups.get(&group.name), Some(id), "a group that its channel does not know");
            for (index, lease) in &group.leased {
                assert!(
                    self.sessions.contains_key(&lease.member),
                    "{index} is leased to a session that is over"
                );
                assert!(*index < group.next && !group.waiting.contains_key(index));
                assert!(lease.before.tries <= lease.before.leases && (lease.is_tried || lease.leases() > 1));
                *leased.entry(lease.member).or_default().entry(*id).or_default() += 1;
            }
            let kept = channel.kept.first.index..group.next;
            assert!(group.waiting.keys().all(|index| kept.contains(index)), "what is gone waits");
            assert!(channel.kept.first.index <= group.next && group.next <= channel.elements);
        }
        for (producer, session) in &self.sessions {
            let of_it = leased.remove(producer).unwrap_or_default();
            assert_eq!(session.leased, of_it, "what is leased to {producer:?}");
        }
        let known: usize = self.channels.values().map(|channel| channel.groups.len()).sum();
        assert_eq!(known, self.groups.len(), "channels know groups that are not there");
    }
}

impl Channel {
    fn check_producers(&self) {
        let (producers, name) = (&self.producers, &self.name);
        assert!(producers.len() <= PRODUCERS_PER_CHANNEL_MAX, "{name} has too many producers");
        assert!(!self.deleted || producers.is_empty(), "{name} is deleted and has producers");
        for (producer, newest) in producers {
            // Behind a loss not all of its elements may be there.
            let is_there = newest.count > 0 && newest.first < self.written_to;
            assert!(is_there, "{name}: {producer} has appended {newest:?}");
        }
    }

    fn check_kept(&self) {
        let kept = &self.kept;
        let (first, name) = (kept.first, &self.name);
        assert!(
            first.offset <= self.head && first.index <= self.elements && first.bytes <= kept.bytes,
            "{name}"
        );
        assert!(
            kept.runs.iter().is_sorted() && kept.runs.iter().all(|(index, at)| index <= at),
            "{name}: runs"
        );
        assert!(kept.runs.get(1).is_none_or(|(index, _)| *index > first.index), "{name}: a run that is gone");
        let ends =
            || kept.marks.iter().map(|mark| (mark.end.index, mark.end.offset, mark.end.bytes, mark.time_ms));
        assert!(ends().is_sorted() && ends().all(|(index, ..)| index > first.index), "{name}: marks");
        assert!(
            ends().all(|(index, at, bytes, _)| index <= self.elements
                && at <= self.head
                && bytes <= kept.bytes)
        );
        let futures = || kept.futures.iter().map(|(index, _)| *index);
        assert!(
            futures().is_sorted() && futures().all(|index| first.index <= index && index < self.elements)
        );
        assert!(
            !self.deleted || (self.stopped && first.index == self.elements),
            "{name} is deleted and keeps elements"
        );
    }
}
