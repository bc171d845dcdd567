//! Facts and effects as short lines that people can read.

use headwater::protocol::channel::Progress;
use headwater::protocol::command::Answer;
use headwater::protocol::message::{Filling, Given, ServerMessage};
use headwater::protocol::result::{Located, Replication};
use headwater::protocol::session::{Retire, SessionKind};
use headwater::protocol::task::Outcome;
use headwater::protocol::transaction::AppendedPart;
use headwater::protocol::{ChannelEvent, Element, Headers, TaskEvent, TaskId};
use headwater::scheduler::core::{Effect, Event, Placed, State};

/// What happened, line by line.
#[derive(Default)]
pub struct Told {
    /// The lines.
    pub lines: Vec<String>,
    /// Whether each is printed as it comes, so that it is seen before a panic.
    pub aloud: bool,
}

impl Told {
    /// Adds a line.
    pub fn push(&mut self, line: String) {
        if self.aloud {
            println!("{line}");
        }
        self.lines.push(line);
    }
}

/// A task in a few letters: its label where the state knows it.
pub fn task(state: &State, id: TaskId) -> String {
    match state.tasks.get(&id) {
        Some(task) => task.label().to_owned(),
        None => id.to_string()[..6].to_owned(),
    }
}

/// The events of the records that an event becomes.
pub fn records(placed: &Placed) -> Vec<Placed> {
    let Event::Values { log, origin, values } = &placed.event else { return vec![placed.clone()] };
    let place = |(at, (headers, element))| Placed {
        offset: placed.offset + at,
        index: placed.index + at,
        event: Event::Channel(*log, ChannelEvent::of_element(*origin, headers, element)),
    };
    (0..).zip(values.iter()).map(place).collect()
}

/// An event of one record in a line. `state` is any state that knows the names.
pub fn event(state: &State, event: &Event) -> String {
    match event {
        Event::Task(event) => task_event(state, event),
        Event::Channel(log, event) => {
            let name =
                state.channels.get(log).map_or_else(|| log.to_string(), |channel| channel.name.to_string());
            format!("{name}: {}", channel_event(event))
        }
        Event::Values { .. } => unreachable!("see [`records`]"),
    }
}

