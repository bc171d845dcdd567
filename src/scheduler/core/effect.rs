//! Instructions to the edge, read off from facts, and after a reconnect off the state. Never stored.

use std::collections::HashSet;

use super::consumers;
use super::presence::Presence;
use super::state::State;
use super::task::{Phase, Task};
use super::{Event, Output};
use crate::protocol::command::Rejection;
use crate::protocol::equipment::Grant;
use crate::protocol::event::TaskResult;
use crate::protocol::group::{GroupEnd, GroupId, Leased, indexes};
use crate::protocol::message::{Assignment, Closing, Filling, Given, ServerMessage};
use crate::protocol::result::{Located, LossReason, StoredResult};
use crate::protocol::session::{HeldAttempt, Retire, Role};
use crate::protocol::task::{Argument, ErrorKind, Outcome};
use crate::protocol::terms::Terms;
use crate::protocol::{AttemptNumber, Producer, TaskEvent, TaskId, TimeMs};
use crate::scheduler::handle::ConnectionId;

/// An instruction to the edge, to be carried out once the commit that it came with is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The connection's hello is accepted.
    Accept {
        /// The connection.
        connection: ConnectionId,
        /// How long its session is waited for.
        lease_ms: TimeMs,
    },
    /// Send a message.
    Send {
        /// To whom.
        connection: ConnectionId,
        /// What it belongs to.
        number: u64,
        /// The message.
        message: ServerMessage,
    },
    /// End a connection.
    Close {
        /// Which.
        connection: ConnectionId,
        /// What to say.
        why: Closing,
    },
}

/// What a fact means for the edge. `state` and `presence` are as they were before it.
pub(super) fn of(state: &State, presence: &Presence, event: &Event, effects: &mut Vec<Effect>) {
    let Event::Task(event) = event else { return };
    match event {
        TaskEvent::Started { task, attempt, worker } => {
            effects.extend(assignment(state, presence, *task, *attempt, *worker, &[]));
        }
        TaskEvent::StartedWith { task, attempt, worker, grants } => {
            effects.extend(assignment(state, presence, *task, *attempt, *worker, grants));
        }
        TaskEvent::Finished { task, result: TaskResult::Inline(result), .. } => {
            settled(presence, *task, &Outcome::Finished(result.clone()), effects);
        }
        TaskEvent::Finished { task, attempt, result: TaskResult::Stored(result) } => {
            let holders: Vec<Producer> = state.worker_of(*task).into_iter().collect();
            if let Some(located) = locate(state, presence, *task, *attempt, *result, &holders) {
                settled(presence, *task, &Outcome::Stored(located), effects);
            }
        }
        TaskEvent::Failed { task, error } => {
            // All others end what runs themselves.
            if error.kind == ErrorKind::DeadlinePassed {
                effects.extend(abort(state, presence, *task));
            }
            settled(presence, *task, &Outcome::Failed(error.clone()), effects)
        }
        TaskEvent::Cancelled { task } | TaskEvent::CancelledBy { task, .. } => {
            effects.extend(abort(state, presence, *task));
            settled(presence, *task, &Outcome::Cancelled, effects);
        }
        TaskEvent::Forgotten { task } => {
            effects.extend(abort(state, presence, *task));
            free(state, presence, *task, |_| true, effects);
            unknown(presence, *task, effects);
        }
        // Those who keep it may have been away until now.
        TaskEvent::Copied { task, worker } => {
            if let Some(mut located) = located(state, presence, *task) {
                located.holders.extend(presence.holder(state, *worker));
                settled(presence, *task, &Outcome::Stored(located), effects);
            }
        }
        TaskEvent::Dropped { task, worker } => {
            free(state, presence, *task, |holder| holder == *worker, effects);
        }
        TaskEvent::Lost { task, why, .. } => {
            free(state, presence, *task, |_| true, effects);
            if *why == LossReason::Unneeded {
                unknown(presence, *task, effects);
            }
        }
        TaskEvent::Leased { group, member, elements } => {
            if let Some(connection) = presence.connection_of(*member) {
                effects.extend(leased(state, connection, *group, indexes(elements)));
            }
        }
        TaskEvent::SessionEnded { producer, reason } => {
            if let Some(connection) = presence.connection_of(*producer) {
                let why = Closing::Rejected(Rejection::SessionEnded(*reason));
                effects.push(Effect::Close { connection, why });
            }
        }
        _ => {}
    }
}

/// What a worker that is connected again has to hear: attempts that it should have and does not know
/// of, attempts that it has and should not, and that it is to retire, if it does not say so itself.
pub(super) fn reattach(
    state: &State,
    presence: &Presence,
    connection: ConnectionId,
    producer: Producer,
    role: &Role,
    out: &mut Output,
) {
    let (Role::Worker(offer), Some(session)) = (role, state.sessions.get(&producer)) else { return };
    for held in &offer.held {
        let wanted = session.running.contains(&held.task)
            && state.tasks.get(&held.task).is_some_and(|task| task.attempt == held.attempt);
        if !wanted {
            out.effects
                .push(send(connection, ServerMessage::Abort { task: held.task, attempt: held.attempt }));
        }
    }
    let known: HashSet<&HeldAttempt> = offer.held.iter().collect();
    for id in &session.running {
        let Some(task) = state.tasks.get(id) else { continue };
        if !known.contains(&HeldAttempt { task: *id, attempt: task.attempt }) {
            out.effects.extend(assign(state, presence, connection, *id, task, task.attempt, task.grants()));
        }
    }
    if let Some(retire) = presence.retiring(producer)
        && (offer.slots > 0 || retire == Retire::HandOver)
    {
        out.effects.push(send(connection, ServerMessage::Retire(retire)));
    }
}

