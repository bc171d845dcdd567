//! Whether sled will take up all that its file holds, found without opening it.
//!
//! When sled 0.34.7 opens, it takes its index of pages from the file `snap.…` and reads on in `db` from
//! where that index ends (its name says where). What it then cannot read it does not report: it skips the
//! rest of a segment, or takes it for the end, and **zeroes** the segments behind
//! (`src/pagecache/{iterator,snapshot,segment}.rs`). So before it is let near the file, the part that it is
//! going to read is read here, in the same way and with the same checksums. Where that is less than what
//! the file holds, sled is not let near it.
//!
//! A process that is killed leaves a tail: commits that were not flushed, then zeros, or what a segment held before
//! it was taken anew. That is no damage, and sled may clear it away, as far as the write-ahead log goes on from where
//! sled's reading ends. It is damage when batches lie behind that which are newer than the one commit that was
//! under way, or known to be durable. What this reads is bounded by what was written since the last start, as is
//! what sled reads.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::RangeInclusive;
use std::path::Path;

use super::raw::{
    KIND_END, KIND_TOGETHER, MESSAGE_HEADER_MAX, Message, SEGMENT_HEADER, SegmentHeader, u64_at,
};
use super::trees::SEGMENT_BYTES;
use super::wal;
use crate::log::Last;
use crate::log::salvage::batches_in;
use crate::protocol::batch::{HEADER_BYTES, Header};
use crate::protocol::{Digest, LogId, Seq};

const SEGMENT: u64 = SEGMENT_BYTES as u64;

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
    let commits = match wal::read(store) {
        Err(error) if is_of_disk(&error) => {
            return Ok(Some(format!("its write-ahead log cannot be read: {error}")));
        }
        commits => commits?,
    };
    let wal = commits.first().zip(commits.last()).map(|(first, last)| first.seq..=last.seq);
    let checked = check_file(&mut file, index_end(store)?, known, wal);
    match checked {
        Err(Bad::Io(error)) if is_of_disk(&error) => Ok(Some(format!("its file cannot be read: {error}"))),
        Err(Bad::Io(error)) => Err(error),
        Err(Bad::Segment(why)) => Ok(Some(why)),
        Ok(()) => Ok(None),
    }
}

fn check_file(file: &mut File, index: u64, known: Option<Last>, wal: Option<InWal>) -> Result<(), Bad> {
    let segments = Segments::find(file, index, known.is_none())?;
    let mut tail = segments.read(file)?;
    let mut wrong = tail.judge(known, index, wal.clone());
    if wrong.is_some() && index > 0 {
        // Where there is an index, the newest commit may lie before what was read: that may be old batches alone, which
        // sled has written anew.
        tail.take_in(segments.newest_before(file)?);
        wrong = tail.judge(known, index, wal);
    }
    wrong.map_or(Ok(()), |why| Err(Bad::Segment(why)))
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
    /// Where those lie that sled need not read again.
    before: Vec<u64>,
}