fn task_event(state: &State, event: &TaskEvent) -> String {
    let name = |id: &TaskId| task(state, *id);
    match event {
        TaskEvent::Recovered(receipt) => format!("recovered epoch {} after {}", receipt.epoch, receipt.seq),
        TaskEvent::SessionOpened { producer, kind, .. } => match kind {
            SessionKind::Client => format!("session {producer} of a client"),
            SessionKind::Worker { name } => format!("session {producer} of worker {name}"),
            SessionKind::Attempt { task, attempt } => {
                format!("session {producer} of attempt {attempt} at {}", name(task))
            }
        },
        TaskEvent::SessionEnded { producer, reason } => format!("session {producer} ended: {reason}"),
        TaskEvent::ChannelCreated { name, log, .. } => format!("channel {name} is log {log}"),
        TaskEvent::Submitted { submission, .. } | TaskEvent::SubmittedUnder { submission, .. } => {
            format!("submitted {}", submission.key.label)
        }
        TaskEvent::Scattered { key, origin, .. } => format!("scattered {} by {}", key.label, origin.producer),
        TaskEvent::Held { task, origin, .. } => format!("held {} by {}", name(task), origin.producer),
        TaskEvent::Released { tasks, origin } => {
            format!(
                "released {} by {}",
                tasks.iter().map(name).collect::<Vec<_>>().join(" "),
                origin.producer
            )
        }
        TaskEvent::Started { task, attempt, worker } => {
            format!("started {} attempt {attempt} on {worker}", name(task))
        }
        TaskEvent::StartedWith { task, attempt, worker, grants } => {
            let grants: Vec<String> = grants.iter().map(ToString::to_string).collect();
            format!("started {} attempt {attempt} on {worker} with {}", name(task), grants.join(" "))
        }
        TaskEvent::Finished { task, attempt, .. } => format!("finished {} attempt {attempt}", name(task)),
        TaskEvent::Failed { task, error } => format!("failed {}: {error}", name(task)),
        TaskEvent::Retried { task, attempt, .. } => format!("retried {} after attempt {attempt}", name(task)),
        TaskEvent::RetriedAfter { task, attempt, wait_ms, .. } => {
            format!("retried {} {wait_ms} ms after attempt {attempt}", name(task))
        }
        TaskEvent::Renewed { tasks, .. } => {
            format!("renewed {}", tasks.iter().map(name).collect::<Vec<_>>().join(" "))
        }
        TaskEvent::Advanced { task, attempt, advance } => {
            format!("advanced {} attempt {attempt}: {advance}", name(task))
        }
        TaskEvent::Awaited { task } => format!("awaited {}", name(task)),
        TaskEvent::Requeued { task, attempt, .. } => {
            format!("requeued {} after attempt {attempt}", name(task))
        }
        TaskEvent::Cancelled { task } | TaskEvent::CancelledBy { task, .. } => {
            format!("cancelled {}", name(task))
        }
        TaskEvent::Forgotten { task } => format!("forgotten {}", name(task)),
        TaskEvent::Copied { task, worker } => format!("copied {} by {worker}", name(task)),
        TaskEvent::Dropped { task, worker } => format!("dropped {} by {worker}", name(task)),
        TaskEvent::Lost { task, worker, why } => format!("lost {} with {worker}: {why}", name(task)),
        TaskEvent::Reopened { task } => format!("reopened {}", name(task)),
        TaskEvent::CursorSet { log, name, offset, .. } => format!("cursor {name} of log {log} at {offset}"),
        TaskEvent::GroupCreated { log, name, next, .. } => format!("group {name} of log {log} from {next}"),
        TaskEvent::GroupChanged { group, options, .. } => {
            format!("group {group} leases for {} ms", options.lease_ms)
        }
        TaskEvent::GroupDeleted { group, .. } => format!("no group {group}"),
        TaskEvent::Leased { group, member, elements } => {
            format!("group {group} leases {elements:?} to {member}")
        }
        TaskEvent::Tried { of, .. } => format!("group {} tries {:?}", of.group, of.elements),
        TaskEvent::Acknowledged { of, .. } => format!("group {} is done with {:?}", of.group, of.elements),
        TaskEvent::LeaseEnded { of, why, .. } => {
            format!("group {} leases {:?} no more: {why}", of.group, of.elements)
        }
        TaskEvent::Transacted { appended, .. } => transacted(appended),
        TaskEvent::CursorDeleted { log, name, .. } => format!("no cursor {name} of log {log}"),
        TaskEvent::Returned { task, attempt } => format!("returned {} attempt {attempt}", name(task)),
        TaskEvent::Deferred { task, attempt, missing } => {
            format!("deferred {} attempt {attempt} for {}", name(task), name(missing))
        }
        TaskEvent::Died { task, attempt, worker, counts, .. } => {
            let counts = if *counts { "" } else { ", which does not count" };
            format!("died {} attempt {attempt} with {worker}{counts}", name(task))
        }
    }
}

fn element_in_words(element: &Element) -> String {
    match element {
        Element::Future(key) => format!("future {}", key.label),
        Element::Value(payload) => format!("value {payload:?}"),
    }
}

fn headers_in_words(headers: &Headers) -> String {
    if headers.is_empty() {
        return String::new();
    }
    let headers: Vec<_> = headers.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!(" with {}", headers.join(" "))
}

fn channel_event(event: &ChannelEvent) -> String {
    match event {
        ChannelEvent::Appended { element, .. } => element_in_words(element),
        ChannelEvent::AppendedWith { headers, element, .. } => {
            format!("{}{}", element_in_words(element), headers_in_words(headers))
        }
        ChannelEvent::Produced { producer, number, count, headers, element, .. } => {
            let (element, headers) = (element_in_words(element), headers_in_words(headers));
            format!("{element}{headers}, {number} of {producer}, {count} in all")
        }
        ChannelEvent::ProducerForgotten { producer, .. } => format!("no producer {producer}"),
        ChannelEvent::Progress { key, progress } => match progress {
            Progress::Started { attempt, worker } => {
                format!("{} started, attempt {attempt} on {worker}", key.label)
            }
            Progress::Finished { result } => format!("{} finished with {result:?}", key.label),
            Progress::Failed { error } => format!("{} failed: {error}", key.label),
            Progress::Cancelled => format!("{} cancelled", key.label),
            Progress::Renewed => format!("{} renewed", key.label),
            Progress::Advanced(advance) => format!("{} advanced: {advance}", key.label),
            Progress::Stored { result } => format!("{} finished with {} bytes", key.label, result.bytes),
            Progress::Lost { worker } => format!("{} lost with {worker}", key.label),
        },
        ChannelEvent::Stopped { count, .. } => format!("stopped at {count}"),
        ChannelEvent::Resumed { .. } => "resumed".to_owned(),
        ChannelEvent::Trimmed { cause, before, index } => {
            format!("trimmed before {before}, {index}: {cause:?}")
        }
        ChannelEvent::Changed { retention, .. } => format!("keeps {retention:?}"),
        ChannelEvent::DurabilityChanged { durability, .. } => format!("appends are {durability:?}"),
        ChannelEvent::Deleted { count, .. } => format!("deleted at {count}"),
    }
}

