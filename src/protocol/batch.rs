//! The envelope of stored records. What is stored is what is sent: a reader gets these bytes, and
//! checks them itself.
//!
//! A **batch** holds the records of one commit for one log (or a part of them: a commit may bring
//! several batches for one log, each under [`BATCH_BYTES_MAX`]). All numbers are little-endian.
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..4 | magic | `HWBT` |
//! | 4..6 | version | [`STORE_VERSION`]; older ones are read as well |
//! | 6 | codec | 1: records in postcard, one after the other; 2 (since version 2): the records are lost |
//! | 7 | | 0 |
//! | 8..12 | log | [`LogId`] |
//! | 12..16 | count | records |
//! | 16..24 | base offset | offset of the first record |
//! | 24..32 | base index | elements in the log before this batch |
//! | 32..40 | seq | the commit |
//! | 40..48 | epoch | of the scheduler that wrote it |
//! | 48..56 | time | of the commit, ms since the Unix epoch |
//! | 56..60 | length | bytes of the body |
//! | 60..64 | elements | how many of the records are elements |
//! | 64..68 | checksum | CRC32C of bytes 0..64 and the body |
//! | 68.. | body | the records; or, where they are lost, why, in UTF-8 |
//!
//! A batch of codec 2 stands in the place of records that cannot be had any more: it has their offsets
//! and says how many of them were elements, so that everything behind it stays where it was.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::ids::{Epoch, LogId, Seq};
use super::limits::{BATCH_BYTES_MAX, RECORD_BYTES_MAX};
use super::unread::Unread;
use super::version::STORE_VERSION;
use super::{ChannelEvent, TimeMs};

/// What every batch begins with.
pub const MAGIC: [u8; 4] = *b"HWBT";
const CODEC_POSTCARD: u8 = 1;
const CODEC_LOST: u8 = 2;

/// Most bytes of the words in a batch whose records are lost.
const WHY_BYTES_MAX: usize = 1024;

const CODEC_AT: usize = 6;
const CHECKSUM_AT: usize = 64;

/// Bytes before the body.
pub const HEADER_BYTES: usize = 68;

/// What a batch says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The log.
    pub log: LogId,
    /// How many records.
    pub count: u32,
    /// How many of them are elements.
    pub elements: u32,
    /// The offset of the first record.
    pub base_offset: u64,
    /// Elements in the log before this batch.
    pub base_index: u64,
    /// The commit.
    pub seq: Seq,
    /// The scheduler's epoch.
    pub epoch: Epoch,
    /// When the commit was made.
    pub time_ms: TimeMs,
}

impl Header {
    /// The offset after the last record.
    pub fn end_offset(&self) -> u64 {
        self.base_offset + u64::from(self.count)
    }

    /// The elements in the log up to the end of this batch.
    pub fn end_index(&self) -> u64 {
        self.base_index + u64::from(self.elements)
    }
}

/// Records that are lost, as a batch in their place says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The first offset that is lost.
    pub from: u64,
    /// The first offset behind them.
    pub to: u64,
    /// Why, in words.
    pub why: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "records {} to {} are lost: {}", self.from, self.to, self.why)
    }
}

/// Bytes that are not a whole batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBatch {
    /// Too short, or not a batch at all.
    #[error("these {0} bytes are not a batch")]
    NotABatch(usize),
    /// A format of the future.
    #[error("batch version {found} is newer than {STORE_VERSION}: use a newer headwater")]
    Version {
        /// The version found.
        found: u16,
    },
    /// The checksum does not fit.
    #[error(
        "the batch of log {log} at offset {base_offset} is damaged: checksum {found:08x}, not {expected:08x}"
    )]
    Checksum {
        /// The log that the damaged header names.
        log: LogId,
        /// The offset that the damaged header names.
        base_offset: u64,
        /// What the bytes give.
        found: u32,
        /// What the header says.
        expected: u32,
    },
    /// A record that does not decode, in a batch whose checksum fits.
    #[error("record {offset} of log {log} does not decode: {why}")]
    Record {
        /// The log.
        log: LogId,
        /// The record's offset.
        offset: u64,
        /// What postcard says.
        why: String,
    },
}

/// A whole batch: its header, and its bytes with the header in them. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    header: Header,
    bytes: Bytes,
}

impl Batch {
    /// What the batch says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The store version that wrote it.
    pub fn version(&self) -> u16 {
        version_of(&self.bytes)
    }

