//! Which log has which name, for readers who cannot wait for the state.
//!
//! A start learns it beside the recovery, on a thread of its own: from the beginning of the newest snapshot, where
//! the channels stand, and from the records of the task log behind it.
//!
//! ```text
//!   snapshot   head │ sessions │ channels │ functions, tasks, …      task log   … │ behind the snapshot
//!                              └─ names ──┘ and no further                        └─ ChannelCreated ─▶
//! ```
//!
//! A channel is never renamed or deleted, so what is found is right at once and for good; what is *not* found says
//! nothing. So nobody is told that there is no such channel: for that, and for the names that a recovery makes up for
//! channels whose creation is lost, the state is waited for.
//!
//! A snapshot whose beginning cannot be read is left out for the one before it, as in the recovery, and in the end for
//! the first record that there is. One that is damaged further on is good enough here. Nothing in here fails: what
//! cannot be read is the recovery's to tell.

use std::collections::HashMap;

use super::recovery::READ_BYTES;
use crate::log::{Error, Log};
use crate::protocol::batch::Batch;
use crate::protocol::snapshot::SnapshotItem;
use crate::protocol::{ChannelName, LogId, Seq, TaskEvent};

/// The names that are known, and their logs.
pub type Names = HashMap<ChannelName, LogId>;

/// Whether to look for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// Yes.
    Wanted,
    /// No: nobody waits for them any more.
    Unwanted,
}

/// Finds the names of the channels, and shows each part of them once it is known; an empty one, too, so that `found`
/// is asked again and again whether to go on.
pub fn find(log: &dyn Log, found: &mut dyn FnMut(Names) -> More) {
    let last = log.last().seq;
    let snapshots = log.snapshots().unwrap_or_default().into_iter().filter(|seq| *seq <= last);
    let beginning = snapshots.into_iter().find_map(|at| match of_snapshot(log, at) {
        // One that knows more than the logs: where the recovery cannot read it to its end, its newest channels are not known, and
        // their logs may become others'.
        Ok(beginning) => (!beginning.is_ahead_of(log)).then_some(beginning),
        Err(error) => {
            tracing::debug!(%error, "the names of its channels are looked for in the snapshot before");
            None
        }
    });
    let Beginning { names, tasks_head, .. } = beginning.unwrap_or_default();
    if found(names) == More::Unwanted {
        return;
    }
    let mut next = tasks_head;
    while let Ok(batches) = log.read(LogId::TASKS, next, READ_BYTES)
        && let Some(end) = batches.last()
    {
        next = end.header().end_offset();
        if found(batches.iter().flat_map(of_batch).collect()) == More::Unwanted {
            return;
        }
    }
}

/// What a snapshot says before it comes to the tasks.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    /// The names of its channels.
    pub names: Names,
    /// How far it knows the task log.
    pub tasks_head: u64,
    /// How many records of all logs it knows.
    pub records: u64,
    /// How far it knows each channel.
    heads: Vec<(LogId, u64)>,
}

impl Beginning {
    /// Whether it knows records behind the end of a log: they are lost.
    pub fn is_ahead_of(&self, log: &dyn Log) -> bool {
        let is_ahead = |id: LogId, head: u64| head > log.bounds(id).head;
        is_ahead(LogId::TASKS, self.tasks_head) || self.heads.iter().any(|(id, head)| is_ahead(*id, *head))
    }
}

