//! The engine on disk: logs in a sled store.
//!
//! # The directory
//!
//! | | |
//! |---|---|
//! | `lock` | locked for as long as the store is open |
//! | `store/` | sled's own files, and before them the write-ahead log: see `wal.rs` |
//! | `head` | the last durable commit, see `../head.rs` |
//! | `suspect` | while it is there, the next start salvages: see `../suspect.rs` |
//! | `store.damaged-N/` | what a store was before it was salvaged: see `../salvage/` |
//! | `snapshots/` | see `../snapshot.rs` |
//!
//! sled holds two trees. `batches`: key = log id (u32, big-endian) and base offset (u64, big-endian),
//! value = one batch as it stands in [`crate::protocol::batch`]; or nothing, behind the last batch of a log, where a process
//! ended that had made places for more (`trees.rs`). `meta`: `version` → the store's version
//! (u16), `epoch` → the last epoch (u64), and for each log that was trimmed `first` and its id (u32,
//! big-endian) → its first offset (u64); for each of the newest starts `start` and its epoch (u64, big-endian)
//! → its identity (u64), and `after` and its epoch → the newest commit that it found (u64). Values are little-endian. (A third, `cache`, holds nothing: see
//! `cache.rs`.) A commit that is appended has its entry in the write-ahead log, and is durable, all of it or nothing, once
//! that is flushed. It is put into sled later, when nobody waits (`stow`), and read from memory until then. Where there is no
//! place for it, it is one `apply_batch` on `batches`, which sled makes atomic, and a **checkpoint**: a flush of all that sled
//! has.
//!
//! # What sled 0.34.7 does, and what is done about it
//!
//! - Its `flush` on Linux ends in `sync_file_range` (`src/pagecache/iobuf.rs`, `write_to_log`), which
//!   makes neither the file's metadata nor the disk's own cache durable. So each checkpoint ends with
//!   `sync_data` on a handle of ours to the same file, `store/db`.
//! - A page over a quarter of a segment goes to a file of its own in `store/blobs/`, which is never
//!   fsynced. Measured: with its 512 KiB segments values of 32 KiB did; with 8 MiB ones batches of up to
//!   [`BATCH_BYTES_MAX`](crate::protocol::limits::BATCH_BYTES_MAX) never do. A test holds that.
//! - It panics on some damage, and opens cleanly and shorter on other (see `../head.rs`). So nothing calls
//!   it but under `guarded`, every batch is checked when it is read, and offsets must be dense.
//! - When it opens it zeroes what it cannot read, intact batches and all. So before it may, what it is going
//!   to read is read (`replay.rs`); where that is damaged, the store is salvaged (`rebuild.rs`) and sled
//!   opens the new one.
//! - It cannot read any batch of a page of which a part is damaged, and says so at every attempt. Such
//!   batches are answered as lost (`read.rs`), and the next start finds them again in the raw file.
//! - Its page cache grows over what it is given. So it is made to evict: see `cache.rs`.
//! - Its pages are small pieces of memory that come and go on whatever thread reads, which leaves an allocator with much
//!   that is free and cannot be given back. So the same few threads read: see `threads.rs`.
//! - Its background threads may hold its file for a moment after it was closed, locked. Our own lock
//!   says that nobody else has the store, so `open` waits for that moment to pass.
//! - What it reads when it opens may still be only in the system's cache, when the process before was
//!   killed. So its file is fsynced first: what readers see is durable from the start.

mod cache;
mod trees;

mod fill;
mod find;
mod open;
mod raw;
mod read;
mod rebuild;
mod replay;
mod starts;
mod threads;
mod wal;

pub use self::fill::NewStore;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use self::threads::ReadThreads;
use self::trees::Trees;
use self::wal::Wal;
use super::failure::{Failure, guarded};
use super::head::HeadFile;
use super::heads::Heads;
use super::pending::Pending;
use super::snapshot::{self, BadSnapshot};
use super::{Bounds, Error, Last, Log, SnapshotPieces, directory, space};
use crate::protocol::batch::{BadBatch, Batch, Commit};
use crate::protocol::start::Starts;
use crate::protocol::{Epoch, LogId, Seq};

/// How many batches one trim takes out at a time, to bound its memory.
const TRIM_STEP: usize = 1024;

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// To go on with it: one of an older version is upgraded, and a damaged one repaired.
    #[default]
    Serve,
    /// To go on with it, unless it is damaged: then it is left as it is.
    ServeWhole,
    /// To look at it as it is. This may change it all the same, since sled does: so look at a copy.
    Examine,
}

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SledOptions {
    /// What for.
    pub purpose: Purpose,
    /// Most bytes of pages that sled keeps in memory, as they are on the disk. Small batches take twice
    /// as much there. sled's own default is over 1 GiB.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    /// To serve, with 8 MiB of cache: the pages that are written to and the inner ones. What is read of history is read
    /// once, and the system's cache has it. An allocator takes for sled's pages up to as much as they once took for each
    /// thread that brings them in (`threads.rs`); and more of a cache was no faster: see `docs/PERFORMANCE.md`.
    fn default() -> Self {
        SledOptions { purpose: Purpose::Serve, cache_bytes: 8 * 1024 * 1024 }
    }
}

