//! A new sled store, filled from outside: with what a salvage has chosen, or with what another store holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::trees::Trees;
use super::{Purpose, SledLog, SledOptions, first_key, starts};
use crate::log::failure::{Failure, guarded};
use crate::log::snapshot::Writing;
use crate::log::{Last, Log, MakeError, NewDir};
use crate::protocol::batch::{Batch, Commit};
use crate::protocol::start::Starts;
use crate::protocol::version::STORE_VERSION;
use crate::protocol::{Epoch, LogId, Seq};

/// How many bytes of batches are put into the new store at a time: 64 KiB. What sled replaces of its pages meanwhile it
/// keeps until then: with 1 MiB a backup of 238,000 small batches took 690 MiB of memory, with this 96.
const PIECE_BYTES: usize = 64 * 1024;

/// After how many bytes the new store is flushed on the way, to bound what sled keeps in memory.
const FLUSH_BYTES: usize = 32 * 1024 * 1024;

/// Trees that are being filled, many batches at a time.
#[derive(Debug)]
pub(super) struct Filling {
    trees: Trees,
    piece: Vec<Batch>,
    bytes: usize,
    unflushed: usize,
}

impl Filling {
    /// Makes sled's part of a store in a directory that is not there.
    pub fn begin(store: &Path, cache_bytes: u64) -> Result<Filling, Failure> {
        let trees = Trees::open(store, cache_bytes)?;
        trees.set_number(b"version", &STORE_VERSION.to_le_bytes())?;
        Ok(Filling { trees, piece: Vec::new(), bytes: 0, unflushed: 0 })
    }

    /// Says which epoch was the last.
    pub fn set_epoch(&self, epoch: Epoch) -> Result<(), Failure> {
        self.trees.set_number(b"epoch", &epoch.0.to_le_bytes())
    }

    /// Says which starts there were.
    pub fn set_starts(&self, starts: &Starts) -> Result<(), Failure> {
        starts.iter().try_for_each(|start| starts::put(&self.trees, start))
    }

    /// Says where a log begins that was trimmed.
    pub fn set_first(&self, log: LogId, first: u64) -> Result<(), Failure> {
        self.trees.set_number(&first_key(log), &first.to_le_bytes())
    }

    /// Adds a batch.
    pub fn add(&mut self, batch: Batch) -> Result<(), Failure> {
        self.bytes += batch.bytes().len();
        self.piece.push(batch);
        if self.bytes >= PIECE_BYTES { self.insert() } else { Ok(()) }
    }

    fn insert(&mut self) -> Result<(), Failure> {
        self.trees.insert(&std::mem::take(&mut self.piece))?;
        self.unflushed += std::mem::take(&mut self.bytes);
        if self.unflushed >= FLUSH_BYTES {
            self.unflushed = 0;
            self.trees.flush()?;
        }
        Ok(())
    }

    /// Hands everything to the system. It is not on the disk then.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.insert()?;
        self.trees.flush()
    }
}

/// A new store that is to hold what another holds up to a commit, byte for byte.
///
/// Logs come one after the other, in order, each from its first batch. Batches of the last commit are kept back
/// until all is there: so that they are written last, and to see that they are that commit.
#[derive(Debug)]
pub struct NewStore {
    dir: PathBuf,
    target: PathBuf,
    filling: Filling,
    last: Last,
    newest: Vec<Batch>,
    /// Where each log ends.
    heads: BTreeMap<LogId, u64>,
}

/// A snapshot that is put into a new store.
#[derive(Debug)]
pub struct NewSnapshot {
    target: PathBuf,
    writing: Writing,
}

impl NewStore {
    /// Begins an empty store whose newest commit will be `last`, and that remembers these starts.
    ///
    /// # Errors
    /// [`MakeError`].
    pub fn begin(new: &NewDir, last: Last, starts: &Starts) -> Result<NewStore, MakeError> {
        let (dir, target) = (new.dir().to_owned(), new.target().to_owned());
        let cache_bytes = SledOptions::default().cache_bytes;
        let begin = || {
            let filling = Filling::begin(&dir.join("store"), cache_bytes)?;
            filling.set_starts(starts)?;
            Ok::<_, Failure>(filling)
        };
        let filling = guarded(begin).map_err(|failure| failed(&target, failure))?;
        Ok(NewStore { dir, target, filling, last, newest: Vec::new(), heads: BTreeMap::new() })
    }

