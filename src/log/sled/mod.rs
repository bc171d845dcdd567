//! The engine on disk: logs in a sled store.
//!
//! # The directory
//!
//! | | |
//! |---|---|
//! | `lock` | locked for as long as the store is open |
//! | `store/` | sled's own files |
//! | `head` | the last durable commit, see `../head.rs` |
//! | `snapshots/` | see `../snapshot.rs` |
//!
//! sled holds two trees. `batches`: key = log id (u32, big-endian) and base offset (u64, big-endian),
//! value = one batch as it stands in [`crate::protocol::batch`]. `meta`: `version` → the store's version
//! (u16), `epoch` → the last epoch (u64), and for each log that was trimmed `first` and its id (u32,
//! big-endian) → its first offset (u64). Values are little-endian. (A third, `cache`, holds nothing: see
//! `cache.rs`.) A commit is one `apply_batch` on `batches`
//! (sled makes that atomic) and one flush.
//!
//! # What sled 0.34.7 does, and what is done about it
//!
//! - Its `flush` on Linux ends in `sync_file_range` (`src/pagecache/iobuf.rs`, `write_to_log`), which
//!   makes neither the file's metadata nor the disk's own cache durable. So each flush is followed by
//!   `sync_data` on a handle of ours to the same file, `store/db`.
//! - A page over a quarter of a segment goes to a file of its own in `store/blobs/`, which is never
//!   fsynced. Measured: with its 512 KiB segments values of 32 KiB did; with 8 MiB ones batches of up to
//!   [`BATCH_BYTES_MAX`](crate::protocol::limits::BATCH_BYTES_MAX) never do. A test holds that.
//! - It panics on some damage, and opens cleanly and shorter on other (see `../head.rs`). So nothing calls
//!   it but under `guarded`, every batch is checked when it is read, and offsets must be dense.
//! - Its page cache grows over what it is given. So it is made to evict: see `cache.rs`.
//! - Its background threads may hold its file for a moment after it was closed, locked. Our own lock
//!   says that nobody else has the store, so `open` waits for that moment to pass.
//! - What it reads when it opens may still be only in the system's cache, when the process before was
//!   killed. So its file is fsynced first: what readers see is durable from the start.

mod cache;
mod trees;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use self::trees::Trees;
use super::failure::{Failure, guarded};
use super::head::{Found, HeadFile};
use super::heads::{End, Heads};
use super::open::behind;
use super::upgrade::{self, Age};
use super::{Bounds, Error, Last, Log, OpenError, Opened, directory, snapshot};
use crate::protocol::batch::{BadBatch, Batch, Commit};
use crate::protocol::version::STORE_VERSION;
use crate::protocol::{Epoch, LogId, Seq};

/// How many batches one trim takes out at a time, to bound its memory.
const TRIM_STEP: usize = 1024;

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// To go on with it: one of an older version is upgraded.
    #[default]
    Serve,
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
    /// To serve, with 32 MiB of cache. More was slower: 157,000 commits of 400 bytes took 39 s with it, and 47 s with
    /// 64 MiB; what is read back comes as fast.
    fn default() -> Self {
        SledOptions { purpose: Purpose::Serve, cache_bytes: 32 * 1024 * 1024 }
    }
}

/// A store of logs in a directory.
#[derive(Debug)]
pub struct SledLog {
    dir: PathBuf,
    trees: Trees,
    heads: RwLock<Heads>,
    writer: Mutex<Writer>,
    // The last field, so that it is let go after sled has closed its files.
    _lock: File,
}

#[derive(Debug)]
struct Writer {
    /// sled's file, to fsync it.
    data: File,
    head: HeadFile,
    /// Why the store takes no more commits, when it does not.
    failed: Option<Error>,
}

