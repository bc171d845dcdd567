//! Making a channel, saying what it keeps, stopping and deleting it.

use super::{Decision, Event, Rejection, State, query};
use crate::protocol::channel::{ChannelOptions, Durability, Retention, TASKS_CHANNEL, TrimCause};
use crate::protocol::command::Answer;
use crate::protocol::event::Origin;
use crate::protocol::limits::{CHANNELS_MAX, TooLarge};
use crate::protocol::{ChannelEvent, ChannelName, LogId, TaskEvent};
use crate::scheduler::core::Channel;

/// Finds a channel, or makes it.
pub(super) fn open(state: &State, origin: Origin, name: ChannelName) -> Decision {
    if name.is_reserved() {
        return Err(Rejection::ReservedChannel(name));
    }
    match query::channel(state, &name) {
        Ok(info) => Ok((Vec::new(), Answer::Channel(info))),
        Err(_) => make(state, origin, name, ChannelOptions::default()),
    }
}

/// Makes a channel that is not there.
pub(super) fn create(state: &State, origin: Origin, name: ChannelName, options: ChannelOptions) -> Decision {
    if name.is_reserved() {
        return Err(Rejection::ReservedChannel(name));
    }
    if query::channel(state, &name).is_ok() {
        return Err(Rejection::ChannelExists(name));
    }
    check_retention(options.retention)?;
    options.durability.check()?;
    make(state, origin, name, options)
}

/// Makes a channel, or makes one that was deleted again: there its offsets go on.
fn make(state: &State, origin: Origin, name: ChannelName, options: ChannelOptions) -> Decision {
    let ChannelOptions { retention, durability } = options;
    let mut events = Vec::new();
    let (log, mut channel) = match state.names.get(&name) {
        Some(log) => {
            events.push(Event::Channel(*log, ChannelEvent::Resumed { origin }));
            (*log, state.channels[log].clone())
        }
        None => {
            let hint = "use fewer names: one that was deleted is remembered, so that its offsets are never given again";
            TooLarge::check("the number of channels", state.channels.len() + 1, CHANNELS_MAX, hint)?;
            let log = LogId(state.last_log.0 + 1);
            events.push(Event::Task(TaskEvent::ChannelCreated { origin, log, name: name.clone() }));
            (log, Channel::new(name))
        }
    };
    if retention != Retention::ALL {
        events.push(Event::Channel(log, ChannelEvent::Changed { origin, retention }));
    }
    if durability != Durability::Fsynced {
        events.push(Event::Channel(log, ChannelEvent::DurabilityChanged { origin, durability }));
    }
    channel.head += events.iter().filter(|event| event.log() == log).count() as u64;
    (channel.stopped, channel.kept.retention, channel.durability) = (false, retention, durability);
    Ok((events, Answer::Channel(channel.info(log))))
}

/// Lets a channel keep so much from now on. What is over that is trimmed with the commit.
pub(super) fn retain(state: &State, origin: Origin, log: LogId, retention: Retention) -> Decision {
    let channel = writable(state, log)?;
    check_retention(retention)?;
    let mut info = channel.info(log);
    info.head += 1;
    info.retention = retention;
    let event = Event::Channel(log, ChannelEvent::Changed { origin, retention });
    Ok((vec![event], Answer::Channel(info)))
}

/// Lets appends to a channel be acknowledged so from now on, if they do not say it themselves.
pub(super) fn set_durability(state: &State, origin: Origin, log: LogId, durability: Durability) -> Decision {
    let channel = writable(state, log)?;
    durability.check()?;
    let mut info = channel.info(log);
    (info.head, info.durability) = (info.head + 1, durability);
    let event = Event::Channel(log, ChannelEvent::DurabilityChanged { origin, durability });
    Ok((vec![event], Answer::Channel(info)))
}

fn check_retention(retention: Retention) -> Result<(), Rejection> {
    let Retention { max_elements, max_age_ms, max_bytes } = retention;
    if [max_elements, max_age_ms, max_bytes].contains(&Some(0)) {
        let why =
            "a channel that keeps nothing cannot be read: give at least 1, or no bound to keep everything";
        return Err(Rejection::Invalid(why.to_owned()));
    }
    Ok(())
}

