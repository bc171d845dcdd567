//! The trees in sled, and the calls on them. The only file that names the crate.
//!
//! It knows keys and numbers, and takes what lies under a key for what the key says: whether that is so is
//! for others to check. Nothing here catches a panic of sled's: that is its caller's part (`guarded`).

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use sled::{Db, IVec, Mode, Tree};

use super::super::failure::Failure;
use super::cache::{KEYS_PER_PAGE, PAGES, Touches};
use crate::protocol::LogId;
use crate::protocol::batch::Batch;

/// 8 MiB: see the doc of [`super`]. It is fixed for the life of a store.
pub(super) const SEGMENT_BYTES: usize = 8 * 1024 * 1024;

/// How many batches at least come into memory with the first that is read: those of a page of sled's.
const BATCHES_PER_PAGE: usize = 8;

/// From this size on a batch has its place made before its bytes come, see [`Trees::make_places`]: 8 KiB. Of smaller ones two
/// calls cost more than what sled writes twice.
const PLACE_BYTES: usize = 8 * 1024;

/// The open trees of a store.
#[derive(Debug)]
pub(super) struct Trees {
    db: Db,
    batches: Tree,
    meta: Tree,
    /// The tiny pages of [`super::cache`].
    cache: Tree,
    touches: Touches,
}

impl Trees {
    /// Opens sled in this directory, or makes it.
    pub fn open(store: &Path, cache_bytes: u64) -> Result<Trees, Failure> {
        let db = sled::Config::new()
            .path(store)
            .cache_capacity(cache_bytes)
            .mode(Mode::HighThroughput)
            .segment_size(SEGMENT_BYTES)
            .use_compression(false)
            .flush_every_ms(None)
            .open()?;
        let batches = db.open_tree("batches")?;
        let meta = db.open_tree("meta")?;
        let cache = db.open_tree("cache")?;
        let keys = PAGES * KEYS_PER_PAGE;
        if !cache.contains_key((keys - 1).to_be_bytes())? {
            (0..keys).try_for_each(|key| cache.insert(key.to_be_bytes(), &[]).map(drop))?;
        }
        Ok(Trees { db, batches, meta, cache, touches: Touches::default() })
    }

    /// Says that so many bytes of batches came into sled's cache: see [`super::cache`].
    fn touch(&self, bytes: usize) -> Result<(), Failure> {
        for page in self.touches.owed(bytes) {
            self.cache.get((page * KEYS_PER_PAGE).to_be_bytes())?;
        }
        Ok(())
    }

    /// The same for batches that were put in.
    fn touch_for(&self, batches: &[Batch]) -> Result<(), Failure> {
        self.touch(batches.iter().map(|batch| batch.bytes().len()).sum())
    }

    /// Hands everything to the system. It is not on the disk then: see [`super`].
    pub fn flush(&self) -> Result<(), Failure> {
        self.db.flush()?;
        Ok(())
    }