/// A store of logs in a directory.
#[derive(Debug)]
pub struct SledLog {
    dir: PathBuf,
    // Before the trees, which its threads hold, too.
    reads: ReadThreads,
    trees: Arc<Trees>,
    heads: RwLock<Heads>,
    /// What the write-ahead log has and sled does not. Of it only what is durable is shown.
    unstowed: RwLock<Pending>,
    writer: Mutex<Writer>,
    /// Why the store takes no more commits, when it does not. What cannot be read then may still be there.
    failed: OnceLock<Error>,
    /// Where damage was met.
    met: Mutex<BTreeSet<(LogId, u64)>>,
    /// Whether it is told; not by those who only look, and see for themselves.
    tells: bool,
    // The last field, so that it is let go after sled has closed its files.
    _lock: File,
}

#[derive(Debug)]
struct Writer {
    /// sled's file, to fsync it.
    data: File,
    head: HeadFile,
    wal: Wal,
}

impl SledLog {
    fn new(dir: &Path, trees: Trees, heads: Heads, writer: Writer, tells: bool, lock: File) -> SledLog {
        let (heads, writer, met) = (RwLock::new(heads), Mutex::new(writer), Mutex::default());
        let trees = Arc::new(trees);
        SledLog {
            dir: dir.to_owned(),
            reads: ReadThreads::start(&trees),
            trees,
            heads,
            unstowed: RwLock::default(),
            writer,
            failed: OnceLock::new(),
            met,
            tells,
            _lock: lock,
        }
    }

    /// Where records that are there could not be read since it was opened: those that were lost before, and
    /// have a batch in their place, do not count. At most 1,000 places.
    pub fn damage_met(&self) -> Vec<(LogId, u64)> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn heads(&self) -> RwLockReadGuard<'_, Heads> {
        self.heads.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn heads_mut(&self) -> RwLockWriteGuard<'_, Heads> {
        self.heads.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that writes, unless something that wrote has failed.
    fn write<T>(&self, action: impl FnOnce(&mut Writer) -> Result<T, Error>) -> Result<T, Error> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_not_failed()?;
        let done = action(&mut writer);
        if let Err(error) = &done
            && !matches!(error, Error::Refused(_))
        {
            // It is empty: that was looked at under the lock.
            let _ = self.failed.set(error.clone());
        }
        done
    }

    fn check_not_failed(&self) -> Result<(), Error> {
        self.failed.get().map_or(Ok(()), |error| Err(error.afterwards()))
    }

    /// Calls sled.
    fn call<T, E: Into<Failure>>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, Error> {
        guarded(call).map_err(|failure| failure.of(&self.dir))
    }

    fn unstowed(&self) -> RwLockReadGuard<'_, Pending> {
        self.unstowed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn unstowed_mut(&self) -> RwLockWriteGuard<'_, Pending> {
        self.unstowed.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives sled what the write-ahead log has up to this commit, which must be durable.
    fn give(&self, upto: Seq) -> Result<(), Error> {
        let is_given = |commit: &&Commit| commit.seq <= upto;
        let commits: Vec<Commit> = self.unstowed().commits().take_while(is_given).cloned().collect();
        self.call(|| {
            self.trees.make_places(commits.iter().flat_map(|commit| &commit.batches))?;
            commits.iter().try_for_each(|commit| self.trees.insert(&commit.batches))
        })?;
        // It is in sled before it is no longer here: who looks here first, and then there, finds it.
        self.unstowed_mut().remove_to(upto);
        Ok(())
    }

    /// Gives sled all that the write-ahead log has.
    fn give_all(&self, writer: &mut Writer) -> Result<(), Error> {
        self.call(|| writer.wal.sync())?;
        self.give(Seq(u64::MAX))
    }

    /// Makes everything durable that there is, in sled, so that the write-ahead log can begin anew.
    fn checkpoint(&self, writer: &mut Writer) -> Result<(), Error> {
        self.give_all(writer)?;
        self.call(|| self.trees.flush())?;
        self.call(|| writer.data.sync_data())?;
        writer.wal.begin_anew();
        Ok(())
    }

    /// Puts a commit down, so that it outlives this process.
    fn put_down(&self, writer: &mut Writer, commit: &Commit) -> Result<(), Error> {
        if self.call(|| writer.wal.write(commit))? {
            self.unstowed_mut().push(commit);
            return Ok(());
        }
        // What is before it first.
        self.give_all(writer)?;
        self.call(|| self.trees.make_places(commit.batches.iter()))?;
        self.call(|| self.trees.insert_whole(&commit.batches))?;
        self.checkpoint(writer)
    }
}

impl Drop for SledLog {
    fn drop(&mut self) {
        // What is not done here the next start does: nothing is lost.
        let _ = self.close();
    }
}

impl Log for SledLog {
    fn describe(&self) -> String {
        format!("sled store in {}", self.dir.display())
    }

