//! Looks through raw bytes for intact batches.
//!
//! Memory: 72 bytes or so for each batch found once, and nothing for copies of it; no bytes of batches.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use memchr::memmem;

use crate::log::step::{Doing, Steps, Tell};
use crate::protocol::batch::{Batch, Header, MAGIC};
use crate::protocol::limits::BATCH_BYTES_MAX;
use crate::protocol::{Epoch, LogId, Seq};

/// How much is read at a time.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// A disk refuses whole sectors: what cannot be read is passed over in steps of this.
const SECTOR_BYTES: usize = 4096;

/// Where an intact batch lies, and what decides between it and another in the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log) struct Entry {
    /// Which file, by its place in the list of them.
    file: u32,
    /// Its first byte in the file.
    at: u64,
    /// How many bytes.
    bytes: u32,
    /// How many records.
    pub count: u32,
    /// Its commit.
    pub seq: Seq,
    /// Its epoch.
    pub epoch: Epoch,
}

impl Entry {
    /// What is newer wins. Each start begins an epoch, so of two batches that claim the same offsets the
    /// one of the older epoch is of a commit that never became durable, and was written anew.
    pub fn age(&self) -> (Epoch, Seq) {
        (self.epoch, self.seq)
    }
}

/// Intact batches, by log and base offset.
pub(in crate::log) type Found = BTreeMap<LogId, BTreeMap<u64, Entry>>;

/// The raw files of a store, open to be read.
#[derive(Debug)]
pub(in crate::log) struct Source {
    files: Vec<(PathBuf, File)>,
    /// Bytes that the disk would not give.
    pub unreadable: u64,
    /// All bytes.
    pub bytes: u64,
}

impl Source {
    /// All files in a directory and below; none when it is not there.
    pub fn open(store: &Path) -> io::Result<Source> {
        let mut source = Source { files: Vec::new(), unreadable: 0, bytes: 0 };
        source.add(store)?;
        source.files.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(source)
    }