pub(super) fn send(connection: ConnectionId, message: ServerMessage) -> Effect {
    Effect::Send { connection, number: 0, message }
}

/// The stored result of a task and where it can be had, if it has one; who keeps it may all be away.
pub(super) fn located(state: &State, presence: &Presence, id: TaskId) -> Option<Located> {
    let task = state.tasks.get(&id)?;
    let stored = task.phase.stored()?;
    locate(state, presence, id, task.attempt, stored.result, &stored.holders)
}

fn locate(
    state: &State,
    presence: &Presence,
    id: TaskId,
    attempt: AttemptNumber,
    result: StoredResult,
    holders: &[Producer],
) -> Option<Located> {
    let holders = holders.iter().filter_map(|worker| presence.holder(state, *worker)).collect();
    Some(Located { key: state.key_of(id)?, attempt, result, holders })
}

/// Tells those who keep a task's result that they need not.
fn free(
    state: &State,
    presence: &Presence,
    id: TaskId,
    is_told: impl Fn(Producer) -> bool,
    effects: &mut Vec<Effect>,
) {
    let Some(task) = state.tasks.get(&id) else { return };
    let holders = task.phase.stored().into_iter().flat_map(|stored| &stored.holders);
    let told =
        holders.filter(|holder| is_told(**holder)).filter_map(|holder| presence.connection_of(*holder));
    let message = ServerMessage::Free { task: id, attempt: task.attempt };
    effects.extend(told.map(|connection| send(connection, message.clone())));
}

/// Tells a member of elements that are leased to it, or are about to be.
pub(super) fn leased(
    state: &State,
    connection: ConnectionId,
    group: GroupId,
    elements: impl IntoIterator<Item = u64>,
) -> Option<Effect> {
    let of = state.groups.get(&group)?;
    let runs = consumers::runs(state, of, elements);
    let (lease_ms, dead_letters) = (of.options.lease_ms, of.options.dead_letters.clone());
    let is_any = !runs.is_empty();
    let leased = Leased { runs, lease_ms, dead_letters };
    is_any.then(|| send(connection, ServerMessage::Leased { group, leased }))
}

/// Tells a member that there is nothing more.
pub(super) fn group_ended(
    presence: &Presence,
    member: Producer,
    group: GroupId,
    why: GroupEnd,
) -> Option<Effect> {
    Some(send(presence.connection_of(member)?, ServerMessage::GroupEnded { group, why }))
}

fn unknown(presence: &Presence, task: TaskId, effects: &mut Vec<Effect>) {
    for connection in presence.watchers(task) {
        effects.push(send(connection, ServerMessage::Unknown { task }));
    }
}

fn settled(presence: &Presence, task: TaskId, outcome: &Outcome, effects: &mut Vec<Effect>) {
    for connection in presence.watchers(task) {
        effects.push(send(connection, ServerMessage::Settled { task, outcome: outcome.clone() }));
    }
}

fn assignment(
    state: &State,
    presence: &Presence,
    id: TaskId,
    attempt: AttemptNumber,
    worker: Producer,
    grants: &[Grant],
) -> Option<Effect> {
    assign(state, presence, presence.connection_of(worker)?, id, state.tasks.get(&id)?, attempt, grants)
}

fn assign(
    state: &State,
    presence: &Presence,
    connection: ConnectionId,
    id: TaskId,
    task: &Task,
    attempt: AttemptNumber,
    grants: &[Grant],
) -> Option<Effect> {
    let call = task.call.as_ref()?;
    let arguments: Option<Vec<Given>> =
        call.arguments().into_iter().map(|argument| given(state, presence, argument)).collect();
    let assignment = Assignment {
        key: task.key(id),
        attempt,
        function: task.function.name.clone(),
        version: task.function.version,
        arguments: arguments?,
        timeout_ms: task.terms().and_then(Terms::timeout_ms),
        grants: grants.to_vec(),
    };
    Some(send(connection, ServerMessage::Assign(assignment)))
}

fn given(state: &State, presence: &Presence, argument: Argument) -> Option<Given> {
    match argument {
        Argument::Value(payload) => Some(Given::Value(payload)),
        Argument::Future(task) => Some(match filling(state, presence, task)? {
            Filling::Value(result) => Given::Value(result),
            Filling::Stored(located) => Given::Stored(located),
        }),
        Argument::Nested(template) => {
            let results = template.tasks().into_iter().map(|task| filling(state, presence, task));
            Some(Given::Nested { results: results.collect::<Option<_>>()?, template })
        }
    }
}

fn filling(state: &State, presence: &Presence, task: TaskId) -> Option<Filling> {
    match &state.tasks.get(&task)?.phase {
        Phase::Finished(result) => Some(Filling::Value(result.to_payload())),
        Phase::Stored(_) => located(state, presence, task).map(Filling::Stored),
        _ => None,
    }
}

fn abort(state: &State, presence: &Presence, id: TaskId) -> Option<Effect> {
    let task = state.tasks.get(&id)?;
    let Phase::Running { worker } = task.phase else { return None };
    Some(send(presence.connection_of(worker)?, ServerMessage::Abort { task: id, attempt: task.attempt }))
}