    fn begin_epoch(&self) -> Result<Epoch, Error> {
        self.write(|writer| {
            let start = self.heads().next_start();
            // The epoch last: with it the start counts.
            self.call(|| starts::put(&self.trees, &start))?;
            self.call(|| self.trees.set_number(b"epoch", &start.epoch.0.to_le_bytes()))?;
            self.checkpoint(writer)?;
            if let Some(forgotten) = self.heads_mut().begin(start) {
                self.call(|| starts::remove(&self.trees, &forgotten))?;
            }
            Ok(start.epoch)
        })
    }

    fn starts(&self) -> Starts {
        self.heads().starts().clone()
    }

    fn append(&self, commit: &Commit) -> Result<(), Error> {
        self.write(|writer| {
            self.heads().check(commit)?;
            self.put_down(writer, commit)?;
            self.heads_mut().append(commit);
            Ok(())
        })
    }

    fn flush(&self) -> Result<(), Error> {
        self.write(|writer| {
            let last = self.heads().appended();
            if last == self.heads().last() {
                return Ok(());
            }
            self.call(|| writer.wal.sync())?;
            self.call(|| writer.head.write(last))?;
            self.heads_mut().flush();
            Ok(())
        })
    }

    fn stow(&self) -> Result<(), Error> {
        self.write(|_| self.give(self.heads().last().seq))
    }

    fn trim(&self, log: LogId, before: u64) -> Result<(), Error> {
        self.write(|writer| {
            self.give_all(writer)?;
            let end = self.heads().trim_end(log, before);
            loop {
                // A batch ends where the next one begins, so one key more than are taken out.
                let step = || self.trees.offsets(log, 0..end + 1).take(TRIM_STEP + 1).collect();
                let offsets: Vec<u64> = self.call::<_, Failure>(step)?;
                let [gone @ .., first] = &offsets[..] else { break };
                if gone.is_empty() {
                    break;
                }
                // First say so, then do it: who no longer finds a batch must know why, after a crash too.
                self.heads_mut().trim(log, *first);
                self.call(|| self.trees.set_number(&first_key(log), &first.to_le_bytes()))?;
                self.call(|| self.trees.remove(log, gone))?;
            }
            self.checkpoint(writer)
        })
    }

    fn close(&self) -> Result<(), Error> {
        self.write(|writer| {
            self.checkpoint(writer)?;
            self.call(|| writer.wal.clear())?;
            self.call(|| writer.head.sync())
        })
    }

    fn free_bytes(&self) -> Result<Option<u64>, Error> {
        space::free_bytes(&self.dir).map_err(|error| Failure::from(error).of(&self.dir))
    }

    fn logs_bytes(&self) -> Result<Option<u64>, Error> {
        self.call(|| directory::bytes_of(&self.dir.join("store")).map(Some))
    }

    fn last(&self) -> Last {
        self.heads().last()
    }

    fn logs(&self) -> Vec<LogId> {
        self.heads().logs()
    }

    fn bounds(&self, log: LogId) -> Bounds {
        self.heads().bounds(log)
    }

    fn read(&self, log: LogId, from: u64, bytes_max: usize) -> Result<Vec<Batch>, Error> {
        self.read_or_lost(log, from, bytes_max)
    }

    fn find_element(&self, log: LogId, index: u64) -> Result<Option<Batch>, Error> {
        self.find_or_lost(log, index)
    }

    fn snapshots(&self) -> Result<Vec<Seq>, Error> {
        snapshot::list(&self.dir).map_err(|error| Failure::from(error).of(&self.dir))
    }

    fn write_snapshot(&self, at: Seq, pieces: &mut dyn Iterator<Item = Vec<u8>>) -> Result<(), Error> {
        snapshot::write(&self.dir, at, pieces)
            .map_err(|why| Error::Refused(format!("the snapshot of commit {at} is not written: {why}")))
    }

    fn open_snapshot(&self, at: Seq) -> Result<SnapshotPieces, Error> {
        let bad = move |why: BadSnapshot| Error::BadSnapshot { at, why: why.to_string() };
        let pieces = snapshot::open(&self.dir, at).map_err(bad)?;
        Ok(Box::new(pieces.map(move |piece| piece.map_err(bad))))
    }

    fn snapshot_bytes(&self, at: Seq) -> Result<u64, Error> {
        snapshot::bytes(&self.dir, at).map_err(|why| Error::BadSnapshot { at, why: why.to_string() })
    }

    fn drop_snapshot(&self, at: Seq) -> Result<(), Error> {
        snapshot::remove(&self.dir, at).map_err(|error| Failure::from(error).of(&self.dir))
    }
}

/// The name of the number in `meta` that says where a log begins.
fn first_key(log: LogId) -> [u8; 9] {
    let mut key = *b"first\0\0\0\0";
    key[5..].copy_from_slice(&log.0.to_be_bytes());
    key
}

/// Reads a stored value, which must be the batch that its key names.
fn decode(log: LogId, offset: u64, value: Bytes) -> Result<Batch, BadBatch> {
    let batch = Batch::read(value)?;
    match (batch.header().log, batch.header().base_offset) == (log, offset) {
        true => Ok(batch),
        false => Err(BadBatch::NotABatch(batch.bytes().len())),
    }
}

#[cfg(test)]
mod tests;
