//! sled's file, byte by byte, as far as one has to know it to see whether sled can read it.
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
//! Source: `src/pagecache/{segment,logger}.rs` and `src/serialization.rs` of sled 0.34.7.

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 20;
/// sled begins no message closer to the end of a segment.
pub(super) const MESSAGE_HEADER_MAX: usize = 32;
const INVERTED: u64 = 0x7fff_ffff_ffff_ffff;

const KIND_NONE: u8 = 0;
/// The segment ends here.
pub(super) const KIND_END: u8 = 2;
/// What follows, up to the lsn in the body, counts only together.
pub(super) const KIND_TOGETHER: u8 = 3;
const KIND_LAST: u8 = 11;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Where it belongs.
    pub lsn: u64,
    /// Up to where all was on the disk when it was begun.
    pub stable: u64,
}

impl SegmentHeader {
    /// Reads it, if it is whole.
    pub fn read(bytes: &[u8; SEGMENT_HEADER]) -> Option<SegmentHeader> {
        let number = |at: usize| u64_at(bytes, at) ^ INVERTED;
        // -1 where nothing was on the disk yet.
        let stable = Some(number(12)).filter(|stable| *stable <= INVERTED).unwrap_or(0);
        (crc32fast::hash(&bytes[4..]) == !u32_at(bytes, 0)).then(|| SegmentHeader { lsn: number(4), stable })
    }
}

/// A message of sled's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// What it is.
    pub kind: u8,
    /// What it says.
    pub body: &'a [u8],
    /// Where the next one begins in the segment.
    pub end: usize,
}

impl<'a> Message<'a> {
    /// The message that begins here, if it is whole.
    pub fn read(segment: &'a [u8], at: usize, segment_number: u64) -> Option<Message<'a>> {
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

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let header = [&[kind][..], &[body.len() as u8, 3, 7]].concat();
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(body);
        checksum.update(&header);
        [&(!checksum.finalize()).to_le_bytes()[..], &header, body].concat()
    }

    #[test]
    fn a_message_is_read_only_when_it_is_whole_and_of_its_segment() {
        let good = [vec![9; 5], message(8, b"body")].concat();
        let expected = Message { kind: 8, body: b"body", end: good.len() };
        assert_eq!(Message::read(&good, 5, 3), Some(expected));
        assert_eq!(Message::read(&good, 5, 4), None, "it was left by what was there before");
        for at in 5..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(Message::read(&bad, 5, 3), None, "byte {at}");
            assert_eq!(Message::read(&good[..at], 5, 3), None, "cut at {at}");
        }
        assert_eq!(Message::read(&[0; 64], 0, 0), None);
    }

    #[test]
    fn numbers_are_as_sled_writes_them() {
        let numbers: [(&[u8], u64); 8] = [
            (&[0], 0),
            (&[240], 240),
            (&[241, 1], 241),
            (&[248, 255], 2287),
            (&[249, 0, 1], 2289),
            (&[250, 1, 2, 3], 0x03_02_01),
            (&[251, 1, 2, 3, 4], 0x04_03_02_01),
            (&[255, 1, 2, 3, 4, 5, 6, 7, 8], 0x08_07_06_05_04_03_02_01),
        ];
        for (bytes, number) in numbers {
            let mut rest = bytes;
            assert_eq!((varint(&mut rest), rest.len()), (Some(number), 0));
            assert_eq!(varint(&mut &bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn a_segments_header_is_read_only_when_it_is_whole() {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[4..12].copy_from_slice(&(8 << 20 ^ INVERTED).to_le_bytes());
        bytes[12..].copy_from_slice(&(u64::MAX ^ INVERTED).to_le_bytes());
        let checksum = !crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(SegmentHeader::read(&bytes), Some(SegmentHeader { lsn: 8 << 20, stable: 0 }));
        bytes[19] ^= 1;
        assert_eq!(SegmentHeader::read(&bytes), None);
    }
}