impl SledLog {
    /// Opens the store in this directory, or makes one.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, options: SledOptions) -> Result<(SledLog, Opened), OpenError> {
        let refused = |why: io::Error| OpenError::Io { dir: dir.to_owned(), why };
        let failed = |failure: Failure| failure.of_open(dir);
        let lock = directory::hold(dir)?;
        let (mut head, found) = HeadFile::open(&dir.join("head")).map_err(refused)?;
        let (known, known_version) = match found {
            Found::Newer(found) => return Err(OpenError::NewerFormat { found, ours: STORE_VERSION }),
            Found::Nothing => (Last::default(), STORE_VERSION),
            Found::Last(last, version) => (last, version),
        };
        let store = dir.join("store");
        if let Some(data) = await_unlock(dir, &store)? {
            data.sync_all().map_err(refused)?;
        }
        let upgrades = options.purpose == Purpose::Serve;
        if upgrades {
            snapshot::remove_unfinished(dir).map_err(refused)?;
        }
        if upgrades && known_version < STORE_VERSION {
            // Before sled is opened, which changes its files. The trees say the same version, or a newer one.
            upgrade::back_up(dir, known_version).map_err(refused)?;
        }
        let open = || guarded(|| Trees::open(&store, options.cache_bytes)).map_err(failed);
        let mut trees = open()?;
        let version = guarded(|| trees.number(b"version")).map_err(failed)?;
        let age = version.map_or(Ok(Age::Ours), |version| upgrade::check(dir, version))?;
        if let (Age::Older(older), true) = (age, upgrades) {
            drop(trees);
            await_unlock(dir, &store)?;
            let backup = upgrade::back_up(dir, older).map_err(refused)?;
            trees = open()?;
            guarded(|| trees.set_number(b"version", &STORE_VERSION.to_le_bytes())).map_err(failed)?;
            guarded(|| trees.flush()).map_err(failed)?;
            let (now, backup) = (STORE_VERSION, backup.display());
            tracing::warn!(%backup, "the store was upgraded from version {older} to {now}; a copy is kept");
        }
        let heads = guarded(|| find_heads(&trees, known)).map_err(failed)?;
        let last = heads.last();
        if version.is_none() {
            // A store that was made and never used, or what damage has left of one.
            if last.seq.0 > 0 {
                return Err(failed(Failure::Broken("it does not say its version".to_owned())));
            }
            guarded(|| trees.set_number(b"version", &STORE_VERSION.to_le_bytes())).map_err(failed)?;
            guarded(|| trees.flush()).map_err(failed)?;
        }
        let data = directory::sync_files(dir, &store).map_err(refused)?;
        if upgrades && known_version < STORE_VERSION {
            head.write(known).map_err(refused)?;
        }
        let opened = Opened { fresh: last.seq.0 == 0 && known.seq.0 == 0, damage: behind(last, known) };
        let writer = Mutex::new(Writer { data, head, failed: None });
        let heads = RwLock::new(heads);
        Ok((SledLog { dir: dir.to_owned(), trees, heads, writer, _lock: lock }, opened))
    }

    /// As [`Log::read`], of what is before `head`.
    fn read_before(&self, log: LogId, from: u64, head: u64, bytes_max: usize) -> Result<Vec<Batch>, Failure> {
        let start = self.trees.offsets(log, 0..from + 1).next_back().transpose()?.unwrap_or(from);
        let mut found = Vec::new();
        let (mut next, mut bytes) = (from, 0);
        for entry in self.trees.values(log, start..head) {
            let (offset, value) = entry?;
            let batch = match decode(log, offset, value) {
                // First what is whole; the next read begins with what is not.
                Err(_) if !found.is_empty() => return Ok(found),
                batch => batch?,
            };
            let header = *batch.header();
            bytes += batch.bytes().len();
            if header.end_offset() <= next {
                continue;
            }
            if !found.is_empty() && (header.base_offset > next || bytes > bytes_max) {
                return Ok(found);
            }
            if header.base_offset > next {
                return Err(Error::Missing { log, from: next, to: header.base_offset }.into());
            }
            next = header.end_offset();
            found.push(batch);
        }
        if found.is_empty() { Err(Error::Missing { log, from, to: head }.into()) } else { Ok(found) }
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
        if let Some(error) = &writer.failed {
            return Err(error.afterwards());
        }
        let done = action(&mut writer);
        if let Err(error) = &done
            && !matches!(error, Error::Refused(_))
        {
            writer.failed = Some(error.clone());
        }
        done
    }

    /// Calls sled.
    fn call<T, E: Into<Failure>>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, Error> {
        guarded(call).map_err(|failure| failure.of(&self.dir))
    }

    /// Makes everything that sled has durable.
    fn sync(&self, writer: &Writer) -> Result<(), Error> {
        self.call(|| self.trees.flush())?;
        self.call(|| writer.data.sync_data())
    }
}

