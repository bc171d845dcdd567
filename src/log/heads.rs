//! Where the logs of a store begin and end, in memory: what every engine keeps beside its batches.
//!
//! It decides which commit is the next one. It holds no batch and touches no disk.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Bounds, Error, Last};
use crate::protocol::batch::{Commit, Header};
use crate::protocol::limits::BATCH_BYTES_MAX;
use crate::protocol::start::{Start, Starts};
use crate::protocol::{Epoch, LogId, StartId};

/// The end of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct End {
    /// Where the log's newest commit begins.
    pub commit_base: u64,
    /// The offset after the last record.
    pub offset: u64,
    /// The elements up to there.
    pub elements: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Head {
    first: u64,
    durable: End,
    appended: End,
}

/// The ends of all logs, durable and appended, the newest commit, and the starts.
#[derive(Debug, Clone, Default)]
pub(super) struct Heads {
    logs: BTreeMap<LogId, Head>,
    durable: Last,
    appended: Last,
    epoch: Epoch,
    starts: Starts,
    // Logs that are appended and not durable; some may stand here twice.
    touched: Vec<LogId>,
}

impl Heads {
    /// Takes in a log that was found in a store when it was opened.
    pub fn found_log(&mut self, log: LogId, first: u64, end: End) {
        self.logs.insert(log, Head { first, durable: end, appended: end });
    }

    /// Takes in the newest commit that was found in a store when it was opened, and the last epoch.
    pub fn found_last(&mut self, last: Last, epoch: Epoch) {
        (self.durable, self.appended, self.epoch) = (last, last, epoch);
    }

    /// Takes in the starts that were found in a store when it was opened.
    pub fn found_starts(&mut self, starts: Starts) {
        self.starts = starts;
    }

    /// The epoch that began last.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The starts that are remembered.
    pub fn starts(&self) -> &Starts {
        &self.starts
    }

    /// The start that may begin now.
    pub fn next_start(&self) -> Start {
        // Of a UUID v7 this is the half that is random.
        let (_, id) = Uuid::now_v7().as_u64_pair();
        Start { epoch: Epoch(self.epoch.0 + 1), id: StartId(id), after: self.durable.seq }
    }

    /// Takes in that a start has begun. Answers the one that is forgotten for it.
    pub fn begin(&mut self, start: Start) -> Option<Start> {
        self.epoch = start.epoch;
        self.starts.push(start)
    }

    /// Whether the commit is the next one, and whole in itself.
    pub fn check(&self, commit: &Commit) -> Result<(), Error> {
        if commit.seq != self.appended.seq.next() || commit.epoch != self.epoch {
            return Err(Error::Deposed { found: commit.seq, epoch: commit.epoch, last: self.appended.seq });
        }
        let refuse = |why: String| Err(Error::Refused(format!("commit {}: {why}", commit.seq)));
        if commit.batches.is_empty() {
            return refuse("it has no batches".to_owned());
        }
        let mut before: Option<&Header> = None;
        for batch in &commit.batches {
            let header = batch.header();
            let log = header.log;
            if (header.seq, header.epoch) != (commit.seq, commit.epoch) {
                let (seq, epoch) = (header.seq, header.epoch);
                return refuse(format!("a batch of log {log} names commit {seq} of epoch {epoch}"));
            }
            if header.count == 0 || batch.bytes().len() > BATCH_BYTES_MAX {
                let bytes = batch.bytes().len();
                return refuse(format!(
                    "a batch of log {log} has {} records and {bytes} bytes",
                    header.count
                ));
            }
            let end = match before {
                Some(before) if before.log == log => (before.end_offset(), before.end_index()),
                Some(before) if before.log > log => {
                    return refuse(format!("log {log} comes after log {}", before.log));
                }
                _ => {
                    let end = self.logs.get(&log).map_or(End::default(), |head| head.appended);
                    (end.offset, end.elements)
                }
            };
            if (header.base_offset, header.base_index) != end {
                let (offset, index) = (header.base_offset, header.base_index);
                return refuse(format!(
                    "a batch of log {log} begins at offset {offset} and element {index}, but the log ends at {} and {}",
                    end.0, end.1
                ));
            }
            before = Some(header);
        }
        Ok(())
    }

    /// Moves the appended heads. The commit was checked.
    pub fn append(&mut self, commit: &Commit) {
        let mut log_before = None;
        for batch in &commit.batches {
            let header = batch.header();
            let head = self.logs.entry(header.log).or_default();
            if log_before.replace(header.log) != Some(header.log) {
                head.appended.commit_base = header.base_offset;
                self.touched.push(header.log);
            }
            head.appended.offset = header.end_offset();
            head.appended.elements = header.end_index();
        }
        self.appended =
            Last { seq: commit.seq, epoch: commit.epoch, digest: Commit::digest(&commit.batches) };
    }

    /// The newest commit that is appended: what a flush makes durable.
    pub fn appended(&self) -> Last {
        self.appended
    }

    /// Moves the durable heads to the appended ones.
    pub fn flush(&mut self) {
        for log in self.touched.drain(..) {
            if let Some(head) = self.logs.get_mut(&log) {
                head.durable = head.appended;
            }
        }
        self.durable = self.appended;
    }

    /// The newest durable commit.
    pub fn last(&self) -> Last {
        self.durable
    }

    /// The logs that hold anything durable, in order.
    pub fn logs(&self) -> Vec<LogId> {
        self.logs.iter().filter(|(_, head)| head.durable.offset > 0).map(|(log, _)| *log).collect()
    }

    /// Where a log begins and ends for readers.
    pub fn bounds(&self, log: LogId) -> Bounds {
        let head = self.logs.get(&log).copied().unwrap_or_default();
        Bounds { first: head.first, head: head.durable.offset, elements: head.durable.elements }
    }

    /// Up to where a log may be trimmed when it is asked to be up to `before`.
    pub fn trim_end(&self, log: LogId, before: u64) -> u64 {
        self.logs.get(&log).map_or(0, |head| before.min(head.durable.commit_base))
    }

    /// Moves the front of a log.
    pub fn trim(&mut self, log: LogId, first: u64) {
        if let Some(head) = self.logs.get_mut(&log) {
            head.first = head.first.max(first);
        }
    }
}
