//! The reference engine: logs in memory. It is there to be obviously right, for tests and for
//! `Client::local()`; it keeps nothing when its process ends.
//!
//! A clone is the same store. So a test can [`Memory::crash`] one and go on with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::heads::{End, Heads};
use super::{Bounds, Error, Last, Log, SnapshotPieces};
use crate::protocol::batch::{Batch, Commit};
use crate::protocol::start::Starts;
use crate::protocol::{Epoch, LogId, Seq};

/// A store of logs in memory. Cheap to clone; clones are the same store.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    heads: Heads,
    /// Each log's batches, in order, appended ones too.
    logs: BTreeMap<LogId, Vec<Batch>>,
    /// The pieces of each snapshot.
    snapshots: BTreeMap<Seq, Vec<Vec<u8>>>,
    /// Why the store takes no more commits, when it does not.
    failed: Option<Error>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Memory::default()
    }

    /// What a crash and a new start do: everything that was appended and not flushed is gone. The
    /// epoch, and what was durable, survive.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// As [`Memory::crash`], but the first `commits` of those that were not flushed reached the disk.
    pub fn crash_keeping(&self, commits: u64) {
        let mut inner = self.inner();
        let kept = inner.heads.last().seq.0 + commits;
        let (epoch, mut heads) = (inner.heads.epoch(), Heads::default());
        let mut newest = Last::default();
        for (log, batches) in &mut inner.logs {
            batches.retain(|batch| batch.header().seq.0 <= kept);
            if let (Some(first), Some(last)) = (batches.first(), batches.last()) {
                heads.found_log(*log, first.header().base_offset, end_of(batches));
                if last.header().seq > newest.seq {
                    (newest.seq, newest.epoch) = (last.header().seq, last.header().epoch);
                }
            }
        }
        let of_newest = inner.logs.values().flatten().filter(|batch| batch.header().seq == newest.seq);
        newest.digest = Commit::digest(of_newest);
        heads.found_last(newest, epoch);
        heads.found_starts(inner.heads.starts().clone());
        (inner.heads, inner.failed) = (heads, None);
    }

    /// Another store with what is in this one, as a copy of its files would be.
    #[must_use]
    pub fn copy(&self) -> Memory {
        let copied = self.inner().clone();
        Memory { inner: Arc::new(Mutex::new(copied)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds this lock")
    }
}

/// The end of a log with these batches, of which there is at least one.
fn end_of(batches: &[Batch]) -> End {
    let last = batches[batches.len() - 1].header();
    let of_commit = batches.iter().find(|batch| batch.header().seq == last.seq);
    End {
        commit_base: of_commit.map_or(0, |batch| batch.header().base_offset),
        offset: last.end_offset(),
        elements: last.end_index(),
    }
}

impl Inner {
    fn check_not_failed(&self) -> Result<(), Error> {
        match &self.failed {
            None => Ok(()),
            Some(error) => Err(error.afterwards()),
        }
    }

    /// A log's durable batches.
    fn durable(&self, log: LogId) -> &[Batch] {
        let batches = self.logs.get(&log).map_or(&[][..], Vec::as_slice);
        let last = self.heads.last().seq;
        &batches[..batches.partition_point(|batch| batch.header().seq <= last)]
    }
}

impl Log for Memory {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn begin_epoch(&self) -> Result<Epoch, Error> {
        let mut inner = self.inner();
        inner.check_not_failed()?;
        let start = inner.heads.next_start();
        inner.heads.begin(start);
        Ok(start.epoch)
    }

    fn starts(&self) -> Starts {
        self.inner().heads.starts().clone()
    }

    fn append(&self, commit: &Commit) -> Result<(), Error> {
        let mut inner = self.inner();
        inner.check_not_failed()?;
        if let Err(error) = inner.heads.check(commit) {
            if !matches!(error, Error::Refused(_)) {
                inner.failed = Some(error.clone());
            }
            return Err(error);
        }
        for batch in &commit.batches {
            inner.logs.entry(batch.header().log).or_default().push(batch.clone());
        }
        inner.heads.append(commit);
        Ok(())
    }

    fn flush(&self) -> Result<(), Error> {
        let mut inner = self.inner();
        inner.check_not_failed()?;
        inner.heads.flush();
        Ok(())
    }

    fn trim(&self, log: LogId, before: u64) -> Result<(), Error> {
        let mut inner = self.inner();
        inner.check_not_failed()?;
        let end = inner.heads.trim_end(log, before);
        let Some(batches) = inner.logs.get_mut(&log) else { return Ok(()) };
        batches.retain(|batch| batch.header().end_offset() > end);
        let first = batches.first().map_or(0, |batch| batch.header().base_offset);
        inner.heads.trim(log, first);
        Ok(())
    }

    fn logs_bytes(&self) -> Result<Option<u64>, Error> {
        let bytes = |batch: &Batch| batch.bytes().len() as u64;
        Ok(Some(self.inner().logs.values().flatten().map(bytes).sum()))
    }

    fn last(&self) -> Last {
        self.inner().heads.last()
    }

    fn logs(&self) -> Vec<LogId> {
        self.inner().heads.logs()
    }

    fn bounds(&self, log: LogId) -> Bounds {
        self.inner().heads.bounds(log)
    }

    fn read(&self, log: LogId, from: u64, bytes_max: usize) -> Result<Vec<Batch>, Error> {
        let inner = self.inner();
        let mut bytes = 0;
        let fits = |batch: &&Batch| {
            let is_first = bytes == 0;
            bytes += batch.bytes().len();
            is_first || bytes <= bytes_max
        };
        let ahead = inner.durable(log).iter().filter(|batch| batch.header().end_offset() > from);
        Ok(ahead.take_while(fits).cloned().collect())
    }

    fn find_element(&self, log: LogId, index: u64) -> Result<Option<Batch>, Error> {
        let inner = self.inner();
        let mut batches = inner.durable(log).iter();
        if index >= inner.heads.bounds(log).elements {
            return Ok(None);
        }
        Ok(batches.find(|batch| batch.header().end_index() > index).cloned())
    }

    fn snapshots(&self) -> Result<Vec<Seq>, Error> {
        Ok(self.inner().snapshots.keys().rev().copied().collect())
    }

    fn write_snapshot(&self, at: Seq, pieces: &mut dyn Iterator<Item = Vec<u8>>) -> Result<(), Error> {
        let pieces = pieces.filter(|piece| !piece.is_empty()).collect();
        self.inner().snapshots.insert(at, pieces);
        Ok(())
    }

    fn open_snapshot(&self, at: Seq) -> Result<SnapshotPieces, Error> {
        let pieces = self.inner().snapshots.get(&at).cloned();
        let pieces = pieces.ok_or_else(|| Error::BadSnapshot { at, why: "it is not there".to_owned() })?;
        Ok(Box::new(pieces.into_iter().map(Ok)))
    }

    fn drop_snapshot(&self, at: Seq) -> Result<(), Error> {
        self.inner().snapshots.remove(&at);
        Ok(())
    }
}
