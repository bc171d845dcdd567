//! A batch that is read record by record, as its reader asks for them: what is not read of it yet.
//!
//! Nothing is decoded ahead, and a value can be looked at where it lies, without a copy.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::batch::{BadBatch, Batch, HEADER_BYTES};
use super::channel::LentElement;
use super::event::Origin;
use super::payload::Lent;

/// The records of a batch that are still to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    batch: Batch,
    /// Where the next record begins.
    at: usize,
    offset: u64,
}

impl Unread {
    /// All records of a batch; none of one whose records are lost.
    pub fn all_of(batch: Batch) -> Unread {
        let header = batch.header();
        let offset = if batch.is_lost() { header.end_offset() } else { header.base_offset };
        Unread { batch, at: HEADER_BYTES, offset }
    }

    /// The offset of the next record, or the one after the last.
    pub fn next_offset(&self) -> u64 {
        self.offset
    }

    /// The next record with its offset. Behind one that does not decode nothing comes.
    pub fn take<R: DeserializeOwned>(&mut self) -> Option<Result<(u64, R), BadBatch>> {
        let header = self.batch.header();
        if self.offset == header.end_offset() {
            return None;
        }
        let here = self.offset;
        match postcard::take_from_bytes(&self.batch.bytes()[self.at..]) {
            Ok((record, behind)) => {
                (self.at, self.offset) = (self.batch.bytes().len() - behind.len(), here + 1);
                Some(Ok((here, record)))
            }
            Err(error) => {
                self.offset = header.end_offset();
                Some(Err(BadBatch::Record { log: header.log, offset: here, why: error.to_string() }))
            }
        }
    }

    /// The next record with its offset, if it is a value that was appended to a channel. If it is anything else it
    /// is left to [`Unread::take`].
    pub fn take_value(&mut self) -> Option<(u64, Lent<'_>)> {
        if self.offset == self.batch.header().end_offset() {
            return None;
        }
        let bytes = self.batch.bytes();
        match postcard::take_from_bytes(&bytes[self.at..]) {
            Ok((AppendedHere::Appended { element: LentElement::Value(value), .. }, behind)) => {
                let here = self.offset;
                (self.at, self.offset) = (bytes.len() - behind.len(), here + 1);
                Some((here, value))
            }
            _ => None,
        }
    }
}

/// As much of [`ChannelEvent`](super::ChannelEvent) as it takes to find a value where it lies: its first variant.
#[derive(Deserialize)]
enum AppendedHere<'a> {
    Appended {
        #[expect(dead_code, reason = "it stands before the element")]
        origin: Origin,
        #[serde(borrow)]
        element: LentElement<'a>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::OpenBatch;
    use crate::protocol::{
        ChannelEvent, Codec, Digest, Element, Epoch, LogId, Payload, Producer, Seq, TaskKey,
    };

    fn batch<R: serde::Serialize>(records: &[R]) -> Batch {
        let mut open = OpenBatch::new(LogId(3), 10, 4);
        assert!(records.iter().all(|record| open.push(record, true)));
        open.seal(Seq(7), Epoch(2), 1_700_000_000_000)
    }

    fn appended(element: Element) -> ChannelEvent {
        ChannelEvent::Appended { origin: Origin { producer: Producer(300), number: u64::MAX }, element }
    }

    #[test]
    fn values_are_lent_as_they_would_be_read_and_all_else_is_left() {
        let origin = Origin { producer: Producer(1), number: 2 };
        let records = [
            appended(Element::Value(Payload::encode("text").unwrap())),
            appended(Element::Future(TaskKey::unique("add", [1; 16]))),
            appended(Element::Value(Payload::raw(vec![7; 300]))),
            ChannelEvent::Stopped { origin, count: 3, digest: Digest(1) },
            ChannelEvent::AppendedWith {
                origin,
                headers: [("k", "v")].into_iter().collect(),
                element: Element::Value(Payload::encode("text").unwrap()),
            },
            appended(Element::Value(Payload::raw(vec![]))),
        ];
        let mut unread = Unread::all_of(batch(&records));
        for (offset, record) in (10..).zip(records) {
            assert_eq!(unread.next_offset(), offset);
            let value = if let ChannelEvent::Appended { element: Element::Value(value), .. } = &record {
                Some(value.clone())
            } else {
                None
            };
            let lent = unread.clone().take_value().map(|(offset, lent)| (offset, lent.to_owned()));
            assert_eq!(lent, value.clone().map(|value| (offset, value)));
            if offset % 2 == 0 && value.is_some() {
                assert!(unread.take_value().is_some());
            } else {
                assert_eq!(unread.take().unwrap(), Ok((offset, record)));
            }
        }
        assert_eq!((unread.next_offset(), unread.take_value().is_some()), (16, false));
        assert_eq!(unread.take::<ChannelEvent>(), None);
    }

    #[test]
    fn a_value_that_is_cut_off_is_left_to_be_named() {
        // A length of 100, and less than that behind it.
        let mut unread = Unread::all_of(batch(&[(0u32, 1u32, 1u64, 1u32, Codec::Raw, 100u32)]));
        assert!(unread.take_value().is_none());
        let error = unread.take::<ChannelEvent>().unwrap().unwrap_err();
        assert!(error.to_string().starts_with("record 10 of log 3 does not decode"), "{error}");
        assert!(unread.take::<ChannelEvent>().is_none() && unread.take_value().is_none());
    }

    #[test]
    fn lost_records_are_not_read() {
        let lost = Batch::lost(*batch(&["a", "b"]).header(), "why");
        let mut unread = Unread::all_of(lost);
        assert_eq!(unread.next_offset(), 12);
        assert!(unread.take_value().is_none() && unread.take::<String>().is_none());
    }
}
