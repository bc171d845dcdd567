//! Whether the records of a store make sense: what `log::verify` cannot know, since it knows batches.
//!
//! It is shown every whole batch, the task log's first, and checks that each record decodes, that as
//! many are elements as the batch says, that each end of a channel names the elements before it, and
//! that every log is a channel's. At the end it folds the logs and checks the state.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::core::State;
use super::recovery;
use crate::log::verify::Finding;
use crate::log::{Error, Log};
use crate::protocol::batch::{BadBatch, Batch};
use crate::protocol::counted::counted;
use crate::protocol::snapshot::SnapshotItem;
use crate::protocol::{ChannelEvent, ChannelName, Digest, LogId, TaskEvent};

/// What is known of the records so far.
#[derive(Debug, Default)]
pub struct Records {
    names: HashMap<LogId, ChannelName>,
    /// Whether there are channels of which nothing says the name any more: their logs are not to blame.
    has_nameless: bool,
    channel: Option<Reading>,
}

/// A channel that is being read.
#[derive(Debug)]
struct Reading {
    log: LogId,
    next: u64,
    elements: u64,
    /// Of all elements so far; unknown behind what is damaged, gone or trimmed.
    digest: Option<Digest>,
}

impl Records {
    /// The name of the channel that is this log, once its record was seen.
    pub fn name(&self, log: LogId) -> Option<&ChannelName> {
        self.names.get(&log)
    }

    /// Learns the channels whose records were trimmed from the newest snapshot that can be read.
    pub fn learn(&mut self, log: &dyn Log) {
        if log.bounds(LogId::TASKS).first == 0 {
            return;
        }
        let first = log.bounds(LogId::TASKS).first;
        let names = |at| {
            let (mut names, mut knows_all) = (HashMap::new(), false);
            let mut take = |mut piece: &[u8]| {
                while let Ok((item, rest)) = postcard::take_from_bytes::<SnapshotItem>(piece) {
                    match item {
                        // Others were kept for those who look back.
                        SnapshotItem::Head { tasks_head, .. } => knows_all = tasks_head >= first,
                        SnapshotItem::Channel { log, name, .. } => drop(names.insert(log, name)),
                        _ => {}
                    }
                    piece = rest;
                }
            };
            log.read_snapshot(at, &mut take).ok().and_then(|()| knows_all.then_some(names))
        };
        let newest = log.snapshots().unwrap_or_default().into_iter().find_map(names);
        self.has_nameless = newest.is_none();
        self.names.extend(newest.into_iter().flatten());
    }

    /// Whether there is a channel of this name among the records seen.
    pub fn knows(&self, name: &ChannelName) -> bool {
        self.names.values().any(|known| known == name)
    }

    /// Checks the records of the next batch.
    pub fn check(&mut self, batch: &Batch, found: &mut dyn FnMut(Finding)) {
        let elements = match batch.header().log {
            LogId::TASKS => self.check_task_log(batch),
            _ => self.check_channel(batch, found),
        };
        let header = batch.header();
        match elements {
            Ok(elements) if elements != header.elements => {
                let what = format!(
                    "the batch holds {}, and says {}",
                    counted(u64::from(elements), "element"),
                    header.elements
                );
                found(Finding::at("elements", header.log, header.base_offset, what));
            }
            Ok(_) => {}
            Err(why) => {
                self.channel = None;
                let offset = match &why {
                    BadBatch::Record { offset, .. } => *offset,
                    _ => header.base_offset,
                };
                found(Finding::at("record", header.log, offset, why.to_string()));
            }
        }
    }

    fn check_task_log(&mut self, batch: &Batch) -> Result<u32, BadBatch> {
        for record in batch.records::<TaskEvent>() {
            if let (_, TaskEvent::ChannelCreated { log, name, .. }) = record? {
                self.names.insert(log, name);
            }
        }
        Ok(0)
    }