/// Keeps no more what is before an offset, or before the head.
pub(super) fn trim(state: &State, origin: Origin, log: LogId, before: Option<u64>) -> Decision {
    let channel = writable(state, log)?;
    let before = before.unwrap_or(channel.head);
    if before > channel.head {
        let (name, head) = (channel.name.to_string(), channel.head);
        return Err(Rejection::PastHead { name, offset: before, head });
    }
    let mut info = channel.info(log);
    if before <= info.first {
        return Ok((Vec::new(), Answer::Channel(info)));
    }
    let index = channel.kept.index_at(before, channel.elements);
    (info.first, info.head, info.trimmed) = (before, info.head + 1, index);
    info.bytes = channel.kept.bytes - channel.kept.bytes_before(index, channel.elements);
    let cause = TrimCause::Asked(origin);
    let event = Event::Channel(log, ChannelEvent::Trimmed { cause, before, index });
    Ok((vec![event], Answer::Channel(info)))
}

/// Stops a channel; one that is stopped stays so.
pub(super) fn stop(state: &State, origin: Origin, log: LogId) -> Decision {
    let channel = writable(state, log)?;
    let (count, digest) = (channel.elements, channel.digest);
    let event = Event::Channel(log, ChannelEvent::Stopped { origin, count, digest });
    let events = if channel.stopped { Vec::new() } else { vec![event] };
    Ok((events, Answer::Stopped { count, digest }))
}

/// Lets a channel take elements again; one that is not stopped does.
pub(super) fn resume(state: &State, origin: Origin, log: LogId) -> Decision {
    let channel = writable(state, log)?;
    let mut info = channel.info(log);
    if !channel.stopped {
        return Ok((Vec::new(), Answer::Channel(info)));
    }
    (info.stopped, info.head) = (false, info.head + 1);
    Ok((vec![Event::Channel(log, ChannelEvent::Resumed { origin })], Answer::Channel(info)))
}

/// Deletes a channel, its cursors and its groups.
pub(super) fn delete(state: &State, origin: Origin, log: LogId) -> Decision {
    let channel = writable(state, log)?;
    let (count, digest) = (channel.elements, channel.digest);
    let cursors = channel.cursors.keys().cloned();
    let forget = cursors.map(|name| Event::Task(TaskEvent::CursorDeleted { origin, log, name }));
    let groups = channel.groups.values();
    let end_groups = groups.map(|group| Event::Task(TaskEvent::GroupDeleted { origin, group: *group }));
    let end = Event::Channel(log, ChannelEvent::Deleted { origin, count, digest });
    Ok((forget.chain(end_groups).chain([end]).collect(), Answer::Deleted))
}

/// A channel that users may write to.
pub(super) fn writable(state: &State, log: LogId) -> Result<&Channel, Rejection> {
    if log == LogId::TASKS {
        let name = ChannelName::new(TASKS_CHANNEL).expect("the name is valid");
        return Err(Rejection::ReservedChannel(name));
    }
    let channel =
        state.channels.get(&log).ok_or_else(|| Rejection::UnknownChannel(format!("with log {log}")))?;
    match channel.deleted {
        true => Err(Rejection::UnknownChannel(format!("`{}`: it was deleted", channel.name))),
        false => Ok(channel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Producer;

    const ORIGIN: Origin = Origin { producer: Producer(1), number: 1 };

    #[test]
    fn there_are_so_many_channels_and_no_more() {
        let mut state = State::default();
        let name = |log: u32| ChannelName::new(&format!("c{log}")).unwrap();
        let numbers = 1..=CHANNELS_MAX as u32;
        state.channels = numbers.clone().map(|log| (LogId(log), Channel::new(name(log)))).collect();
        state.names = numbers.map(|log| (name(log), LogId(log))).collect();
        let told = open(&state, ORIGIN, name(0)).unwrap_err().to_string();
        assert!(
            told.starts_with("the number of channels is 262145, over the limit of 262144: use fewer names"),
            "{told}"
        );
        assert!(create(&state, ORIGIN, name(0), ChannelOptions::default()).is_err());
        // The last one is taken.
        let last = LogId(CHANNELS_MAX as u32);
        let (channel, _) = (state.channels.remove(&last).unwrap(), state.names.remove(&name(last.0)));
        assert!(open(&state, ORIGIN, name(0)).is_ok());
        state.names.insert(name(last.0), last);
        state.channels.insert(last, channel);
        // One that was deleted has its place.
        state.channels.get_mut(&LogId(7)).unwrap().deleted = true;
        let (events, _) = create(&state, ORIGIN, name(7), ChannelOptions::default()).unwrap();
        assert_eq!(events, [Event::Channel(LogId(7), ChannelEvent::Resumed { origin: ORIGIN })]);
    }
}
