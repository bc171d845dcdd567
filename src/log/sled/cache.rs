//! Keeps sled's page cache as small as it was told to be.
//!
//! sled 0.34.7 has 256 caches (`N_SHARDS` in its `src/lru.rs`), page n in cache n mod 256. Each one only
//! counts what it holds, and evicts what is too much, at every 64th access to one of its pages
//! (`MAX_QUEUE_ITEMS`), and it never evicts the page that was accessed last. Its pages hold 8 to 16
//! batches. So with batches of 64 KiB, 64 MiB of cache became 1.4 GiB when 1.5 GiB of history were read,
//! and 0.4 GiB when they were written: pages came in, and there were not enough accesses to any of the 256.
//!
//! So for the bytes that come and go we make accesses of our own: to a tree of so many tiny pages that
//! there is one in each of the 256, 64 times each. The tree is made once, its pages one after the other, so
//! that their numbers cover all remainders; more pages than 256, since a few numbers may go to
//! inner pages. Measured on the same 1.5 GiB: 59 to 68 MiB of memory in all, and reading took a third of the time.
//! A touch takes about 0.2 µs: so what came once is counted once. Who reads on finds the page in memory with which the read
//! before ended, if each cache has not had its turn meanwhile.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::protocol::LogId;

/// The tiny pages: sled's 256 caches and some to spare.
pub(super) const PAGES: u32 = 288;

/// sled splits a page of over 16 keys in the middle; keys that come in order leave pages of 8.
pub(super) const KEYS_PER_PAGE: u32 = 8;

/// Accesses after which one of sled's caches looks at what it holds.
const TOUCHES_PER_PAGE: u64 = 64;

/// For how many bytes of batches one touch is owed: 1 KiB, so that each cache has its turn every 18 MiB
/// (288 · 64 KiB). That much may be too much for a while.
const BYTES_PER_TOUCH: u64 = 1024;

/// After how many bytes each cache has had its turn.
const ROUND_BYTES: u64 = BYTES_PER_TOUCH * TOUCHES_PER_PAGE * PAGES as u64;

/// Of how many reads it is known where they ended: 64, more than read at one time.
const ENDS_MAX: usize = 64;

/// Counts the bytes that come and go.
#[derive(Debug, Default)]
pub(super) struct Touches {
    bytes: AtomicU64,
    /// The newest last.
    ends: Mutex<VecDeque<End>>,
}

/// Where a read ended, and how many bytes had come and gone by then.
#[derive(Debug)]
struct End {
    log: LogId,
    offset: u64,
    bytes: u64,
}

impl Touches {
    /// The pages that are to be touched now that so many more bytes came or went, one access each.
    pub fn owed(&self, bytes: usize) -> impl Iterator<Item = u32> {
        let bytes = bytes as u64;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let numbers = before / BYTES_PER_TOUCH..(before + bytes) / BYTES_PER_TOUCH;
        numbers.map(|number| (number / TOUCHES_PER_PAGE % u64::from(PAGES)) as u32)
    }

    /// Says that a read ended before this offset.
    pub fn ended(&self, log: LogId, offset: u64) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if ends.len() == ENDS_MAX {
            ends.pop_front();
        }
        ends.push_back(End { log, offset, bytes });
    }

    /// Whether one that begins here goes on where another one ended, whose last page is still in memory. Only one does.
    pub fn goes_on(&self, log: LogId, offset: u64) -> bool {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ends.iter().rposition(|end| (end.log, end.offset) == (log, offset));
        let end = at.and_then(|at| ends.remove(at));
        end.is_some_and(|end| bytes - end.bytes < ROUND_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_touches_in_turn_however_the_bytes_come() {
        let touches = Touches::default();
        let round = TOUCHES_PER_PAGE * u64::from(PAGES);
        let mut owed: Vec<u32> = Vec::new();
        let mut bytes = 0;
        for part in [1usize, 1022, 1, 0, 64 * 1024, 100].into_iter().cycle() {
            bytes += part as u64;
            owed.extend(touches.owed(part));
            assert_eq!(owed.len() as u64, bytes / BYTES_PER_TOUCH);
            if owed.len() as u64 >= 2 * round {
                break;
            }
        }
        for (number, page) in owed.iter().enumerate() {
            assert_eq!(u64::from(*page), number as u64 / TOUCHES_PER_PAGE % u64::from(PAGES));
        }
    }

    #[test]
    fn a_read_goes_on_behind_another_until_each_cache_has_had_its_turn() {
        let touches = Touches::default();
        let (log, other) = (LogId(1), LogId(2));
        assert!(!touches.goes_on(log, 7));
        touches.ended(log, 7);
        assert!(!touches.goes_on(log, 8) && !touches.goes_on(other, 7));
        drop(touches.owed(ROUND_BYTES as usize - 1));
        assert!(touches.goes_on(log, 7));
        assert!(!touches.goes_on(log, 7), "one goes on there");
        touches.ended(log, 9);
        drop(touches.owed(ROUND_BYTES as usize));
        assert!(!touches.goes_on(log, 9), "the page may be gone");
        touches.ended(log, 0);
        (1..=ENDS_MAX as u64).for_each(|offset| touches.ended(log, offset));
        assert!(!touches.goes_on(log, 0) && touches.goes_on(log, 1));
    }
}
