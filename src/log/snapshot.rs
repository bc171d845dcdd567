//! Snapshots in files: what a start begins with, instead of the first record.
//!
//! They lie in `snapshots/` beside the store, one file each, named by the commit (20 digits) at which they
//! show the state. So they cost the commits nothing but the disk's time, and damage to the store's own
//! files leaves them whole. A snapshot is written as `….unfinished`, fsynced, and gets its name last: what
//! has a name was whole once. This module knows pieces, not what is in them; it names no engine.
//!
//! Numbers are little-endian.
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..4 | magic | `HWSN` |
//! | 4..6 | version | [`STORE_VERSION`] |
//! | 6..8 | | 0 |
//! | 8..16 | seq | the commit |
//! | 16..20 | checksum | CRC32C of bytes 0..16 |
//!
//! and then pieces, each
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..4 | length | bytes of the body; 0 in the last piece, which ends the file |
//! | 4..8 | checksum | CRC32C of seq (u64), the piece's number from 0 (u32), and the body |
//! | 8.. | body | |

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::directory;
use crate::protocol::Seq;
use crate::protocol::version::STORE_VERSION;

const MAGIC: [u8; 4] = *b"HWSN";
const HEADER_BYTES: usize = 20;
const PIECE_HEADER_BYTES: usize = 8;

/// Longest body of a piece, 1 MiB: sixteen times what one is meant to be. More is damage, and not worth
/// the memory to find out.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The directory, beside the store's.
const FOLDER: &str = "snapshots";
const UNFINISHED: &str = "unfinished";
const AHEAD: &str = "ahead";

/// After how many bytes the file is fsynced on the way, 4 MiB: so that the disk never has so much to do
/// at once that a commit's own fsync waits for long.
const SYNC_BYTES: usize = 4 * 1024 * 1024;

/// What is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadSnapshot {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is of a version that this build cannot read.
    #[error("snapshot version {0} is newer than {STORE_VERSION}: use a newer headwater")]
    Newer(u16),
    /// Its bytes are not as they were written.
    #[error("{0}")]
    Damaged(String),
}

/// The snapshots of a store, newest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Seq>> {
    let entries = match fs::read_dir(dir.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        // What has another name is unfinished, or not ours.
        let number = name.to_str().filter(|name| name.len() == 20).and_then(|name| name.parse().ok());
        found.extend(number.map(Seq));
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Writes a snapshot, durably: all of it or nothing.
pub(super) fn write(dir: &Path, seq: Seq, pieces: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()> {
    let mut writing = Writing::begin(dir, seq)?;
    for piece in pieces {
        writing.add(&piece)?;
    }
    writing.finish()
}

/// A snapshot that is being written. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub(super) struct Writing {
    dir: PathBuf,
    seq: Seq,
    file: BufWriter<File>,
    number: u32,
    unsynced: usize,
    is_finished: bool,
}

impl Writing {
    /// Begins the snapshot of a commit in a store's directory.
    pub fn begin(dir: &Path, seq: Seq) -> io::Result<Writing> {
        fs::create_dir_all(dir.join(FOLDER))?;
        let file = BufWriter::new(File::create(unfinished(dir, seq))?);
        let dir = dir.to_owned();
        let mut writing = Writing { dir, seq, file, number: 0, unsynced: 0, is_finished: false };
        writing.file.write_all(&header(seq))?;
        Ok(writing)
    }

    /// Adds a piece, unless it is empty.
    pub fn add(&mut self, body: &[u8]) -> io::Result<()> {
        if body.is_empty() { Ok(()) } else { self.put(body) }
    }

    fn put(&mut self, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).expect("a piece of less than 4 GiB");
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(&checksum(self.seq, self.number, body).to_le_bytes())?;
        self.file.write_all(body)?;
        self.number += 1;
        self.unsynced += body.len();
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.file.flush()?;
            self.file.get_ref().sync_data()?;
        }
        Ok(())
    }

    /// Ends it, makes it durable, and gives it its name.
    pub fn finish(mut self) -> io::Result<()> {
        self.put(&[])?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(unfinished(&self.dir, self.seq), path(&self.dir, self.seq))?;
        self.is_finished = true;
        directory::sync(&self.dir.join(FOLDER))?;
        directory::sync(&self.dir)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.is_finished {
            // It may not even be there; and what is left of it is in nobody's way.
            let _ = fs::remove_file(unfinished(&self.dir, self.seq));
        }
    }
}

