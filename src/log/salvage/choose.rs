//! Which of the intact batches make up the logs, and what lies between them.
//!
//! Of batches that claim the same offset the newest has been chosen already. Of those that overlap, the one
//! of the newer epoch is right, and within an epoch that of the newer commit: see [`Entry::age`].

use std::collections::BTreeMap;
use std::io;

use super::scan::{Entry, Found, Source};
use crate::log::lost::Gap;
use crate::protocol::batch::Batch;
use crate::protocol::{Epoch, LogId, Seq};

/// Why a record is lost, as a salvage puts it into the place of the record.
const WHY: &str = "no intact batch of them was found in the damaged store";

/// How many ranges of missing commits are kept to be told.
const MISSING_MAX: usize = 16;

/// What a new store is to hold.
#[derive(Debug, Default)]
pub(in crate::log) struct Chosen {
    /// Intact batches, in the order of their commits.
    pub whole: Vec<(LogId, u64, Entry)>,
    /// Batches in the place of what is lost.
    pub lost: Vec<Batch>,
    /// Where trimmed logs begin.
    pub firsts: BTreeMap<LogId, u64>,
    /// The newest epoch that a batch names.
    pub epoch: Epoch,
    /// The first and last of commits of which no batch was found; at most 16 ranges. Unknown, and empty,
    /// when logs were trimmed.
    pub missing: Vec<(Seq, Seq)>,
}

/// Makes logs of what was found. `firsts` says where trimmed logs begin, as far as that is known.
///
/// # Errors
/// When a batch cannot be read again.
pub(in crate::log) fn choose(
    found: Found,
    firsts: BTreeMap<LogId, u64>,
    source: &mut Source,
) -> io::Result<Chosen> {
    let mut chosen = Chosen::default();
    let mut logs: BTreeMap<LogId, Vec<(u64, Entry)>> =
        found.into_iter().map(|(log, entries)| (log, without_overlaps(entries))).collect();
    for log in firsts.keys() {
        logs.entry(*log).or_default();
    }
    for (log, mut entries) in logs {
        let known = firsts.get(&log).copied().unwrap_or(0);
        let is_behind = |(base, entry): &(u64, Entry)| base + u64::from(entry.count) > known;
        // When nothing is left of what a trimmed log still had, at least its offsets are kept.
        let first = if entries.iter().any(is_behind) { known } else { 0 };
        if first > 0 {
            entries.retain(is_behind);
            chosen.firsts.insert(log, first);
        }
        chosen.lost.extend(gaps(log, &entries, first, known, source)?);
        chosen.whole.extend(entries.into_iter().map(|(base, entry)| (log, base, entry)));
    }
    chosen.whole.sort_unstable_by_key(|(log, base, entry)| (entry.seq, *log, *base));
    chosen.epoch = chosen.whole.iter().map(|(_, _, entry)| entry.epoch).max().unwrap_or_default();
    if chosen.firsts.is_empty() {
        chosen.missing = missing(&chosen.whole);
    }
    Ok(chosen)
}

fn without_overlaps(entries: BTreeMap<u64, Entry>) -> Vec<(u64, Entry)> {
    let mut kept: Vec<(u64, Entry)> = Vec::with_capacity(entries.len());
    for (base, entry) in entries {
        while let Some((before, older)) = kept.last()
            && before + u64::from(older.count) > base
            && entry.age() > older.age()
        {
            kept.pop();
        }
        if kept.last().is_none_or(|(before, other)| before + u64::from(other.count) <= base) {
            kept.push((base, entry));
        }
    }
    kept
}

/// What is lost before, between, and, up to the offset `to`, behind these batches.
fn gaps(
    log: LogId,
    entries: &[(u64, Entry)],
    first: u64,
    to: u64,
    source: &mut Source,
) -> io::Result<Vec<Batch>> {
    let mut lost = Vec::new();
    let mut next = first;
    for at in 0..=entries.len() {
        let base = entries.get(at).map_or(to, |(base, _)| *base);
        if base > next {
            let before = at.checked_sub(1).map(|before| &entries[before].1);
            let mut header = |entry: &Entry| source.read(entry).map(|batch| *batch.header());
            let before = before.map(&mut header).transpose()?;
            let after = entries.get(at).map(|(_, entry)| header(entry)).transpose()?;
            lost.extend(Gap { log, offsets: next..base, before, after, elements: None }.batches(WHY));
        }
        next = entries.get(at).map_or(next, |(base, entry)| base + u64::from(entry.count)).max(next);
    }
    Ok(lost)
}

