//! Whether sled will take up all that its file holds, found without opening it.
//!
//! When sled 0.34.7 opens, it takes its index of pages from the file `snap.…` and reads on in `db` from
//! where that index ends (its name says where). What it then cannot read it does not report: it skips the
//! rest of a segment, or takes it for the end, and **zeroes** the segments behind
//! (`src/pagecache/{iterator,snapshot,segment}.rs`). So before it is let near the file, the part that it is
//! going to read is read here, in the same way and with the same checksums. Where that is less than what
//! the file holds, sled is not let near it.
//!
//! `db` is a row of segments of 8 MiB. Each begins with a header, then come messages. Numbers are
//! little-endian; `lsn` is a place in the endless log of which the file holds segments, in any order.
//!
//! | segment header | |
//! |---|---|
//! | 0..4 | CRC32 of bytes 4..20, inverted |
//! | 4..12 | the segment's lsn, XOR `0x7fff_ffff_ffff_ffff` |
//! | 12..20 | up to which lsn all was on the disk when the segment was begun, with the same XOR |
//!
//! | message | |
//! |---|---|
//! | 0..4 | CRC32 of the body, then bytes 4.. of this header, inverted |
//! | 4 | kind: 0 none, 2 the segment ends here, 3 all up to an lsn (the body) counts only together |
//! | 5.. | length of the body, number of the segment (its lsn / 8 MiB), page: three varints |
//! | .. | the body |
//!
//! A process that is killed leaves a tail: at most one commit that was not flushed, then zeros, or what a
//! segment held before it was taken anew. That is no damage, and sled may clear it away. It is damage when
//! batches lie behind the end which are newer than that one commit, or known to be durable. What this reads
//! is bounded by what was written since the last start, as is what sled reads.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::trees::SEGMENT_BYTES;
use crate::log::Last;
use crate::log::salvage::batches_in;
use crate::protocol::Seq;

const SEGMENT: u64 = SEGMENT_BYTES as u64;
const SEGMENT_HEADER: usize = 20;
/// sled begins no message closer to the end of a segment.
const MESSAGE_HEADER_MAX: usize = 32;
const INVERTED: u64 = 0x7fff_ffff_ffff_ffff;

const KIND_NONE: u8 = 0;
const KIND_END: u8 = 2;
const KIND_TOGETHER: u8 = 3;
const KIND_LAST: u8 = 11;

/// What is wrong with the store in this directory, if anything is: sled would lose some of it. `known` is
/// the last durable commit, if that is known.
///
/// # Errors
/// When the system refuses.
pub(super) fn check(store: &Path, known: Option<Last>) -> io::Result<Option<String>> {
    let mut file = match File::open(store.join("db")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let index = index_end(store)?;
    let checked = Segments::find(&mut file, index).and_then(|segments| segments.read(&mut file));
    Ok(match checked {
        Ok(tail) => tail.judge(known, index),
        Err(Bad::Segment(why)) => Some(why),
        Err(Bad::Io(error)) if is_of_disk(&error) => Some(format!("its file cannot be read: {error}")),
        Err(Bad::Io(error)) => return Err(error),
    })
}

/// Whether the disk did not give what it had, rather than that nobody may have it.
fn is_of_disk(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(EIO)
}

enum Bad {
    Segment(String),
    Io(io::Error),
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        Bad::Io(error)
    }
}

/// The lsn up to which sled's index goes; 0 when there is none.
fn index_end(store: &Path) -> io::Result<u64> {
    let mut newest = 0;
    for entry in fs::read_dir(store)? {
        let name = entry?.file_name();
        let lsn = name.to_str().and_then(|name| u64::from_str_radix(name.strip_prefix("snap.")?, 16).ok());
        newest = newest.max(lsn.unwrap_or(0));
    }
    Ok(newest)
}

/// The segments that sled is going to read: where each lies, by lsn.
struct Segments {
    at: BTreeMap<u64, u64>,
    /// From this segment on there must be no gap between them.
    tail: u64,
}

