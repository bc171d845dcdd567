//! When snapshots are written, by whom, and what may go once they are there.
//!
//! A snapshot is taken from the live state, of the commit that is handed out at that moment, a thousand tasks at a time
//! between commits; a task that changes before its turn is put down first, as it was. So nothing stands
//! still for it, there is no second state, and no record is folded twice. A thread of its own writes the items, and
//! they become a snapshot only once the commit is durable. [`Schedule`] says how often.
//!
//! Two are kept for starts, the newest and the one before that a start could use: when the newest cannot be used, a start
//! goes on from that. What the task log has before that one is history; [`History`] says how much of it is kept. Of the
//! snapshots before it some stay for those who look back, see `ladder.rs`.

#[cfg(test)]
mod damaged;
mod ladder;
#[cfg(test)]
mod rig;
mod schedule;
mod taking;
#[cfg(test)]
mod told;

use std::thread;
use std::time::Instant;

use ladder::Ladder;
pub use ladder::RUNGS_MAX;
pub use schedule::Schedule;
pub(super) use taking::Snapshots;

use super::recovery;
use crate::log::{Error, Log};
use crate::protocol::snapshot::{PIECE_BYTES, SnapshotItem};
use crate::protocol::{LogId, Seq, TimeMs};
use crate::scheduler::core::State;

/// How many records of the task log are kept unless told otherwise: 10,000,000, about a gigabyte.
pub const TASK_LOG_RECORDS: u64 = 10_000_000;

/// How many records are behind a snapshot, unless told otherwise, when the next one is made: 250,000, which
/// a start folds in about a quarter of a second.
pub const EVERY_RECORDS: u64 = 250_000;

/// When snapshots are written, and what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Fewest records behind a snapshot before the next one is made.
    pub every_records: u64,
    /// What is kept of the task log.
    pub history: History,
}

impl Default for Options {
    /// Every [`EVERY_RECORDS`], and the default [`History`].
    fn default() -> Self {
        Options { every_records: EVERY_RECORDS, history: History::default() }
    }
}

/// Most records of a log that go at a time, so that trimming holds no commit up for long: some ms on a quick disk.
const TRIM_RECORDS: u64 = 512;

/// How much of the task log is kept for readers, although no start needs it. Channels are not trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// All of it.
    All,
    /// What is younger than this and among this many newest records; what is older or more may go.
    Newest {
        /// Longest age.
        age_ms: u64,
        /// Most records.
        records: u64,
    },
}

impl Default for History {
    /// 7 days, and [`TASK_LOG_RECORDS`].
    fn default() -> Self {
        History::Newest { age_ms: 7 * 24 * 60 * 60 * 1000, records: TASK_LOG_RECORDS }
    }
}

/// A snapshot that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Its commit.
    pub at: Seq,
    /// How many items it has.
    pub items: u64,
    /// How many records were folded for it.
    pub records: u64,
}

/// A snapshot from which a start can go on: 0 and 0 for the first record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Usable {
    at: Seq,
    /// The offset of the first record of the task log that it does not know.
    tasks_head: u64,
    /// Where channels begin that were trimmed: the records before that it knows, and nobody reads them.
    firsts: Vec<(LogId, u64)>,
}

impl Usable {
    fn of(at: Seq, state: &State) -> Usable {
        let firsts = state.channels.iter().map(|(log, channel)| (*log, channel.kept.first.offset));
        Usable { at, tasks_head: state.tasks_head, firsts: firsts.filter(|(_, first)| *first > 0).collect() }
    }
}

