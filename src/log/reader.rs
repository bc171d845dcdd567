//! What everyone who reads logs holds: the newest batches from memory, the others from the store, and
//! a way to wait for more.
//!
//! The newest batches of all logs are kept once for all readers, so that those who follow the tail
//! leave the disk alone. It is not a queue: nobody's reading changes it, and nobody is waited for.
//!
//! Invariants: only durable batches are here; what is here of one log is dense; a watched head never
//! goes back. Every answer begins where it was asked to, so one that is put together from memory and
//! store over several calls has no gap.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::watch;

use super::{Bounds, Error, Last, Log, SnapshotPieces};
use crate::protocol::batch::{Batch, Commit};
use crate::protocol::start::Starts;
use crate::protocol::{LogId, Seq, TimeMs};

/// Most memory that batches take which are kept for readers of the tail: 16 MiB, the newest fraction
/// of a second at full speed, and hours of a quiet log.
pub const RECENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a batch takes beside its bytes, about: 88 bytes of its own, 4 for its place in the order, up to
/// as much again in queues that have grown, and 32 of the allocator's.
pub const RECENT_BATCH_OVERHEAD: usize = 224;

/// Under how many watched logs it is not worth to look for those that nobody watches.
const WATCHED_MIN: usize = 64;

/// Reads logs. Cheap to clone; clones share what they keep.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    log: Arc<dyn Log>,
    recent: RwLock<Recent>,
    watched: Mutex<Watched>,
    /// Where logs begin for those who read them, if that is behind where they begin in the store.
    firsts: RwLock<HashMap<LogId, u64>>,
}

/// The newest batches of all logs, the oldest of which go first.
#[derive(Default)]
struct Recent {
    logs: BTreeMap<LogId, VecDeque<Batch>>,
    /// The log of each batch, in the order of their coming.
    order: VecDeque<LogId>,
    /// What all of them take, see [`taken`].
    bytes: usize,
}

#[derive(Default)]
struct Watched {
    heads: HashMap<LogId, watch::Sender<u64>>,
    /// When there are this many, those that nobody watches are let go.
    sweep_at: usize,
}

impl Reader {
    /// A reader of this store.
    pub fn new(log: Arc<dyn Log>) -> Self {
        let (recent, watched, firsts) = Default::default();
        Reader { shared: Arc::new(Shared { log, recent, watched, firsts }) }
    }

    /// As [`Log::bounds`], but for what was trimmed and is still stored: see [`Self::stored_bounds`].
    pub fn bounds(&self, log: LogId) -> Bounds {
        let stored = self.stored_bounds(log);
        let firsts = self.shared.firsts.read().unwrap_or_else(PoisonError::into_inner);
        let first = firsts.get(&log).map_or(stored.first, |first| stored.first.max(*first).min(stored.head));
        Bounds { first, ..stored }
    }

    /// As [`Log::bounds`]. What is trimmed stays stored until snapshots know all that it said: for those who copy the
    /// store.
    pub fn stored_bounds(&self, log: LogId) -> Bounds {
        self.shared.log.bounds(log)
    }

    /// What is before this offset is from now on shown to nobody who does not ask for it by what is stored.
    pub fn trim(&self, log: LogId, first: u64) {
        let mut firsts = self.shared.firsts.write().unwrap_or_else(PoisonError::into_inner);
        let known = firsts.entry(log).or_default();
        *known = first.max(*known);
    }

    /// As [`Log::starts`].
    pub fn starts(&self) -> Starts {
        self.shared.log.starts()
    }