impl Drop for SledLog {
    fn drop(&mut self) {
        // The file may be behind; nothing is lost when it is.
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = writer.head.sync();
    }
}

impl Log for SledLog {
    fn describe(&self) -> String {
        format!("sled store in {}", self.dir.display())
    }

    fn begin_epoch(&self) -> Result<Epoch, Error> {
        self.write(|writer| {
            let epoch = Epoch(self.heads().epoch().0 + 1);
            self.call(|| self.trees.set_number(b"epoch", &epoch.0.to_le_bytes()))?;
            self.sync(writer)?;
            self.heads_mut().begin_epoch(epoch);
            Ok(epoch)
        })
    }

    fn append(&self, commit: &Commit) -> Result<(), Error> {
        self.write(|_| {
            self.heads().check(commit)?;
            self.call(|| self.trees.insert(&commit.batches))?;
            self.heads_mut().append(commit);
            Ok(())
        })
    }

    fn flush(&self) -> Result<(), Error> {
        self.write(|writer| {
            self.sync(writer)?;
            let last = self.heads().appended();
            if last != self.heads().last() {
                self.call(|| writer.head.write(last))?;
            }
            self.heads_mut().flush();
            Ok(())
        })
    }

    fn trim(&self, log: LogId, before: u64) -> Result<(), Error> {
        self.write(|writer| {
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
            self.sync(writer)
        })
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
        loop {
            let Bounds { first, head, .. } = self.bounds(log);
            if from >= head {
                return Ok(Vec::new());
            }
            let from = from.max(first);
            match self.call(|| self.read_before(log, from, head, bytes_max)) {
                // Not lost, but trimmed meanwhile.
                Err(Error::Missing { .. }) if self.bounds(log).first > from => {}
                read => return read,
            }
        }
    }

    fn find_element(&self, log: LogId, index: u64) -> Result<Option<Batch>, Error> {
        let bounds = self.bounds(log);
        if index >= bounds.elements {
            return Ok(None);
        }
        // The element is in [low, high), unless it was trimmed.
        let (mut low, mut high) = (bounds.first, bounds.head);
        while low < high {
            let middle = low + (high - low) / 2;
            let batch = self.read(log, middle, 0)?.swap_remove(0);
            let header = batch.header();
            if index >= header.end_index() {
                low = header.end_offset();
            } else if index >= header.base_index || header.base_offset <= low || header.base_offset > middle {
                return Ok(Some(batch));
            } else {
                high = header.base_offset;
            }
        }
        Err(Error::Missing { log, from: low, to: high })
    }

    fn snapshots(&self) -> Result<Vec<Seq>, Error> {
        snapshot::list(&self.dir).map_err(|error| Failure::from(error).of(&self.dir))
    }

    fn write_snapshot(&self, at: Seq, pieces: &mut dyn Iterator<Item = Vec<u8>>) -> Result<(), Error> {
        snapshot::write(&self.dir, at, pieces)
            .map_err(|why| Error::Refused(format!("the snapshot of commit {at} is not written: {why}")))
    }

    fn read_snapshot(&self, at: Seq, see: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        let read = snapshot::read(&self.dir, at, see);
        read.map_err(|why| Error::BadSnapshot { at, why: why.to_string() })
    }

    fn drop_snapshot(&self, at: Seq) -> Result<(), Error> {
        snapshot::remove(&self.dir, at).map_err(|error| Failure::from(error).of(&self.dir))
    }
}

/// Waits until nobody has sled's file locked, if there is one; answers it.
fn await_unlock(dir: &Path, store: &Path) -> Result<Option<File>, OpenError> {
    let Ok(data) = File::open(store.join("db")) else { return Ok(None) };
    directory::await_unlock(dir, &data)?;
    Ok(Some(data))
}

