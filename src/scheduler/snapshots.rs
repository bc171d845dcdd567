//! When snapshots are written, by whom, and what may go once they are there.
//!
//! A snapshot is not taken from the live state: that would hold up the driver for as long as there is
//! state, or make it keep two versions of everything. A thread of its own makes it from the store, as a
//! start would: from the snapshot before, and the records behind that. So the live core knows nothing of it,
//! no commit waits for it but for the disk, and each snapshot proves anew that the logs can be
//! folded. The price: while it is made there is a second state in memory, and each record is folded twice.
//! That is bounded by making one only when the tail has grown to [`TAIL_RECORDS_MIN`] and to as many records
//! as the state has items.
//!
//! The two newest are kept: when the newest cannot be used, a start goes on from the one before. What the task
//! log has before that one is history; [`History`] says how much of it is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::recovery::{self, Recovered};
use crate::log::{Error, Log};
use crate::protocol::batch::Commit;
use crate::protocol::snapshot::{PIECE_BYTES, SnapshotItem};
use crate::protocol::{LogId, Seq, TimeMs};

/// Fewest records behind a snapshot before the next one is made: 250,000, which a start folds in about a
/// quarter of a second.
const TAIL_RECORDS_MIN: u64 = 250_000;

/// How many snapshots are kept.
const KEPT: usize = 2;

/// Most records of the task log that go at a time, so that trimming holds no commit up for long.
const TRIM_RECORDS: u64 = 4096;

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
    /// 7 days, and 10,000,000 records: about a gigabyte.
    fn default() -> Self {
        History::Newest { age_ms: 7 * 24 * 60 * 60 * 1000, records: 10_000_000 }
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

/// Writes snapshots when it is time.
pub(super) struct Snapshots {
    log: Arc<dyn Log>,
    history: History,
    /// Records behind the newest snapshot.
    tail_records: u64,
    /// How many of them make the next one due.
    due_at: u64,
    stop: Arc<AtomicBool>,
    writing: Option<JoinHandle<Result<Written, Error>>>,
}

impl Snapshots {
    /// Goes on after a start.
    pub fn new(log: Arc<dyn Log>, history: History, recovered: &Recovered) -> Self {
        Snapshots {
            log,
            history,
            tail_records: recovered.records,
            due_at: due_at(recovered.state.tasks.len() as u64),
            stop: Arc::default(),
            writing: None,
        }
    }

    /// Counts a commit that is durable, and begins a snapshot when one is due.
    pub fn committed(&mut self, commit: &Commit) {
        self.tail_records += commit.batches.iter().map(|batch| u64::from(batch.header().count)).sum::<u64>();
        if let Some(writing) = self.writing.take_if(|writing| writing.is_finished()) {
            self.ended(writing);
        }
        if self.tail_records >= self.due_at && self.writing.is_none() {
            self.tail_records = 0;
            let (log, stop, history) = (self.log.clone(), self.stop.clone(), self.history);
            let now = commit.batches.last().map_or(0, |batch| batch.header().time_ms);
            let write = move || {
                let goes_on = || match stop.load(Ordering::Relaxed) {
                    true => Err(Error::Refused("the scheduler stops".to_owned())),
                    false => Ok(()),
                };
                write(log.as_ref(), history, now, &goes_on)
            };
            let thread = std::thread::Builder::new().name("snapshot".to_owned());
            self.writing = Some(thread.spawn(write).expect("a thread can be started"));
        }
    }

    fn ended(&mut self, writing: JoinHandle<Result<Written, Error>>) {
        match writing.join() {
            Ok(Ok(Written { at, items, records })) => {
                self.due_at = due_at(items);
                tracing::info!(seq = %at, items, records, "snapshot written");
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "no snapshot: a start will take longer, and the next one is tried later");
            }
            Err(_) => tracing::error!("the thread that writes snapshots panicked"),
        }
    }
}

impl Drop for Snapshots {
    /// Breaks off what is under way and waits for that: then nobody has the log any more.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(writing) = self.writing.take() {
            // It says that it was broken off.
            let _ = writing.join();
        }
    }
}

fn due_at(items: u64) -> u64 {
    items.max(TAIL_RECORDS_MIN)
}

/// Writes a snapshot of the newest durable commit, and lets go of what nobody needs behind it. `goes_on`
/// is asked again and again, and may break it off with an error.
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
    let recovered = recovery::recover_to(log, at, &mut |_| goes_on())?;
    let records = recovered.records;
    let mut pieces = Pieces { items: recovered.state.into_items(), goes_on, count: 0, broken_off: None };
    log.write_snapshot(at, &mut pieces)?;
    let items = pieces.count;
    if let Some(error) = pieces.broken_off {
        log.drop_snapshot(at)?;
        return Err(error);
    }
    for old in log.snapshots()?.into_iter().filter(|seq| *seq < at).skip(KEPT - 1) {
        log.drop_snapshot(old)?;
    }
    trim(log, history, recovered.tasks_from, now, goes_on)?;
    Ok(Written { at, items, records })
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
    let before = needed_from.min(too_many.max(first_since(log, now.saturating_sub(age_ms))?));
    let mut next = bounds.first;
    while next < before {
        goes_on()?;
        next = before.min(next + TRIM_RECORDS);
        log.trim(LogId::TASKS, next)?;
    }
    Ok(())
}

/// The offset of the first record of the task log that is not older than this; the head when all are.
fn first_since(log: &dyn Log, time_ms: TimeMs) -> Result<u64, Error> {
    let bounds = log.bounds(LogId::TASKS);
    let (mut low, mut high) = (bounds.first, bounds.head);
    while low < high {
        let middle = low + (high - low) / 2;
        let batches = log.read(LogId::TASKS, middle, 0)?;
        match batches.first().map(|batch| *batch.header()) {
            Some(header) if header.time_ms < time_ms => low = header.end_offset(),
            Some(header) => high = header.base_offset.max(low),
            None => break,
        }
    }
    Ok(low)
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
        (!piece.is_empty()).then_some(piece)
    }
}
