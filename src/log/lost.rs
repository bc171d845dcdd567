//! What stands in the place of records that cannot be had any more: where it begins and ends, and which
//! elements are counted in it.
//!
//! Offsets are dense, so a gap has as many records as there are offsets between its neighbours; and the
//! batch behind it says how many elements are before it. So everything behind a gap stays where it was.

use std::ops::Range;

use super::Log;
use crate::protocol::batch::{Batch, Commit, Header};
use crate::protocol::{LogId, Seq, TimeMs};

/// Records that are lost, and what is known of those around them.
#[derive(Debug, Clone)]
pub(super) struct Gap {
    /// The log.
    pub log: LogId,
    /// Their offsets; not empty.
    pub offsets: Range<u64>,
    /// The whole batch before them, if there is one.
    pub before: Option<Header>,
    /// The whole batch behind them, if there is one.
    pub after: Option<Header>,
    /// The elements of the log up to the end of the gap, where nothing is behind it.
    pub elements: Option<u64>,
}

impl Gap {
    /// One batch in the place of the gap, or several where they are more than a batch can count.
    ///
    /// Commit, epoch and time are those of the batch before, or come before those of the one behind. Where nothing says how
    /// many elements are before the gap (the front of a trimmed log), none of its records is counted as one.
    pub fn batches(&self, why: &str) -> Vec<Batch> {
        let after = self.after.map(|after| after.base_index).or(self.elements);
        let mut base_index = match (self.before, self.offsets.start) {
            (Some(before), _) => before.end_index(),
            (None, 0) => 0,
            (None, _) => after.unwrap_or(0),
        };
        let mut elements = after.unwrap_or(base_index).saturating_sub(base_index);
        let like = self
            .before
            .or(self.after.map(|after| Header { seq: Seq(after.seq.0.saturating_sub(1)), ..after }));
        let mut base_offset = self.offsets.start;
        let mut batches = Vec::new();
        while base_offset < self.offsets.end {
            let most = (self.offsets.end - base_offset).min(u64::from(u32::MAX)) as u32;
            let here = elements.min(u64::from(most)) as u32;
            let header = Header {
                log: self.log,
                count: most,
                elements: here,
                base_offset,
                base_index,
                seq: like.map_or_else(Default::default, |like| like.seq),
                epoch: like.map_or_else(Default::default, |like| like.epoch),
                time_ms: like.map_or(0, |like| like.time_ms),
            };
            batches.push(Batch::lost(header, why));
            (base_offset, base_index) = (header.end_offset(), header.end_index());
            elements -= u64::from(here);
        }
        batches
    }
}

/// The next commit, of batches that say that records behind the ends of logs are lost: up to these heads and so many elements,
/// in the order of the logs.
pub fn at_ends(log: &dyn Log, heads: &[(LogId, (u64, u64))], why: &str, time_ms: TimeMs) -> Commit {
    let (seq, epoch) = (log.last().seq.next(), log.starts().newest().epoch);
    let batches = heads.iter().flat_map(|(id, (head, elements))| {
        let bounds = log.bounds(*id);
        let end = Header {
            log: *id,
            count: 0,
            elements: 0,
            base_offset: bounds.head,
            base_index: bounds.elements,
            seq,
            epoch,
            time_ms,
        };
        let (offsets, elements) = (bounds.head..*head, Some(*elements));
        Gap { log: *id, offsets, before: Some(end), after: None, elements }.batches(why)
    });
    Commit { seq, epoch, batches: batches.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Epoch;

    fn header(base_offset: u64, count: u32, base_index: u64, elements: u32, seq: u64) -> Header {
        let (seq, epoch) = (Seq(seq), Epoch(1));
        Header { log: LogId(3), count, elements, base_offset, base_index, seq, epoch, time_ms: 7 }
    }

    fn gap(offsets: Range<u64>, before: Option<Header>, after: Option<Header>) -> Gap {
        Gap { log: LogId(3), offsets, before, after, elements: None }
    }

    #[test]
    fn elements_come_from_the_neighbours() {
        let (before, after) = (header(0, 10, 0, 4, 1), header(30, 2, 9, 1, 5));
        let batches = gap(10..30, Some(before), Some(after)).batches("gone");
        assert_eq!(batches.len(), 1);
        assert_eq!(*batches[0].header(), header(10, 20, 4, 5, 1));
        assert_eq!(batches[0].damage().unwrap().why, "gone");
        let front = gap(0..30, None, Some(after)).batches("gone");
        assert_eq!(*front[0].header(), header(0, 30, 0, 9, 4));
        let trimmed = gap(20..30, None, Some(after)).batches("gone");
        assert_eq!(*trimmed[0].header(), header(20, 10, 9, 0, 4), "nothing says how many were elements");
        let end = Gap { elements: Some(6), ..gap(10..12, Some(before), None) }.batches("gone");
        assert_eq!(*end[0].header(), header(10, 2, 4, 2, 1));
    }

    #[test]
    fn more_than_a_batch_can_count_are_several() {
        let most = u64::from(u32::MAX);
        let after = header(3 * most, 1, most + 7, 0, 9);
        let batches = gap(0..3 * most, None, Some(after)).batches("gone");
        let counted: Vec<u32> = batches.iter().map(|batch| batch.header().elements).collect();
        assert_eq!(counted, [u32::MAX, 7, 0]);
        assert_eq!(batches[2].header().end_offset(), 3 * most);
        assert_eq!(batches[2].header().end_index(), most + 7);
    }
}