    /// The bytes as they are stored and sent.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Takes a batch from the front of `bytes`, which may hold more behind it.
    ///
    /// # Errors
    /// [`BadBatch`]; `bytes` is then left as it was.
    pub fn take(bytes: &mut Bytes) -> Result<Batch, BadBatch> {
        let (header, end) = Batch::check(bytes)?;
        Ok(Batch { header, bytes: bytes.split_to(end) })
    }

    /// What the batch at the front of `bytes` says of itself, once it is found to be whole, and its length.
    ///
    /// # Errors
    /// [`BadBatch`].
    pub fn check(bytes: &[u8]) -> Result<(Header, usize), BadBatch> {
        let (header, length) = read_header(bytes)?;
        let end = HEADER_BYTES + length;
        if bytes.len() < end {
            return Err(BadBatch::NotABatch(bytes.len()));
        }
        let expected = u32_at(bytes, CHECKSUM_AT);
        let found = checksum(&bytes[..CHECKSUM_AT], &bytes[HEADER_BYTES..end]);
        if found != expected {
            let Header { log, base_offset, .. } = header;
            return Err(BadBatch::Checksum { log, base_offset, found, expected });
        }
        Ok((header, end))
    }

    /// Reads bytes that are one batch and nothing else.
    ///
    /// # Errors
    /// [`BadBatch`].
    pub fn read(bytes: impl Into<Bytes>) -> Result<Batch, BadBatch> {
        let mut bytes = bytes.into();
        let batch = Batch::take(&mut bytes)?;
        if bytes.is_empty() { Ok(batch) } else { Err(BadBatch::NotABatch(bytes.len())) }
    }

    /// A batch in the place of records that are lost. `header` is what it says of them: which they are,
    /// and which commit and time stand for theirs.
    pub fn lost(header: Header, why: &str) -> Batch {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend_from_slice(&why.as_bytes()[..why.floor_char_boundary(WHY_BYTES_MAX)]);
        sealed(header, CODEC_LOST, bytes)
    }

    /// Whether this batch stands for records that are lost.
    pub fn is_lost(&self) -> bool {
        self.bytes[CODEC_AT] == CODEC_LOST
    }

    /// What is lost, if this batch stands for records that are.
    pub fn damage(&self) -> Option<Damage> {
        let why = || String::from_utf8_lossy(&self.bytes[HEADER_BYTES..]).into_owned();
        let Header { base_offset: from, .. } = self.header;
        self.is_lost().then(|| Damage { from, to: self.header.end_offset(), why: why() })
    }

    /// The offset of the element of a channel with this index, if it is in here and can be read.
    pub fn offset_of_element(&self, index: u64) -> Option<u64> {
        let ahead = usize::try_from(index.checked_sub(self.header.base_index)?).ok()?;
        let records = self.records::<ChannelEvent>().map_while(Result::ok);
        records.filter(|(_, event)| event.is_element()).nth(ahead).map(|(offset, _)| offset)
    }

    /// The records with their offsets, in order. Ends after the first that does not decode. None of a
    /// batch whose records are lost: see [`Batch::damage`].
    pub fn records<R: DeserializeOwned>(&self) -> impl Iterator<Item = Result<(u64, R), BadBatch>> + use<R> {
        let mut unread = Unread::all_of(self.clone());
        std::iter::from_fn(move || unread.take())
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn checksum(header: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), body)
}

fn version_of(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[4], bytes[5]])
}

fn read_header(bytes: &[u8]) -> Result<(Header, usize), BadBatch> {
    if bytes.len() < HEADER_BYTES || bytes[..4] != MAGIC {
        return Err(BadBatch::NotABatch(bytes.len()));
    }
    let version = version_of(bytes);
    if version > STORE_VERSION {
        return Err(BadBatch::Version { found: version });
    }
    let is_known = matches!((version, bytes[CODEC_AT]), (_, CODEC_POSTCARD) | (2.., CODEC_LOST));
    if !is_known {
        return Err(BadBatch::NotABatch(bytes.len()));
    }
    let header = Header {
        log: LogId(u32_at(bytes, 8)),
        count: u32_at(bytes, 12),
        base_offset: u64_at(bytes, 16),
        base_index: u64_at(bytes, 24),
        seq: Seq(u64_at(bytes, 32)),
        epoch: Epoch(u64_at(bytes, 40)),
        time_ms: u64_at(bytes, 48),
        elements: u32_at(bytes, 60),
    };
    Ok((header, u32_at(bytes, 56) as usize))
}