/// Finds where all logs begin and end, by their first and last keys, and the newest commit.
fn find_heads(trees: &Trees, known: Last) -> Result<Heads, Failure> {
    let mut heads = Heads::default();
    let mut newest: Vec<Batch> = Vec::new();
    let mut from = Some(LogId(0));
    while let Some(log) = from.map(|from| trees.first_log(from)).transpose()?.flatten() {
        let commit = last_commit(trees, log)?;
        let (Some(base), Some(last)) = (commit.first(), commit.last()) else { break };
        let end = End {
            commit_base: base.header().base_offset,
            offset: last.header().end_offset(),
            elements: last.header().end_index(),
        };
        // What is missing before the first batch and was not trimmed is lost, and found so by readers.
        heads.found_log(log, trees.number(&first_key(log))?.unwrap_or(0), end);
        let newest_seq = newest.first().map(|batch| batch.header().seq);
        if newest_seq < Some(last.header().seq) {
            newest = commit;
        } else if newest_seq == Some(last.header().seq) {
            newest.extend(commit);
        }
        from = log.0.checked_add(1).map(LogId);
    }
    let last = newest.first().map_or(Last::default(), |batch| Last {
        seq: batch.header().seq,
        epoch: batch.header().epoch,
        digest: Commit::digest(&newest),
    });
    let epoch = trees.number(b"epoch")?.unwrap_or(0);
    heads.found_last(last, Epoch(epoch).max(last.epoch).max(known.epoch));
    Ok(heads)
}

/// The batches of the newest commit on a log.
fn last_commit(trees: &Trees, log: LogId) -> Result<Vec<Batch>, Failure> {
    let mut commit: Vec<Batch> = Vec::new();
    for entry in trees.values(log, 0..u64::MAX).rev() {
        let (offset, value) = entry?;
        let batch = decode(log, offset, value)?;
        if commit.last().is_some_and(|later| later.header().seq != batch.header().seq) {
            break;
        }
        commit.push(batch);
    }
    commit.reverse();
    Ok(commit)
}

/// The name of the number in `meta` that says where a log begins.
fn first_key(log: LogId) -> [u8; 9] {
    let mut key = *b"first\0\0\0\0";
    key[5..].copy_from_slice(&log.0.to_be_bytes());
    key
}

/// Reads a stored value, which must be the batch that its key names.
fn decode(log: LogId, offset: u64, value: Bytes) -> Result<Batch, Error> {
    let damaged = |why: BadBatch| Error::Damaged { log, offset, why };
    let batch = Batch::read(value).map_err(damaged)?;
    if (batch.header().log, batch.header().base_offset) != (log, offset) {
        return Err(damaged(BadBatch::NotABatch(batch.bytes().len())));
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::OpenBatch;

    #[test]
    fn a_store_that_says_it_is_newer_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let open = || SledLog::open(dir.path(), SledOptions::default());
        open().unwrap().0.trees.set_number(b"version", &3u16.to_le_bytes()).ok().unwrap();
        for _ in 0..2 {
            let error = open().err().unwrap().to_string();
            assert!(error.starts_with("store version 3 is newer than 2: run a newer headwater"), "{error}");
        }
    }

    #[test]
    fn batches_that_are_gone_or_others_are_named_and_the_rest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
        let epoch = log.begin_epoch().unwrap();
        for at in 0..6 {
            let mut open = OpenBatch::new(LogId(1), at, at);
            assert!(open.push(&"record", true));
            let batches = vec![open.seal(Seq(at + 1), epoch, 0)];
            log.append(&Commit { seq: Seq(at + 1), epoch, batches }).unwrap();
        }
        log.flush().unwrap();
        let first = log.read(LogId(1), 0, 0).unwrap().swap_remove(0);
        log.trees.remove(LogId(1), &[0, 3]).ok().unwrap();
        log.trees.put(LogId(1), 5, first.bytes());
        let read = |from| {
            let batches = log.read(LogId(1), from, usize::MAX)?;
            Ok(batches.iter().map(|batch| batch.header().base_offset).collect::<Vec<_>>())
        };
        assert!(matches!(read(0), Err(Error::Missing { log: LogId(1), from: 0, to: 1 })));
        assert_eq!(read(1).unwrap(), [1, 2]);
        assert!(matches!(read(3), Err(Error::Missing { log: LogId(1), from: 3, to: 4 })));
        assert_eq!(read(4).unwrap(), [4]);
        assert!(matches!(read(5), Err(Error::Damaged { log: LogId(1), offset: 5, .. })));
        assert!(matches!(log.find_element(LogId(1), 3), Err(Error::Missing { from: 3, .. })));
    }
}
