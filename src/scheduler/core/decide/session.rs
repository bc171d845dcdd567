//! The beginning and the end of sessions.

use super::{Entry, Event, Phase, Rejection, State, fail_task, lose};
use crate::protocol::limits::{
    ADDRESS_BYTES_MAX, FUNCTIONS_PER_WORKER_MAX, NAME_BYTES_MAX, SLOTS_PER_WORKER_MAX, TooLarge,
};
use crate::protocol::message::Hello;
use crate::protocol::result::LossReason;
use crate::protocol::session::{EndReason, Role, SessionKind};
use crate::protocol::{Producer, TaskEvent, TaskId};
use crate::scheduler::core::{Death, Presence, Settings};

/// Finds the session of a hello, or begins it.
pub(in crate::scheduler::core) fn hello(
    state: &State,
    presence: &Presence,
    settings: &Settings,
    hello: &Hello,
) -> Result<Entry, Rejection> {
    check(state, &hello.role)?;
    let kind = hello.role.kind();
    if let Some(producer) = state.producers.get(&hello.session) {
        let session = &state.sessions[producer];
        if session.kind != kind {
            return Err(Rejection::Invalid("the session was opened in another role".to_owned()));
        }
        return Ok(Entry { producer: *producer, lease_ms: session.lease_ms, events: Vec::new() });
    }
    let namesake = namesake(state, &kind);
    if hello.resume {
        let superseded = namesake.is_some();
        let reason = if superseded { EndReason::Superseded } else { EndReason::LeaseExpired };
        return Err(Rejection::SessionEnded(reason));
    }
    let mut events = Vec::new();
    if let Some(before) = namesake {
        events = end_session(state, presence, settings, before, EndReason::Superseded);
    }
    let producer = Producer(state.last_producer.0 + 1);
    let lease_ms = match kind {
        SessionKind::Worker { .. } => settings.worker_lease_ms,
        _ => settings.client_lease_ms,
    };
    events.push(Event::Task(TaskEvent::SessionOpened { producer, session: hello.session, kind, lease_ms }));
    Ok(Entry { producer, lease_ms, events })
}

fn check(state: &State, role: &Role) -> Result<(), Rejection> {
    match role {
        Role::Client => Ok(()),
        Role::Worker(offer) => {
            TooLarge::check("the worker's name", offer.name.len(), NAME_BYTES_MAX, "shorten it")?;
            let hint = "split them over several workers";
            TooLarge::check(
                "the number of functions",
                offer.functions.len(),
                FUNCTIONS_PER_WORKER_MAX,
                hint,
            )?;
            for function in &offer.functions {
                TooLarge::check("a function's name", function.name.len(), NAME_BYTES_MAX, "shorten it")?;
            }
            let bytes = offer.results_at.len();
            TooLarge::check("the address of the worker's results", bytes, ADDRESS_BYTES_MAX, "shorten it")?;
            offer.equipment.check()?;
            TooLarge::check(
                "the number of slots",
                offer.slots as usize,
                SLOTS_PER_WORKER_MAX as usize,
                hint,
            )?;
            Ok(())
        }
        Role::Attempt { task, attempt } => {
            let current = state
                .tasks
                .get(task)
                .is_some_and(|task| task.attempt == *attempt && matches!(task.phase, Phase::Running { .. }));
            if current { Ok(()) } else { Err(Rejection::Fenced { task: *task, attempt: *attempt }) }
        }
    }
}

/// The worker's session that has this name.
fn namesake(state: &State, kind: &SessionKind) -> Option<Producer> {
    let SessionKind::Worker { .. } = kind else { return None };
    state.sessions.iter().find(|(_, session)| session.kind == *kind).map(|(producer, _)| *producer)
}

/// Ends a session: what it ran waits for another attempt, or has had too many that were lost so; what it kept
/// alone is lost.
pub(in crate::scheduler::core) fn end_session(
    state: &State,
    presence: &Presence,
    settings: &Settings,
    producer: Producer,
    reason: EndReason,
) -> Vec<Event> {
    let Some(session) = state.sessions.get(&producer) else { return Vec::new() };
    let mut events = vec![Event::Task(TaskEvent::SessionEnded { producer, reason })];
    for id in &session.stored {
        let stored = state.tasks[id].phase.stored();
        if stored.is_some_and(|stored| stored.holders == [producer]) {
            lose(state, *id, producer, LossReason::SessionEnded(reason), &mut events);
        }
    }
    let suspects = presence.suspects(producer, &session.running);
    for id in &session.running {
        let task = &state.tasks[id];
        let attempt = task.attempt;
        // What waited there for its turn has not seen it die.
        if reason.is_death() && suspects.contains(id) {
            let worker = state.worker_name(producer);
            let counts = !has_acted(state, *id);
            events.push(Event::Task(TaskEvent::Died {
                task: *id,
                attempt,
                worker: worker.clone(),
                reason,
                counts,
            }));
            let call = task.call.as_ref().expect("a task that runs has its call");
            let mut deaths = call.deaths.as_deref().cloned().unwrap_or_default();
            deaths.add(Death { attempt, worker, reason });
            if let Some(error) = deaths.poison(settings.deaths_max).filter(|_| counts) {
                fail_task(state, *id, error, &mut events);
                continue;
            }
        }
        events.push(Event::Task(TaskEvent::Requeued { task: *id, attempt, reason }));
    }
    events
}

/// Whether the newest attempt at a task has got something done as a client: then its worker's death is
/// hardly its fault.
fn has_acted(state: &State, task: TaskId) -> bool {
    let sessions = state.attempt_sessions.get(&task).into_iter().flatten();
    sessions.into_iter().any(|producer| !state.sessions[producer].remembered.is_empty())
}