/// Writes a snapshot of the newest durable commit from what the store has, and lets go of what nobody needs behind it:
/// for a store that no scheduler runs on. `goes_on` is asked again and again, and may break it off with an error.
///
/// # Errors
/// When the store cannot be read or written, or `goes_on` says so.
pub fn write(
    log: &dyn Log,
    history: History,
    now: TimeMs,
    goes_on: &dyn Fn() -> Result<(), Error>,
) -> Result<Written, Error> {
    let at = log.last().seq;
    let recovered = recovery::recover(log, &mut |_| goes_on())?;
    let records = recovered.records;
    let items = write_items(log, at, recovered.state.into_items(), goes_on)?;
    let before = Usable { at: recovered.snapshot, tasks_head: recovered.tasks_from, firsts: Vec::new() };
    tidy(
        log,
        at,
        &before,
        Keeping { history, ladder: &mut Ladder::default(), has_room: true },
        now,
        goes_on,
    )?;
    Ok(Written { at, items, records })
}

/// Writes the items of a snapshot, and answers how many they were. One that is broken off leaves nothing.
fn write_items(
    log: &dyn Log,
    at: Seq,
    items: impl Iterator<Item = SnapshotItem>,
    goes_on: &dyn Fn() -> Result<(), Error>,
) -> Result<u64, Error> {
    let mut pieces = Pieces { items, goes_on, count: 0, broken_off: None };
    log.write_snapshot(at, &mut pieces)?;
    match pieces.broken_off {
        None => Ok(pieces.count),
        Some(error) => {
            log.drop_snapshot(at)?;
            Err(error)
        }
    }
}

/// What is kept for readers, although no start needs it.
struct Keeping<'a> {
    history: History,
    ladder: &'a mut Ladder,
    /// Whether the disk has room for rungs.
    has_room: bool,
}

/// Lets go of what nobody needs once there is a snapshot of `at`: of those that could not be used between that and the
/// usable one before it, of the rungs of the ladder that do not stay, and of the logs of what that one knows: of the task
/// log, what is not kept as history; of channels, what is trimmed.
fn tidy(
    log: &dyn Log,
    at: Seq,
    before: &Usable,
    keeping: Keeping<'_>,
    now: TimeMs,
    goes_on: &dyn Fn() -> Result<(), Error>,
) -> Result<(), Error> {
    for bad in log.snapshots()?.into_iter().filter(|seq| *seq != at && *seq > before.at) {
        log.drop_snapshot(bad)?;
    }
    let mut firsts = before.firsts.iter();
    let trimmed = firsts.try_for_each(|(channel, first)| trim_to(log, *channel, *first, goes_on));
    let trimmed = trimmed.and_then(|()| trim(log, keeping.history, before.tasks_head, now, goes_on));
    // Behind the trims, which may leave rungs of no use; and though they are broken off.
    keeping.ladder.thin(log, before, keeping.has_room).and(trimmed)
}

/// Trims the task log, up to `needed_from` at most, by what is to be kept.
fn trim(
    log: &dyn Log,
    history: History,
    needed_from: u64,
    now: TimeMs,
    goes_on: &dyn Fn() -> Result<(), Error>,
) -> Result<(), Error> {
    let History::Newest { age_ms, records } = history else { return Ok(()) };
    let bounds = log.bounds(LogId::TASKS);
    let too_many = bounds.head.saturating_sub(records);
    let young = log.find_time(LogId::TASKS, now.saturating_sub(age_ms))?;
    let too_old = young.map_or(bounds.head, |batch| batch.header().base_offset);
    let before = needed_from.min(too_many.max(too_old));
    trim_to(log, LogId::TASKS, before, goes_on)
}

/// Trims a log, some records at a time. In between the log is left alone for as long as that took: a lock is not handed
/// over in order, and who has it again at once leaves none to those who commit.
fn trim_to(
    log: &dyn Log,
    id: LogId,
    before: u64,
    goes_on: &dyn Fn() -> Result<(), Error>,
) -> Result<(), Error> {
    let mut next = log.bounds(id).first;
    while next < before {
        goes_on()?;
        next = before.min(next + TRIM_RECORDS);
        let began = Instant::now();
        log.trim(id, next)?;
        thread::sleep(began.elapsed());
    }
    Ok(())
}

/// Items in postcard, in pieces.
struct Pieces<'a, I> {
    items: I,
    goes_on: &'a dyn Fn() -> Result<(), Error>,
    count: u64,
    broken_off: Option<Error>,
}

