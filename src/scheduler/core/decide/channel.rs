//! Making a channel, and stopping it.

use super::{Decision, Event, Rejection, State, query};
use crate::protocol::channel::{ChannelInfo, TASKS_CHANNEL};
use crate::protocol::command::Answer;
use crate::protocol::event::Origin;
use crate::protocol::{ChannelEvent, ChannelName, Digest, LogId, TaskEvent};
use crate::scheduler::core::Channel;

/// Finds a channel, or makes it.
pub(super) fn open(state: &State, origin: Origin, name: ChannelName) -> Decision {
    if name.is_reserved() {
        return Err(Rejection::ReservedChannel(name));
    }
    if let Ok(info) = query::channel(state, &name) {
        return Ok((Vec::new(), Answer::Channel(info)));
    }
    let log = LogId(state.last_log.0 + 1);
    let info = ChannelInfo {
        name: name.clone(),
        log,
        head: 0,
        elements: 0,
        stopped: false,
        digest: Digest::default(),
    };
    Ok((vec![Event::Task(TaskEvent::ChannelCreated { origin, log, name })], Answer::Channel(info)))
}

/// Stops a channel; one that is stopped stays so.
pub(super) fn stop(state: &State, origin: Origin, log: LogId) -> Decision {
    let channel = writable(state, log)?;
    let (count, digest) = (channel.elements, channel.digest);
    let event = Event::Channel(log, ChannelEvent::Stopped { origin, count, digest });
    let events = if channel.stopped { Vec::new() } else { vec![event] };
    Ok((events, Answer::Stopped { count, digest }))
}

/// A channel that users may write to.
pub(super) fn writable(state: &State, log: LogId) -> Result<&Channel, Rejection> {
    if log == LogId::TASKS {
        let name = ChannelName::new(TASKS_CHANNEL).expect("the name is valid");
        return Err(Rejection::ReservedChannel(name));
    }
    state.channels.get(&log).ok_or_else(|| Rejection::UnknownChannel(format!("with log {log}")))
}
