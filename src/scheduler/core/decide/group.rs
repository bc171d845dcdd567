//! Making a group, and what its members say of elements.

use std::collections::BTreeSet;

use super::{Decision, Event, Rejection, State, channel};
use crate::protocol::command::Answer;
use crate::protocol::event::Origin;
use crate::protocol::group::{
    GroupId, GroupInfo, GroupName, GroupOptions, LeaseEnd, OfGroup, Stretch, indexes, stretches,
};
use crate::protocol::limits::{GROUPS_PER_CHANNEL_MAX, LEASED_PER_MEMBER_MAX, TooLarge};
use crate::protocol::{LogId, Producer, TaskEvent};
use crate::scheduler::core::Group;

/// Finds a group, or makes it, and says how it leases.
pub(super) fn open(
    state: &State,
    origin: Origin,
    (log, name): (LogId, GroupName),
    options: Option<GroupOptions>,
    from_end: bool,
) -> Decision {
    let channel = channel::writable(state, log)?;
    options.iter().try_for_each(GroupOptions::check)?;
    let dead_letters = options.iter().find_map(|options| options.dead_letters.as_ref());
    if dead_letters.is_some_and(|dead| dead.channel == channel.name) {
        let why = "dead letters on the channel that they are from would come again: give another one";
        return Err(Rejection::Invalid(why.to_owned()));
    }
    if let Some(id) = channel.groups.get(&name) {
        let group = &state.groups[id];
        let mut info = state.group_info(*id, group);
        let change = options.filter(|options| *options != group.options).map(|options| {
            info.options = options.clone();
            Event::Task(TaskEvent::GroupChanged { origin, group: *id, options })
        });
        return Ok((change.into_iter().collect(), Answer::Group(info)));
    }
    let hint = "delete those that nobody joins any more: `headwater channel group list` shows them";
    TooLarge::check("the number of groups", channel.groups.len() + 1, GROUPS_PER_CHANNEL_MAX, hint)?;
    let (id, options) = (GroupId(state.tasks_head), options.unwrap_or_default());
    let next = if from_end { channel.elements } else { channel.kept.first.index };
    let info = state.group_info(id, &Group::new(log, name.clone(), options.clone(), next));
    let event = TaskEvent::GroupCreated { origin, log, name, options, next };
    Ok((vec![Event::Task(event)], Answer::Group(info)))
}

/// Who joins is known to presence; here it is looked whether there is such a group.
pub(super) fn join(state: &State, group: GroupId, window: u32) -> Decision {
    known(state, group)?;
    if !(1..=LEASED_PER_MEMBER_MAX).contains(&window) {
        return Err(Rejection::Invalid(format!(
            "a window of {window} elements: take from 1 to {LEASED_PER_MEMBER_MAX} at a time"
        )));
    }
    Ok((Vec::new(), Answer::Reported))
}

/// What is leased to it is given back; of some it says that it had not begun with them, which may be others' by now.
pub(super) fn leave(state: &State, member: Producer, group: GroupId, untried: Vec<Stretch>) -> Decision {
    let untried = OfGroup { group, elements: untried };
    check_count(&untried)?;
    let untried: BTreeSet<u64> = indexes(&untried.elements).collect();
    let leased = state.leased_to(group, member).into_iter();
    let (untried, tried): (Vec<_>, Vec<_>) = leased.partition(|index| untried.contains(index));
    let ends = [(untried, LeaseEnd::Untried), (tried, LeaseEnd::Left)].into_iter();
    let events = ends.filter(|(elements, _)| !elements.is_empty()).map(|(elements, why)| {
        let of = OfGroup { group, elements: stretches(elements) };
        Event::Task(TaskEvent::LeaseEnded { origin: None, of, why })
    });
    Ok((events.collect(), Answer::Reported))
}

/// Elements are tried from now on.
pub(super) fn try_elements(state: &State, origin: Origin, of: OfGroup) -> Decision {
    let group = check_leased(state, origin.producer, &of)?;
    let is_news = indexes(&of.elements).any(|index| !group.leased[&index].is_tried);
    let event = is_news.then(|| Event::Task(TaskEvent::Tried { origin, of }));
    Ok((event.into_iter().collect(), Answer::Reported))
}

/// Elements are done with.
pub(super) fn acknowledge(state: &State, origin: Origin, of: OfGroup) -> Decision {
    check_leased(state, origin.producer, &of)?;
    Ok((vec![Event::Task(TaskEvent::Acknowledged { origin, of })], Answer::Reported))
}

/// Elements are to be leased again.
pub(super) fn give_back(state: &State, origin: Origin, of: OfGroup) -> Decision {
    check_leased(state, origin.producer, &of)?;
    let event = TaskEvent::LeaseEnded { origin: Some(origin), of, why: LeaseEnd::GivenBack };
    Ok((vec![Event::Task(event)], Answer::Reported))
}

/// Leases begin anew, which is in no log.
pub(super) fn extend(state: &State, of: &OfGroup) -> Decision {
    known(state, of.group)?;
    check_count(of)?;
    Ok((Vec::new(), Answer::Reported))
}