impl<I: Iterator<Item = SnapshotItem>> Iterator for Pieces<'_, I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.broken_off.is_some() {
            return None;
        }
        self.broken_off = (self.goes_on)().err();
        let mut piece = Vec::with_capacity(2 * PIECE_BYTES);
        while piece.len() < PIECE_BYTES
            && self.broken_off.is_none()
            && let Some(item) = self.items.next()
        {
            piece = postcard::to_extend(&item, piece).expect("items hold nothing that postcard cannot carry");
            self.count += 1;
        }
        if piece.is_empty() && self.broken_off.is_none() {
            // Items that come from elsewhere end, too, when it is broken off while they are waited for.
            self.broken_off = (self.goes_on)().err();
        }
        (!piece.is_empty()).then_some(piece)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::log::Memory;
    use crate::protocol::batch::{Commit, OpenBatch};
    use crate::protocol::event::Origin;
    use crate::protocol::session::SessionKind;
    use crate::protocol::task::{Argument, ErrorKind, TaskError, TaskOptions};
    use crate::protocol::{
        ChannelEvent, ChannelName, Element, Payload, Producer, SessionId, Submission, TaskEvent, TaskKey,
    };
    use crate::scheduler::core::State;
    use crate::scheduler::recovery::Recovered;

    const CHANNEL: LogId = LogId(1);
    const HOUR_MS: u64 = 3_600_000;

    /// A log of so many commits, one an hour: a session and a channel, then tasks, some of which fail with
    /// a task that waits for them, and futures on the channel.
    fn log(commits: u64) -> Memory {
        let log = Memory::new();
        let epoch = log.begin_epoch().unwrap();
        for seq in 1..=commits {
            let (tasks, channel) = events(seq);
            let bounds = [LogId::TASKS, CHANNEL].map(|id| log.bounds(id));
            let mut open = OpenBatch::new(LogId::TASKS, bounds[0].head, 0);
            tasks.iter().for_each(|event| assert!(open.push(event, false)));
            let mut batches = vec![open.seal(Seq(seq), epoch, seq * HOUR_MS)];
            let mut open = OpenBatch::new(CHANNEL, bounds[1].head, bounds[1].elements);
            channel.iter().for_each(|event| assert!(open.push(event, true)));
            if !open.is_empty() {
                batches.push(open.seal(Seq(seq), epoch, seq * HOUR_MS));
            }
            log.append(&Commit { seq: Seq(seq), epoch, batches }).unwrap();
            log.flush().unwrap();
        }
        log
    }

    fn events(seq: u64) -> (Vec<TaskEvent>, Vec<ChannelEvent>) {
        let producer = Producer(1);
        let origin = Origin { producer, number: seq };
        let key = |seq: u64| TaskKey::named(&format!("task {seq}"));
        if seq == 1 {
            let (session, kind, lease_ms) = (SessionId([1; 16]), SessionKind::Client, 1000);
            let name = ChannelName::new("channel").unwrap();
            let opened = TaskEvent::SessionOpened { producer, session, kind, lease_ms };
            return (vec![opened, TaskEvent::ChannelCreated { origin, log: CHANNEL, name }], vec![]);
        }
        let before = (seq > 2).then(|| Argument::Future(key(seq - 1).id));
        let submission = Submission {
            key: key(seq),
            function: "m::f".into(),
            version: 1,
            arguments: before.into_iter().chain([Argument::Value(Payload::raw(vec![7; 3000]))]).collect(),
            options: TaskOptions::default(),
        };
        let mut events = vec![TaskEvent::Submitted { origin, submission }];
        if seq % 5 == 4 {
            let error = Box::new(TaskError::new(ErrorKind::Returned, "no", vec![]));
            events.push(TaskEvent::Failed { task: key(seq - 1).id, error });
        }
        (events, vec![ChannelEvent::Appended { origin, element: Element::Future(key(seq)) }])
    }

    fn take(log: &dyn Log, history: History) -> Written {
        write(log, history, log.last().seq.0 * HOUR_MS, &|| Ok(())).unwrap()
    }

    /// What a log of so many commits adds up to.
    fn state(commits: u64) -> State {
        recovery::fold(&log(commits)).unwrap()
    }

    fn recovered_to(log: &dyn Log, at: u64) -> Recovered {
        recovery::recover_to(log, Seq(at), &mut |_| Ok(())).unwrap()
    }

    /// Writes the snapshot of a commit that is not the newest one: of its pieces, so many.
    fn take_at(log: &Memory, at: u64, pieces: usize) {
        let items = recovered_to(log, at).state.into_items();
        let all = Pieces { items, goes_on: &|| Ok(()), count: 0, broken_off: None };
        log.write_snapshot(Seq(at), &mut all.take(pieces)).unwrap();
    }

    #[test]
    fn a_snapshot_and_the_tail_give_the_state_at_every_commit() {
        let all = log(60);
        assert!(!state(60).doomed.is_empty(), "a state in the middle of upkeep");
        [1, 20, 40].into_iter().for_each(|at| take_at(&all, at, usize::MAX));
        for at in 1..=60 {
            let Recovered { state: found, snapshot, records, .. } = recovered_to(&all, at);
            assert_eq!(found, state(at), "at commit {at}");
            assert_eq!(snapshot.0, [1, 20, 40].into_iter().rfind(|snapshot| *snapshot <= at).unwrap());
            assert_eq!(records == 0, snapshot.0 == at);
        }
    }

    /// A snapshot of version 4 does not say what channels keep.
    #[test]
    fn what_channels_keep_is_told_from_their_records_where_a_snapshot_does_not_say_it() {
        let log = log(60);
        let is_new = |item: &SnapshotItem| {
            matches!(item, SnapshotItem::Kept { .. } | SnapshotItem::Runs(..) | SnapshotItem::Futures(..))
        };
        let mut items: Vec<_> = state(40).into_items().filter(|item| !is_new(item)).collect();
        let count = items.len() as u64 - 1;
        *items.last_mut().unwrap() = SnapshotItem::End { items: count };
        write_items(&log, Seq(40), items.into_iter(), &|| Ok(())).unwrap();
        for at in [40, 41, 60] {
            let recovered = recovered_to(&log, at);
            assert_eq!((recovered.snapshot, recovered.bad_snapshots.len()), (Seq(40), 0));
            assert_eq!(recovered.state, state(at), "at commit {at}");
        }
    }

    #[test]
    fn a_snapshot_that_was_cut_off_is_left_out_for_the_one_before() {
        let log = log(60);
        take_at(&log, 20, usize::MAX);
        take_at(&log, 40, 1);
        take_at(&log, 50, 0);
        let recovered = recovered_to(&log, 60);
        assert_eq!((recovered.bad_snapshots.len(), recovered.snapshot), (2, Seq(20)));
        assert_eq!(recovered.state, state(60));
        // The one after them knows better.
        take(&log, History::All);
        assert_eq!(log.snapshots().unwrap(), [Seq(60), Seq(20)], "and the one that can be used");
        assert_eq!((recovered_to(&log, 60).snapshot, recovered_to(&log, 60).state), (Seq(60), state(60)));
    }

    #[test]
    fn a_start_goes_on_from_an_older_one_only_with_the_task_log_behind_it_and_tells_what_else_is_trimmed() {
        let log = |older: &[u64]| {
            let log = log(60);
            older.iter().for_each(|at| take_at(&log, *at, usize::MAX));
            [50, 55].into_iter().for_each(|at| take_at(&log, at, 1));
            log
        };
        let recovered = |log: &Memory| recovery::recover(log, &mut |_| Ok(())).unwrap();
        let whole = log(&[10, 20]);
        assert_eq!((recovered(&whole).snapshot, recovered(&whole).state), (Seq(20), state(60)));
        assert!(recovered(&whole).lost.ranges.is_empty());
        for id in [LogId::TASKS, CHANNEL] {
            // Whether those that are damaged are still there or not: what a restore cannot read it leaves out.
            for are_there in [true, false] {
                let (with, without) = (log(&[10, 20]), log(&[]));
                if !are_there {
                    [50, 55].into_iter().for_each(|at| with.drop_snapshot(Seq(at)).unwrap());
                }
                let first = recovered_to(&with, 30).state.head_of(id).0;
                let known = recovered_to(&with, 20).state.head_of(id).0;
                [&with, &without].into_iter().for_each(|log| log.trim(id, first).unwrap());
                let found = recovered(&with);
                let missing = if id == LogId::TASKS { (Seq(0), 0) } else { (Seq(20), known) };
                let lost: Vec<_> =
                    found.lost.ranges.iter().map(|(id, lost)| (*id, lost.from, lost.to)).collect();
                assert_eq!((found.snapshot, lost), (missing.0, vec![(id, missing.1, first)]), "it is told");
                found.state.check();
                if id == LogId::TASKS {
                    assert_eq!(found.state, recovered(&without).state, "as if there were none");
                } else {
                    let ids = |state: &State| state.tasks.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>();
                    assert_eq!(
                        ids(&found.state),
                        ids(&state(60)),
                        "no task depends on what is gone of a channel"
                    );
                }
                take_at(&with, 31, usize::MAX);
                assert_eq!(recovered(&with).snapshot, Seq(31), "it knows what is trimmed of log {id}");
                assert!(recovered(&with).lost.ranges.is_empty());
            }
        }
    }

    #[test]
    fn history_is_trimmed_before_the_older_snapshot_and_only_what_may_go() {
        let ages = [(HOUR_MS * 1000, 1000), (HOUR_MS * 1000, 20), (HOUR_MS * 20, 1000), (0, 0)];
        for (age_ms, records) in ages {
            let log = log(60);
            let history = History::Newest { age_ms, records };
            [30, 45].into_iter().for_each(|at| take_at(&log, at, usize::MAX));
            take(&log, history);
            assert_eq!(log.snapshots().unwrap(), [Seq(60), Seq(45)]);
            let needed_from = recovered_to(&log, 50).tasks_from;
            let first = log.bounds(LogId::TASKS).first;
            match (age_ms / HOUR_MS, records) {
                (1000, 1000) => assert_eq!(first, 0),
                (1000, 20) => assert_eq!(first, log.bounds(LogId::TASKS).head - 20 - 1, "whole batches"),
                (20, 1000) => {
                    let oldest = log.read(LogId::TASKS, first, 0).unwrap()[0].header().time_ms;
                    assert_eq!(oldest, 40 * HOUR_MS);
                }
                _ => assert_eq!(first, needed_from, "a start from the older snapshot needs the rest"),
            }
            assert_eq!(recovered_to(&log, 60).state, state(60));
            log.drop_snapshot(Seq(60)).unwrap();
            assert_eq!(recovered_to(&log, 60).state, state(60), "from the older one, too");
        }
    }

    #[test]
    fn one_that_is_broken_off_leaves_nothing() {
        let log = log(60);
        let left = std::cell::Cell::new(3);
        let goes_on = || {
            left.set(left.get() - 1);
            if left.get() > 0 { Ok(()) } else { Err(Error::Refused("the scheduler stops".to_owned())) }
        };
        assert!(write(&log, History::All, 0, &goes_on).unwrap_err().to_string().contains("stops"));
        assert_eq!(log.snapshots().unwrap(), []);
    }

    #[test]
    fn one_that_is_broken_off_while_its_items_are_waited_for_leaves_nothing() {
        let log = log(1);
        let is_stopped = std::cell::Cell::new(false);
        let goes_on = || match is_stopped.get() {
            false => Ok(()),
            true => Err(Error::Refused("the scheduler stops".to_owned())),
        };
        let items = std::iter::from_fn(|| {
            is_stopped.set(true);
            None
        });
        assert!(write_items(&log, Seq(1), items, &goes_on).unwrap_err().to_string().contains("stops"));
        assert_eq!(log.snapshots().unwrap(), []);
    }
}
