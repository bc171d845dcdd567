//! The `head` file beside a store: which commit was the last durable one.
//!
//! A store cannot know that its own end is gone (cut off, zeroed, an old copy). This small file can: a
//! store that opens behind it has lost something. It is overwritten in place after each commit's
//! flush, without an fsync of its own: so it costs little and is never ahead of the disk. It may be
//! behind, torn or missing, which is no damage of the store. Numbers are little-endian. Every version
//! keeps magic, version and checksum where they are, so that an older build knows a newer store.
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..4 | magic | `HWHD` |
//! | 4..6 | version | [`STORE_VERSION`] |
//! | 6..8 | | 0 |
//! | 8..16 | seq | the last durable commit |
//! | 16..24 | epoch | of that commit |
//! | 24..32 | digest | of that commit |
//! | 32..36 | checksum | CRC32C of bytes 0..32 |

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::Last;
use crate::protocol::version::STORE_VERSION;
use crate::protocol::{Digest, Epoch, Seq};

const MAGIC: [u8; 4] = *b"HWHD";
const CHECKSUM_AT: usize = 32;
const HEAD_BYTES: usize = 36;

/// After how many commits the file is fsynced on the way.
const COMMITS_PER_SYNC: u32 = 1024;

/// The open file.
#[derive(Debug)]
pub(super) struct HeadFile {
    file: File,
    commits_since_sync: u32,
}

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing: it is new, empty or torn.
    Nothing,
    /// The last durable commit that it knows of, and the version of the store.
    Last(Last, u16),
    /// It is of a version that this build cannot read.
    Newer(u16),
}

impl HeadFile {
    /// Opens the file, or makes an empty one.
    pub fn open(path: &Path) -> io::Result<(HeadFile, Found)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(HEAD_BYTES as u64).read_to_end(&mut bytes)?;
        Ok((HeadFile { file, commits_since_sync: 0 }, decode(&bytes)))
    }

    /// Puts down a new last commit. It must be durable.
    pub fn write(&mut self, last: Last) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&encode(last))?;
        self.commits_since_sync += 1;
        if self.commits_since_sync >= COMMITS_PER_SYNC { self.sync() } else { Ok(()) }
    }

    /// Makes what was written durable.
    pub fn sync(&mut self) -> io::Result<()> {
        self.commits_since_sync = 0;
        self.file.sync_all()
    }
}

pub(super) fn encode(last: Last) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    bytes[0..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&STORE_VERSION.to_le_bytes());
    bytes[8..16].copy_from_slice(&last.seq.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&last.epoch.0.to_le_bytes());
    bytes[24..32].copy_from_slice(&last.digest.0.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..CHECKSUM_AT]);
    bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Found {
    if bytes.len() < HEAD_BYTES || bytes[..4] != MAGIC {
        return Found::Nothing;
    }
    let checksum = u32::from_le_bytes(bytes[CHECKSUM_AT..HEAD_BYTES].try_into().expect("four bytes"));
    if checksum != crc32c::crc32c(&bytes[..CHECKSUM_AT]) {
        return Found::Nothing;
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version > STORE_VERSION {
        return Found::Newer(version);
    }
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    Found::Last(Last { seq: Seq(number(8)), epoch: Epoch(number(16)), digest: Digest(number(24)) }, version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Last = Last { seq: Seq(7), epoch: Epoch(2), digest: Digest(0x0123_4567_89ab_cdef) };

    #[test]
    fn the_last_one_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("head");
        let (mut head, found) = HeadFile::open(&path).unwrap();
        assert_eq!(found, Found::Nothing);
        head.write(Last { seq: Seq(6), ..LAST }).unwrap();
        head.write(LAST).unwrap();
        assert_eq!(HeadFile::open(&path).unwrap().1, Found::Last(LAST, STORE_VERSION));
    }

    #[test]
    fn a_torn_one_says_nothing() {
        let good = encode(LAST);
        for at in 0..HEAD_BYTES {
            let mut bad = good;
            bad[at] ^= 1;
            assert_eq!(decode(&bad), Found::Nothing, "byte {at}");
            assert_eq!(decode(&good[..at]), Found::Nothing, "cut at {at}");
        }
    }

    #[test]
    fn one_of_the_future_is_named() {
        let mut bytes = encode(LAST);
        bytes[4] = STORE_VERSION as u8 + 1;
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(decode(&bytes), Found::Newer(STORE_VERSION + 1));
    }
}
