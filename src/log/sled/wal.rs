//! The write-ahead log, `store/wal`: where small commits become durable before sled has written them.
//!
//! A flush of sled's costs several hand-overs between its threads and two waits for the disk; one write and one
//! fdatasync of a file whose blocks are there already cost no hand-over and one wait. So a commit is put down here when it
//! is appended, and made durable here when it is flushed. It is given to sled, which keeps it in memory, when nobody waits for
//! that; what sled has is made durable now and then, a **checkpoint**, and then this file begins anew.
//!
//! ```text
//!   │ entry │ entry │ entry │ what an earlier round left, or zeros                │
//!   0                       at                                     zeroed    WAL_BYTES
//! ```
//!
//! | entry | |
//! |---|---|
//! | 0..4 | magic `HWWL` |
//! | 4..6 | version, [`STORE_VERSION`] |
//! | 6..8 | 0 |
//! | 8..16 | the commit's seq |
//! | 16..24 | its epoch |
//! | 24..28 | bytes of its batches |
//! | 28..32 | CRC32C of bytes 0..28 |
//! | 32.. | its batches, as they stand in sled, each with its own checksum |
//!
//! Numbers are little-endian. Entries follow each other from the beginning; the first that is not whole, or is not
//! the next commit, is what an earlier round left, or was being written when the process ended: there it ends.
//! Nothing has to be cleared for that, and what is left does no harm: a commit that sled has is passed over. Of commits that
//! were appended and not flushed a power failure may leave any part; the first that is not whole ends the file, and what
//! is behind it is not used, nor taken for the next one later: then the epoch before it is newer.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::{Buf, Bytes};

use super::raw::{u32_at, u64_at};
use crate::protocol::batch::{Batch, Commit};
use crate::protocol::version::STORE_VERSION;
use crate::protocol::{Epoch, Seq};

const MAGIC: [u8; 4] = *b"HWWL";
const CHECKSUM_AT: usize = 28;
const ENTRY_HEADER: usize = 32;

/// How large the file becomes: what a start has to read and put into sled at most, and what sled writes in one go.
/// sled may take a segment anew when what replaced it was written a segment ago, not when that is durable; so between two
/// checkpoints it must write less than a segment, 8 MiB, and it writes up to twice what it is given and more.
pub(super) const WAL_BYTES: u64 = 2 * 1024 * 1024;

/// What is larger than this is made durable by sled itself: over so much the cost of a flush is spread, and it need not be
/// written twice.
const BYTES_MAX: u64 = 512 * 1024;

/// Blocks are written before they are needed, so many bytes at a time: an fdatasync of blocks that are there waits
/// for no change of the file's own description.
const ZERO_BYTES: u64 = 256 * 1024;

/// The name of the file in sled's directory.
const NAME: &str = "wal";

/// The open file.
#[derive(Debug)]
pub(super) struct Wal {
    file: File,
    /// Where the next entry begins.
    at: u64,
    /// How far the file goes.
    zeroed: u64,
    /// What is being written.
    entry: Vec<u8>,
    /// Whether all of it is durable.
    is_synced: bool,
}

impl Wal {
    /// Opens the file in sled's directory, or makes one. It begins anew: sled must have everything.
    pub fn open(store: &Path) -> io::Result<Wal> {
        let file = File::options().write(true).create(true).truncate(false).open(store.join(NAME))?;
        let zeroed = file.metadata()?.len();
        Ok(Wal { file, at: 0, zeroed, entry: Vec::new(), is_synced: true })
    }