    fn add(&mut self, dir: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                self.add(&path)?;
            } else {
                let file = File::open(&path)?;
                self.files.push((path, file));
            }
        }
        Ok(())
    }

    /// Finds all intact batches. Of those in one place the newest is kept.
    pub fn scan(&mut self, tell: Tell<'_>) -> io::Result<Found> {
        let mut found = Found::new();
        let lengths = self.files.iter().map(|(_, file)| Ok(file.metadata()?.len()));
        let all = lengths.sum::<io::Result<u64>>()?;
        let mut steps = Steps::begin(Doing::Scanning, all, tell);
        for file in 0..self.files.len() {
            let mut see = |at: u64, header: &Header, bytes: usize| {
                let entry = Entry {
                    file: file as u32,
                    at,
                    bytes: bytes as u32,
                    count: header.count,
                    seq: header.seq,
                    epoch: header.epoch,
                };
                let here = found.entry(header.log).or_default().entry(header.base_offset).or_insert(entry);
                if entry.age() > here.age() {
                    *here = entry;
                }
            };
            let (bytes, unreadable) =
                scan_file(&mut self.files[file].1, &mut see, &mut |bytes| steps.add(bytes))?;
            self.bytes += bytes;
            self.unreadable += unreadable;
        }
        Ok(found)
    }

    /// Reads a batch that was found.
    pub fn read(&mut self, entry: &Entry) -> io::Result<Batch> {
        let (path, file) = &mut self.files[entry.file as usize];
        let mut bytes = vec![0; entry.bytes as usize];
        file.seek(SeekFrom::Start(entry.at))?;
        file.read_exact(&mut bytes)?;
        Batch::read(bytes).map_err(|why| {
            let what = format!("{}: what was whole is damaged when it is read again: {why}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    }
}

/// Shows each intact batch in a file, and tells `looked` of how many bytes it has looked through more; answers how many bytes
/// there are, and how many could not be read.
fn scan_file(
    file: &mut File,
    see: &mut dyn FnMut(u64, &Header, usize),
    looked: &mut dyn FnMut(u64),
) -> io::Result<(u64, u64)> {
    let length = file.metadata()?.len();
    let mut buffer: Vec<u8> = Vec::with_capacity(CHUNK_BYTES + BATCH_BYTES_MAX);
    let (mut base, mut unreadable) = (0, 0);
    loop {
        let at = base + buffer.len() as u64;
        let more = (length.saturating_sub(at)).min(CHUNK_BYTES as u64) as usize;
        let filled = buffer.len();
        buffer.resize(filled + more, 0);
        unreadable += read_what_can_be(file, at, &mut buffer[filled..])?;
        let is_end = at + more as u64 >= length;
        let done = batches_in(&buffer, is_end, &mut |at, header, bytes| see(base + at as u64, header, bytes));
        looked(done as u64);
        if is_end {
            return Ok((length, unreadable));
        }
        buffer.drain(..done);
        base += done as u64;
    }
}

/// Reads, and leaves zeros where the disk refuses; answers for how many bytes it did.
fn read_what_can_be(file: &mut File, at: u64, into: &mut [u8]) -> io::Result<u64> {
    file.seek(SeekFrom::Start(at))?;
    if file.read_exact(into).is_ok() {
        return Ok(0);
    }
    let mut refused = 0;
    for (number, sector) in into.chunks_mut(SECTOR_BYTES).enumerate() {
        file.seek(SeekFrom::Start(at + (number * SECTOR_BYTES) as u64))?;
        if file.read_exact(sector).is_err() {
            sector.fill(0);
            refused += sector.len() as u64;
        }
    }
    Ok(refused)
}

/// Shows each intact batch in these bytes: where it begins, its header and its length. Answers how far it
/// has looked: when more bytes will come, what is behind that is to be shown again in front of them.
///
/// It goes on behind what it found, so that a batch within a batch is none.
pub(in crate::log) fn batches_in(
    bytes: &[u8],
    is_end: bool,
    see: &mut dyn FnMut(usize, &Header, usize),
) -> usize {
    let magic = memmem::Finder::new(&MAGIC);
    let mut at = 0;
    while let Some(found) = magic.find(&bytes[at..]) {
        let start = at + found;
        let rest = &bytes[start..bytes.len().min(start + BATCH_BYTES_MAX)];
        if !is_end && rest.len() < BATCH_BYTES_MAX {
            return start;
        }
        at = match Batch::check(rest) {
            Ok((header, length)) if makes_sense(&header) => {
                see(start, &header, length);
                start + length
            }
            _ => start + MAGIC.len(),
        };
    }
    if is_end { bytes.len() } else { at.max(bytes.len().saturating_sub(MAGIC.len() - 1)) }
}

/// Whether the numbers can be those of a batch that someone wrote.
fn makes_sense(header: &Header) -> bool {
    let (count, elements) = (u64::from(header.count), u64::from(header.elements));
    let ends = (header.base_offset.checked_add(count), header.base_index.checked_add(elements));
    count > 0 && elements <= count && ends.0.is_some() && ends.1.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::OpenBatch;

    fn batch(log: u32, offset: u64, seq: u64, epoch: u64, text: &str) -> Batch {
        let mut open = OpenBatch::new(LogId(log), offset, 0);
        assert!(open.push(&text, false));
        open.seal(Seq(seq), Epoch(epoch), 0)
    }

    fn found(bytes: &[u8]) -> Vec<(usize, u64)> {
        let mut seen = Vec::new();
        batches_in(bytes, true, &mut |at, header, _| seen.push((at, header.base_offset)));
        seen
    }

    #[test]
    fn intact_ones_are_found_anywhere_and_no_others() {
        let one = batch(1, 7, 1, 1, "one");
        let mut bytes = b"HWBTHWB".to_vec();
        bytes.extend_from_slice(one.bytes());
        let torn = bytes.len();
        bytes.extend_from_slice(&one.bytes()[..40]);
        bytes.extend_from_slice(batch(1, 8, 2, 1, "two").bytes());
        assert_eq!(found(&bytes), [(7, 7), (torn + 40, 8)]);
        bytes[7 + 70] ^= 1;
        assert_eq!(found(&bytes), [(torn + 40, 8)]);
    }

    #[test]
    fn a_batch_within_a_batch_is_none() {
        let inner = batch(9, 9, 9, 9, "inner");
        let mut open = OpenBatch::new(LogId(1), 0, 0);
        assert!(open.push(&inner.bytes().to_vec(), false));
        let outer = open.seal(Seq(1), Epoch(1), 0);
        assert_eq!(found(outer.bytes()), [(0, 0)]);
    }

    #[test]
    fn every_place_of_a_file_is_looked_at_and_the_newest_copy_wins() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("blobs")).unwrap();
        let mut bytes = vec![0; CHUNK_BYTES - 100];
        // It lies across the border of two reads.
        bytes.extend_from_slice(batch(1, 3, 5, 1, &"x".repeat(60_000)).bytes());
        bytes.extend_from_slice(batch(1, 4, 6, 1, "old").bytes());
        bytes.extend_from_slice(batch(1, 4, 6, 2, "new").bytes());
        bytes.extend_from_slice(batch(1, 4, 6, 1, "old").bytes());
        fs::write(dir.path().join("db"), &bytes).unwrap();
        fs::write(dir.path().join("blobs/1"), batch(2, 0, 7, 2, "blob").bytes()).unwrap();
        let mut source = Source::open(dir.path()).unwrap();
        let found = source.scan(&mut |_| {}).unwrap();
        let places: Vec<(u32, u64)> =
            found.iter().flat_map(|(log, found)| found.keys().map(|offset| (log.0, *offset))).collect();
        assert_eq!(places, [(1, 3), (1, 4), (2, 0)]);
        assert_eq!(source.read(&found[&LogId(1)][&4]).unwrap(), batch(1, 4, 6, 2, "new"));
        assert_eq!(source.read(&found[&LogId(2)][&0]).unwrap(), batch(2, 0, 7, 2, "blob"));
        assert_eq!((source.bytes, source.unreadable), (bytes.len() as u64 + 73, 0));
        assert!(Source::open(&dir.path().join("none")).unwrap().scan(&mut |_| {}).unwrap().is_empty());
    }
}