/// Reads the beginning of a snapshot.
///
/// # Errors
/// When it cannot be read so far.
pub(super) fn of_snapshot(log: &dyn Log, at: Seq) -> Result<Beginning, Error> {
    let bad = |why: String| Error::BadSnapshot { at, why };
    let (mut names, mut tasks_head, mut records) = (Names::new(), None, 0u64);
    let mut heads = Vec::new();
    for piece in log.open_snapshot(at)? {
        let piece = piece?;
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let (item, behind) =
                postcard::take_from_bytes::<SnapshotItem>(rest).map_err(|error| bad(error.to_string()))?;
            rest = behind;
            match item {
                SnapshotItem::Head { tasks_head: head, .. } => tasks_head = Some(head),
                SnapshotItem::Session { .. }
                | SnapshotItem::Answered { .. }
                | SnapshotItem::Acknowledged { .. }
                | SnapshotItem::Kept { .. }
                | SnapshotItem::Runs { .. }
                | SnapshotItem::Futures { .. }
                | SnapshotItem::Cursor { .. }
                | SnapshotItem::Transacted { .. }
                | SnapshotItem::Group { .. }
                | SnapshotItem::Leased(..)
                | SnapshotItem::Tries(..)
                | SnapshotItem::Waiting(..)
                | SnapshotItem::Producers { .. }
                | SnapshotItem::Durability(..) => {}
                SnapshotItem::Channel { log, name, head, .. } => {
                    names.insert(name, log);
                    heads.push((log, head));
                    records = records.saturating_add(head);
                }
                SnapshotItem::Function(_)
                | SnapshotItem::Task(_)
                | SnapshotItem::Conditions { .. }
                | SnapshotItem::Granted { .. }
                | SnapshotItem::Held { .. }
                | SnapshotItem::Retired(_)
                | SnapshotItem::End { .. } => {
                    let tasks_head = tasks_head.ok_or_else(|| bad("it has no beginning".to_owned()))?;
                    let records = records.saturating_add(tasks_head);
                    return Ok(Beginning { names, tasks_head, records, heads });
                }
            }
        }
    }
    Err(bad("it is cut off".to_owned()))
}

