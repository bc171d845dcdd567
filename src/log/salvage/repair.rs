//! What a salvage did, for logs, receipts and people.

use std::fmt;
use std::path::PathBuf;

use crate::log::Last;
use crate::log::open::behind;
use crate::protocol::batch::Damage;
use crate::protocol::counted::counted;
use crate::protocol::{LogId, Seq};

/// How many ranges are named in words; the rest is counted.
const NAMED_MAX: usize = 12;

/// Records that are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostRange {
    /// Their log.
    pub log: LogId,
    /// Which, and why.
    pub damage: Damage,
}

/// What a salvage found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// Why there was one.
    pub why: String,
    /// Where the damaged store is kept, unless there was none any more.
    pub kept: Option<PathBuf>,
    /// How many intact batches it had.
    pub batches: u64,
    /// How many records are in them.
    pub records: u64,
    /// What is lost, by log and offset; also what an earlier salvage did not find.
    pub lost: Vec<LostRange>,
    /// Commits of which no batch was left: the first and the last of each range, of the first 16.
    pub missing: Vec<(Seq, Seq)>,
    /// The newest commit of the new store.
    pub last: Last,
    /// The last durable commit, as far as the head file knew.
    pub head: Option<Last>,
    /// Bytes of the damaged store's files.
    pub bytes: u64,
    /// How many of them the disk would not give.
    pub unreadable: u64,
}

impl Repair {
    /// How many records are lost between others.
    pub fn records_lost(&self) -> u64 {
        self.lost.iter().map(|lost| lost.damage.to - lost.damage.from).sum()
    }

    /// Whether anything is known to be lost.
    pub fn has_lost(&self) -> bool {
        !self.lost.is_empty() || !self.missing.is_empty() || self.end_lost().is_some()
    }

    /// How the newest commit differs from what the head file says, in words, where it does.
    pub fn end_lost(&self) -> Option<String> {
        behind(self.last, self.head?)
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store was damaged ({}) and is repaired: ", self.why)?;
        let records = counted(self.records, "record");
        match self.batches {
            1 => write!(f, "1 intact batch with {records} was found")?,
            batches => write!(f, "{batches} intact batches with {records} were found")?,
        }
        if !self.has_lost() {
            f.write_str(", and nothing is known to be lost")?;
        }
        if !self.lost.is_empty() {
            match self.records_lost() {
                1 => f.write_str("; lost is 1 record:")?,
                lost => write!(f, "; lost are {lost} records:")?,
            }
            for (at, lost) in self.lost.iter().take(NAMED_MAX).enumerate() {
                let comma = if at == 0 { "" } else { "," };
                write!(f, "{comma} {} to {} of log {}", lost.damage.from, lost.damage.to, lost.log)?;
            }
            more(f, self.lost.len())?;
        }
        if !self.missing.is_empty() {
            f.write_str("; nothing is left of commits")?;
            for (at, (first, last)) in self.missing.iter().take(NAMED_MAX).enumerate() {
                let comma = if at == 0 { "" } else { "," };
                match first == last {
                    true => write!(f, "{comma} {first}")?,
                    false => write!(f, "{comma} {first} to {last}")?,
                }
            }
            more(f, self.missing.len())?;
        }
        if let Some(end) = self.end_lost() {
            write!(f, "; {end}")?;
        }
        if self.unreadable > 0 {
            write!(f, "; the disk refused {} of {} bytes", self.unreadable, self.bytes)?;
        }
        match &self.kept {
            Some(kept) => write!(f, "; the damaged store is kept as {}", kept.display()),
            None => f.write_str("; nothing was left of the damaged store"),
        }
    }
}

fn more(f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
    match count.checked_sub(NAMED_MAX) {
        Some(rest @ 1..) => write!(f, " and {rest} more ranges"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Digest, Epoch};

    fn repair() -> Repair {
        let last = |seq| Last { seq: Seq(seq), epoch: Epoch(1), digest: Digest(0) };
        Repair {
            why: "a checksum".to_owned(),
            kept: Some("d/store.damaged-1".into()),
            batches: 3,
            records: 9,
            lost: Vec::new(),
            missing: Vec::new(),
            last: last(7),
            head: Some(last(7)),
            bytes: 100,
            unreadable: 0,
        }
    }

    #[test]
    fn nothing_lost_is_said_so() {
        let words = repair().to_string();
        assert!(
            words.contains("nothing is known to be lost; the damaged store is kept as d/store"),
            "{words}"
        );
    }

    #[test]
    fn all_that_is_lost_is_said_in_a_bounded_line() {
        let damage = |from| Damage { from, to: from + 2, why: "gone".to_owned() };
        let lost = (0..20).map(|at| LostRange { log: LogId(1), damage: damage(10 * at) }).collect();
        let head = Some(Last { seq: Seq(9), ..repair().last });
        let missing = vec![(Seq(2), Seq(2)), (Seq(4), Seq(5))];
        let words = Repair { lost, head, missing, unreadable: 7, ..repair() }.to_string();
        assert!(words.contains("lost are 40 records: 0 to 2 of log 1, 10 to 12 of log 1,"), "{words}");
        assert!(
            words.contains(" and 8 more ranges; nothing is left of commits 2, 4 to 5; the store has"),
            "{words}"
        );
        assert!(
            words.contains("ends at commit 7, epoch 1, ") && words.contains("says commit 9, "),
            "{words}"
        );
        assert!(words.contains("the disk refused 7 of 100 bytes") && words.len() < 2000, "{words}");
    }
}