/// A batch that is being filled. Each record is encoded once, into the bytes that will be stored.
#[derive(Debug)]
pub struct OpenBatch {
    log: LogId,
    base_offset: u64,
    base_index: u64,
    count: u32,
    elements: u32,
    bytes: Vec<u8>,
}

impl OpenBatch {
    /// An empty batch that will begin at this offset, with this many elements before it.
    pub fn new(log: LogId, base_offset: u64, base_index: u64) -> Self {
        OpenBatch { log, base_offset, base_index, count: 0, elements: 0, bytes: vec![0; HEADER_BYTES] }
    }

    /// The offset that the next record gets.
    pub fn next_offset(&self) -> u64 {
        self.base_offset + u64::from(self.count)
    }

    /// The elements in the log, those of this batch included.
    pub fn next_index(&self) -> u64 {
        self.base_index + u64::from(self.elements)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes it has so far.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a record, unless the batch would grow over [`BATCH_BYTES_MAX`]: then it is left as it was,
    /// the answer is `false`, and the record belongs in the next batch.
    ///
    /// # Panics
    /// When a record alone is over [`RECORD_BYTES_MAX`]: the edge lets no such record in.
    pub fn push<R: Serialize>(&mut self, record: &R, is_element: bool) -> bool {
        let before = self.bytes.len();
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes =
            postcard::to_extend(record, bytes).expect("records hold nothing that postcard cannot carry");
        self.take_in(before, is_element)
    }

    /// Adds a record that is encoded already, in two parts. As [`Self::push`] otherwise, its panic included.
    pub fn push_encoded(&mut self, parts: [&[u8]; 2], is_element: bool) -> bool {
        let before = self.bytes.len();
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.take_in(before, is_element)
    }

    /// Takes the bytes from there on for a record, if it has a place here.
    fn take_in(&mut self, before: usize, is_element: bool) -> bool {
        let record_bytes = self.bytes.len() - before;
        assert!(record_bytes <= RECORD_BYTES_MAX, "a record of {record_bytes} bytes");
        if self.bytes.len() > BATCH_BYTES_MAX && self.count > 0 {
            self.bytes.truncate(before);
            return false;
        }
        self.count += 1;
        self.elements += u32::from(is_element);
        true
    }

    /// Closes the batch as part of a commit.
    pub fn seal(self, seq: Seq, epoch: Epoch, time_ms: TimeMs) -> Batch {
        let header = Header {
            log: self.log,
            count: self.count,
            elements: self.elements,
            base_offset: self.base_offset,
            base_index: self.base_index,
            seq,
            epoch,
            time_ms,
        };
        sealed(header, CODEC_POSTCARD, self.bytes)
    }
}

/// Writes the header into its place before the body, which is there.
fn sealed(header: Header, codec: u8, mut bytes: Vec<u8>) -> Batch {
    let length = (bytes.len() - HEADER_BYTES) as u32;
    bytes[0..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&STORE_VERSION.to_le_bytes());
    bytes[CODEC_AT] = codec;
    bytes[8..12].copy_from_slice(&header.log.0.to_le_bytes());
    bytes[12..16].copy_from_slice(&header.count.to_le_bytes());
    bytes[16..24].copy_from_slice(&header.base_offset.to_le_bytes());
    bytes[24..32].copy_from_slice(&header.base_index.to_le_bytes());
    bytes[32..40].copy_from_slice(&header.seq.0.to_le_bytes());
    bytes[40..48].copy_from_slice(&header.epoch.0.to_le_bytes());
    bytes[48..56].copy_from_slice(&header.time_ms.to_le_bytes());
    bytes[56..60].copy_from_slice(&length.to_le_bytes());
    bytes[60..64].copy_from_slice(&header.elements.to_le_bytes());
    let sum = checksum(&bytes[..CHECKSUM_AT], &bytes[HEADER_BYTES..]);
    bytes[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    // It may be kept for long, and small ones by the hundred thousand.
    bytes.shrink_to_fit();
    Batch { header, bytes: bytes.into() }
}

/// The events that were accepted together: one atomic, durable write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its number; every batch in it carries the same.
    pub seq: Seq,
    /// The scheduler's epoch.
    pub epoch: Epoch,
    /// The batches, by log and offset; at least one.
    pub batches: Vec<Batch>,
}

impl Commit {
    /// How many bytes its batches are.
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.bytes.len()).sum()
    }

    /// A checksum over all of it: the chained headers of its batches, in order, which carry their bodies' CRCs.
    pub fn digest<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Digest {
        Digest::default().with_all(batches.into_iter().map(|batch| &batch.bytes[..HEADER_BYTES]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: &[&str]) -> Batch {
        let mut open = OpenBatch::new(LogId(3), 10, 4);
        for record in records {
            assert!(open.push(record, true));
        }
        open.seal(Seq(7), Epoch(2), 1_700_000_000_000)
    }

    #[test]
    fn a_batch_reads_back_as_it_was_written() {
        let written = batch(&["a", "", "ccc"]);
        let read = Batch::read(written.bytes().clone()).unwrap();
        assert_eq!(read, written);
        assert_eq!((read.header().end_offset(), read.header().end_index()), (13, 7));
        let records: Vec<(u64, String)> = read.records().collect::<Result<_, _>>().unwrap();
        assert_eq!(records, [(10, "a".into()), (11, String::new()), (12, "ccc".into())]);
    }

    #[test]
    fn batches_follow_each_other_in_a_frame() {
        let mut bytes = [batch(&["a"]).bytes().as_ref(), batch(&["b", "c"]).bytes()].concat().into();
        assert_eq!(Batch::take(&mut bytes), Ok(batch(&["a"])));
        assert_eq!(Batch::take(&mut bytes), Ok(batch(&["b", "c"])));
        assert!(bytes.is_empty());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = batch(&["some", "records"]);
        for at in 0..good.bytes().len() {
            for bit in 0..8 {
                let mut bad = good.bytes().to_vec();
                bad[at] ^= 1 << bit;
                assert!(Batch::read(bad).is_err(), "bit {bit} of byte {at}");
            }
            assert!(Batch::read(good.bytes().slice(..at)).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_full_batch_refuses_the_next_record_and_stays_whole() {
        let mut open = OpenBatch::new(LogId(1), 0, 0);
        let record = vec![7u8; 10_000];
        let mut count = 0;
        while open.push(&record, false) {
            count += 1;
        }
        assert_eq!(count, 6);
        let batch = open.seal(Seq(1), Epoch(1), 0);
        assert!(batch.bytes().len() <= BATCH_BYTES_MAX);
        assert_eq!(batch.records::<Vec<u8>>().count(), 6);
    }

    #[test]
    fn lost_records_keep_their_place_and_say_why() {
        let header = Header { count: 5, elements: 2, ..*batch(&["a"]).header() };
        let lost = Batch::lost(header, "64 KiB of zeros");
        assert_eq!(Batch::read(lost.bytes().clone()), Ok(lost.clone()));
        assert_eq!((lost.header().end_offset(), lost.header().end_index()), (15, 6));
        assert_eq!(lost.records::<String>().count(), 0);
        let damage = lost.damage().unwrap();
        assert_eq!(damage.to_string(), "records 10 to 15 are lost: 64 KiB of zeros");
        assert_eq!(batch(&["a"]).damage(), None);
        let long = Batch::lost(header, &"é".repeat(WHY_BYTES_MAX)).damage().unwrap();
        assert_eq!(long.why.len(), WHY_BYTES_MAX);
    }

    #[test]
    fn version_1_is_read_and_knows_no_lost_records() {
        let of_version_1 = |batch: Batch| {
            let mut bytes = batch.bytes().to_vec();
            bytes[4] = 1;
            let sum = checksum(&bytes[..CHECKSUM_AT], &bytes[HEADER_BYTES..]);
            bytes[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
            Batch::read(bytes)
        };
        assert_eq!(of_version_1(batch(&["a"])).map(|batch| batch.records::<String>().count()), Ok(1));
        let lost = of_version_1(Batch::lost(*batch(&["a"]).header(), "why"));
        assert!(matches!(lost, Err(BadBatch::NotABatch(_))));
    }

    #[test]
    fn a_record_of_the_future_is_named() {
        let error = batch(&["\u{7}"]).records::<(u64, u64, u64)>().next().unwrap().unwrap_err();
        assert!(error.to_string().starts_with("record 10 of log 3 does not decode"), "{error}");
    }
}
