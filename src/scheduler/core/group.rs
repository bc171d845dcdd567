//! Groups: which elements of a channel are leased to whom, which wait to be leased again, and from where on none was ever.
//!
//! ```text
//!        done with, but for those that are leased or wait      next        elements
//!   ───────────────────────────────────────────────────────────▶│◀── never leased ──▶
//! ```
//!
//! So a group takes as much memory as is leased, or was when members went away, however many elements there are.
//!
//! The records of a group are in the task log, the trims of its channel in the channel's. Either order of folding them
//! gives the same: a trim only takes away what waits, and moves `next` on.

use std::collections::BTreeMap;

use super::state::State;
use crate::protocol::group::{GroupId, GroupName, GroupOptions, LeaseEnd, OfGroup, Stretch, indexes};
use crate::protocol::{LogId, Producer};

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its channel's log.
    pub log: LogId,
    /// Its name.
    pub name: GroupName,
    /// How it leases.
    pub options: GroupOptions,
    /// The index of the first element that was never leased.
    pub next: u64,
    /// The elements that are leased, by index.
    pub leased: BTreeMap<u64, Lease>,
    /// Those that wait to be leased again, by index, and what was done with them.
    pub waiting: BTreeMap<u64, Past>,
}

/// How often an element was leased, and how often it was tried. A member has several elements at a time, and when it dies,
/// only some had been tried, perhaps those that it died of. So that one of these takes none of the others to the dead
/// letters, the first lease of an element counts as a try, and a later one only when its member has said that it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    /// Leased.
    pub leases: u32,
    /// Tried.
    pub tries: u32,
}

impl Past {
    /// Tried each time that it was leased.
    pub(super) fn tried(leases: u32) -> Self {
        Past { leases, tries: leases }
    }

    /// Whether it was leased once at least without being tried.
    pub(super) fn is_untried(self) -> bool {
        self.tries < self.leases
    }
}

/// An element is leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// To whom: the session.
    pub member: Producer,
    /// What was done with the element before.
    pub before: Past,
    /// Whether this counts as a try.
    pub is_tried: bool,
}

impl Lease {
    /// One that begins.
    pub(super) fn new(member: Producer, before: Past) -> Self {
        Lease { member, before, is_tried: before.leases == 0 }
    }

    /// How often the element was leased, this time included.
    pub fn leases(&self) -> u32 {
        self.before.leases + 1
    }

    /// What was done with the element when this lease is over: for a reason, or with its member's session.
    fn over(self, why: Option<LeaseEnd>) -> Past {
        let counts = match why {
            Some(LeaseEnd::GivenBack) => true,
            Some(LeaseEnd::Untried) => false,
            Some(LeaseEnd::Expired | LeaseEnd::Left) | None => self.is_tried,
        };
        Past { leases: self.leases(), tries: self.before.tries + u32::from(counts) }
    }
}

impl Group {
    /// One that has leased nothing yet.
    pub(super) fn new(log: LogId, name: GroupName, options: GroupOptions, next: u64) -> Self {
        let (leased, waiting) = Default::default();
        Group { log, name, options, next, leased, waiting }
    }

    /// The index of the first element that is not done with.
    pub fn floor(&self) -> u64 {
        let first = |index: Option<&u64>| index.copied().unwrap_or(self.next);
        first(self.leased.keys().next()).min(first(self.waiting.keys().next()))
    }

    /// Whether every element is done with, of a channel with so many.
    pub fn is_drained(&self, elements: u64) -> bool {
        self.next >= elements && self.leased.is_empty() && self.waiting.is_empty()
    }

    /// How many elements can be leased, of a channel with so many.
    pub(super) fn available(&self, elements: u64) -> u64 {
        self.waiting.len() as u64 + elements.saturating_sub(self.next)
    }

    /// The next so many that are to be leased: those that wait come first.
    pub(super) fn next_elements(&self, elements: u64, count: usize) -> impl Iterator<Item = u64> {
        self.waiting.keys().copied().chain(self.next..elements).take(count)
    }

    /// An element is leased. Those before it were so, too, or are trimmed, unless the records that say it are lost: those
    /// wait to be leased again.
    fn come_to(&mut self, index: u64, is_behind_lost: bool) {
        if is_behind_lost {
            self.waiting.extend((self.next..index).map(|lost| (lost, Past::default())));
        }
        self.next = self.next.max(index + 1);
    }

    /// The channel keeps nothing any more before this index.
    pub(super) fn trim(&mut self, first: u64) {
        self.waiting = self.waiting.split_off(&first);
        self.next = self.next.max(first);
    }
}

impl State {
    pub(super) fn create_group(&mut self, id: GroupId, group: Group) {
        if let Some(channel) = self.channels.get_mut(&group.log) {
            channel.groups.insert(group.name.clone(), id);
            self.groups.insert(id, group);
        }
    }

