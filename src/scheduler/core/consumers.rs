//! Who takes elements of groups now, and how long they have for them. It belongs to no log: members join anew on each
//! connection, and after a start every lease begins anew.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use super::deadlines::Deadlines;
use super::state::State;
use super::{Core, Event, Group, Output, effect};
use crate::protocol::command::Command;
use crate::protocol::group::{
    GroupEnd, GroupId, LeaseEnd, LeasedRun, MemberInfo, OfGroup, indexes, stretches,
};
use crate::protocol::limits::{LEASED_PER_MEMBER_MAX, MEMBERS_SHOWN_MAX};
use crate::protocol::{ChannelEvent, LogId, Producer, TaskEvent, TimeMs};
use crate::scheduler::handle::ConnectionId;

/// Most elements that one record leases: 1,024.
const LEASED_PER_RECORD_MAX: u64 = 1024;

/// Most leases whose time is over that one record ends: as many as a member may have, of which it is known that they fit,
/// even where no two elements follow each other.
const ENDED_PER_RECORD_MAX: usize = LEASED_PER_MEMBER_MAX as usize;

/// The members of all groups, and the times of leases.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    /// How many elements each member takes at a time.
    members: BTreeMap<GroupId, BTreeMap<Producer, u32>>,
    /// Members whose lease of something was over, and who have said nothing since: they are leased nothing, so that what
    /// one that is stuck could not do does not come back to it.
    stuck: BTreeSet<(GroupId, Producer)>,
    /// To whom each group leased last: of members with the same room the next one has its turn.
    last: BTreeMap<GroupId, Producer>,
    /// Groups that may have something to lease to somebody.
    concerned: BTreeSet<GroupId>,
    /// When leases are over.
    leases: Deadlines<(GroupId, u64)>,
    /// Leases that began, or began anew, since it was last known what time it is.
    begun: BTreeSet<(GroupId, u64)>,
}

/// What a group does next.
pub(super) enum Step {
    /// It leases elements to a member.
    Lease(Event),
    /// It has nothing to lease any more, and never will have: these members hear of it.
    End(GroupId, Vec<Producer>),
}

impl Consumers {
    /// That of a scheduler that starts.
    pub fn of(state: &State, now: TimeMs) -> Self {
        let mut consumers = Consumers::default();
        let leased =
            state.groups.iter().flat_map(|(id, group)| group.leased.keys().map(|index| (*id, *index)));
        consumers.begun = leased.collect();
        consumers.begin(state, now);
        consumers
    }

    /// When [`Self::begin`] or [`Self::expired`] has something to do next: at once, when a lease began that nobody has told
    /// the time yet, since no commit comes of an extension.
    pub fn next_deadline(&self) -> Option<TimeMs> {
        if self.begun.is_empty() { self.leases.next() } else { Some(0) }
    }

    /// Lets all leases hold for so much longer.
    pub fn postpone(&mut self, ms: u64) {
        self.leases.postpone(ms);
    }

    /// A session takes elements.
    pub fn join(&mut self, group: GroupId, member: Producer, window: u32) {
        self.members.entry(group).or_default().insert(member, window);
        self.goes_on(group, member);
    }

    /// A member has said something.
    fn goes_on(&mut self, group: GroupId, member: Producer) {
        self.stuck.remove(&(group, member));
        self.concerned.insert(group);
    }

    /// A session takes no more elements of a group.
    pub fn leave(&mut self, group: GroupId, member: Producer) {
        self.stuck.remove(&(group, member));
        if let Some(members) = self.members.get_mut(&group) {
            members.remove(&member);
            if members.is_empty() {
                self.members.remove(&group);
            }
        }
    }

    /// A session takes no more elements of any group.
    pub fn depart(&mut self, member: Producer) {
        self.stuck.retain(|(_, other)| *other != member);
        self.members.retain(|_, members| {
            members.remove(&member);
            !members.is_empty()
        });
    }

    /// Leases begin anew.
    pub fn extend(&mut self, state: &State, member: Producer, of: &OfGroup) {
        let Some(group) = state.groups.get(&of.group) else { return };
        let is_its = |index: &u64| group.leased.get(index).is_some_and(|lease| lease.member == member);
        self.begun.extend(indexes(&of.elements).filter(is_its).map(|index| (of.group, index)));
        self.goes_on(of.group, member);
    }

