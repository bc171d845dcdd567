//! When a snapshot is due: so often that a start is quick, so seldom that they cost no more than what they
//! save.

use super::Written;
use crate::protocol::batch::Commit;

/// Fewest records behind a snapshot before the next one is made: 250,000, which a start folds in about a
/// quarter of a second.
const TAIL_RECORDS_MIN: u64 = 250_000;

/// When the next snapshot is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Records behind the newest snapshot.
    tail_records: u64,
    /// How many of them make the next one due.
    due_at: u64,
}

impl Default for Schedule {
    /// Of an empty log.
    fn default() -> Self {
        Schedule { tail_records: 0, due_at: TAIL_RECORDS_MIN }
    }
}

impl Schedule {
    /// Behind a start that found a snapshot of about so many items, and so many records behind it.
    pub(super) fn after_start(items: u64, tail_records: u64) -> Self {
        Schedule { tail_records, due_at: TAIL_RECORDS_MIN.max(items) }
    }

    /// Counts a commit. Answers whether a snapshot is due.
    pub fn counted(&mut self, commit: &Commit) -> bool {
        self.tail_records += commit.batches.iter().map(|batch| u64::from(batch.header().count)).sum::<u64>();
        self.tail_records >= self.due_at
    }

    /// Whether nine tenths of the way to the next one are gone.
    pub fn is_nearly_due(&self) -> bool {
        self.tail_records >= self.due_at / 10 * 9
    }

    /// A snapshot was begun: what comes now is behind it.
    pub fn begun(&mut self) {
        self.tail_records = 0;
    }

    /// A snapshot was written. As long as the tail behind it is not longer than the state, a start takes
    /// at most about twice as long as with no tail at all, and the snapshots cost as much as the records.
    pub fn written(&mut self, written: &Written) {
        self.due_at = TAIL_RECORDS_MIN.max(written.items);
    }
}