/// Opens a snapshot, to be read piece by piece.
pub(super) fn open(dir: &Path, seq: Seq) -> Result<Pieces, BadSnapshot> {
    let mut file = BufReader::with_capacity(256 * 1024, File::open(path(dir, seq))?);
    let mut start = [0; HEADER_BYTES];
    fill(&mut file, &mut start)?;
    let version = u16::from_le_bytes([start[4], start[5]]);
    if start[..4] == MAGIC && version > STORE_VERSION {
        return Err(BadSnapshot::Newer(version));
    }
    if start != with_version(seq, version) {
        return Err(damaged("its beginning is not one of this snapshot".to_owned()));
    }
    Ok(Pieces { seq, file, number: 0, is_over: false })
}

/// The pieces of a snapshot. What comes before an error is as it was written; an error is the last item.
#[derive(Debug)]
pub(super) struct Pieces {
    seq: Seq,
    file: BufReader<File>,
    number: u32,
    is_over: bool,
}

impl Pieces {
    fn read(&mut self) -> Result<Option<Vec<u8>>, BadSnapshot> {
        let number = self.number;
        let mut start = [0; PIECE_HEADER_BYTES];
        fill(&mut self.file, &mut start)?;
        let [length, expected] = [0, 4].map(|at| u32::from_le_bytes([0, 1, 2, 3].map(|n| start[at + n])));
        if length as usize > BODY_BYTES_MAX {
            return Err(damaged(format!("piece {number} says that it has {length} bytes")));
        }
        let mut body = vec![0; length as usize];
        fill(&mut self.file, &mut body)?;
        let found = checksum(self.seq, number, &body);
        if found != expected {
            return Err(damaged(format!("piece {number} has checksum {found:08x}, not {expected:08x}")));
        }
        self.number += 1;
        if !body.is_empty() {
            return Ok(Some(body));
        }
        match self.file.read(&mut [0])? {
            0 => Ok(None),
            _ => Err(damaged("there is something behind its end".to_owned())),
        }
    }
}

impl Iterator for Pieces {
    type Item = Result<Vec<u8>, BadSnapshot>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let read = self.read().transpose();
        self.is_over = !matches!(read, Some(Ok(_)));
        read
    }
}

fn damaged(what: String) -> BadSnapshot {
    BadSnapshot::Damaged(what)
}

/// How many bytes the file of a snapshot has.
pub(super) fn bytes(dir: &Path, seq: Seq) -> io::Result<u64> {
    Ok(fs::metadata(path(dir, seq))?.len())
}

/// Removes a snapshot if it is there, durably.
pub(super) fn remove(dir: &Path, seq: Seq) -> io::Result<()> {
    match fs::remove_file(path(dir, seq)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| directory::sync(&dir.join(FOLDER))),
    }
}

/// Sets aside the snapshots of commits behind `last`: the store has lost those commits, and others will have
/// their numbers. They are kept for people, as `….ahead`. Durably: or a failure of the machine, once there are those others,
/// would bring the snapshots back as theirs.
pub(super) fn set_aside(dir: &Path, last: Seq) -> io::Result<()> {
    let mut ahead = list(dir)?;
    ahead.retain(|seq| *seq > last);
    for seq in &ahead {
        fs::rename(path(dir, *seq), path(dir, *seq).with_extension(AHEAD))?;
    }
    if ahead.is_empty() { Ok(()) } else { directory::sync(&dir.join(FOLDER)) }
}