/// The commits before the newest of which there is nothing. Batches are in the order of their commits.
fn missing(whole: &[(LogId, u64, Entry)]) -> Vec<(Seq, Seq)> {
    let mut missing = Vec::new();
    let mut next = Seq(1);
    for (_, _, entry) in whole {
        if entry.seq > next && missing.len() < MISSING_MAX {
            missing.push((next, Seq(entry.seq.0 - 1)));
        }
        next = next.max(entry.seq.next());
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::OpenBatch;

    fn batch(log: u32, offset: u64, count: u32, seq: u64, epoch: u64) -> Batch {
        let mut open = OpenBatch::new(LogId(log), offset, offset);
        (0..count).for_each(|_| assert!(open.push(&seq, true)));
        open.seal(Seq(seq), Epoch(epoch), seq)
    }

    /// What is chosen of these batches: base offset and count of whole and lost ones, in order, by log.
    fn chosen(batches: &[Batch], firsts: &[(u32, u64)]) -> (Chosen, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes().to_vec()).collect();
        std::fs::write(dir.path().join("db"), bytes).unwrap();
        let mut source = Source::open(dir.path()).unwrap();
        let found = source.scan(&mut |_| {}).unwrap();
        let firsts = firsts.iter().map(|(log, first)| (LogId(*log), *first)).collect();
        let chosen = choose(found, firsts, &mut source).unwrap();
        let mut words: Vec<(LogId, u64, String)> = Vec::new();
        for (log, base, entry) in &chosen.whole {
            words.push((*log, *base, format!("{log}:{base}+{}", entry.count)));
        }
        for batch in &chosen.lost {
            let header = batch.header();
            let (log, base) = (header.log, header.base_offset);
            words.push((log, base, format!("{log}:lost {base}+{} at {}", header.count, header.base_index)));
        }
        words.sort();
        (chosen, words.into_iter().map(|(.., words)| words).collect())
    }

    #[test]
    fn gaps_between_batches_are_lost_and_commits_without_any_are_named() {
        let batches = [batch(1, 2, 2, 2, 1), batch(1, 9, 1, 6, 2), batch(2, 0, 1, 3, 1)];
        let (chosen, words) = chosen(&batches, &[]);
        assert_eq!(words, ["1:lost 0+2 at 0", "1:2+2", "1:lost 4+5 at 4", "1:9+1", "2:0+1"]);
        assert_eq!(chosen.missing, [(Seq(1), Seq(1)), (Seq(4), Seq(5))]);
        assert_eq!(chosen.epoch, Epoch(2));
        let order: Vec<Seq> = chosen.whole.iter().map(|(.., entry)| entry.seq).collect();
        assert_eq!(order, [Seq(2), Seq(3), Seq(6)]);
    }

    #[test]
    fn of_overlapping_batches_the_newer_epoch_is_right() {
        // Commits 2 and 3 of epoch 1 never became durable; epoch 2 wrote others over them.
        let old = [batch(1, 2, 4, 2, 1), batch(1, 6, 3, 3, 1)];
        let new = [batch(1, 0, 2, 1, 1), batch(1, 2, 1, 2, 2), batch(1, 3, 4, 3, 2)];
        let all: Vec<Batch> = old.into_iter().chain(new).collect();
        assert_eq!(chosen(&all, &[]).1, ["1:0+2", "1:2+1", "1:3+4"]);
        let backwards: Vec<Batch> = all.into_iter().rev().collect();
        assert_eq!(chosen(&backwards, &[]).1, ["1:0+2", "1:2+1", "1:3+4"]);
    }

    #[test]
    fn what_was_trimmed_stays_so() {
        let batches = [batch(1, 0, 3, 1, 1), batch(1, 5, 2, 3, 1)];
        let (chosen_of_them, words) = chosen(&batches, &[(1, 4)]);
        assert_eq!(words, ["1:lost 4+1 at 5", "1:5+2"]);
        assert_eq!((chosen_of_them.firsts[&LogId(1)], chosen_of_them.missing), (4, vec![]));
        let (chosen_of_them, words) = chosen(&batches, &[(1, 9), (2, 6)]);
        assert_eq!(
            words,
            ["1:0+3", "1:lost 3+2 at 3", "1:5+2", "1:lost 7+2 at 7", "2:lost 0+6 at 0"],
            "nothing is left of what the logs had, but no offset is used again"
        );
        assert!(chosen_of_them.firsts.is_empty());
    }
}
