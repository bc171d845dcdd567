//! Reading batches, and what is answered where there are none that can be read.
//!
//! A batch that is damaged, that is not there, or that sled cannot read is answered as lost, from the whole
//! batch before it to the next one. The answer is the same wherever in the gap a reader begins.

use std::sync::PoisonError;

use super::trees::Trees;
use super::{SledLog, decode};
use crate::log::failure::{Failure, guarded};
use crate::log::lost::Gap;
use crate::log::{Bounds, Error, suspect};
use crate::protocol::LogId;
use crate::protocol::batch::Batch;

/// Of how many places damage is told; a store with more is told of often enough.
const TOLD_MAX: usize = 1000;

/// What lies in a range of a log, as seen from one of its ends.
enum Seen {
    /// A whole batch.
    Whole(Batch),
    /// None, or only such as cannot be read: up to, or from, this offset, and why.
    Not(u64, Option<String>),
}

impl SledLog {
    /// As [`Log::read`](crate::log::Log::read).
    pub(super) fn read_or_lost(&self, log: LogId, from: u64, bytes_max: usize) -> Result<Vec<Batch>, Error> {
        loop {
            let durable = self.bounds_of(log);
            if from >= durable.head {
                return Ok(Vec::new());
            }
            let from = from.max(durable.first);
            let mut found = Vec::new();
            // This first: what sled has meanwhile is not passed over.
            self.add_unstowed(&mut found, log, from, durable, bytes_max);
            if !found.is_empty() {
                return Ok(found);
            }
            let bounds = self.in_sled(log, durable);
            let read = move |trees: &Trees| guarded(|| read_whole(trees, log, from, bounds.head, bytes_max));
            if let Ok(mut found) = self.reads.call(read)
                && let Some(last) = found.last()
            {
                if last.header().end_offset() == bounds.head {
                    self.add_unstowed(&mut found, log, bounds.head, durable, bytes_max);
                }
                return Ok(found);
            }
            // sled answers nothing any more: that is no damage, and the next start need not look for any.
            self.check_not_failed()?;
            let (gap, why) = self.gap(log, from, bounds).map_err(|failure| failure.of(&self.dir))?;
            // Not lost, but trimmed meanwhile.
            if self.bounds_of(log).first <= from {
                self.tell(log, gap.offsets.start, gap.offsets.end, &why);
                return Ok(gap.batches(&why));
            }
        }
    }