    /// As [`Log::read`]. It may read from the disk.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn read(&self, log: LogId, from: u64, bytes_max: usize) -> Result<Vec<Batch>, Error> {
        let recent = self.shared.recent.read().unwrap_or_else(PoisonError::into_inner);
        let batches = recent.read(log, from, bytes_max);
        drop(recent);
        if batches.is_empty() { self.shared.log.read(log, from, bytes_max) } else { Ok(batches) }
    }

    /// Whether a read from this offset finds its first batch in memory, as long as it is not too long in coming.
    pub fn is_recent(&self, log: LogId, from: u64) -> bool {
        let recent = self.shared.recent.read().unwrap_or_else(PoisonError::into_inner);
        recent.holding(log, from).is_some()
    }

    /// As [`Log::find_element`]. It may read from the disk.
    ///
    /// # Errors
    /// As [`Log::find_element`].
    pub fn find_element(&self, log: LogId, index: u64) -> Result<Option<Batch>, Error> {
        self.shared.log.find_element(log, index)
    }

    /// As [`Log::find_time`]. It may read from the disk.
    ///
    /// # Errors
    /// As [`Log::find_time`].
    pub fn find_time(&self, log: LogId, time_ms: TimeMs) -> Result<Option<Batch>, Error> {
        self.shared.log.find_time(log, time_ms)
    }

    /// As [`Log::last`].
    pub fn last(&self) -> Last {
        self.shared.log.last()
    }

    /// As [`Log::logs`].
    pub fn logs(&self) -> Vec<LogId> {
        self.shared.log.logs()
    }

    /// As [`Log::snapshots`]. It reads from the disk.
    ///
    /// # Errors
    /// As [`Log::snapshots`].
    pub fn snapshots(&self) -> Result<Vec<Seq>, Error> {
        self.shared.log.snapshots()
    }

    /// As [`Log::open_snapshot`]. It reads from the disk.
    ///
    /// # Errors
    /// As [`Log::open_snapshot`].
    pub fn open_snapshot(&self, at: Seq) -> Result<SnapshotPieces, Error> {
        self.shared.log.open_snapshot(at)
    }

    /// The head of a log, now and whenever it moves.
    pub fn head(&self, log: LogId) -> watch::Receiver<u64> {
        let mut watched = self.watched();
        if !watched.heads.contains_key(&log) && watched.heads.len() >= watched.sweep_at {
            watched.heads.retain(|_, head| head.receiver_count() > 0);
            watched.sweep_at = WATCHED_MIN.max(2 * watched.heads.len());
        }
        // What is published later finds the entry; what was published before is in the bounds.
        let head = || watch::Sender::new(self.bounds(log).head);
        watched.heads.entry(log).or_insert_with(head).subscribe()
    }

    /// How many wait for a log's head to move.
    pub fn followers(&self, log: LogId) -> usize {
        self.watched().heads.get(&log).map_or(0, watch::Sender::receiver_count)
    }

    /// Shows a commit to those who follow the tail. The writer calls this for each commit, in order,
    /// once it is durable.
    pub fn publish(&self, commit: &Commit) {
        let mut recent = self.shared.recent.write().unwrap_or_else(PoisonError::into_inner);
        for batch in &commit.batches {
            recent.push(batch);
        }
        drop(recent);
        let watched = self.watched();
        for (at, batch) in commit.batches.iter().enumerate() {
            let header = batch.header();
            // Only the last batch of each log: one wake-up a commit.
            if commit.batches.get(at + 1).is_some_and(|next| next.header().log == header.log) {
                continue;
            }
            if let Some(head) = watched.heads.get(&header.log) {
                head.send_if_modified(|head| {
                    let moved = header.end_offset() > *head;
                    if moved {
                        *head = header.end_offset();
                    }
                    moved
                });
            }
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn push(&mut self, batch: &Batch) {
        let log = batch.header().log;
        let batches = self.logs.entry(log).or_default();
        if batches.back().is_some_and(|last| last.header().end_offset() != batch.header().base_offset) {
            // Commits were left out. Better nothing than a gap.
            self.bytes -= batches.iter().map(taken).sum::<usize>();
            batches.clear();
            self.order.retain(|other| *other != log);
        }
        batches.push_back(batch.clone());
        self.order.push_back(log);
        self.bytes += taken(batch);
        while self.bytes > RECENT_BYTES_MAX {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some(log) = self.order.pop_front() else { return };
        let Some(batches) = self.logs.get_mut(&log) else { return };
        self.bytes -= batches.pop_front().map_or(0, |batch| taken(&batch));
        if batches.is_empty() {
            self.logs.remove(&log);
        }
    }

    /// The batches of a log, if they reach back to `from`.
    fn holding(&self, log: LogId, from: u64) -> Option<&VecDeque<Batch>> {
        let reach_back = |first: &Batch| first.header().base_offset <= from;
        self.logs.get(&log).filter(|batches| batches.front().is_some_and(reach_back))
    }

    /// Batches of a log from the one that holds `from`; none when that one is not here.
    fn read(&self, log: LogId, from: u64, bytes_max: usize) -> Vec<Batch> {
        let Some(batches) = self.holding(log, from) else { return Vec::new() };
        let start = batches.partition_point(|batch| batch.header().end_offset() <= from);
        let mut bytes = 0;
        let fits = |batch: &&Batch| {
            let is_first = bytes == 0;
            bytes += batch.bytes().len();
            is_first || bytes <= bytes_max
        };
        batches.range(start..).take_while(fits).cloned().collect()
    }
}

/// The memory that a kept batch takes.
fn taken(batch: &Batch) -> usize {
    batch.bytes().len() + RECENT_BATCH_OVERHEAD
}