    /// Puts a commit down, unless there is no place for it before the next checkpoint; says whether there was. It is with
    /// the system then: it outlives this process, and is durable once that is asked for.
    pub fn write(&mut self, commit: &Commit) -> io::Result<bool> {
        let bytes = (ENTRY_HEADER + commit.bytes()) as u64;
        let end = self.at + bytes;
        if bytes > BYTES_MAX || end > WAL_BYTES {
            return Ok(false);
        }
        self.entry.clear();
        self.entry.extend_from_slice(&header(commit));
        commit.batches.iter().for_each(|batch| self.entry.extend_from_slice(batch.bytes()));
        if end > self.zeroed {
            self.zeroed = end.next_multiple_of(ZERO_BYTES);
            self.entry.resize((self.zeroed - self.at) as usize, 0);
        }
        self.is_synced = false;
        self.file.seek(SeekFrom::Start(self.at))?;
        self.file.write_all(&self.entry)?;
        self.at = end;
        Ok(true)
    }

    /// Makes durable what was put down.
    pub fn sync(&mut self) -> io::Result<()> {
        if !self.is_synced {
            self.file.sync_data()?;
            self.is_synced = true;
        }
        Ok(())
    }

    /// Begins anew: sled has made durable what was put down.
    pub fn begin_anew(&mut self) {
        self.at = 0;
    }

    /// Leaves an empty file, for a store that is closed.
    pub fn clear(&mut self) -> io::Result<()> {
        (self.at, self.zeroed) = (0, 0);
        self.file.set_len(0)
    }
}

/// The first version of a store that has a write-ahead log: its newest commits may be in there alone.
pub const SINCE_VERSION: u16 = 4;

/// Removes the file from sled's directory, if there is one: a store of an older version has none of its own.
pub(super) fn remove(store: &Path) -> io::Result<()> {
    match std::fs::remove_file(store.join(NAME)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn header(commit: &Commit) -> [u8; ENTRY_HEADER] {
    let mut header = [0; ENTRY_HEADER];
    header[0..4].copy_from_slice(&MAGIC);
    header[4..6].copy_from_slice(&STORE_VERSION.to_le_bytes());
    header[8..16].copy_from_slice(&commit.seq.0.to_le_bytes());
    header[16..24].copy_from_slice(&commit.epoch.0.to_le_bytes());
    header[24..28].copy_from_slice(&(commit.bytes() as u32).to_le_bytes());
    let checksum = crc32c::crc32c(&header[..CHECKSUM_AT]);
    header[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// The commits in the file in sled's directory, in order, each the next of the one before; none when there is no
/// file. At most [`WAL_BYTES`] are read.
pub(super) fn read(store: &Path) -> io::Result<Vec<Commit>> {
    let mut bytes = Vec::new();
    match File::open(store.join(NAME)) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        file => drop(file?.take(WAL_BYTES).read_to_end(&mut bytes)?),
    }
    let mut rest = Bytes::from(bytes);
    let mut commits: Vec<Commit> = Vec::new();
    while let Some(commit) = entry(&mut rest) {
        let follows = |last: &Commit| last.seq.next() == commit.seq && last.epoch <= commit.epoch;
        if !commits.last().is_none_or(follows) {
            break;
        }
        commits.push(commit);
    }
    Ok(commits)
}

/// The entry that these bytes begin with, if it is whole; what remains is what follows it.
fn entry(rest: &mut Bytes) -> Option<Commit> {
    let header = rest.get(..ENTRY_HEADER)?;
    let is_whole = u32_at(header, CHECKSUM_AT) == crc32c::crc32c(&header[..CHECKSUM_AT]);
    if header[..4] != MAGIC || !is_whole {
        return None;
    }
    let (seq, epoch) = (Seq(u64_at(header, 8)), Epoch(u64_at(header, 16)));
    let bytes = usize::try_from(u32_at(header, 24)).ok()?;
    rest.advance(ENTRY_HEADER);
    let mut body = (bytes <= rest.len()).then(|| rest.split_to(bytes))?;
    let mut batches = Vec::new();
    while !body.is_empty() {
        let batch = Batch::take(&mut body).ok()?;
        if (batch.header().seq, batch.header().epoch) != (seq, epoch) {
            return None;
        }
        batches.push(batch);
    }
    (!batches.is_empty()).then_some(Commit { seq, epoch, batches })
}
