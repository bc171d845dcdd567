//! Maps and sets by task.
//!
//! A task's id is random or a hash already (see [`TaskKey`](super::TaskKey)), so that it need not be hashed
//! again: a part of it does, spread over all bits. Whoever made ids on purpose that meet in a map would slow down a
//! scheduler that does what they say anyway.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::TaskId;

/// A map by task. Its order is nobody's to rely on.
pub type TaskMap<V> = HashMap<TaskId, V, BuildHasherDefault<TaskHasher>>;

/// A set of tasks. Its order is nobody's to rely on.
pub type TaskSet = HashSet<TaskId, BuildHasherDefault<TaskHasher>>;

/// An odd number without a pattern: 2^64 divided by the golden ratio (Knuth, *The Art of Computer Programming* 3,
/// 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes what [`TaskId`] says of itself: one number.
#[derive(Debug, Clone, Default)]
pub struct TaskHasher(u64);

impl Hasher for TaskHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a task id is hashed as one number")
    }

    fn write_u64(&mut self, number: u64) {
        // A map goes by the lowest and by the highest bits. In a UUID v7 the lowest are random, and the highest are not:
        // the product's highest are of all of them.
        self.0 = number.wrapping_mul(SPREAD);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use uuid::Uuid;

    use super::*;
    use crate::protocol::TaskKey;

    /// How many of `count` hashes have their lowest 16 bits, and their highest 7, to themselves.
    fn distinct(ids: impl Iterator<Item = TaskId>) -> (usize, usize) {
        let hashes: Vec<u64> =
            ids.map(|id| BuildHasherDefault::<TaskHasher>::default().hash_one(id)).collect();
        let low: HashSet<u64> = hashes.iter().map(|hash| hash & 0xffff).collect();
        let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        (low.len(), high.len())
    }

    #[test]
    fn ids_of_every_kind_are_spread_over_a_map() {
        let unique = (0..16_384).map(|_| TaskKey::unique("f", Uuid::now_v7().into_bytes()).id);
        let pure = (0..16_384_u32).map(|n| TaskKey::pure("f", "m::f", 1, &n.to_le_bytes()).id);
        let named = (0..16_384).map(|n| TaskKey::named(&format!("day-{n}")).id);
        for (low, high) in [distinct(unique), distinct(pure), distinct(named)] {
            // Thrown at random into 65,536 places, 14,500 would be taken.
            assert!(low > 14_000, "{low} of 16,384");
            assert_eq!(high, 128);
        }
    }
}