/// An effect in a line.
pub fn effect(state: &State, effect: &Effect) -> String {
    match effect {
        Effect::Accept { connection, .. } => format!("accept {}", connection.0),
        Effect::Close { connection, why } => format!("close {}: {why}", connection.0),
        Effect::Send { connection, message, .. } => {
            format!("to {}: {}", connection.0, server_message(state, message))
        }
    }
}

fn server_message(state: &State, message: &ServerMessage) -> String {
    match message {
        ServerMessage::Answer(Err(rejection)) => format!("refused: {rejection}"),
        ServerMessage::Answer(Ok(Answer::Transacted { appended, .. })) => transacted(appended),
        ServerMessage::Answer(Ok(Answer::Ended(status))) => format!("ended: {status}"),
        ServerMessage::Answer(Ok(Answer::Retried)) => "retried".to_owned(),
        ServerMessage::Answer(Ok(Answer::Replicated(Replication::Kept { by, wanted, under_way }))) => {
            format!("kept by {by} of {wanted}{}", if *under_way { ", under way" } else { "" })
        }
        ServerMessage::Answer(Ok(answer)) => {
            let text = format!("{answer:?}");
            text.split(['(', '{']).next().unwrap_or_default().trim().to_lowercase()
        }
        ServerMessage::Settled { task: id, outcome } => match outcome {
            Outcome::Finished(result) => format!("{} finished with {result:?}", task(state, *id)),
            Outcome::Failed(error) => format!("{} failed: {error}", task(state, *id)),
            Outcome::Cancelled => format!("{} cancelled", task(state, *id)),
            Outcome::Stored(located) => format!("{} finished with {}", task(state, *id), located_at(located)),
        },
        ServerMessage::Unknown { task: id } => format!("unknown {}", task(state, *id)),
        ServerMessage::Assign(assignment) => {
            let argument = |given: &Given| match given {
                Given::Value(value) => format!("{value:?}"),
                Given::Stored(located) => located_at(located),
                Given::Nested { template, results } => {
                    let result = |result: &Filling| match result {
                        Filling::Value(value) => format!("{value:?}"),
                        Filling::Stored(located) => located_at(located),
                    };
                    let results: Vec<String> = results.iter().map(result).collect();
                    let template = template.to_json(|id| task(state, id).into());
                    format!("{template} of {}", results.join(" and "))
                }
            };
            let arguments: Vec<String> = assignment.arguments.iter().map(argument).collect();
            let timeout = assignment.timeout_ms.map(|ms| format!(" within {ms} ms")).unwrap_or_default();
            let (label, attempt, arguments) =
                (&assignment.key.label, assignment.attempt, arguments.join(", "));
            format!("run {label} attempt {attempt} ({arguments}){timeout}")
        }
        ServerMessage::Abort { task: id, attempt } => format!("abort {} attempt {attempt}", task(state, *id)),
        ServerMessage::Free { task: id, attempt } => format!("free {} attempt {attempt}", task(state, *id)),
        ServerMessage::Copy(located) => format!("copy {}", located_at(located)),
        ServerMessage::Leased { group, leased } => {
            let runs = leased.runs.iter().map(|run| {
                format!(" {} from {} at {}, attempt {}", run.count, run.index, run.offset, run.attempt)
            });
            format!("leased of {group}{}", runs.collect::<Vec<_>>().join(";"))
        }
        ServerMessage::GroupEnded { group, why } => format!("group {group} ended: {why:?}"),
        ServerMessage::Retire(Retire::Finish) => "retire".to_owned(),
        ServerMessage::Retire(Retire::HandOver) => "retire and hand over".to_owned(),
        other => format!("{other:?}"),
    }
}

fn transacted(appended: &[AppendedPart]) -> String {
    let parts =
        appended.iter().map(|AppendedPart { log, first, count }| format!("{count} at {first} of log {log}"));
    format!("transacted {}", parts.collect::<Vec<_>>().join(", "))
}

fn located_at(located: &Located) -> String {
    let holders: Vec<&str> = located.holders.iter().map(|holder| &*holder.worker).collect();
    format!("{} bytes of {} at {}", located.result.bytes, located.key.label, holders.join(" "))
}