    /// As [`Log::find_element`](crate::log::Log::find_element).
    pub(super) fn find_or_lost(&self, log: LogId, index: u64) -> Result<Option<Batch>, Error> {
        let bounds = self.bounds_of(log);
        if index >= bounds.elements {
            return Ok(None);
        }
        // The element is in [low, high), unless it was trimmed.
        let (mut low, mut high) = (bounds.first, bounds.head);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(batch) = self.read_or_lost(log, middle, 0)?.into_iter().next() else { break };
            let header = batch.header();
            if index >= header.end_index() {
                low = header.end_offset();
            } else if index >= header.base_index || header.base_offset <= low || header.base_offset > middle {
                return Ok(Some(batch));
            } else {
                high = header.base_offset;
            }
        }
        // Nothing is known of the elements that were lost here: the next batch is the first behind them.
        Ok(self.read_or_lost(log, low, 0)?.into_iter().next())
    }

    fn bounds_of(&self, log: LogId) -> Bounds {
        self.heads().bounds(log)
    }

    /// Adds what is durable and not in sled of a log, from the batch that holds `from`, to what was found before it; all of it
    /// within so many bytes, or one batch.
    fn add_unstowed(&self, found: &mut Vec<Batch>, log: LogId, from: u64, durable: Bounds, bytes_max: usize) {
        let mut bytes: usize = found.iter().map(|batch| batch.bytes().len()).sum();
        for batch in self.unstowed().from(log, from) {
            bytes += batch.bytes().len();
            if batch.header().base_offset >= durable.head || (bytes > bytes_max && !found.is_empty()) {
                break;
            }
            found.push(batch.clone());
        }
    }

    /// Where that ends of which sled has all.
    fn in_sled(&self, log: LogId, durable: Bounds) -> Bounds {
        match self.unstowed().first(log).map(Batch::header) {
            Some(first) if first.base_offset < durable.head => {
                Bounds { head: first.base_offset, elements: first.base_index, ..durable }
            }
            _ => durable,
        }
    }

    /// The gap in which `from` lies, between whole batches, and why it is one.
    fn gap(&self, log: LogId, from: u64, bounds: Bounds) -> Result<(Gap, String), Failure> {
        let (mut before, mut why) = (None, None);
        let mut to = from;
        while to > bounds.first && before.is_none() {
            match self.last_in(log, bounds.first, to)? {
                Seen::Whole(batch) if batch.header().end_offset() <= from => before = Some(*batch.header()),
                Seen::Whole(batch) => to = batch.header().base_offset,
                Seen::Not(upto, because) => {
                    (to, why) = (upto.min(to - 1), why.or(because));
                }
            }
        }
        let start = before.map_or(bounds.first, |before| before.end_offset());
        let (mut after, mut next) = (None, start);
        while next < bounds.head && after.is_none() {
            match self.first_in(log, next, bounds.head)? {
                Seen::Whole(batch) if batch.header().base_offset > from => after = Some(*batch.header()),
                Seen::Whole(batch) => next = batch.header().end_offset().max(next + 1),
                Seen::Not(from, because) => (next, why) = (from.max(next + 1), why.or(because)),
            }
        }
        let end = after.map_or(bounds.head, |after| after.base_offset);
        let elements = Some(bounds.elements);
        let why = why.unwrap_or_else(|| "they are gone from the store".to_owned());
        Ok((Gap { log, offsets: start..end, before, after, elements }, why))
    }

    /// The first batch in `[from, to)`, if it is whole; else from where to look further.
    fn first_in(&self, log: LogId, from: u64, to: u64) -> Result<Seen, Failure> {
        match guarded(|| self.trees.values(log, from..to).next().transpose()) {
            Ok(None) => Ok(Seen::Not(to, None)),
            Ok(Some((offset, value))) => Ok(match decode(log, offset, value) {
                Ok(batch) => Seen::Whole(batch),
                Err(why) => Seen::Not(offset + 1, Some(why.to_string())),
            }),
            Err(failure) => {
                let why = unreadable(failure)?;
                // sled cannot read the page: behind it is where it can again.
                let can = |at: u64| guarded(|| self.trees.values(log, at..to).next().transpose()).is_ok();
                Ok(Seen::Not(first_that(from, to, can), Some(why)))
            }
        }
    }

    /// The last batch in `[from, to)`, if it is whole; else up to where to look further.
    fn last_in(&self, log: LogId, from: u64, to: u64) -> Result<Seen, Failure> {
        match guarded(|| self.trees.values(log, from..to).next_back().transpose()) {
            Ok(None) => Ok(Seen::Not(from, None)),
            Ok(Some((offset, value))) => Ok(match decode(log, offset, value) {
                Ok(batch) => Seen::Whole(batch),
                Err(why) => Seen::Not(offset, Some(why.to_string())),
            }),
            Err(failure) => {
                let why = unreadable(failure)?;
                let can = |back: u64| {
                    guarded(|| self.trees.values(log, from..to - back).next_back().transpose()).is_ok()
                };
                let upto = to - first_that(0, to - from, can);
                // A page is looked up by what lies behind its end: so from here on forwards, up to the page
                // that cannot be read.
                let last = guarded(|| {
                    let entries = self.trees.values(log, upto..to).map_while(Result::ok);
                    Ok::<_, Failure>(entries.filter_map(|(at, value)| decode(log, at, value).ok()).last())
                });
                Ok(last.ok().flatten().map_or(Seen::Not(upto, Some(why)), Seen::Whole))
            }
        }
    }

    /// Tells of damage, once for each place, and sees to it that the next start salvages.
    fn tell(&self, log: LogId, from: u64, to: u64, why: &str) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.len() >= TOLD_MAX || !met.insert((log, from)) || !self.tells {
            return;
        }
        let is_first = met.len() == 1;
        drop(met);
        tracing::error!(%log, from, to, "records cannot be read ({why}): the next start looks for them in the store's files");
        if is_first
            && let Err(error) =
                suspect::mark(&self.dir, &format!("records {from} to {to} of log {log}: {why}"))
        {
            tracing::error!(%error, "the store could not be marked: `headwater log repair` looks for the records");
        }
    }
}

/// Whole batches from the one that holds `from`, as far as they follow each other; none when that one is
/// not whole.
fn read_whole(
    trees: &Trees,
    log: LogId,
    from: u64,
    head: u64,
    bytes_max: usize,
) -> Result<Vec<Batch>, Failure> {
    let start = trees.offsets(log, 0..from + 1).next_back().transpose()?.unwrap_or(from);
    let mut found: Vec<Batch> = Vec::new();
    let (mut next, mut bytes) = (from, 0);
    for entry in trees.values(log, start..head) {
        let (offset, value) = match entry {
            Ok(entry) => entry,
            // First what is whole; the next read begins with what is not.
            Err(_) if !found.is_empty() => break,
            Err(failure) => return Err(failure),
        };
        // Looked at before the bytes are: they are checked by the read that takes them.
        if !found.is_empty() && bytes + value.len() > bytes_max {
            break;
        }
        let Ok(batch) = decode(log, offset, value) else { break };
        let header = *batch.header();
        if header.end_offset() <= next {
            continue;
        }
        if header.base_offset > next {
            break;
        }
        bytes += batch.bytes().len();
        next = header.end_offset();
        found.push(batch);
    }
    trees.ended(log, next);
    Ok(found)
}

/// Why sled cannot read something, unless it is the system that refused.
fn unreadable(failure: Failure) -> Result<String, Failure> {
    match failure {
        Failure::Io(why) if why.kind() == std::io::ErrorKind::UnexpectedEof => {
            Ok("the store's file ends before them".to_owned())
        }
        Failure::Io(why) => Err(Failure::Io(why)),
        Failure::Broken(why) => Ok(why),
        Failure::Log(error) => Ok(error.to_string()),
    }
}

/// The first number behind `from` for which it can be done, or `to`: looked for in growing steps, then
/// between the last two.
fn first_that(from: u64, to: u64, can: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut step) = (from, 1);
    let mut high = loop {
        let next = low.saturating_add(step).min(to);
        if next == to || can(next) {
            break next;
        }
        (low, step) = (next, step * 2);
    };
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if can(middle) { high = middle } else { low = middle }
    }
    high
}