    /// Says where a log begins that was trimmed, before its first batch.
    ///
    /// # Errors
    /// [`MakeError`]; [`MakeError::Wrong`] when the log has begun.
    pub fn set_first(&mut self, log: LogId, first: u64) -> Result<(), MakeError> {
        if let Some(end) = self.heads.insert(log, first) {
            let why = format!("log {log} was copied up to offset {end}, and is to begin at {first}");
            return Err(MakeError::Wrong { dir: self.target.clone(), why });
        }
        guarded(|| self.filling.set_first(log, first)).map_err(|failure| failed(&self.target, failure))
    }

    /// Adds the next batch of a log.
    ///
    /// # Errors
    /// [`MakeError`]; [`MakeError::Wrong`] for a batch that does not go on where its log ends, or is of a later
    /// commit.
    pub fn add(&mut self, batch: Batch) -> Result<(), MakeError> {
        let header = *batch.header();
        let end = self.heads.get(&header.log).copied().unwrap_or(0);
        if header.base_offset != end || header.seq > self.last.seq {
            let why = format!(
                "a batch of log {} with commit {} begins at offset {}, where commit {} was copied up to offset {end}",
                header.log, header.seq, header.base_offset, self.last.seq
            );
            return Err(MakeError::Wrong { dir: self.target.clone(), why });
        }
        self.heads.insert(header.log, header.end_offset());
        if header.seq == self.last.seq {
            self.newest.push(batch);
            return Ok(());
        }
        guarded(|| self.filling.add(batch)).map_err(|failure| failed(&self.target, failure))
    }

    /// Begins a snapshot of a commit. It is not there before it is finished.
    ///
    /// # Errors
    /// [`MakeError`].
    pub fn begin_snapshot(&self, at: Seq) -> Result<NewSnapshot, MakeError> {
        let writing = Writing::begin(&self.dir, at).map_err(|why| MakeError::io(&self.target, why))?;
        Ok(NewSnapshot { target: self.target.clone(), writing })
    }

    /// Puts the last commit in, once it is seen to be that, closes the store, and opens it to see that it is
    /// what it should be.
    ///
    /// # Errors
    /// [`MakeError`]; [`MakeError::Wrong`] when the batches that came are not those of the last commit, or the
    /// store does not show what was put into it.
    pub fn finish(mut self) -> Result<(), MakeError> {
        let digest = Commit::digest(&self.newest);
        let wrong = |why: String| MakeError::Wrong { dir: self.target.clone(), why };
        if digest != self.last.digest {
            return Err(wrong(format!(
                "commit {} has digest {digest} in what was copied, and had {} when the copy began: its records \
                 were damaged meanwhile, `headwater log verify` says where",
                self.last.seq, self.last.digest
            )));
        }
        let mut filling = self.filling;
        let newest = std::mem::take(&mut self.newest);
        let finish = || {
            filling.set_epoch(self.last.epoch)?;
            newest.into_iter().try_for_each(|batch| filling.add(batch))?;
            filling.finish()
        };
        guarded(finish).map_err(|failure| failed(&self.target, failure))?;
        let options = SledOptions { purpose: Purpose::Examine, ..SledOptions::default() };
        let (log, opened) = SledLog::open(&self.dir, options).map_err(|error| wrong(error.to_string()))?;
        let heads: BTreeMap<LogId, u64> = log.logs().iter().map(|id| (*id, log.bounds(*id).head)).collect();
        self.heads.retain(|_, head| *head > 0);
        if (log.last(), &heads, opened.damage) != (self.last, &self.heads, None) {
            let words = |last: Last| format!("commit {}, epoch {}", last.seq, last.epoch);
            return Err(wrong(format!(
                "it shows {} and not {}, or its logs end elsewhere than those that were copied",
                words(log.last()),
                words(self.last)
            )));
        }
        Ok(())
    }
}

impl NewSnapshot {
    /// Adds the next piece.
    ///
    /// # Errors
    /// [`MakeError`].
    pub fn add(&mut self, piece: &[u8]) -> Result<(), MakeError> {
        self.writing.add(piece).map_err(|why| MakeError::io(&self.target, why))
    }

    /// Ends it and makes it durable.
    ///
    /// # Errors
    /// [`MakeError`].
    pub fn finish(self) -> Result<(), MakeError> {
        self.writing.finish().map_err(|why| MakeError::io(&self.target, why))
    }
}

