//! Whether the logs of a store are whole: every batch is read, and compared with its neighbours.
//!
//! Damage is named item by item, and reading goes on behind it. What is checked: that every batch is
//! there and its checksum fits (a batch that an earlier salvage did not find is named, too); that offsets and element indexes are dense; that commits and epochs
//! never go back within a log; and over all logs, that no commit is missing and that all batches of one
//! have the same epoch.
//!
//! What cannot be seen here: a log that lost its end, when other batches of the same commits are left
//! and the newest commit is whole. And what cannot be seen at all: a store that does not open, since a
//! log's newest batch, or the one before it, is damaged. It changes nothing. It knows batches, not what a record means.

use super::{Bounds, Log};
use crate::protocol::batch::{Batch, Damage, Header};
use crate::protocol::{Epoch, LogId, Seq};

/// How many bytes of batches are read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// What a log consists of, as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// Where it begins and ends.
    pub bounds: Bounds,
    /// The records in whole batches.
    pub records: u64,
    /// The whole batches.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something that was stored is lost or changed.
    Damage,
    /// Something that cannot be told.
    Note,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The check that found it, in one word.
    pub check: &'static str,
    /// The log, where it is one's.
    pub log: Option<LogId>,
    /// Where in the log.
    pub offset: Option<u64>,
    /// What is wrong, in words.
    pub what: String,
}

impl Finding {
    /// Damage at a place in a log.
    pub fn at(check: &'static str, log: LogId, offset: u64, what: impl Into<String>) -> Self {
        let (log, offset) = (Some(log), Some(offset));
        Finding { severity: Severity::Damage, check, log, offset, what: what.into() }
    }

    /// Records that are lost.
    pub fn lost(log: LogId, damage: &Damage) -> Self {
        Finding::at("lost", log, damage.from, damage.to_string())
    }

    /// Damage of the store as a whole.
    pub fn of_store(check: &'static str, what: impl Into<String>) -> Self {
        Finding { severity: Severity::Damage, check, log: None, offset: None, what: what.into() }
    }

    /// The same as something that cannot be told.
    #[must_use]
    pub fn as_note(self) -> Self {
        Finding { severity: Severity::Note, ..self }
    }
}

/// What reading comes upon, in order.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A whole batch.
    Batch(&'a Batch),
    /// Records that are lost.
    Lost(LogId, Damage),
    /// Something that is not as it should be.
    Finding(Finding),
    /// The end of a log.
    End(LogId, Contents),
}

/// How many records all logs have.
pub fn records_of(log: &dyn Log) -> u64 {
    let bounds = log.logs().into_iter().map(|id| log.bounds(id));
    bounds.map(|bounds| bounds.head - bounds.first).sum()
}