    /// Follows a fact. `state` is as it was before it.
    pub fn observe(&mut self, state: &State, event: &Event) {
        match event {
            Event::Values { log, .. } => self.concern_all(state, *log),
            Event::Channel(log, event)
                if event.is_element() || matches!(event, ChannelEvent::Stopped { .. }) =>
            {
                self.concern_all(state, *log);
            }
            Event::Channel(..) => {}
            Event::Task(TaskEvent::Leased { group, elements, .. }) => {
                self.begun.extend(indexes(elements).map(|index| (*group, index)));
            }
            Event::Task(TaskEvent::Acknowledged { origin, of }) => {
                self.end(of);
                self.goes_on(of.group, origin.producer);
            }
            Event::Task(TaskEvent::Tried { origin, of }) => self.goes_on(of.group, origin.producer),
            Event::Task(TaskEvent::LeaseEnded { origin, of, .. }) => {
                self.end(of);
                let group = state.groups.get(&of.group);
                let leases = indexes(&of.elements).filter_map(|index| group?.leased.get(&index));
                match origin {
                    Some(origin) => self.goes_on(of.group, origin.producer),
                    None => self.stuck.extend(leases.map(|lease| (of.group, lease.member))),
                }
            }
            Event::Task(TaskEvent::SessionEnded { producer, .. }) => {
                self.depart(*producer);
                let session = state.sessions.get(producer);
                for group in session.into_iter().flat_map(|session| session.leased.keys()) {
                    self.concerned.insert(*group);
                    for index in state.leased_to(*group, *producer) {
                        self.leases.remove(&(*group, index));
                    }
                }
            }
            Event::Task(TaskEvent::GroupDeleted { group, .. }) => {
                self.members.remove(group);
                self.last.remove(group);
                self.stuck.retain(|(other, _)| other != group);
                self.concerned.remove(group);
                for index in state.groups.get(group).into_iter().flat_map(|group| group.leased.keys()) {
                    self.leases.remove(&(*group, *index));
                }
            }
            Event::Task(_) => {}
        }
    }

    fn end(&mut self, of: &OfGroup) {
        indexes(&of.elements).for_each(|index| self.leases.remove(&(of.group, index)));
        self.concerned.insert(of.group);
    }

    fn concern_all(&mut self, state: &State, log: LogId) {
        let groups = state.channels.get(&log).into_iter().flat_map(|channel| channel.groups.values());
        self.concerned.extend(groups);
    }

    /// Says what time it is for the leases that began.
    pub fn begin(&mut self, state: &State, now: TimeMs) {
        for (id, index) in mem::take(&mut self.begun) {
            let group = state.groups.get(&id).filter(|group| group.leased.contains_key(&index));
            if let Some(group) = group {
                self.leases.set((id, index), now.saturating_add(group.options.lease_ms));
            }
        }
    }

    /// Leases of one group that are over, as many as a record takes.
    pub fn expired(&mut self, now: TimeMs) -> Option<Event> {
        let (group, index) = self.leases.pop(now)?;
        let mut all = BTreeSet::from([index]);
        while all.len() < ENDED_PER_RECORD_MAX {
            let Some(next) = self.leases.pop_if(now, |(other, _)| *other == group) else { break };
            all.insert(next.1);
        }
        let of = OfGroup { group, elements: stretches(all) };
        Some(Event::Task(TaskEvent::LeaseEnded { origin: None, of, why: LeaseEnd::Expired }))
    }

    /// What a group does next: the elements that can be leased are spread over the members that have room.
    pub fn next(&mut self, state: &State) -> Option<Step> {
        while let Some(id) = self.concerned.first().copied() {
            if let Some(step) = self.next_of(state, id) {
                return Some(step);
            }
            self.concerned.remove(&id);
        }
        None
    }

    fn next_of(&mut self, state: &State, id: GroupId) -> Option<Step> {
        let (group, members) = (state.groups.get(&id)?, self.members.get(&id)?);
        let channel = state.channels.get(&group.log)?;
        if channel.stopped && group.is_drained(channel.elements) {
            return Some(Step::End(id, self.members.remove(&id)?.into_keys().collect()));
        }
        let last = self.last.get(&id).copied();
        let with_room = || {
            let all =
                members.iter().map(|(member, window)| (self.room(state, id, *member, *window), *member));
            all.filter(|(room, _)| *room > 0)
        };
        let (room, member) =
            with_room().max_by_key(|(room, member)| (*room, last < Some(*member), Reverse(*member)))?;
        let available = group.available(channel.elements);
        let share = available.div_ceil(with_room().count() as u64).min(room).min(LEASED_PER_RECORD_MAX);
        if share == 0 {
            return None;
        }
        let elements = stretches(group.next_elements(channel.elements, share as usize));
        self.last.insert(id, member);
        Some(Step::Lease(Event::Task(TaskEvent::Leased { group: id, member, elements })))
    }

    /// How many elements more a member takes.
    fn room(&self, state: &State, id: GroupId, member: Producer, window: u32) -> u64 {
        match self.stuck.contains(&(id, member)) {
            true => 0,
            false => u64::from(window).saturating_sub(state.leased_count(id, member)),
        }
    }