    pub(super) fn delete_group(&mut self, id: GroupId) {
        let Some(group) = self.groups.remove(&id) else { return };
        if let Some(channel) = self.channels.get_mut(&group.log) {
            channel.groups.remove(&group.name);
        }
        for lease in group.leased.values() {
            self.count_leased(lease.member, id, -1);
        }
    }

    pub(super) fn lease(&mut self, id: GroupId, member: Producer, elements: &[Stretch]) {
        for index in indexes(elements) {
            let Some(group) = self.groups.get_mut(&id) else { return };
            group.come_to(index, self.is_behind_lost);
            let lease = Lease::new(member, group.waiting.remove(&index).unwrap_or_default());
            // Behind lost records it may be another's, as far as is known.
            let before = group.leased.insert(index, lease);
            self.count_leased(member, id, 1);
            if let Some(before) = before {
                self.count_leased(before.member, id, -1);
            }
        }
    }

    /// The members to whom they are leased try these elements.
    pub(super) fn try_elements(&mut self, of: &OfGroup) {
        let Some(group) = self.groups.get_mut(&of.group) else { return };
        for index in indexes(&of.elements) {
            if let Some(lease) = group.leased.get_mut(&index) {
                lease.is_tried = true;
            }
        }
    }

    pub(super) fn acknowledge(&mut self, of: &OfGroup) {
        for index in indexes(&of.elements) {
            self.take_lease(of.group, index);
            // Behind lost records it may have been leased by one of them.
            if self.is_behind_lost
                && let Some(group) = self.groups.get_mut(&of.group)
            {
                group.come_to(index, true);
                group.waiting.remove(&index);
            }
        }
    }

    /// Elements wait to be leased again, unless the channel has let go of them. Why: as in [`Lease::over`].
    pub(super) fn end_leases(
        &mut self,
        id: GroupId,
        elements: impl IntoIterator<Item = u64>,
        why: Option<LeaseEnd>,
    ) {
        for index in elements {
            let Some(lease) = self.take_lease(id, index) else { continue };
            let Some(group) = self.groups.get_mut(&id) else { return };
            let first = self.channels.get(&group.log).map_or(0, |channel| channel.kept.first.index);
            if index >= first {
                group.waiting.insert(index, lease.over(why));
            }
        }
    }

    /// What is leased to a session is so no longer.
    pub(super) fn end_leases_of(&mut self, member: Producer, groups: impl IntoIterator<Item = GroupId>) {
        for id in groups {
            let elements = self.leased_to(id, member);
            self.end_leases(id, elements, None);
        }
    }

    /// The indexes of what is leased to a session.
    pub fn leased_to(&self, id: GroupId, member: Producer) -> Vec<u64> {
        let leased = self.groups.get(&id).into_iter().flat_map(|group| &group.leased);
        leased.filter(|(_, lease)| lease.member == member).map(|(index, _)| *index).collect()
    }

    /// How many elements of a group are leased to a session.
    pub(super) fn leased_count(&self, id: GroupId, member: Producer) -> u64 {
        let session = self.sessions.get(&member);
        session.and_then(|session| session.leased.get(&id)).copied().unwrap_or(0)
    }

    fn take_lease(&mut self, id: GroupId, index: u64) -> Option<Lease> {
        let lease = self.groups.get_mut(&id)?.leased.remove(&index)?;
        self.count_leased(lease.member, id, -1);
        Some(lease)
    }

    fn count_leased(&mut self, member: Producer, id: GroupId, more: i64) {
        let Some(session) = self.sessions.get_mut(&member) else { return };
        let count = session.leased.entry(id).or_default();
        *count = count.saturating_add_signed(more);
        if *count == 0 {
            session.leased.remove(&id);
        }
    }

    /// The groups of each channel and what is leased to each session, made anew. Groups of channels that are not known are
    /// left out, and what is leased to sessions that are not waits to be leased again.
    pub(super) fn index_groups(&mut self) {
        self.channels.values_mut().for_each(|channel| channel.groups.clear());
        self.sessions.values_mut().for_each(|session| session.leased.clear());
        self.groups.retain(|id, group| {
            let Some(channel) = self.channels.get_mut(&group.log) else { return false };
            // Of two of one name the older one was deleted, and that was lost.
            channel.groups.insert(group.name.clone(), *id);
            true
        });
        self.groups.retain(|id, group| self.channels[&group.log].groups.get(&group.name) == Some(id));
        for (id, group) in &mut self.groups {
            let first = self.channels[&group.log].kept.first.index;
            group.leased.retain(|index, lease| match self.sessions.get_mut(&lease.member) {
                Some(session) => {
                    *session.leased.entry(*id).or_default() += 1;
                    true
                }
                None => {
                    group.waiting.insert(*index, lease.over(None));
                    false
                }
            });
            group.trim(first);
        }
    }
}
