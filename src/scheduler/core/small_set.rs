//! A set that has one member most of the time, or none: then it takes 16 bytes and no room of its own.

use std::collections::BTreeSet;

/// A set of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallSet<T>(Inner<T>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Inner<T> {
    None,
    One(T),
    /// More than one.
    #[expect(clippy::box_collection, reason = "it would make the set twice as large, however few it has")]
    Many(Box<BTreeSet<T>>),
}

impl<T> Default for SmallSet<T> {
    fn default() -> Self {
        SmallSet(Inner::None)
    }
}

impl<T: Copy + Ord> SmallSet<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Inner::None => 0,
            Inner::One(_) => 1,
            Inner::Many(many) => many.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is one of them.
    pub fn contains(&self, member: &T) -> bool {
        match &self.0 {
            Inner::None => false,
            Inner::One(one) => one == member,
            Inner::Many(many) => many.contains(member),
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        let (one, many) = match &self.0 {
            Inner::None => (None, None),
            Inner::One(one) => (Some(*one), None),
            Inner::Many(many) => (None, Some(many)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|many| many.iter().copied()))
    }

    /// Adds one; it may be there already.
    pub(super) fn insert(&mut self, new: T) {
        match &mut self.0 {
            Inner::None => self.0 = Inner::One(new),
            Inner::One(one) if *one == new => {}
            Inner::One(one) => self.0 = Inner::Many(Box::new([*one, new].into())),
            Inner::Many(many) => drop(many.insert(new)),
        }
    }

    /// Takes one out, if it is there.
    pub(super) fn remove(&mut self, old: T) {
        match &mut self.0 {
            Inner::One(one) if *one == old => self.0 = Inner::None,
            Inner::None | Inner::One(_) => {}
            Inner::Many(many) => drop(many.remove(&old)),
        }
        self.shrink();
    }

    /// Takes out all but those.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        match &mut self.0 {
            Inner::One(one) if !is_kept(one) => self.0 = Inner::None,
            Inner::None | Inner::One(_) => {}
            Inner::Many(many) => many.retain(is_kept),
        }
        self.shrink();
    }

    fn shrink(&mut self) {
        let Inner::Many(many) = &self.0 else { return };
        match (many.len(), many.first()) {
            (0, _) => self.0 = Inner::None,
            (1, Some(one)) => self.0 = Inner::One(*one),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set of these, one added after the other.
    fn of(members: &BTreeSet<u64>) -> SmallSet<u64> {
        let mut set = SmallSet::default();
        members.iter().for_each(|member| set.insert(*member));
        set
    }

    #[test]
    fn it_is_a_set_however_many_there_are() {
        let (mut set, mut expected) = (SmallSet::default(), BTreeSet::new());
        let added = [3, 1, 4, 2].map(|member| (member, true));
        let removed = [9, 1, 4, 3, 2].map(|member| (member, false));
        for (member, is_added) in added.into_iter().chain(removed) {
            for _ in 0..2 {
                if is_added {
                    set.insert(member);
                    expected.insert(member);
                } else {
                    set.remove(member);
                    expected.remove(&member);
                }
                assert_eq!((set.len(), set.is_empty()), (expected.len(), expected.is_empty()));
                assert!(set.iter().eq(expected.iter().copied()));
                assert!((0..10).all(|member| set.contains(&member) == expected.contains(&member)));
                assert_eq!(set, of(&expected), "equal however it came about");
            }
        }
        set = of(&[1, 2, 3].into());
        set.retain(|_| false);
        assert_eq!(set, SmallSet::default());
        assert_eq!(size_of::<SmallSet<u64>>(), 16);
    }
}