    /// Who takes elements of a group.
    pub fn infos(&self, state: &State, id: GroupId) -> Vec<MemberInfo> {
        let members = self.members.get(&id).into_iter().flatten().take(MEMBERS_SHOWN_MAX);
        let info = |(member, window): (&Producer, &u32)| MemberInfo {
            session: *member,
            window: *window,
            leased: state.leased_count(id, *member),
        };
        members.map(info).collect()
    }

    /// What must be true between steps.
    pub fn check(&self, state: &State, is_connected: impl Fn(Producer) -> bool) {
        for (id, members) in &self.members {
            assert!(state.groups.contains_key(id), "members of a group that is not there");
            for (member, window) in members {
                assert!(is_connected(*member), "{member:?} takes elements and is away");
                for index in state.leased_to(*id, *member) {
                    let has_end = self.leases.contains(&(*id, index)) || self.begun.contains(&(*id, index));
                    assert!(has_end, "a lease of {index} that does not end");
                }
                assert!(*window > 0);
            }
            let group = &state.groups[id];
            let has_room = |(member, window): (&Producer, &u32)| self.room(state, *id, *member, *window) > 0;
            let is_idle =
                members.iter().any(has_room) && group.available(state.channels[&group.log].elements) > 0;
            assert!(!is_idle || self.concerned.contains(id), "{id} has elements and room, and leases none");
        }
    }
}

/// Elements of a group as they are told to their member: in runs that have no record between, each tried and leased as
/// often. They are about to be leased, or are.
pub(super) fn runs(state: &State, group: &Group, elements: impl IntoIterator<Item = u64>) -> Vec<LeasedRun> {
    let Some(channel) = state.channels.get(&group.log) else { return Vec::new() };
    let mut runs: Vec<LeasedRun> = Vec::new();
    for index in elements {
        let before = match group.leased.get(&index) {
            Some(lease) => lease.before,
            None => group.waiting.get(&index).copied().unwrap_or_default(),
        };
        // One that was trimmed meanwhile is told with the first record that is kept: who reads there hears that it is gone.
        let offset = channel.kept.offset_of(index).unwrap_or(0);
        let (attempt, leases) = (before.tries + 1, before.leases + 1);
        let one = LeasedRun { offset, index, count: 1, attempt, leases };
        if !runs.last_mut().is_some_and(|run| run.take_in(one)) {
            runs.push(one);
        }
    }
    runs
}

/// What a command means for who takes elements; it is in no log.
#[derive(Debug, Clone)]
pub(super) enum Membership {
    Join(GroupId, u32),
    Leave(GroupId),
    Extend(OfGroup),
}

impl Membership {
    /// That of a command, if it has one.
    pub fn of(command: &Command) -> Option<Self> {
        match command {
            Command::Join { group, window } => Some(Membership::Join(*group, *window)),
            Command::Leave { group, .. } => Some(Membership::Leave(*group)),
            Command::Extend(of) => Some(Membership::Extend(of.clone())),
            _ => None,
        }
    }
}

impl Core {
    /// Follows what a member has said.
    pub(super) fn follow(
        &mut self,
        membership: Membership,
        connection: ConnectionId,
        member: Producer,
        out: &mut Output,
    ) {
        match membership {
            Membership::Join(group, window) => {
                self.consumers.join(group, member, window);
                let leased = self.state.leased_to(group, member);
                out.effects.extend(effect::leased(&self.state, connection, group, leased));
            }
            Membership::Leave(group) => self.consumers.leave(group, member),
            Membership::Extend(of) => self.consumers.extend(&self.state, member, &of),
        }
    }

    /// Leases elements, or tells members that there will be none; answers whether there was anything to do.
    pub(super) fn lease_next(&mut self, out: &mut Output) -> bool {
        if self.facts.shortage.is_some() {
            return false;
        }
        match self.consumers.next(&self.state) {
            Some(Step::Lease(event)) => self.emit(event, out),
            Some(Step::End(group, members)) => {
                for member in members {
                    out.effects.extend(effect::group_ended(&self.presence, member, group, GroupEnd::Drained));
                }
            }
            None => return false,
        }
        true
    }

    /// Tells the members of a group that it is no more. The fact is about to be applied.
    pub(super) fn tell_members(&self, event: &Event, out: &mut Output) {
        let Event::Task(TaskEvent::GroupDeleted { group, .. }) = event else { return };
        for member in self.consumers.members.get(group).into_iter().flat_map(BTreeMap::keys) {
            out.effects.extend(effect::group_ended(&self.presence, *member, *group, GroupEnd::Deleted));
        }
    }

    /// Ends the leases whose time is over.
    pub(super) fn end_old_leases(&mut self, now: TimeMs, out: &mut Output) {
        self.consumers.begin(&self.state, now);
        while let Some(event) = self.consumers.expired(now) {
            self.emit(event, out);
        }
    }
}
