//! What follows by itself, one rule at a time, until nothing does. Each rule reads an index that the
//! state keeps, so that looking for work costs nothing when there is none.

use super::decide;
use super::presence::Presence;
use super::state::State;
use super::task::Phase;
use super::{Event, LogFacts, Settings};
use crate::protocol::channel::Progress;
use crate::protocol::result::LossReason;
use crate::protocol::session::EndReason;
use crate::protocol::task::{ErrorKind, TaskError};
use crate::protocol::{AttemptNumber, TaskEvent, TaskId, TaskKey};

/// Most rules applied in one step, so that one command with many consequences (a client that held a
/// million tasks leaves) does not make one huge commit; the driver comes back for the rest.
pub(super) const STEPS_MAX: usize = 4096;

/// What follows next; empty when nothing does.
pub(super) fn next(state: &State, settings: &Settings, presence: &Presence, facts: &LogFacts) -> Vec<Event> {
    if let Some(producer) = state.overdue.first() {
        return decide::end_session(state, presence, settings, *producer, EndReason::AttemptOver);
    }
    if let Some(task) = state.doomed.first() {
        return fail_dependent(state, *task);
    }
    if let Some(task) = state.unkept.first() {
        return vec![Event::Task(TaskEvent::Forgotten { task: *task })];
    }
    if let Some(task) = state.unneeded.first() {
        let (mut events, stored) = (Vec::new(), state.tasks[task].phase.stored());
        let last = stored.and_then(|stored| stored.holders.first().copied()).unwrap_or_default();
        decide::lose(state, *task, last, LossReason::Unneeded, &mut events);
        return events;
    }
    if let Some(task) = state.wanted.first() {
        return vec![Event::Task(TaskEvent::Reopened { task: *task })];
    }
    if facts.shortage.is_some() {
        return Vec::new();
    }
    start(state, presence).unwrap_or_default()
}

fn fail_dependent(state: &State, id: TaskId) -> Vec<Event> {
    let call = state.tasks[&id].call.as_ref().expect("a task that waits has its call");
    let error = call.dependencies.iter().find_map(|dependency| {
        let Some(key) = state.key_of(*dependency) else {
            let lost = TaskError::new(ErrorKind::Dependency, "its records are lost: see log verify", vec![]);
            return Some(lost.of_dependent(&TaskKey { id: *dependency, label: "lost".into() }));
        };
        match &state.tasks.get(dependency)?.phase {
            Phase::Failed(error) => Some(error.of_dependent(&key)),
            Phase::Cancelled => {
                Some(TaskError::new(ErrorKind::Dependency, "it was cancelled", vec![]).of_dependent(&key))
            }
            _ => None,
        }
    });
    let error = error.expect("a doomed task has a dependency that did not finish");
    let mut events = Vec::new();
    decide::fail_task(state, id, error, &mut events);
    events
}

/// How many ready tasks of a function are looked at for one whose arguments can be had now: those that keep
/// them may be away for their lease.
const TURNS_LOOKED_AT_MAX: usize = 64;

/// Gives the ready task whose turn is first, of those that any connected worker with a free slot can
/// run and whose arguments can be had, to the worker with the most free slots.
fn start(state: &State, presence: &Presence) -> Option<Vec<Event>> {
    let slots = presence.slots();
    if state.ready.is_empty() || !slots.any_free() {
        return None;
    }
    let candidates = state.ready.iter().filter_map(|(function, turns)| {
        let mut turns = turns.iter().take(TURNS_LOOKED_AT_MAX);
        let found = turns.find_map(|turn| {
            let id = state.tasks.submitted_at(turn.1)?;
            out_of_reach(state, presence, id).is_none().then_some((turn, id))
        });
        Some((found?, slots.place_for(function)?))
    });
    let ((_, id), worker) = candidates.min()?;
    let attempt = AttemptNumber(state.tasks[&id].attempt.0 + 1);
    let mut events = vec![Event::Task(TaskEvent::Started { task: id, attempt, worker })];
    let progress = Progress::Started { attempt, worker: state.worker_name(worker) };
    decide::record_progress(state, id, &progress, &mut events);
    Some(events)
}

/// A task whose result a ready task needs, and of which nobody who keeps it is there.
pub(super) fn out_of_reach(state: &State, presence: &Presence, id: TaskId) -> Option<TaskId> {
    let call = state.tasks.get(&id)?.call.as_ref()?;
    call.dependencies.iter().copied().find(|dependency| {
        let stored = state.tasks.get(dependency).and_then(|task| task.phase.stored());
        stored.is_some_and(|stored| !presence.any_reachable(&stored.holders))
    })
}
