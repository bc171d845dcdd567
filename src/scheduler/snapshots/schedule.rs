//! When a snapshot is due: so often that a start is quick, so seldom that they cost no more than what they
//! save.

use crate::protocol::batch::Commit;

/// When the next snapshot is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Records behind the newest snapshot.
    tail_records: u64,
    /// How many of them make the next one due, at least.
    every_records: u64,
    /// How many of them make the next one due.
    due_at: u64,
}

impl Schedule {
    /// Behind a snapshot of about so many items, and so many records behind it.
    pub fn new(every_records: u64, items: u64, tail_records: u64) -> Self {
        let mut schedule = Schedule { tail_records, every_records, due_at: 0 };
        schedule.written(items);
        schedule
    }

    /// Counts a commit. Answers whether a snapshot is due.
    pub fn counted(&mut self, commit: &Commit) -> bool {
        self.tail_records += commit.batches.iter().map(|batch| u64::from(batch.header().count)).sum::<u64>();
        self.tail_records >= self.due_at
    }

    /// Whether nine tenths of the way to the next one are gone.
    pub fn is_nearly_due(&self) -> bool {
        self.tail_records >= self.due_at - self.due_at / 10
    }

    /// A snapshot was begun: what comes now is behind it. Answers how many records there were behind the one before.
    pub fn begun(&mut self) -> u64 {
        std::mem::take(&mut self.tail_records)
    }

    /// A snapshot of so many items was written. A record takes about as long to fold as an item to read. So
    /// with a tail of half as many records as there are items a start takes half as long again as with
    /// none, and a record costs the snapshots two items that are written.
    pub fn written(&mut self, items: u64) {
        self.due_at = self.every_records.max(items / 2);
    }
}