impl Segments {
    fn find(file: &mut File, index: u64) -> Result<Segments, Bad> {
        let length = file.metadata()?.len();
        let first = index / SEGMENT * SEGMENT;
        let (mut at, mut stable, mut cleared) = (BTreeMap::new(), index, Vec::new());
        for offset in (0..length).step_by(SEGMENT_BYTES) {
            if length - offset < SEGMENT_HEADER as u64 {
                return Err(Bad::Segment(format!(
                    "its file ends in the middle of a header, at byte {length}"
                )));
            }
            let mut header = [0; SEGMENT_HEADER];
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(&mut header)?;
            if header == [0; SEGMENT_HEADER] {
                cleared.push(offset);
                continue;
            }
            let number = |at: usize| u64_at(&header, at) ^ INVERTED;
            let (lsn, stable_then) = (number(4), number(12));
            let is_whole = crc32fast::hash(&header[4..]) == !u32_at(&header, 0);
            if !is_whole || lsn % SEGMENT != 0 {
                return Err(Bad::Segment(format!("the header of its segment at byte {offset} is damaged")));
            }
            if lsn < first {
                continue;
            }
            // -1 where nothing was stable yet.
            stable = stable.max(if stable_then > INVERTED { 0 } else { stable_then });
            if at.insert(lsn, offset).is_some() {
                return Err(Bad::Segment(format!("it has two segments with the number {}", lsn / SEGMENT)));
            }
        }
        let tail = stable / SEGMENT * SEGMENT;
        let segments = Segments { at, tail };
        segments.check_whole(file, index, &cleared)?;
        Ok(segments)
    }

    /// Whether the segments are there that must be.
    fn check_whole(&self, file: &mut File, index: u64, cleared: &[u64]) -> Result<(), Bad> {
        let gone =
            |lsn: u64| Err(Bad::Segment(format!("its segment with the number {} is gone", lsn / SEGMENT)));
        let Some((&newest, _)) = self.at.last_key_value() else {
            return if index % SEGMENT == 0 { Ok(()) } else { gone(index) };
        };
        let first = index / SEGMENT * SEGMENT;
        let is_dense = (first..=newest).step_by(SEGMENT_BYTES).all(|lsn| self.at.contains_key(&lsn));
        if !is_dense {
            // Some were taken anew since, or their headers are zeroed: then the rest of them is not.
            for offset in cleared {
                file.seek(SeekFrom::Start(*offset))?;
                let mut bytes = Vec::new();
                file.take(SEGMENT).read_to_end(&mut bytes)?;
                if bytes.iter().any(|byte| *byte != 0) {
                    return Err(Bad::Segment(format!(
                        "the header of its segment at byte {offset} is zeroed"
                    )));
                }
            }
        }
        if self.at.contains_key(&self.tail) { Ok(()) } else { gone(self.tail) }
    }

    /// Reads them in order, as sled does.
    fn read(self, file: &mut File) -> Result<Tail, Bad> {
        let mut tail = Tail::default();
        let mut next = self.tail;
        let mut bytes = Vec::with_capacity(SEGMENT_BYTES);
        for (&lsn, &offset) in &self.at {
            file.seek(SeekFrom::Start(offset))?;
            bytes.clear();
            Read::by_ref(file).take(SEGMENT).read_to_end(&mut bytes)?;
            if lsn >= self.tail {
                // One that does not follow is not read by sled.
                tail.is_over |= lsn != next;
                next = lsn + SEGMENT;
            }
            if tail.is_over {
                tail.look_behind(&bytes);
                continue;
            }
            match tail.walk(&bytes, lsn) {
                None => {}
                Some(at) if lsn < self.tail => {
                    return Err(Bad::Segment(format!("its file is damaged at byte {}", offset + at as u64)));
                }
                Some(at) => {
                    tail.is_over = true;
                    tail.look_behind(&bytes[at.min(bytes.len())..]);
                }
            }
        }
        tail.finish();
        Ok(tail)
    }
}

/// What was read, and what lies behind the end of it.
#[derive(Default)]
struct Tail {
    /// The newest commit that was read.
    read: Option<Seq>,
    /// The newest commit behind the end.
    behind: Option<Seq>,
    /// The lsn after the last message.
    end: u64,
    /// Messages that count only together: the lsn of the last, and what was read before the first.
    together: Option<(u64, Option<Seq>)>,
    is_over: bool,
}