/// Removes what a writer that was cut off has left.
pub(super) fn remove_unfinished(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn path(dir: &Path, seq: Seq) -> PathBuf {
    dir.join(FOLDER).join(format!("{:020}", seq.0))
}

fn unfinished(dir: &Path, seq: Seq) -> PathBuf {
    path(dir, seq).with_extension(UNFINISHED)
}

fn header(seq: Seq) -> [u8; HEADER_BYTES] {
    with_version(seq, STORE_VERSION)
}

fn with_version(seq: Seq, version: u16) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&version.to_le_bytes());
    bytes[8..16].copy_from_slice(&seq.0.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn checksum(seq: Seq, number: u32, body: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&seq.0.to_le_bytes()), &number.to_le_bytes());
    crc32c::crc32c_append(place, body)
}

fn fill(file: &mut impl Read, bytes: &mut [u8]) -> Result<(), BadSnapshot> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BadSnapshot::Damaged("it is cut off".to_owned()),
        _ => BadSnapshot::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQ: Seq = Seq(7);

    fn pieces() -> Vec<Vec<u8>> {
        vec![b"one".to_vec(), vec![2; 70_000], b"three".to_vec()]
    }

    fn read_all(dir: &Path) -> Result<Vec<Vec<u8>>, BadSnapshot> {
        open(dir, SEQ)?.collect()
    }

    #[test]
    fn what_was_written_is_read_and_gone_when_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(list(dir.path()).unwrap(), []);
        for seq in [Seq(3), SEQ, Seq(5)] {
            write(dir.path(), seq, &mut pieces().into_iter()).unwrap();
        }
        fs::write(dir.path().join("snapshots/00000000000000000009.unfinished"), "half").unwrap();
        assert_eq!(list(dir.path()).unwrap(), [SEQ, Seq(5), Seq(3)]);
        assert_eq!(read_all(dir.path()).unwrap(), pieces());
        remove_unfinished(dir.path()).unwrap();
        remove(dir.path(), Seq(5)).unwrap();
        remove(dir.path(), Seq(5)).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("snapshots")).unwrap().count(), 2);
        assert!(matches!(open(dir.path(), Seq(5)), Err(BadSnapshot::Io(_))));
    }

    #[test]
    fn every_flipped_byte_every_cut_and_every_other_place_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let few = [b"one".to_vec(), b"two".to_vec()];
        write(dir.path(), SEQ, &mut few.into_iter()).unwrap();
        let file = path(dir.path(), SEQ);
        let good = fs::read(&file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&file, bad).unwrap();
            assert!(read_all(dir.path()).is_err(), "byte {at}");
            fs::write(&file, &good[..at]).unwrap();
            assert!(read_all(dir.path()).is_err(), "cut at {at}");
        }
        fs::write(&file, [&good[..], b"x"].concat()).unwrap();
        assert!(read_all(dir.path()).is_err(), "more than was written");
        fs::write(path(dir.path(), Seq(8)), &good).unwrap();
        assert!(open(dir.path(), Seq(8)).is_err(), "under another's name");
    }

    #[test]
    fn one_that_is_open_is_read_to_its_end_though_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), SEQ, &mut pieces().into_iter()).unwrap();
        let mut opened = open(dir.path(), SEQ).unwrap();
        let first = opened.next().unwrap().unwrap();
        remove(dir.path(), SEQ).unwrap();
        let rest: Result<Vec<_>, _> = opened.collect();
        assert_eq!([vec![first], rest.unwrap()].concat(), pieces());
    }

    #[test]
    fn one_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut writing = Writing::begin(dir.path(), SEQ).unwrap();
        writing.add(b"one").unwrap();
        drop(writing);
        assert_eq!(fs::read_dir(dir.path().join(FOLDER)).unwrap().count(), 0);
    }

    #[test]
    fn one_of_the_future_is_named() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), SEQ, &mut std::iter::empty()).unwrap();
        let mut bytes = fs::read(path(dir.path(), SEQ)).unwrap();
        bytes[4] = 9;
        fs::write(path(dir.path(), SEQ), bytes).unwrap();
        let error = read_all(dir.path()).unwrap_err().to_string();
        let expected = format!("snapshot version 9 is newer than {STORE_VERSION}: use a newer headwater");
        assert_eq!(error, expected);
    }
}
