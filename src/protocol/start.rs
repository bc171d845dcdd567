//! The starts of a scheduler on a store, and how a store that went back is noticed.
//!
//! ```text
//!   this store      │ start 1 │ start 2     │ start 3'           a copy of an old day was put back
//!   commits         1 ─────── 40 ────────── 90 ─────▶
//!   a session saw   1 ─────── 40 ────────── 90 ───── 120 │ start 3 …
//!                                            └ common ┘└ gone: 91 to 120
//! ```
//!
//! A session shows the newest commit that it has seen and the start that wrote it. Commits are one chain: if
//! that one is here, so is everything before it, in all logs. Numbers alone would not tell, since a store
//! that was put back gives the same ones again; so each start also has an identity of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::{Epoch, Seq, StartId};

/// A start of the scheduler on a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Start {
    /// Its number on this store.
    pub epoch: Epoch,
    /// Its identity, which no other start has, on no other copy of the store either.
    pub id: StartId,
    /// The newest commit that it found: its own come after it.
    pub after: Seq,
}

/// What a session has seen of a store: the newest commit that it was shown or told of, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The start that wrote it, or found it.
    pub start: Start,
    /// The commit.
    pub seq: Seq,
}

/// A store does not have commits that a session has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "the store went back: it does not have the commits {from} to {to} of epoch {epoch}, which this session has \
     seen (an older copy was put back, or its end was lost). What was acknowledged or read from there on is gone, \
     and its numbers are given anew: connect again, and read again from where you are sure"
)]
pub struct Regress {
    /// The epoch of the last of them.
    pub epoch: Epoch,
    /// The first that is not here, or earlier than that where two histories parted before.
    pub from: Seq,
    /// The last that was seen.
    pub to: Seq,
}

/// How far a start is with making its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecoveryProgress {
    /// Bytes of a snapshot that were read.
    Snapshot(u64),
    /// Records behind it that were folded.
    Records(u64),
}

impl fmt::Display for RecoveryProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoveryProgress::Snapshot(0) => {
                f.write_str("nothing of its snapshot is read yet; its store may be under repair")
            }
            RecoveryProgress::Snapshot(bytes) => write!(f, "{} MiB of its snapshot are read", bytes >> 20),
            RecoveryProgress::Records(records) => match records {
                1 => f.write_str("1 record is folded"),
                _ => write!(f, "{records} records are folded"),
            },
        }
    }
}

/// How many starts are remembered: 1,024, 24 kB. A session that has seen none of these has long lost its lease.
pub const STARTS_MAX: usize = 1024;

/// The newest starts on a store, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Starts(Vec<Start>);