impl Tail {
    /// Reads the messages of a segment; answers where it met something else, if it did.
    fn walk(&mut self, segment: &[u8], lsn: u64) -> Option<usize> {
        let mut at = SEGMENT_HEADER;
        self.end = lsn + at as u64;
        while at + MESSAGE_HEADER_MAX <= SEGMENT_BYTES {
            let message = Message::read(segment, at, lsn / SEGMENT);
            let Some(Message { kind, body, end }) = message else { return Some(at) };
            match kind {
                KIND_END => return None,
                KIND_TOGETHER if body.len() != 8 => return Some(at),
                KIND_TOGETHER if self.together.is_none_or(|(last, _)| last < self.end) => {
                    self.together = Some((u64_at(body, 0), self.read));
                }
                _ => {}
            }
            let newest = &mut self.read;
            batches_in(body, true, &mut |_, header, _| *newest = (*newest).max(Some(header.seq)));
            self.end = lsn + end as u64;
            at = end;
        }
        None
    }

    fn look_behind(&mut self, bytes: &[u8]) {
        let newest = &mut self.behind;
        batches_in(bytes, true, &mut |_, header, _| *newest = (*newest).max(Some(header.seq)));
    }

    /// Takes back what counts only together with what is not there.
    fn finish(&mut self) {
        if let Some((last, before)) = self.together
            && last >= self.end
        {
            (self.behind, self.read) = (self.behind.max(self.read), before);
        }
    }

    /// What is wrong. Up to the lsn `index` there may be commits that sled need not read again.
    fn judge(&self, known: Option<Last>, index: u64) -> Option<String> {
        if self.end > 0 && self.end < index {
            return Some("its file ends before what its index of pages knows".to_owned());
        }
        let known = known.map(|known| known.seq);
        // Where nothing was read that has a number, the head file's is the newest before.
        let read = self.read.or(known);
        let next = read.map_or(Seq(1), Seq::next);
        let is_lost = match self.behind {
            None => false,
            Some(behind) if behind > next => true,
            Some(behind) if behind == next => known.is_none_or(|known| known >= behind),
            // It may be a copy of what was read. Where nothing was, it is the last that is known.
            Some(behind) => self.read.is_none() && Some(behind) == known,
        };
        match (self.behind, self.read, known) {
            (Some(behind), _, _) if is_lost => Some(format!(
                "its file is damaged before the end: commit {} is the last that can be read, and behind it lies \
                 commit {behind}",
                read.unwrap_or_default()
            )),
            (_, Some(read), Some(known)) if read < known => {
                Some(format!("its newest commit is {read}, and the head file beside it says {known}"))
            }
            (_, None, Some(known)) if known > Seq(0) && index == 0 => {
                Some(format!("it has no commit that can be read, and the head file beside it says {known}"))
            }
            _ => None,
        }
    }
}

/// A message of sled's.
struct Message<'a> {
    kind: u8,
    body: &'a [u8],
    /// Where the next one begins in the segment.
    end: usize,
}

impl<'a> Message<'a> {
    /// The message that begins here, if it is whole.
    fn read(segment: &'a [u8], at: usize, segment_number: u64) -> Option<Message<'a>> {
        let mut rest = segment.get(at + 5..)?;
        let kind = segment[at + 4];
        if kind == KIND_NONE || kind > KIND_LAST {
            return None;
        }
        let (length, number, _page) = (varint(&mut rest)?, varint(&mut rest)?, varint(&mut rest)?);
        let begin = segment.len() - rest.len();
        let body = rest.get(..usize::try_from(length).ok()?)?;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(body);
        checksum.update(&segment[at + 4..begin]);
        let is_whole = checksum.finalize() == !u32_at(segment, at);
        (is_whole && number == segment_number).then_some(Message { kind, body, end: begin + body.len() })
    }
}

/// sled's variable-length numbers (`src/serialization.rs`, after SQLite 4).
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    let (value, length) = match first {
        0..=240 => (u64::from(first), 0),
        241..=248 => (240 + 256 * (u64::from(first) - 241) + u64::from(*rest.first()?), 1),
        249 => (2288 + 256 * u64::from(*rest.first()?) + u64::from(*rest.get(1)?), 2),
        250.. => {
            let length = usize::from(first) - 247;
            let bytes = rest.get(..length)?;
            (bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)), length)
        }
    };
    *bytes = &rest[length..];
    Some(value)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