    /// A number in `meta`.
    pub fn number(&self, name: &[u8]) -> Result<Option<u64>, Failure> {
        let value = self.meta.get(name)?;
        Ok(value.map(|value| value.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))))
    }

    /// Puts a number into `meta`, in as many bytes as are given, little-endian.
    pub fn set_number(&self, name: &[u8], bytes: &[u8]) -> Result<(), Failure> {
        self.meta.insert(name, bytes)?;
        Ok(())
    }

    /// Takes a number out of `meta`.
    pub fn remove_number(&self, name: &[u8]) -> Result<(), Failure> {
        self.meta.remove(name)?;
        Ok(())
    }

    /// The numbers in `meta` whose names begin with these bytes, by what follows them.
    pub fn numbers(&self, name: &[u8]) -> Result<Vec<(Vec<u8>, u64)>, Failure> {
        let mut numbers = Vec::new();
        for key in self.meta.scan_prefix(name).keys() {
            let key = key?;
            let number = self.number(&key)?.unwrap_or(0);
            numbers.push((key[name.len()..].to_vec(), number));
        }
        Ok(numbers)
    }

    /// Makes places for those of these batches that are large: their keys, with nothing under them. sled splits a page with its
    /// 17th key, and writes both halves of it anew, and keys come in order: so each batch was written three times. A page that
    /// is split while there is next to nothing in it costs next to nothing. What a process that ends leaves of places is at the
    /// ends of logs, and removed when the store is opened (`find.rs`).
    pub fn make_places<'a>(&self, batches: impl Iterator<Item = &'a Batch>) -> Result<(), Failure> {
        for batch in batches.filter(|batch| batch.bytes().len() >= PLACE_BYTES) {
            let header = batch.header();
            self.batches.insert(key(header.log, header.base_offset), &[])?;
        }
        Ok(())
    }

    /// Puts batches under their keys, one after the other.
    pub fn insert(&self, batches: &[Batch]) -> Result<(), Failure> {
        for batch in batches {
            let header = batch.header();
            self.batches.insert(key(header.log, header.base_offset), batch.bytes().as_ref())?;
        }
        self.touch_for(batches)
    }

    /// Puts batches under their keys, all or none. For that sled writes out all that it had before.
    pub fn insert_whole(&self, batches: &[Batch]) -> Result<(), Failure> {
        let mut all = sled::Batch::default();
        for batch in batches {
            let header = batch.header();
            all.insert(&key(header.log, header.base_offset), batch.bytes().as_ref());
        }
        self.batches.apply_batch(all)?;
        self.touch_for(batches)
    }

    /// Puts anything under a key.
    #[cfg(test)]
    pub fn put(&self, log: LogId, offset: u64, value: &[u8]) {
        self.batches.insert(key(log, offset), value).unwrap();
    }

    /// Takes out what lies under these offsets of a log, all or none.
    pub fn remove(&self, log: LogId, offsets: &[u64]) -> Result<(), Failure> {
        let mut all = sled::Batch::default();
        offsets.iter().for_each(|offset| all.remove(&key(log, *offset)));
        self.batches.apply_batch(all)?;
        Ok(())
    }

    /// What lies under the offsets in this range of a log, in order.
    pub fn values(
        &self,
        log: LogId,
        offsets: Range<u64>,
    ) -> impl DoubleEndedIterator<Item = Result<(u64, Bytes), Failure>> {
        let entries = self.batches.range(key(log, offsets.start)..key(log, offsets.end));
        let mut came = if self.touches.goes_on(log, offsets.start) { 1 } else { BATCHES_PER_PAGE };
        entries.map(move |entry| {
            let (key, value) = entry?;
            self.touch(came * value.len())?;
            came = 1;
            Ok((offset_of(&key), Bytes::from_owner(Value(value))))
        })
    }

    /// Says that values were read up to this offset: one that goes on there finds the page in memory.
    pub fn ended(&self, log: LogId, offset: u64) {
        self.touches.ended(log, offset);
    }

    /// The offsets in this range of a log under which something lies, in order.
    pub fn offsets(
        &self,
        log: LogId,
        offsets: Range<u64>,
    ) -> impl DoubleEndedIterator<Item = Result<u64, Failure>> {
        let keys = self.batches.range(key(log, offsets.start)..key(log, offsets.end)).keys();
        keys.map(|key| Ok(offset_of(&key?)))
    }

    /// The first log, from this one on, that holds anything.
    pub fn first_log(&self, from: LogId) -> Result<Option<LogId>, Failure> {
        let first = self.batches.range(key(from, 0)..).keys().next().transpose()?;
        Ok(first.map(|key| log_of(&key)))
    }
}

/// Bytes of sled's that are read where they lie.
struct Value(IVec);

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn key(log: LogId, offset: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&log.0.to_be_bytes());
    key[4..].copy_from_slice(&offset.to_be_bytes());
    key
}

fn log_of(key: &[u8]) -> LogId {
    LogId(key.iter().take(4).fold(0, |log, byte| log << 8 | u32::from(*byte)))
}

fn offset_of(key: &[u8]) -> u64 {
    key.iter().skip(4).fold(0, |offset, byte| offset << 8 | u64::from(*byte))
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => Failure::Io(error),
            other => Failure::Broken(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_full_disk_is_named_also_behind_sleds_own_error() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        for failure in [Failure::from(full()), Failure::from(sled::Error::Io(full()).clone())] {
            let words = failure.of(Path::new("dir")).to_string();
            assert!(
                words.contains("the disk of dir is full: free some space there and start again"),
                "{words}"
            );
        }
    }
}