    fn check_channel(&mut self, batch: &Batch, found: &mut dyn FnMut(Finding)) -> Result<u32, BadBatch> {
        let header = batch.header();
        let log = header.log;
        let is_new = self.channel.as_ref().is_none_or(|reading| reading.log != log);
        if is_new && header.base_offset == 0 && !self.has_nameless && !self.names.contains_key(&log) {
            found(Finding::at("channel", log, 0, "no record of the task log has created this channel"));
        }
        let goes_on =
            self.channel.take().filter(|reading| (reading.log, reading.next) == (log, header.base_offset));
        let digest = match goes_on {
            Some(reading) => reading.digest,
            None => (header.base_offset == 0).then(Digest::default),
        };
        let mut reading = Reading { log, next: header.end_offset(), elements: header.base_index, digest };
        for record in batch.records::<ChannelEvent>() {
            let (offset, event) = record?;
            if let Some(appended) = event.appended() {
                reading.elements += 1;
                reading.digest = reading.digest.map(|digest| digest.with_appended(&appended));
            } else if let ChannelEvent::Stopped { count, digest, .. }
            | ChannelEvent::Deleted { count, digest, .. } = event
            {
                found_at_end(&reading, offset, count, digest).into_iter().for_each(&mut *found);
            }
        }
        let elements = reading.elements - header.base_index;
        self.channel = Some(reading);
        Ok(u32::try_from(elements).unwrap_or(u32::MAX))
    }
}

/// What is wrong with a channel's end.
fn found_at_end(reading: &Reading, offset: u64, count: u64, digest: Digest) -> Option<Finding> {
    let at = |what: String| Finding::at("stopped", reading.log, offset, what);
    if count != reading.elements {
        return Some(at(format!(
            "the channel's end says {}, and there are {}",
            counted(count, "element"),
            reading.elements
        )));
    }
    match reading.digest {
        Some(ours) if ours != digest => {
            Some(at(format!("the channel's end says digest {digest}, and its elements have {ours}")))
        }
        Some(_) => None,
        None => {
            let what = "elements before it are gone: it cannot be told whether its digest is theirs";
            Some(at(what.to_owned()).as_note())
        }
    }
}

/// Folds the logs and checks the state: from the first record; from the newest snapshot that can be read where
/// the task log is trimmed. Only for a store whose logs are whole: the state of others says nothing.
pub fn fold(log: &dyn Log) -> Option<Finding> {
    let is_trimmed = |id: LogId| log.bounds(id).first > 0;
    let folded = || check_state(|| recovery::fold(log));
    match log.logs().into_iter().find(|id| is_trimmed(*id)) {
        None => folded(),
        Some(LogId::TASKS) => recovers(log),
        // All of the task log is there, and a start needs a snapshot for what was trimmed.
        Some(_) => folded().or_else(|| recovers(log)),
    }
}

/// Makes the state as a start does, from the newest snapshot that can be read, and checks it. For a store with
/// lost records, too.
pub fn recovers(log: &dyn Log) -> Option<Finding> {
    check_state(|| recover(log))
}

fn recover(log: &dyn Log) -> Result<State, Error> {
    let recovered = recovery::recover(log, &mut |_| Ok(()))?;
    if let Some(log) = recovered.lost.unknown() {
        let why = match recovered.bad_snapshots.first() {
            Some(error) => error.to_string(),
            None => "there is none".to_owned(),
        };
        let what = match log {
            LogId::TASKS => "the task log".to_owned(),
            channel => format!("log {channel}"),
        };
        return Err(Error::Unknown(format!(
            "{what} is trimmed, and no snapshot knows what was before: {why}"
        )));
    }
    Ok(recovered.state)
}

