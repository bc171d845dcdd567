//! When a snapshot is due: so often that a start is quick, so seldom that they cost no more than what they
//! save.

use crate::protocol::batch::Commit;

/// So many bytes that were trimmed make a snapshot due, or as many as it takes itself, if that is more: they go once two
/// snapshots know it. 16 MiB, less than what sled keeps beside in any case.
const TRIMMED_BYTES: u64 = 16 * 1024 * 1024;

/// What an item of a snapshot takes, about.
const ITEM_BYTES: u64 = 256;

/// When the next snapshot is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Records behind the newest snapshot.
    tail_records: u64,
    /// How many of them make the next one due, at least.
    every_records: u64,
    /// How many of them make the next one due.
    due_at: u64,
    /// How many items the newest snapshot has, about.
    items: u64,
    /// How many bytes of channels were trimmed that the newest snapshot does not know of.
    trimmed_bytes: u64,
    /// How many it knows of and the one before does not, so that they are still stored.
    unfreed_bytes: u64,
}

impl Schedule {
    /// Behind a snapshot of about so many items, and so many records behind it.
    pub fn new(every_records: u64, items: u64, tail_records: u64) -> Self {
        let mut schedule =
            Schedule { tail_records, every_records, due_at: 0, items: 0, trimmed_bytes: 0, unfreed_bytes: 0 };
        schedule.written(items);
        schedule
    }

    /// Counts a commit.
    pub fn counted(&mut self, commit: &Commit) {
        self.tail_records += commit.batches.iter().map(|batch| u64::from(batch.header().count)).sum::<u64>();
    }

    /// Whether a snapshot is due.
    pub fn is_due(&self) -> bool {
        self.tail_records >= self.due_at || self.frees_space()
    }

    /// Whether a snapshot lets more bytes go than it takes itself, if not at once then with the next one.
    pub fn frees_space(&self) -> bool {
        let stored = self.trimmed_bytes.saturating_add(self.unfreed_bytes);
        stored >= TRIMMED_BYTES.max(self.items * ITEM_BYTES)
    }

    /// Counts what was trimmed of channels.
    pub fn trimmed(&mut self, bytes: u64) {
        self.trimmed_bytes = self.trimmed_bytes.saturating_add(bytes);
    }

    /// Whether nine tenths of the way to the next one are gone.
    pub fn is_nearly_due(&self) -> bool {
        self.tail_records >= self.due_at - self.due_at / 10
    }

    /// A snapshot was begun: what comes now is behind it. Answers how many records there were behind the one before.
    pub fn begun(&mut self) -> u64 {
        self.unfreed_bytes = std::mem::take(&mut self.trimmed_bytes);
        std::mem::take(&mut self.tail_records)
    }

    /// A snapshot of so many items was written. A record takes about as long to fold as an item to read. So
    /// with a tail of half as many records as there are items a start takes half as long again as with
    /// none, and a record costs the snapshots two items that are written.
    pub fn written(&mut self, items: u64) {
        self.items = items;
        self.due_at = self.every_records.max(items / 2);
    }
}