/// Forgets a group.
pub(super) fn delete(state: &State, origin: Origin, log: LogId, name: &GroupName) -> Decision {
    let channel = channel::writable(state, log)?;
    let event = channel.groups.get(name).map(|group| TaskEvent::GroupDeleted { origin, group: *group });
    Ok((event.map(Event::Task).into_iter().collect(), Answer::Deleted))
}

fn known(state: &State, id: GroupId) -> Result<&Group, Rejection> {
    state.groups.get(&id).ok_or(Rejection::UnknownGroup(id))
}

/// Whether they are so few that a record takes them, however they are named.
fn check_count(of: &OfGroup) -> Result<(), Rejection> {
    if of.elements.iter().any(|(_, count)| *count == 0) {
        return Err(Rejection::Invalid("a stretch of no elements: leave it out".to_owned()));
    }
    let count = of.elements.iter().map(|(_, count)| *count as usize).sum();
    let hint = "name fewer at a time";
    Ok(TooLarge::check("the number of elements", count, LEASED_PER_MEMBER_MAX as usize, hint)?)
}

/// Whether all of them are leased to this session, and each named once; answers the group.
fn check_leased<'a>(state: &'a State, member: Producer, of: &OfGroup) -> Result<&'a Group, Rejection> {
    let group = known(state, of.group)?;
    check_count(of)?;
    if of.elements.is_empty() || !indexes(&of.elements).is_sorted_by(|one, next| one < next) {
        let why = "name the elements of a group in order, each once, and at least one".to_owned();
        return Err(Rejection::Invalid(why));
    }
    let is_lost = |index: &u64| group.leased.get(index).is_none_or(|lease| lease.member != member);
    match indexes(&of.elements).find(is_lost) {
        Some(index) => Err(Rejection::LeaseOver { group: group.name.clone(), index }),
        None => Ok(group),
    }
}

impl State {
    /// What is known of a group, but for who is there.
    pub(in crate::scheduler::core) fn group_info(&self, id: GroupId, group: &Group) -> GroupInfo {
        let channel = &self.channels[&group.log];
        let (leased, waiting) = (group.leased.len() as u64, group.waiting.len() as u64);
        GroupInfo {
            id,
            channel: channel.name.clone(),
            log: group.log,
            name: group.name.clone(),
            options: group.options.clone(),
            next: group.next,
            lag: channel.elements.saturating_sub(group.next) + leased + waiting,
            leased,
            waiting,
            members: Vec::new(),
            holds_back: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Seq;
    use crate::scheduler::core::decide::with_channel;

    const LOG: LogId = LogId(1);
    const ORIGIN: Origin = Origin { producer: Producer(1), number: 1 };

    /// Opens a group as it is, or by default.
    fn opened(state: &State, number: usize) -> Decision {
        open(state, ORIGIN, (LOG, GroupName::new(&number.to_string()).unwrap()), None, false)
    }

    #[test]
    fn a_channel_has_so_many_groups_and_no_more() {
        let mut state = with_channel();
        for number in 0..GROUPS_PER_CHANNEL_MAX {
            let (events, _) = opened(&state, number).unwrap();
            events.iter().for_each(|event| state.apply(Seq(1), event));
        }
        let told = opened(&state, GROUPS_PER_CHANNEL_MAX).unwrap_err().to_string();
        assert!(
            told.starts_with(
                "the number of groups is 1025, over the limit of 1024: delete those that nobody"
            ),
            "{told}"
        );
        assert!(opened(&state, 0).is_ok(), "one that is there can be joined");
        let (events, _) = delete(&state, ORIGIN, LOG, &GroupName::new("0").unwrap()).unwrap();
        events.iter().for_each(|event| state.apply(Seq(2), event));
        assert!(opened(&state, GROUPS_PER_CHANNEL_MAX).is_ok(), "another has its place");
    }

    #[test]
    fn a_member_has_so_many_elements_at_a_time_and_names_no_more() {
        let mut state = with_channel();
        let (events, Answer::Group(info)) = opened(&state, 0).unwrap() else { panic!("no group") };
        events.iter().for_each(|event| state.apply(Seq(1), event));
        for (window, is_taken) in
            [(0, false), (1, true), (LEASED_PER_MEMBER_MAX, true), (LEASED_PER_MEMBER_MAX + 1, false)]
        {
            let told = join(&state, info.id, window).map_err(|rejection| rejection.to_string());
            assert_eq!(told.is_ok(), is_taken, "{told:?}");
            let words = format!("a window of {window} elements: take from 1 to 4096 at a time");
            assert!(is_taken || told == Err(words), "{window}");
        }
        let of = |count| OfGroup { group: info.id, elements: vec![(0, 1), (7, count - 1)] };
        assert!(extend(&state, &of(LEASED_PER_MEMBER_MAX)).is_ok());
        let over = of(LEASED_PER_MEMBER_MAX + 1);
        for told in [
            extend(&state, &over),
            acknowledge(&state, ORIGIN, over.clone()),
            give_back(&state, ORIGIN, over),
        ] {
            let told = told.unwrap_err().to_string();
            assert_eq!(told, "the number of elements is 4097, over the limit of 4096: name fewer at a time");
        }
    }
}
