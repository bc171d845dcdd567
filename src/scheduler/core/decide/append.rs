//! Appending elements to a channel.

use std::collections::HashSet;

use super::{Decision, Event, LogFacts, Rejection, State, channel};
use crate::protocol::channel::Progress;
use crate::protocol::command::{Answer, AppendOptions};
use crate::protocol::event::Origin;
use crate::protocol::limits::{APPEND_BYTES_MAX, ELEMENTS_PER_APPEND_MAX, PAYLOAD_BYTES_MAX, TooLarge};
use crate::protocol::{ChannelEvent, Element, Elements, LogId, TaskId, TaskKey};
use crate::scheduler::core::{Channel, Phase};

/// Appends all of them or none. A future that runs already or has ended is followed, after the last
/// element, by a record that says so.
pub(super) fn decide(
    state: &State,
    facts: &LogFacts,
    origin: Origin,
    log: LogId,
    elements: Elements,
    options: &AppendOptions,
) -> Decision {
    let channel = channel::writable(state, log)?;
    if channel.stopped {
        return Err(Rejection::ChannelStopped(channel.name.clone(), channel.elements));
    }
    check_sizes(&elements)?;
    check_expected(channel, options.expect)?;
    let durability = options.durability.unwrap_or(channel.durability);
    durability.check()?;
    let (first, count) = (channel.head, elements.len() as u32);
    let (seq, epoch) = (facts.next, facts.starts.newest().epoch);
    let answer = Answer::Appended { first, count, seq, epoch, durability };
    if elements.are_bare_values() {
        return Ok((vec![Event::Values { log, origin, values: elements }], answer));
    }
    let mut events = Vec::with_capacity(elements.len());
    let mut progress = Vec::new();
    let mut seen: HashSet<TaskId> = HashSet::new();
    for (headers, mut element) in elements.iter() {
        if let Element::Future(key) = &mut element {
            // The label is the task's own, whatever the client calls it.
            *key = state.key_of(key.id).ok_or(Rejection::UnknownTask(key.id))?;
            if seen.insert(key.id) {
                progress.extend(progress_so_far(state, key).map(|event| Event::Channel(log, event)));
            }
        }
        events.push(Event::Channel(log, ChannelEvent::of_element(origin, headers, element)));
    }
    events.append(&mut progress);
    Ok((events, answer))
}

/// Refuses an append to a channel that somebody has written to since its caller read it.
fn check_expected(channel: &Channel, expect: Option<u64>) -> Result<(), Rejection> {
    match expect {
        Some(expected) if !(channel.written_to..=channel.head).contains(&expected) => {
            Err(Rejection::Conflict { channel: channel.name.clone(), expected, head: channel.head })
        }
        _ => Ok(()),
    }
}

fn check_sizes(elements: &Elements) -> Result<(), Rejection> {
    if elements.is_empty() {
        return Err(Rejection::Invalid("an append needs at least one element".to_owned()));
    }
    TooLarge::check(
        "the number of elements",
        elements.len(),
        ELEMENTS_PER_APPEND_MAX,
        "append fewer at a time",
    )?;
    // One that is over its own bound is so only together with all the others.
    if elements.payload_bytes() > PAYLOAD_BYTES_MAX {
        let hint = "append a path or a key to where the data lie";
        for (_, payload) in elements.encoded() {
            TooLarge::check("the value", payload.map_or(0, <[u8]>::len), PAYLOAD_BYTES_MAX, hint)?;
        }
    }
    if elements.have_headers() {
        elements.iter().try_for_each(|(headers, _)| headers.check())?;
    }
    let bytes = elements.content_bytes();
    TooLarge::check("all values together", bytes, APPEND_BYTES_MAX, "append fewer at a time")?;
    Ok(())
}

fn progress_so_far(state: &State, key: &TaskKey) -> Option<ChannelEvent> {
    let task = state.tasks.get(&key.id)?;
    let progress = match &task.phase {
        Phase::Waiting { .. } | Phase::Ready | Phase::Lost => return None,
        Phase::Running { worker } => {
            Progress::Started { attempt: task.attempt, worker: state.worker_name(*worker) }
        }
        Phase::Finished(result) => Progress::Finished { result: result.to_payload() },
        Phase::Failed(error) => Progress::Failed { error: error.clone() },
        Phase::Cancelled => Progress::Cancelled,
        Phase::Stored(stored) => Progress::Stored { result: stored.result },
    };
    Some(ChannelEvent::Progress { key: key.clone(), progress })
}
