//! The receipts of the last starts, out of the task log: each is the first record of its epoch. A receipt that was found is
//! kept, as it never changes; one is looked for by halves, in a read for each, so that no log is read from its beginning.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::log::{Error, Reader};
use crate::protocol::event::Receipt;
use crate::protocol::{Epoch, LogId, Seq, TaskEvent, TimeMs};

/// A receipt, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its offset in the task log.
    pub offset: u64,
    /// When it was committed: when that start had recovered.
    pub time_ms: TimeMs,
    /// What it says.
    pub receipt: Receipt,
}

/// Finds them.
pub struct Receipts {
    reader: Reader,
    /// Those that were looked for, by epoch; nothing where there is none: the start ended before it had recovered, or its record
    /// is trimmed or lost. No more than the starts that a store remembers.
    known: Mutex<BTreeMap<Epoch, Option<Found>>>,
}

impl Receipts {
    /// Of a store that is read by this.
    pub fn new(reader: Reader) -> Receipts {
        Receipts { reader, known: Mutex::default() }
    }

    /// Those of the newest starts before a commit, and in it, newest first: so many at most. Those that are trimmed, or lost, are
    /// not among them. It may read from the disk: call it where one may wait.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn last(&self, seq: Seq, most: usize) -> Result<Vec<Found>, Error> {
        let starts = self.reader.starts();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = starts.newest().epoch;
        if let Some(oldest) = starts.iter().next() {
            known.retain(|epoch, _| *epoch >= oldest.epoch);
        }
        let first = self.reader.bounds(LogId::TASKS).first;
        let mut last = Vec::new();
        for start in starts.iter().rev().filter(|start| start.after < seq) {
            if last.len() == most {
                break;
            }
            let found = match known.get(&start.epoch) {
                Some(found) => found.clone(),
                None => {
                    let found = self.find(start.epoch)?;
                    // That of this start may be on its way still.
                    if found.is_some() || start.epoch < newest {
                        known.insert(start.epoch, found.clone());
                    }
                    found
                }
            };
            last.extend(found.filter(|found| found.offset >= first));
        }
        Ok(last)
    }

    /// That of a start, if it is there.
    fn find(&self, epoch: Epoch) -> Result<Option<Found>, Error> {
        let bounds = self.reader.bounds(LogId::TASKS);
        // The first batch of this epoch, or a later one, begins at `from` at the earliest and at `to` at the latest.
        let (mut from, mut to) = (bounds.first, bounds.head);
        while from < to {
            let middle = from + (to - from) / 2;
            let Some(batch) = self.reader.read(LogId::TASKS, middle, 0)?.into_iter().next() else {
                return Ok(None);
            };
            let header = batch.header();
            if header.epoch < epoch {
                from = header.end_offset().max(middle + 1);
            } else {
                to = header.base_offset.min(middle);
            }
        }
        let mut batch = self.reader.read(LogId::TASKS, from, 0)?.into_iter().next();
        // What an earlier start has lost may stand before it.
        while let Some(lost) = batch.as_ref().filter(|batch| batch.is_lost()) {
            batch = self.reader.read(LogId::TASKS, lost.header().end_offset(), 0)?.into_iter().next();
        }
        let Some(batch) = batch.filter(|batch| batch.header().epoch == epoch) else { return Ok(None) };
        let time_ms = batch.header().time_ms;
        Ok(batch.records::<TaskEvent>().flatten().find_map(|(offset, event)| match event {
            TaskEvent::Recovered(receipt) if receipt.epoch == epoch => {
                Some(Found { offset, time_ms, receipt })
            }
            _ => None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::log::{Log, Memory, lost};
    use crate::protocol::TaskId;
    use crate::protocol::batch::{Commit, OpenBatch};

    /// A store with so many starts, each with its receipt and some commits behind it, but for the third, which wrote nothing.
    /// Answers where the receipts are, too.
    fn store(starts: u64) -> (Arc<Memory>, Reader, Vec<(u64, u64)>) {
        let log = Arc::new(Memory::new());
        let reader = Reader::new(log.clone());
        let (mut seq, mut offset, mut places) = (0, 0, Vec::new());
        for epoch in 1..=starts {
            log.begin_epoch().unwrap();
            if epoch == 3 {
                continue;
            }
            for commit in 0..epoch % 4 + 1 {
                seq += 1;
                let mut tasks = OpenBatch::new(LogId::TASKS, offset, 0);
                if commit == 0 {
                    let receipt = Receipt { epoch: Epoch(epoch), records: 10 * epoch, ..Receipt::default() };
                    assert!(tasks.push(&TaskEvent::Recovered(receipt), false));
                    places.push((epoch, offset));
                }
                for n in 0..=epoch {
                    let task = TaskId([n as u8; 16]);
                    assert!(tasks.push(&TaskEvent::Forgotten { task }, false));
                }
                offset = tasks.next_offset();
                let batches = vec![tasks.seal(Seq(seq), Epoch(epoch), 1000 * seq)];
                let commit = Commit { seq: Seq(seq), epoch: Epoch(epoch), batches };
                log.append(&commit).unwrap();
                log.flush().unwrap();
                reader.publish(&commit);
            }
        }
        (log, reader, places)
    }

    fn told(receipts: &Receipts, seq: u64, most: usize) -> Vec<(u64, u64)> {
        let found = receipts.last(Seq(seq), most).unwrap();
        assert!(found.iter().all(|found| found.receipt.records == 10 * found.receipt.epoch.0));
        found.iter().map(|found| (found.receipt.epoch.0, found.offset)).collect()
    }

    #[test]
    fn the_last_ones_are_found_and_those_until_then() {
        let (log, reader, places) = store(20);
        let newest_first: Vec<_> = places.iter().rev().copied().collect();
        let receipts = Receipts::new(reader.clone());
        let last = log.last().seq.0;
        assert_eq!(told(&receipts, last, 10), newest_first[..10]);
        assert_eq!(told(&receipts, last, 100), newest_first);
        // Behind the first commit of each start that is among them.
        for start in log.starts().iter().filter(|start| start.epoch != Epoch(3)) {
            let until: Vec<_> =
                newest_first.iter().copied().filter(|(epoch, _)| *epoch <= start.epoch.0).collect();
            for receipts in [&receipts, &Receipts::new(reader.clone())] {
                assert_eq!(told(receipts, start.after.0 + 1, 100), until, "{start:?}");
                assert_eq!(told(receipts, start.after.0, 100), until[1..], "{start:?}");
            }
        }
    }

    #[test]
    fn what_was_found_is_not_looked_for_again_and_what_is_trimmed_is_not_told() {
        let (log, reader, places) = store(20);
        let receipts = Receipts::new(reader.clone());
        let last = log.last().seq.0;
        assert_eq!(told(&receipts, last, 5).len(), 5);
        assert_eq!(receipts.known.lock().unwrap().len(), 5);
        receipts.known.lock().unwrap().values_mut().flatten().for_each(|found| found.receipt.seq = Seq(77));
        let again = receipts.last(Seq(last), 5).unwrap();
        assert!(again.iter().all(|found| found.receipt.seq == Seq(77)));
        told(&receipts, last, 100);
        // In the middle of what the 10th start wrote.
        let first = places.iter().find(|(epoch, _)| *epoch == 10).unwrap().1 + 1;
        reader.trim(LogId::TASKS, first);
        let kept: Vec<_> = places.iter().rev().copied().filter(|(epoch, _)| *epoch > 10).collect();
        assert_eq!(told(&receipts, last, 100), kept);
        assert_eq!(told(&Receipts::new(reader), last, 100), kept);
    }

    #[test]
    fn what_a_start_says_to_be_lost_stands_before_its_receipt() {
        let (log, reader, places) = store(4);
        let epoch = log.begin_epoch().unwrap();
        let head = log.bounds(LogId::TASKS).head;
        let lost = lost::at_ends(log.as_ref(), &[(LogId::TASKS, (head + 3, 0))], "gone", 0);
        let mut tasks = OpenBatch::new(LogId::TASKS, head + 3, 0);
        let receipt = Receipt { epoch, records: 50, ..Receipt::default() };
        assert!(tasks.push(&TaskEvent::Recovered(receipt), false));
        let seq = lost.seq.next();
        for commit in [lost, Commit { seq, epoch, batches: vec![tasks.seal(seq, epoch, 0)] }] {
            log.append(&commit).unwrap();
            log.flush().unwrap();
        }
        let expected = [(epoch.0, head + 3), places[places.len() - 1]];
        assert_eq!(told(&Receipts::new(reader), seq.0, 2), expected);
    }

    #[test]
    fn that_of_a_start_that_has_not_recovered_yet_is_told_once_it_is_there() {
        let (log, reader, places) = store(4);
        log.begin_epoch().unwrap();
        let receipts = Receipts::new(reader.clone());
        let last = log.last().seq;
        assert_eq!(told(&receipts, last.0 + 1, 1), places[places.len() - 1..]);
        let mut tasks = OpenBatch::new(LogId::TASKS, log.bounds(LogId::TASKS).head, 0);
        let receipt = Receipt { epoch: Epoch(5), records: 50, ..Receipt::default() };
        assert!(tasks.push(&TaskEvent::Recovered(receipt), false));
        let batches = vec![tasks.seal(last.next(), Epoch(5), 0)];
        let commit = Commit { seq: last.next(), epoch: Epoch(5), batches };
        log.append(&commit).unwrap();
        log.flush().unwrap();
        reader.publish(&commit);
        assert_eq!(told(&receipts, last.0 + 1, 1)[0].0, 5);
    }
}