/// Reads all logs, the task log first, and checks them and their commits.
pub fn verify(log: &dyn Log, see: &mut dyn FnMut(Seen<'_>)) {
    let mut commits = Commits::default();
    for id in log.logs() {
        let mut newest = None;
        let is_trimmed = log.bounds(id).first > 0;
        verify_log(log, id, &mut |seen| {
            if let Seen::Batch(batch) = &seen {
                commits.add(batch.header(), newest.is_none() && is_trimmed);
                newest = Some(batch.header().seq);
            }
            see(seen);
        });
    }
    commits.check(&mut |finding| see(Seen::Finding(finding)));
}

/// Reads one log and checks it.
pub fn verify_log(log: &dyn Log, id: LogId, see: &mut dyn FnMut(Seen<'_>)) {
    let bounds = log.bounds(id);
    let mut contents = Contents { bounds, ..Contents::default() };
    let mut next = bounds.first;
    // What is before the next batch, unless nothing is.
    let mut before: Option<Header> = None;
    let mut newest: Option<Header> = None;
    while next < bounds.head {
        let batches = match log.read(id, next, READ_BYTES) {
            Ok(batches) => batches,
            Err(error) => {
                let what = format!("the records from {next} to {} cannot be read: {error}", bounds.head);
                see(Seen::Finding(Finding::at("read", id, next, what)));
                break;
            }
        };
        for batch in &batches {
            let header = batch.header();
            let starts_at_zero = (next, bounds.first) == (0, 0);
            let expected = before.map(|before| (before.end_offset(), before.end_index()));
            let expected = expected.or(starts_at_zero.then_some((0, 0)));
            check_place(header, next, expected, see);
            if let Some(newest) = newest {
                check_order(&newest, header, see);
            }
            if let Some(damage) = batch.damage() {
                see(Seen::Lost(id, damage));
            } else {
                contents.records += u64::from(header.count);
                contents.batches += 1;
                contents.bytes += batch.bytes().len() as u64;
                see(Seen::Batch(batch));
            }
            (next, before, newest) = (header.end_offset(), Some(*header), Some(*header));
        }
        if batches.is_empty() {
            let what = format!("nothing can be read from here to the head, {}", bounds.head);
            see(Seen::Finding(Finding::at("missing", id, next, what)));
            break;
        }
    }
    see(Seen::End(id, contents));
}

/// Whether a batch goes on where the one before it ends.
fn check_place(header: &Header, next: u64, expected: Option<(u64, u64)>, see: &mut dyn FnMut(Seen<'_>)) {
    let mut found = |check, what| {
        see(Seen::Finding(Finding::at(check, header.log, header.base_offset, what)));
    };
    if header.base_offset != next {
        found("offsets", format!("the batch begins here, and should at {next}"));
    }
    if let Some((_, index)) = expected
        && header.base_index != index
    {
        found("indexes", format!("the batch begins at element {}, and should at {index}", header.base_index));
    }
}

/// Whether a batch's commit may come after that of one before it.
fn check_order(newest: &Header, header: &Header, see: &mut dyn FnMut(Seen<'_>)) {
    if header.seq < newest.seq || header.epoch < newest.epoch {
        let what = format!(
            "commit {} of epoch {} comes after commit {} of epoch {}",
            header.seq, header.epoch, newest.seq, newest.epoch
        );
        see(Seen::Finding(Finding::at("order", header.log, header.base_offset, what)));
    }
}

/// The commits of all batches. 16 bytes for each log that a commit touches.
#[derive(Debug, Default)]
struct Commits {
    seen: Vec<(Seq, Epoch)>,
    /// Commits before this one may be gone because a log was trimmed.
    trimmed_before: Seq,
}

impl Commits {
    fn add(&mut self, header: &Header, is_first_of_trimmed: bool) {
        let commit = (header.seq, header.epoch);
        if self.seen.last() != Some(&commit) {
            self.seen.push(commit);
        }
        if is_first_of_trimmed {
            self.trimmed_before = self.trimmed_before.max(header.seq);
        }
    }

    fn check(mut self, found: &mut dyn FnMut(Finding)) {
        self.seen.sort_unstable();
        self.seen.dedup();
        let mut unclear = 0;
        let mut before = (Seq(0), Epoch(0));
        for (seq, epoch) in self.seen {
            if seq == before.0 || epoch < before.1 {
                let what = format!(
                    "commit {seq} is of epoch {epoch}, and commit {} of epoch {}",
                    before.0, before.1
                );
                found(Finding::of_store("order", what));
            }
            let missing = seq.0.saturating_sub(before.0.0 + 1);
            if missing > 0 && seq <= self.trimmed_before {
                unclear += missing;
            } else if missing > 0 {
                let (first, last) = (before.0.next(), seq.0 - 1);
                let which = if missing == 1 {
                    format!("commit {first}")
                } else {
                    format!("commits {first} to {last}")
                };
                found(Finding::of_store("commits", format!("no whole batch of {which} is there")));
            }
            before = (seq, epoch);
        }
        if unclear > 0 {
            let what = format!(
                "of {unclear} commits before commit {} no batch is there: logs were trimmed, so it cannot be \
                 told whether any of them was lost",
                self.trimmed_before
            );
            found(Finding::of_store("commits", what).as_note());
        }
    }
}