fn check_state(state: impl FnOnce() -> Result<State, Error>) -> Option<Finding> {
    // Events that were stored damaged, though their checksums fit, may break what `apply` relies on.
    let checked = catch_unwind(AssertUnwindSafe(|| state().map(|state| state.check())));
    let what = match checked {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("the state that the logs give does not hold: {}", words(panic.as_ref())),
    };
    Some(Finding::of_store("fold", what))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Memory;
    use crate::log::verify::Severity;
    use crate::protocol::batch::{Commit, OpenBatch};
    use crate::protocol::event::Origin;
    use crate::protocol::session::SessionKind;
    use crate::protocol::{Element, Epoch, Payload, Producer, Seq, SessionId};

    const CHANNEL: LogId = LogId(1);

    fn origin() -> Origin {
        Origin { producer: Producer(1), number: 1 }
    }

    fn element() -> Element {
        Element::Value(Payload::encode(&7).unwrap())
    }

    fn appended() -> ChannelEvent {
        ChannelEvent::Appended { origin: origin(), element: element() }
    }

    fn stopped(count: u64, digest: Digest) -> ChannelEvent {
        ChannelEvent::Stopped { origin: origin(), count, digest }
    }

    /// A batch that says of each record what it is told to.
    fn batch(offset: u64, index: u64, events: &[(ChannelEvent, bool)]) -> Batch {
        let mut open = OpenBatch::new(CHANNEL, offset, index);
        for (event, is_element) in events {
            assert!(open.push(event, *is_element));
        }
        open.seal(Seq(1), Epoch(1), 0)
    }

    fn findings(batches: &[Batch]) -> Vec<Finding> {
        let mut records = Records::default();
        records.names.insert(CHANNEL, ChannelName::new("sums").unwrap());
        let mut findings = Vec::new();
        batches.iter().for_each(|batch| records.check(batch, &mut |finding| findings.push(finding)));
        findings
    }

    #[test]
    fn the_end_of_a_channel_must_name_the_elements_before_it() {
        let digest = Digest::default().with_element(&element());
        let first = batch(0, 0, &[(appended(), true)]);
        let end = |index, count, digest| batch(1, index, &[(stopped(count, digest), false)]);
        assert_eq!(findings(&[first.clone(), end(1, 1, digest)]), []);
        for wrong in [end(1, 2, digest), end(1, 1, Digest(7))] {
            let found = findings(&[first.clone(), wrong]);
            assert_eq!((found.len(), found[0].check, found[0].offset), (1, "stopped", Some(1)), "{found:?}");
            assert_eq!(found[0].severity, Severity::Damage);
        }
        let found = findings(&[end(1, 1, digest)]);
        assert_eq!(
            (found.len(), found[0].severity),
            (1, Severity::Note),
            "what is before it is gone: {found:?}"
        );
    }

    #[test]
    fn a_batch_must_hold_as_many_elements_as_it_says_and_only_records() {
        let found = findings(&[batch(0, 0, &[(appended(), true), (appended(), false)])]);
        assert_eq!((found.len(), found[0].what.as_str()), (1, "the batch holds 2 elements, and says 1"));
        let mut open = OpenBatch::new(CHANNEL, 4, 0);
        assert!(open.push(&appended(), true) && open.push(&99u8, false));
        let found = findings(&[open.seal(Seq(1), Epoch(1), 0)]);
        assert_eq!((found.len(), found[0].check, found[0].offset), (1, "record", Some(5)), "{found:?}");
    }

    #[test]
    fn a_log_that_is_no_channels_is_named() {
        let mut found = Vec::new();
        let batch = batch(0, 0, &[(appended(), true)]);
        Records::default().check(&batch, &mut |finding| found.push(finding.check));
        assert_eq!(found, ["channel"]);
    }

    #[test]
    fn behind_a_trimmed_task_log_channels_are_known_from_the_newest_whole_snapshot() {
        let log = Memory::new();
        let epoch = log.begin_epoch().unwrap();
        let (session, kind) = (SessionId([1; 16]), SessionKind::Client);
        let opened = TaskEvent::SessionOpened { producer: Producer(1), session, kind, lease_ms: 1 };
        let name = ChannelName::new("sums").unwrap();
        let created = TaskEvent::ChannelCreated { origin: origin(), log: CHANNEL, name: name.clone() };
        for (at, events) in [vec![opened, created], vec![]].into_iter().enumerate() {
            let seq = Seq(at as u64 + 1);
            let mut open = OpenBatch::new(LogId::TASKS, 2 * at as u64, 0);
            events.iter().for_each(|event| assert!(open.push(event, false)));
            let receipt = crate::protocol::event::Receipt::default();
            assert!(at == 0 || open.push(&TaskEvent::Recovered(receipt), false));
            log.append(&Commit { seq, epoch, batches: vec![open.seal(seq, epoch, 0)] }).unwrap();
            log.flush().unwrap();
            if at == 0 {
                let state = recovery::fold(&log).unwrap();
                let piece = state
                    .into_items()
                    .fold(Vec::new(), |piece, item| postcard::to_extend(&item, piece).unwrap());
                log.write_snapshot(seq, &mut [piece].into_iter()).unwrap();
            }
        }
        log.trim(LogId::TASKS, 2).unwrap();
        assert_eq!(log.bounds(LogId::TASKS).first, 2);
        let first = batch(0, 0, &[(appended(), true)]);
        let found = |log: &Memory| {
            let (mut records, mut found) = (Records::default(), Vec::new());
            records.learn(log);
            records.check(&first, &mut |finding| found.push(finding));
            (records.name(CHANNEL).cloned(), found, fold(log))
        };
        assert_eq!(found(&log), (Some(name), vec![], None));
        log.drop_snapshot(Seq(1)).unwrap();
        // One from which nothing can be folded any more.
        let pieces = State::default().into_items().map(|item| postcard::to_stdvec(&item).unwrap());
        log.write_snapshot(Seq(0), &mut pieces.collect::<Vec<_>>().into_iter()).unwrap();
        let (unnamed, records, state) = found(&log);
        assert_eq!((unnamed, records), (None, vec![]), "who has no name is not to blame");
        let what = state.expect("nothing knows what was before").what;
        assert!(
            what.ends_with("the task log is trimmed, and no snapshot knows what was before: there is none")
        );
    }

    #[test]
    fn a_channel_that_is_trimmed_and_that_no_snapshot_knows_is_named() {
        let log = Memory::new();
        let epoch = log.begin_epoch().unwrap();
        let mut open = OpenBatch::new(LogId::TASKS, 0, 0);
        let name = ChannelName::new("sums").unwrap();
        assert!(open.push(&TaskEvent::ChannelCreated { origin: origin(), log: CHANNEL, name }, false));
        let mut batches = vec![open.seal(Seq(1), epoch, 0)];
        for at in 0..3 {
            let mut open = OpenBatch::new(CHANNEL, at, at);
            assert!(open.push(&appended(), true));
            batches.push(open.seal(Seq(at + 1), epoch, 0));
            let batches = std::mem::take(&mut batches);
            log.append(&Commit { seq: Seq(at + 1), epoch, batches }).unwrap();
            log.flush().unwrap();
        }
        let pieces =
            recovery::fold(&log).unwrap().into_items().map(|item| postcard::to_stdvec(&item).unwrap());
        log.write_snapshot(Seq(3), &mut pieces.collect::<Vec<_>>().into_iter()).unwrap();
        log.trim(CHANNEL, 2).unwrap();
        assert_eq!(fold(&log), None);
        log.drop_snapshot(Seq(3)).unwrap();
        let what = fold(&log).expect("nothing knows what was before").what;
        assert_eq!(
            what.split_once(": ").unwrap().1,
            "log 1 is trimmed, and no snapshot knows what was before: there is none"
        );
    }

    #[test]
    fn a_state_that_does_not_hold_is_named_and_no_panic() {
        let log = Memory::new();
        assert_eq!(fold(&log), None);
        let epoch = log.begin_epoch().unwrap();
        let mut open = OpenBatch::new(LogId::TASKS, 0, 0);
        let (session, kind) = (SessionId([1; 16]), SessionKind::Client);
        let opened = |number| {
            let (producer, kind) = (Producer(number), kind.clone());
            TaskEvent::SessionOpened { producer, session, kind, lease_ms: 1 }
        };
        // Two sessions of one identity.
        assert!(open.push(&opened(1), false) && open.push(&opened(2), false));
        let batches = vec![open.seal(Seq(1), epoch, 0)];
        log.append(&Commit { seq: Seq(1), epoch, batches }).unwrap();
        log.flush().unwrap();
        let found = fold(&log).expect("two sessions of one identity are no state");
        assert_eq!((found.check, found.severity), ("fold", Severity::Damage), "{found:?}");
    }
}
