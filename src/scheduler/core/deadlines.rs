//! When something is due, for many at a time.

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::TimeMs;

/// A moment for each of some keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deadlines<K> {
    of: BTreeMap<K, TimeMs>,
    /// The same, by time.
    due: BTreeSet<(TimeMs, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Deadlines { of: BTreeMap::new(), due: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    /// Sets the moment of a key, in the place of the one before.
    pub fn set(&mut self, key: K, at: TimeMs) {
        self.remove(&key);
        self.due.insert((at, key.clone()));
        self.of.insert(key, at);
    }

    /// Takes a key out, if it is there.
    pub fn remove(&mut self, key: &K) {
        if let Some(at) = self.of.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }

    /// The first key whose moment has come.
    pub fn first(&self, now: TimeMs) -> Option<&K> {
        self.due.first().filter(|(at, _)| *at <= now).map(|(_, key)| key)
    }

    /// Takes it out.
    pub fn pop(&mut self, now: TimeMs) -> Option<K> {
        let key = self.first(now)?.clone();
        self.remove(&key);
        Some(key)
    }

    /// As [`Self::pop`], if it is this key's.
    pub fn pop_if(&mut self, now: TimeMs, is_wanted: impl FnOnce(&K) -> bool) -> Option<K> {
        let (_, key) = self.due.first()?;
        if is_wanted(key) { self.pop(now) } else { None }
    }

    /// The first moment.
    pub fn next(&self) -> Option<TimeMs> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The moment of a key.
    pub fn at(&self, key: &K) -> Option<TimeMs> {
        self.of.get(key).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether there is a moment for this key.
    pub fn contains(&self, key: &K) -> bool {
        self.of.contains_key(key)
    }

    /// Lets everything be due so much later.
    pub fn postpone(&mut self, ms: u64) {
        self.of.values_mut().for_each(|at| *at = at.saturating_add(ms));
        self.due = self.of.iter().map(|(key, at)| (*at, key.clone())).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_first_comes_first_and_once() {
        let mut deadlines = Deadlines::default();
        for (key, at) in [('a', 30), ('b', 10), ('c', 20), ('a', 5)] {
            deadlines.set(key, at);
        }
        assert_eq!((deadlines.next(), deadlines.pop(4)), (Some(5), None));
        deadlines.remove(&'c');
        deadlines.postpone(100);
        assert_eq!(
            (deadlines.next(), deadlines.contains(&'a'), deadlines.contains(&'c')),
            (Some(105), true, false)
        );
        assert_eq!([105, 109, 110, 999].map(|now| deadlines.pop(now)), [Some('a'), None, Some('b'), None]);
        assert_eq!(deadlines.next(), None);
    }
}