/// The names of the channels that the records of a batch have created. None of what is lost, or does not decode.
fn of_batch(batch: &Batch) -> impl Iterator<Item = (ChannelName, LogId)> {
    batch.records::<TaskEvent>().filter_map(|record| match record {
        Ok((_, TaskEvent::ChannelCreated { log, name, .. })) => Some((name, log)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Memory;
    use crate::protocol::batch::{Commit, OpenBatch};
    use crate::protocol::event::Origin;
    use crate::protocol::session::SessionKind;
    use crate::protocol::{Producer, SessionId};
    use crate::scheduler::snapshots::{self, History};

    fn name(text: &str) -> ChannelName {
        ChannelName::new(text).unwrap()
    }

    /// Appends a commit that creates these channels.
    fn create(log: &Memory, names: &[&str]) {
        let seq = log.last().seq.next();
        let epoch = log.begin_epoch().unwrap();
        let mut open = OpenBatch::new(LogId::TASKS, log.bounds(LogId::TASKS).head, 0);
        let producer = Producer(seq.0);
        let (session, kind) = (SessionId(u128::from(seq.0).to_be_bytes()), SessionKind::Client);
        assert!(open.push(&TaskEvent::SessionOpened { producer, session, kind, lease_ms: 1000 }, false));
        for name in names {
            let origin = Origin { producer, number: 1 };
            let log = LogId(name.len() as u32);
            let name = ChannelName::new(name).unwrap();
            assert!(open.push(&TaskEvent::ChannelCreated { origin, log, name }, false));
        }
        log.append(&Commit { seq, epoch, batches: vec![open.seal(seq, epoch, seq.0)] }).unwrap();
        log.flush().unwrap();
    }

    fn snapshot(log: &Memory, history: History) {
        snapshots::write(log, history, u64::MAX, &|| Ok(())).unwrap();
    }

    /// What is found, part by part, as the logs of the names.
    fn parts(log: &Memory) -> Vec<Vec<u32>> {
        let mut parts = Vec::new();
        find(log, &mut |names| {
            assert!(names.iter().all(|(name, log)| name.as_str().len() == log.0 as usize), "{names:?}");
            let mut logs: Vec<u32> = names.into_values().map(|log| log.0).collect();
            logs.sort_unstable();
            parts.push(logs);
            More::Wanted
        });
        parts
    }

    /// Leaves of a snapshot its first bytes.
    fn cut(log: &Memory, at: Seq, bytes: usize) {
        let mut pieces: Vec<Vec<u8>> = log.open_snapshot(at).unwrap().map(Result::unwrap).collect();
        pieces[0].truncate(bytes);
        log.write_snapshot(at, &mut pieces.into_iter().take(1)).unwrap();
    }

    #[test]
    fn names_are_found_in_the_snapshot_and_in_the_records_behind_it() {
        let log = Memory::new();
        assert!(parts(&log).concat().is_empty(), "in nothing there is nothing");
        create(&log, &["a", "bb"]);
        assert_eq!(parts(&log), [vec![], vec![1, 2]], "without a snapshot, in the records");
        snapshot(&log, History::All);
        assert_eq!(parts(&log), [vec![1, 2]], "in the snapshot alone");
        create(&log, &["ccc"]);
        assert_eq!(parts(&log), [vec![1, 2], vec![3]], "and behind it, not before it again");
    }

    #[test]
    fn of_a_snapshot_no_more_is_read_than_its_channels() {
        let log = Memory::new();
        create(&log, &["a", "bb"]);
        let at = log.last().seq;
        let items = |items: &[SnapshotItem]| -> Vec<u8> {
            items.iter().flat_map(|item| postcard::to_stdvec(item).unwrap()).collect()
        };
        let channel = |text: &str| SnapshotItem::Channel {
            log: LogId(text.len() as u32),
            name: name(text),
            head: 0,
            elements: 0,
            digest: Default::default(),
            stopped: false,
        };
        let head = SnapshotItem::Head { tasks_head: 3, last_producer: Producer(1), last_log: LogId(2) };
        let pieces = [
            items(&[head, channel("a")]),
            items(&[channel("bb"), SnapshotItem::Retired(vec![])]),
            b"\xff is no item".to_vec(),
        ];
        log.write_snapshot(at, &mut pieces.into_iter()).unwrap();
        assert_eq!(parts(&log), [vec![1, 2]], "over two pieces, and not to the third");
    }

    #[test]
    fn a_snapshot_that_cannot_be_read_so_far_is_left_out_for_the_one_before() {
        let log = Memory::new();
        create(&log, &["a"]);
        snapshot(&log, History::All);
        create(&log, &["bb"]);
        snapshot(&log, History::All);
        create(&log, &["ccc"]);
        let [newer, older] = log.snapshots().unwrap()[..] else { panic!() };
        cut(&log, newer, 20);
        assert_eq!(parts(&log), [vec![1], vec![2, 3]], "from the one before it");
        cut(&log, older, 0);
        assert_eq!(parts(&log), [vec![], vec![1, 2, 3]], "from the first record");
    }

    #[test]
    fn what_was_trimmed_is_found_in_the_snapshot() {
        let log = Memory::new();
        for names in [["a"], ["bb"], ["ccc"]] {
            create(&log, &names);
            snapshot(&log, History::Newest { age_ms: 0, records: 0 });
        }
        create(&log, &["dddd"]);
        assert!(log.bounds(LogId::TASKS).first > 0, "some of it is trimmed");
        assert_eq!(parts(&log), [vec![1, 2, 3], vec![4]]);
        log.snapshots().unwrap().into_iter().for_each(|at| cut(&log, at, 5));
        assert_eq!(parts(&log), [vec![], vec![3, 4]], "and nowhere else: the state is waited for");
    }

    #[test]
    fn what_is_lost_is_left_out_and_reading_goes_on_behind_it() {
        let log = Memory::new();
        create(&log, &["a"]);
        let (seq, epoch) = (log.last().seq.next(), log.begin_epoch().unwrap());
        let header = crate::protocol::batch::Header {
            log: LogId::TASKS,
            count: 4,
            elements: 0,
            base_offset: log.bounds(LogId::TASKS).head,
            base_index: 0,
            seq,
            epoch,
            time_ms: 0,
        };
        log.append(&Commit { seq, epoch, batches: vec![Batch::lost(header, "gone")] }).unwrap();
        log.flush().unwrap();
        create(&log, &["ccc"]);
        assert_eq!(parts(&log), [vec![], vec![1, 3]]);
    }

    #[test]
    fn nothing_more_is_read_when_nobody_wants_it() {
        let log = Memory::new();
        create(&log, &["a"]);
        snapshot(&log, History::All);
        create(&log, &["bb"]);
        let mut asked = 0;
        find(&log, &mut |_| {
            asked += 1;
            More::Unwanted
        });
        assert_eq!(asked, 1);
    }
}
