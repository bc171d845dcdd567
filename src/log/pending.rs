//! Commits that are on their way from one place to the next: in order, and their batches by log, for those who read them
//! meanwhile.

use std::collections::{BTreeMap, VecDeque};

use crate::protocol::batch::{Batch, Commit};
use crate::protocol::{LogId, Seq, TimeMs};

/// See the [module](self). They are few: who puts them here bounds their bytes.
#[derive(Debug, Default)]
pub(super) struct Pending {
    commits: VecDeque<Commit>,
    logs: BTreeMap<LogId, VecDeque<Batch>>,
}

impl Pending {
    /// Adds the next commit.
    pub fn push(&mut self, commit: &Commit) {
        for batch in &commit.batches {
            self.logs.entry(batch.header().log).or_default().push_back(batch.clone());
        }
        self.commits.push_back(commit.clone());
    }

    /// All of them, in order.
    pub fn commits(&self) -> impl Iterator<Item = &Commit> {
        self.commits.iter()
    }

    /// Those up to this one have arrived.
    pub fn remove_to(&mut self, seq: Seq) {
        while let Some(commit) = self.commits.pop_front_if(|commit| commit.seq <= seq) {
            for batch in &commit.batches {
                let log = batch.header().log;
                if let Some(batches) = self.logs.get_mut(&log) {
                    batches.pop_front();
                    if batches.is_empty() {
                        self.logs.remove(&log);
                    }
                }
            }
        }
    }

    /// The first batch of a log.
    pub fn first(&self, log: LogId) -> Option<&Batch> {
        self.logs.get(&log)?.front()
    }

    /// The last batch of a log.
    pub fn last(&self, log: LogId) -> Option<&Batch> {
        self.logs.get(&log)?.back()
    }

    /// The last batch of a log that begins before this offset.
    pub fn before(&self, log: LogId, offset: u64) -> Option<&Batch> {
        self.logs.get(&log)?.iter().rfind(|batch| batch.header().base_offset < offset)
    }

    /// The batch of a log that holds this element; none when it is not here.
    pub fn holding(&self, log: LogId, index: u64) -> Option<&Batch> {
        self.first(log).filter(|first| first.header().base_index <= index)?;
        self.logs.get(&log)?.iter().find(|batch| batch.header().end_index() > index)
    }

    /// The first batch of a log of this time or later.
    pub fn since(&self, log: LogId, time_ms: TimeMs) -> Option<&Batch> {
        self.logs.get(&log)?.iter().find(|batch| batch.header().time_ms >= time_ms)
    }

    /// The batches of a log from the one that holds `from`; none when that one is not here.
    pub fn from(&self, log: LogId, from: u64) -> impl Iterator<Item = &Batch> {
        let is_here = self.first(log).is_some_and(|first| first.header().base_offset <= from);
        self.logs.get(&log).filter(|_| is_here).into_iter().flat_map(move |batches| {
            batches.range(batches.partition_point(|batch| batch.header().end_offset() <= from)..)
        })
    }
}

/// Whether a batch is the first, or keeps the sum of all under so many bytes.
pub(super) fn within(bytes_max: usize) -> impl FnMut(&&Batch) -> bool {
    let mut bytes = 0;
    move |batch| {
        let is_first = bytes == 0;
        bytes += batch.bytes().len();
        is_first || bytes <= bytes_max
    }
}
