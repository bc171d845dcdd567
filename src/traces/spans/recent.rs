//! A map that keeps so many of its newest entries.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A map that knows the order in which its keys came, and lets the oldest go when there are too many.
#[derive(Debug, Clone)]
pub struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// Each key with the number of its coming; some have gone since, or come again.
    order: VecDeque<(K, u64)>,
    next: u64,
    max: usize,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    /// Keeps at most so many.
    pub fn new(max: usize) -> Self {
        Recent { entries: HashMap::new(), order: VecDeque::new(), next: 0, max }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    /// Puts it in, as the newest. Answers whether another one had to go for it.
    pub fn insert(&mut self, key: K, value: V) -> bool {
        self.next += 1;
        self.entries.insert(key, (self.next, value));
        self.order.push_back((key, self.next));
        let goes = self.entries.len() > self.max;
        if goes {
            self.drop_oldest();
        }
        if self.order.len() > 2 * self.max.max(self.entries.len()) {
            let entries = &self.entries;
            self.order.retain(|(key, came)| entries.get(key).is_some_and(|(newest, _)| newest == came));
        }
        goes
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    fn drop_oldest(&mut self) {
        while let Some((key, came)) = self.order.pop_front() {
            if self.entries.get(&key).is_some_and(|(newest, _)| *newest == came) {
                self.entries.remove(&key);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_and_what_was_removed_counts_no_more() {
        let mut recent = Recent::new(3);
        let went: Vec<bool> = [1, 2, 3].into_iter().map(|n| recent.insert(n, n)).collect();
        assert_eq!(went, [false; 3]);
        assert!(!recent.insert(1, 10), "it is one of them, and the newest now");
        assert!(recent.insert(4, 4), "2 goes");
        assert_eq!((recent.get(&2), recent.get(&1)), (None, Some(&10)));
        assert_eq!(recent.remove(&3), Some(3));
        assert!(!recent.insert(5, 5));
        for n in 0..1_000 {
            recent.insert(7, n);
            recent.remove(&7);
        }
        assert_eq!(
            (recent.entries.len(), recent.get(&1), recent.get(&5)),
            (2, None, Some(&5)),
            "1 went for 7"
        );
        assert!(recent.order.len() <= 7, "{}", recent.order.len());
    }
}
