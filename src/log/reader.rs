//! What everyone who reads logs holds: the newest batches from memory, the others from the store, and
//! a way to wait for more.
//!
//! The newest batches of all logs are kept once for all readers, so that those who follow the tail
//! leave the disk alone. It is not a queue: nobody's reading changes it, and nobody is waited for.
//!
//! What is appended and not durable is here, too, in a place of its own, for those who ask for it by name;
//! nobody else sees it.
//!
//! Invariants: only durable batches are in the ring; what is here of one log is dense; a watched head never
//! goes back. Every answer begins where it was asked to, so one that is put together from memory and
//! store over several calls has no gap.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use super::pending::{Pending, within};
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
    /// What is appended and not durable. The scheduler bounds its bytes.
    undurable: RwLock<Pending>,
    watched: Mutex<Watched>,
    /// The heads of those who read what is not durable, too.
    watched_appended: Mutex<Watched>,
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
        let (recent, undurable, watched, watched_appended, firsts) = Default::default();
        Reader { shared: Arc::new(Shared { log, recent, undurable, watched, watched_appended, firsts }) }
    }

    /// What it reads from, for those who fold all of it.
    pub fn log(&self) -> &dyn Log {
        self.shared.log.as_ref()
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
        // What is published later finds the entry; what was published before is in the bounds.
        lock(&self.shared.watched).head(log, || self.bounds(log).head)
    }

    /// How many wait for a log's head to move.
    pub fn followers(&self, log: LogId) -> usize {
        lock(&self.shared.watched).followers(log) + lock(&self.shared.watched_appended).followers(log)
    }

    /// Shows a commit to those who follow the tail. The writer calls this for each commit, in order,
    /// once it is durable, or [`Self::flushed`].
    pub fn publish(&self, commit: &Commit) {
        let mut recent = self.shared.recent.write().unwrap_or_else(PoisonError::into_inner);
        for batch in &commit.batches {
            recent.push(batch);
        }
        drop(recent);
        lock(&self.shared.watched).move_to(commit);
        lock(&self.shared.watched_appended).move_to(commit);
    }

    /// Shows a commit to those who follow the tail and ask for what is not durable yet. The writer calls this for each
    /// commit that it does not flush at once.
    pub fn appended(&self, commit: &Commit) {
        self.undurable_mut().push(commit);
        lock(&self.shared.watched_appended).move_to(commit);
    }

    /// Publishes what was appended so far: it is durable now.
    pub fn flushed(&self) {
        // A reader finds them in one of the two places at any moment.
        let commits: Vec<Commit> = self.undurable().commits().cloned().collect();
        if !commits.is_empty() {
            commits.iter().for_each(|commit| self.publish(commit));
            *self.undurable_mut() = Pending::default();
        }
    }

    /// As [`Self::bounds`], up to what is appended.
    pub fn appended_bounds(&self, log: LogId) -> Bounds {
        let newest =
            self.undurable().last(log).map(|batch| (batch.header().end_offset(), batch.header().end_index()));
        let durable = self.bounds(log);
        match newest {
            Some((head, elements)) if head > durable.head => Bounds { head, elements, ..durable },
            _ => durable,
        }
    }

    /// The newest commit that is appended and not durable and holds something of a log before an offset.
    pub fn appended_before(&self, log: LogId, offset: u64) -> Option<Seq> {
        self.undurable().before(log, offset).map(|batch| batch.header().seq)
    }

    /// As [`Self::read`], up to what is appended.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn read_appended(&self, log: LogId, from: u64, bytes_max: usize) -> Result<Vec<Batch>, Error> {
        // This first: what is durable meanwhile is not passed over.
        let undurable: Vec<Batch> =
            self.undurable().from(log, from).take_while(within(bytes_max)).cloned().collect();
        if undurable.is_empty() { self.read(log, from, bytes_max) } else { Ok(undurable) }
    }

    /// As [`Self::find_element`], up to what is appended.
    ///
    /// # Errors
    /// As [`Log::find_element`].
    pub fn find_appended_element(&self, log: LogId, index: u64) -> Result<Option<Batch>, Error> {
        // As above.
        let undurable = self.undurable().holding(log, index).cloned();
        undurable.map_or_else(|| self.find_element(log, index), |batch| Ok(Some(batch)))
    }

    /// As [`Self::find_time`], up to what is appended.
    ///
    /// # Errors
    /// As [`Log::find_time`].
    pub fn find_appended_time(&self, log: LogId, time_ms: TimeMs) -> Result<Option<Batch>, Error> {
        // As above; the first of that time may be durable all the same.
        let undurable = self.undurable().since(log, time_ms).cloned();
        Ok(self.find_time(log, time_ms)?.or(undurable))
    }

    /// The head of a log as it is appended, now and whenever it moves.
    pub fn appended_head(&self, log: LogId) -> watch::Receiver<u64> {
        lock(&self.shared.watched_appended).head(log, || self.appended_bounds(log).head)
    }

    fn undurable(&self) -> RwLockReadGuard<'_, Pending> {
        self.shared.undurable.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn undurable_mut(&self) -> RwLockWriteGuard<'_, Pending> {
        self.shared.undurable.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    /// The head of a log, which is there if nobody watches it yet.
    fn head(&mut self, log: LogId, there: impl FnOnce() -> u64) -> watch::Receiver<u64> {
        if !self.heads.contains_key(&log) && self.heads.len() >= self.sweep_at {
            self.heads.retain(|_, head| head.receiver_count() > 0);
            self.sweep_at = WATCHED_MIN.max(2 * self.heads.len());
        }
        self.heads.entry(log).or_insert_with(|| watch::Sender::new(there())).subscribe()
    }

    fn followers(&self, log: LogId) -> usize {
        self.heads.get(&log).map_or(0, watch::Sender::receiver_count)
    }

    /// The logs of a commit reach up to its end.
    fn move_to(&self, commit: &Commit) {
        if self.heads.is_empty() {
            return;
        }
        for (at, batch) in commit.batches.iter().enumerate() {
            let header = batch.header();
            // Only the last batch of each log: one wake-up a commit.
            if commit.batches.get(at + 1).is_some_and(|next| next.header().log == header.log) {
                continue;
            }
            if let Some(head) = self.heads.get(&header.log) {
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
        batches.range(start..).take_while(within(bytes_max)).cloned().collect()
    }
}

/// The memory that a kept batch takes.
fn taken(batch: &Batch) -> usize {
    batch.bytes().len() + RECENT_BATCH_OVERHEAD
}