impl Segments {
    /// `is_strict`: segments that are said to be empty are looked at, whether or not one seems to be missing.
    fn find(file: &mut File, index: u64, is_strict: bool) -> Result<Segments, Bad> {
        let length = file.metadata()?.len();
        let first = index / SEGMENT * SEGMENT;
        let (mut at, mut stable) = (BTreeMap::new(), index);
        let (mut before, mut cleared) = (Vec::new(), Vec::new());
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
            let Some(SegmentHeader { lsn, stable: stable_then }) =
                SegmentHeader::read(&header).filter(|header| header.lsn.is_multiple_of(SEGMENT))
            else {
                return Err(Bad::Segment(format!("the header of its segment at byte {offset} is damaged")));
            };
            if lsn < first {
                before.push(offset);
                continue;
            }
            stable = stable.max(stable_then);
            if at.insert(lsn, offset).is_some() {
                return Err(Bad::Segment(format!("it has two segments with the number {}", lsn / SEGMENT)));
            }
        }
        let tail = stable / SEGMENT * SEGMENT;
        let segments = Segments { at, tail, before };
        segments.check_whole(file, index, &cleared, is_strict)?;
        Ok(segments)
    }

    /// Whether the segments are there that must be.
    fn check_whole(&self, file: &mut File, index: u64, cleared: &[u64], is_strict: bool) -> Result<(), Bad> {
        let gone =
            |lsn: u64| Err(Bad::Segment(format!("its segment with the number {} is gone", lsn / SEGMENT)));
        let Some((&newest, _)) = self.at.last_key_value() else {
            return if index.is_multiple_of(SEGMENT) { Ok(()) } else { gone(index) };
        };
        let first = index / SEGMENT * SEGMENT;
        let is_dense = (first..=newest).step_by(SEGMENT_BYTES).all(|lsn| self.at.contains_key(&lsn));
        if !is_dense || is_strict {
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

    /// The newest commit in the segments that sled need not read again.
    fn newest_before(&self, file: &mut File) -> io::Result<Option<Seq>> {
        let mut newest = Tail::default();
        let mut bytes = Vec::with_capacity(SEGMENT_BYTES);
        for offset in &self.before {
            file.seek(SeekFrom::Start(*offset))?;
            bytes.clear();
            Read::by_ref(file).take(SEGMENT).read_to_end(&mut bytes)?;
            newest.look_behind(&bytes);
        }
        Ok(newest.behind)
    }

    /// Reads them in order, as sled does.
    fn read(&self, file: &mut File) -> Result<Tail, Bad> {
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

/// The commits that the write-ahead log has, the first to the last.
type InWal = RangeInclusive<Seq>;

/// What was read, and what lies behind the end of it.
#[derive(Default)]
struct Tail {
    /// The newest commit that was read.
    read: Option<Seq>,
    /// The headers of its batches, by log and base offset.
    headers: BTreeMap<(LogId, u64), Vec<u8>>,
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
            batches_in(body, true, &mut |at, header, _| self.see(header, &body[at..at + HEADER_BYTES]));
            self.end = lsn + end as u64;
            at = end;
        }
        None
    }

    fn see(&mut self, header: &Header, bytes: &[u8]) {
        if self.read < Some(header.seq) {
            self.read = Some(header.seq);
            self.headers.clear();
        }
        if self.read == Some(header.seq) {
            self.headers.insert((header.log, header.base_offset), bytes.to_vec());
        }
    }

    fn look_behind(&mut self, bytes: &[u8]) {
        let newest = &mut self.behind;
        batches_in(bytes, true, &mut |_, header, _| *newest = (*newest).max(Some(header.seq)));
    }

    /// Takes in the newest commit that lies before what was read.
    fn take_in(&mut self, before: Option<Seq>) {
        if self.read <= before {
            self.read = before;
            self.headers.clear();
        }
    }

    /// Takes back what counts only together with what is not there.
    fn finish(&mut self) {
        if let Some((last, before)) = self.together
            && last >= self.end
        {
            (self.behind, self.read) = (self.behind.max(self.read), before);
            self.headers.clear();
        }
    }

    /// The newest commit that there is once the write-ahead log has gone on from what was read.
    fn reached(&self, index: u64, wal: Option<InWal>) -> Option<Seq> {
        let (first, last) = wal?.into_inner();
        let before = Seq(first.0.saturating_sub(1));
        // Where sled has an index, its newest commit may lie before what was read. Whether it does is seen later.
        let read = self.read.unwrap_or(if index > 0 { before } else { Seq(0) });
        (read >= before).then(|| read.max(last))
    }

    /// Whether this commit was read, but not all of it.
    fn is_part_of(&self, head: Option<Last>) -> bool {
        let headers = self.headers.values().map(Vec::as_slice);
        !self.headers.is_empty()
            && head.is_some_and(|head| Digest::default().with_all(headers) != head.digest)
    }

    /// What is wrong. Up to the lsn `index` there may be commits that sled need not read again.
    fn judge(&self, head: Option<Last>, index: u64, wal: Option<InWal>) -> Option<String> {
        let known = head.map(|head| head.seq);
        let is_in_wal = wal.as_ref().zip(known).is_some_and(|(wal, known)| wal.contains(&known));
        if self.end > 0 && self.end < index {
            return Some("its file is damaged where its index of pages goes on".to_owned());
        }
        // Where nothing was read that has a number, the head file's is the newest before.
        let reached = self.reached(index, wal).or(self.read);
        let read = reached.or(known);
        let next = read.map_or(Seq(1), Seq::next);
        let is_lost = match self.behind {
            None => false,
            Some(behind) if behind > next => true,
            Some(behind) if behind == next => known.is_none_or(|known| known >= behind),
            // It may be a copy of what was read. Where nothing was, it is the last that is known.
            Some(behind) => reached.is_none() && Some(behind) == known,
        };
        match (self.behind, reached, known) {
            (Some(behind), _, _) if is_lost => Some(format!(
                "its file is damaged before the end: commit {} is the last that can be read, and behind it lies commit {behind}",
                read.unwrap_or_default()
            )),
            (_, Some(read), Some(known)) if read < known => {
                Some(format!("its newest commit is {read}, and the head file beside it says {known}"))
            }
            (_, Some(read), Some(known)) if read == known && !is_in_wal && self.is_part_of(head) => {
                Some(format!("a part of its newest commit, {read}, is gone"))
            }
            (_, None, Some(known)) if known > Seq(0) && index == 0 => {
                Some(format!("it has no commit that can be read, and the head file beside it says {known}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_batches_that_were_written_anew_are_not_taken_for_the_newest() {
        let wal = Some(Seq(606)..=Seq(608));
        let known = Some(Last { seq: Seq(608), ..Last::default() });
        for behind in [None, Some(Seq(606))] {
            let mut tail = Tail { read: Some(Seq(297)), behind, ..Tail::default() };
            assert!(tail.judge(known, 1, wal.clone()).is_some());
            tail.take_in(Some(Seq(605)));
            assert_eq!(tail.judge(known, 1, wal.clone()), None);
            tail.take_in(Some(Seq(604)));
            assert_eq!(tail.judge(known, 1, wal.clone()), None, "what is older says nothing");
        }
        let mut short = Tail { read: Some(Seq(297)), ..Tail::default() };
        short.take_in(Some(Seq(604)));
        assert!(short.judge(known, 1, wal).is_some(), "commit 605 is nowhere");
    }
}