fn failed(target: &Path, failure: Failure) -> MakeError {
    match failure {
        Failure::Io(why) => MakeError::io(target, why),
        Failure::Broken(why) => MakeError::Wrong { dir: target.to_owned(), why },
        Failure::Log(error) => MakeError::Wrong { dir: target.to_owned(), why: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Memory;
    use crate::protocol::Digest;
    use crate::protocol::batch::OpenBatch;

    /// A log of so many commits, each of a record in two logs.
    fn source(commits: u64) -> Memory {
        let log = Memory::new();
        let epoch = log.begin_epoch().unwrap();
        for at in 0..commits {
            let batch = |id: u32| {
                let mut open = OpenBatch::new(LogId(id), at, 0);
                assert!(open.push(&"record", false));
                open.seal(Seq(at + 1), epoch, 0)
            };
            let batches = vec![batch(0), batch(3)];
            log.append(&Commit { seq: Seq(at + 1), epoch, batches }).unwrap();
            log.flush().unwrap();
        }
        log
    }

    fn batches(log: &Memory, id: u32) -> Vec<Batch> {
        log.read(LogId(id), 0, usize::MAX).unwrap()
    }

    #[test]
    fn it_holds_what_was_put_into_it_byte_for_byte() {
        let parent = tempfile::tempdir().unwrap();
        let (target, log) = (parent.path().join("new"), source(5));
        let new = NewDir::begin(&target).unwrap();
        let mut store = NewStore::begin(&new, log.last(), &log.starts()).unwrap();
        store.set_first(LogId(0), 2).unwrap();
        batches(&log, 0).into_iter().skip(2).for_each(|batch| store.add(batch).unwrap());
        batches(&log, 3).into_iter().for_each(|batch| store.add(batch).unwrap());
        let mut snapshot = store.begin_snapshot(Seq(4)).unwrap();
        snapshot.add(b"piece").unwrap();
        snapshot.finish().unwrap();
        drop(store.begin_snapshot(Seq(3)).unwrap());
        store.finish().unwrap();
        new.finish(log.last()).unwrap();
        let trees = Trees::open(&target.join("store"), 1 << 20).ok().unwrap();
        let numbers = [b"version".as_slice(), b"epoch"].map(|name| trees.number(name).ok().unwrap());
        assert_eq!(numbers, [Some(u64::from(STORE_VERSION)), Some(1)]);
        drop(trees);
        let (made, opened) = SledLog::open(&target, SledOptions::default()).unwrap();
        assert_eq!((made.last(), opened.damage, opened.fresh), (log.last(), None, false));
        assert_eq!((made.bounds(LogId(0)).first, made.bounds(LogId(3)).first), (2, 0));
        assert_eq!(made.read(LogId(0), 0, usize::MAX).unwrap(), batches(&log, 0)[2..]);
        assert_eq!(made.read(LogId(3), 0, usize::MAX).unwrap(), batches(&log, 3));
        assert_eq!((made.snapshots().unwrap(), made.starts()), (vec![Seq(4)], log.starts()));
        assert_eq!(made.begin_epoch().unwrap(), Epoch(2), "epochs go on behind the copied one");
    }

    #[test]
    fn what_is_not_the_announced_commit_is_refused() {
        let log = source(3);
        for (last, leave_out, why) in [
            (log.last(), 1, "commit 3 has digest "),
            (Last { digest: Digest(7), ..log.last() }, 0, "and had 0000000000000007 when the copy began"),
            (
                Last { epoch: Epoch(9), ..log.last() },
                0,
                "it shows commit 3, epoch 1 and not commit 3, epoch 9",
            ),
        ] {
            let parent = tempfile::tempdir().unwrap();
            let target = parent.path().join("new");
            let new = NewDir::begin(&target).unwrap();
            let mut store = NewStore::begin(&new, last, &Starts::default()).unwrap();
            batches(&log, 0).into_iter().for_each(|batch| store.add(batch).unwrap());
            let channel = batches(&log, 3);
            let count = channel.len() - leave_out;
            channel.into_iter().take(count).for_each(|batch| store.add(batch).unwrap());
            let error = store.finish().unwrap_err();
            assert!(matches!(error, MakeError::Wrong { .. }) && error.to_string().contains(why), "{error}");
            drop(new);
            assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_gap_and_a_later_commit_are_refused() {
        let (parent, log) = (tempfile::tempdir().unwrap(), source(3));
        let new = NewDir::begin(&parent.path().join("new")).unwrap();
        let mut store =
            NewStore::begin(&new, Last { seq: Seq(2), ..log.last() }, &Starts::default()).unwrap();
        let [first, second, third] = &batches(&log, 0)[..] else { panic!("three commits") };
        assert!(store.add(second.clone()).is_err(), "the first is missing");
        store.add(first.clone()).unwrap();
        store.add(second.clone()).unwrap();
        assert!(store.set_first(LogId(0), 1).is_err(), "it has begun");
        assert!(store.add(third.clone()).is_err(), "it is of a later commit");
    }
}