impl Starts {
    /// Takes in the next start; forgets the oldest when there are too many. Answers that one.
    pub fn push(&mut self, start: Start) -> Option<Start> {
        self.0.push(start);
        (self.0.len() > STARTS_MAX).then(|| self.0.remove(0))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Start> {
        self.0.iter()
    }

    /// The newest; all zero when there is none.
    pub fn newest(&self) -> Start {
        self.0.last().copied().unwrap_or_default()
    }

    /// The epoch of a commit. Of one that is older than all starts that are remembered, that of the first of them.
    pub fn epoch_of(&self, seq: Seq) -> Epoch {
        let wrote = self.0.iter().rfind(|start| start.after < seq).or(self.0.first());
        wrote.map_or(Epoch::default(), |start| start.epoch)
    }

    /// The newest commit of this store as a session sees it that reads it. Its start may be forgotten: then its epoch
    /// is what is known of it.
    pub fn seen(&self, epoch: Epoch, seq: Seq) -> Seen {
        let start = self.0.iter().find(|start| start.epoch == epoch).copied();
        Seen { start: start.unwrap_or(Start { epoch, ..Start::default() }), seq }
    }

    /// Whether this store has what a session has seen. What was seen of starts that are forgotten is taken to be
    /// here as far as the next one found it.
    ///
    /// # Errors
    /// Which commits it does not have.
    pub fn check(&self, seen: &Seen) -> Result<(), Regress> {
        let Seen { start, seq } = *seen;
        let known = self.0.iter().find(|known| known.epoch == start.epoch);
        // The least of all that came later: a store that lost its end has less than its last start found.
        let found_later =
            self.0.iter().filter(|later| later.epoch > start.epoch).map(|later| later.after).min();
        let common = match (known, found_later) {
            (Some(known), _) if known.id != start.id => known.after.min(start.after),
            (_, Some(found)) => found,
            (Some(_), None) => return Ok(()),
            (None, None) => self.newest().after.min(start.after),
        };
        match seq <= common {
            true => Ok(()),
            false => Err(Regress { epoch: start.epoch, from: common.next(), to: seq }),
        }
    }
}

impl FromIterator<Start> for Starts {
    fn from_iter<T: IntoIterator<Item = Start>>(starts: T) -> Starts {
        let mut all = Starts::default();
        for start in starts {
            all.push(start);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(epoch: u64, id: u64, after: u64) -> Start {
        Start { epoch: Epoch(epoch), id: StartId(id), after: Seq(after) }
    }

    fn starts() -> Starts {
        [start(1, 11, 0), start(2, 22, 40), start(3, 33, 90)].into_iter().collect()
    }

    /// The commits that are missed.
    fn missed(start: Start, seq: u64) -> Option<(u64, u64)> {
        starts().check(&Seen { start, seq: Seq(seq) }).err().map(|regress| (regress.from.0, regress.to.0))
    }

    #[test]
    fn a_commit_is_of_the_last_start_before_it() {
        for (seq, epoch) in [(0, 1), (1, 1), (40, 1), (41, 2), (90, 2), (91, 3), (5000, 3)] {
            assert_eq!(starts().epoch_of(Seq(seq)), Epoch(epoch), "{seq}");
        }
        assert_eq!(Starts::default().epoch_of(Seq(1)), Epoch(0));
    }

    #[test]
    fn what_every_start_found_is_here() {
        for (epoch, id, after, seq) in [(1, 11, 0, 1), (1, 11, 0, 40), (2, 22, 40, 90), (3, 33, 90, 5000)] {
            assert_eq!(missed(start(epoch, id, after), seq), None, "{seq} of {epoch}");
        }
    }

    #[test]
    fn what_the_next_start_did_not_find_is_gone() {
        assert_eq!(missed(start(1, 11, 0), 41), Some((41, 41)));
        assert_eq!(missed(start(2, 22, 40), 120), Some((91, 120)));
    }

    #[test]
    fn what_a_later_start_did_not_find_any_more_is_gone() {
        let starts: Starts = [start(1, 11, 0), start(2, 22, 40), start(3, 33, 35)].into_iter().collect();
        let regress = starts.check(&Seen { start: start(1, 11, 0), seq: Seq(38) }).unwrap_err();
        assert_eq!((regress.from, regress.to), (Seq(36), Seq(38)));
    }

    #[test]
    fn a_start_of_the_same_number_on_another_copy_is_another() {
        assert_eq!(missed(start(3, 34, 90), 91), Some((91, 91)), "though the store has a commit 91");
        assert_eq!(missed(start(3, 34, 70), 85), Some((71, 85)), "they parted at 70 or before");
        assert_eq!(missed(start(2, 23, 40), 41), Some((41, 41)));
    }

    #[test]
    fn a_start_that_is_yet_to_come_was_on_another_copy() {
        assert_eq!(missed(start(9, 99, 2000), 2001), Some((91, 2001)));
        assert_eq!(missed(start(4, 44, 60), 61), Some((61, 61)));
    }

    #[test]
    fn of_starts_that_are_forgotten_the_next_one_tells() {
        let later: Starts = [start(7, 77, 500)].into_iter().collect();
        let check = |seq| later.check(&Seen { start: start(6, 66, 400), seq: Seq(seq) });
        assert_eq!(check(500), Ok(()));
        assert_eq!(check(501).unwrap_err().from, Seq(501));
        let mut many = Starts::default();
        let forgotten = (1..=STARTS_MAX as u64 + 3).filter_map(|n| many.push(start(n, n, n))).count();
        assert_eq!((forgotten, many.iter().count()), (3, STARTS_MAX));
        assert_eq!((many.iter().next().unwrap().epoch, many.newest().epoch), (Epoch(4), Epoch(1027)));
    }
}
