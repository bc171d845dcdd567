//! What follows by itself, one rule at a time, until nothing does. Each rule reads an index that the
//! state keeps, so that looking for work costs nothing when there is none.

use std::collections::BTreeSet;

use super::decide;
use super::place::{self, Place, Reserved};
use super::presence::Presence;
use super::state::State;
use super::task::{Phase, Turn};
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

/// Gives the ready task whose turn is first, of those for which there is a place now and whose arguments can be had, to
/// the best worker for it.
fn start(state: &State, presence: &Presence) -> Option<Vec<Event>> {
    if (state.ready.is_empty() && state.ready_with.is_empty()) || !presence.slots().any_free() {
        return None;
    }
    let (asking, reserved) = asking(state, presence, None);
    let plain = state.ready.values().filter_map(|turns| {
        let (turn, id) = first(state, presence, turns)?;
        let before: Vec<Reserved> = reserved.iter().filter(|of| of.turn < *turn).cloned().collect();
        Some((turn, id, place::best(state, presence, id, &before)?))
    });
    let plain = plain.min_by_key(|(turn, ..)| *turn);
    let (_, id, Place { worker, grants }) = plain.into_iter().chain(asking).min_by_key(|(turn, ..)| *turn)?;
    let attempt = AttemptNumber(state.tasks[&id].attempt.0 + 1);
    let started = match grants.is_empty() {
        true => TaskEvent::Started { task: id, attempt, worker },
        false => TaskEvent::StartedWith { task: id, attempt, worker, grants },
    };
    let mut events = vec![Event::Task(started)];
    let progress = || Progress::Started { attempt, worker: state.worker_name(worker) };
    decide::record_progress(state, id, progress, &mut events);
    Some(events)
}

/// The first of these turns of a task whose arguments can be had.
fn first<'a>(state: &State, presence: &Presence, turns: &'a BTreeSet<Turn>) -> Option<(&'a Turn, TaskId)> {
    let mut turns = turns.iter().take(TURNS_LOOKED_AT_MAX);
    turns.find_map(|turn| {
        let id = state.tasks.submitted_at(turn.1)?;
        out_of_reach(state, presence, id).is_none().then_some((turn, id))
    })
}

/// Of the ready tasks that ask for more than a function the first for which there is a place now, and what is kept for
/// those whose turn comes before; of all that come before `until`, if that is given.
pub(super) fn asking<'a>(
    state: &'a State,
    presence: &Presence,
    until: Option<Turn>,
) -> (Option<(&'a Turn, TaskId, Place)>, Vec<Reserved>) {
    let mut heads: Vec<(&Turn, TaskId)> =
        state.ready_with.values().filter_map(|turns| first(state, presence, turns)).collect();
    heads.sort();
    let mut reserved = Vec::new();
    for (turn, id) in heads.into_iter().take_while(|(turn, _)| until.is_none_or(|until| **turn < until)) {
        if let Some(place) = place::best(state, presence, id, &reserved) {
            return (Some((turn, id, place)), reserved);
        }
        let new = place::reserve(state, presence, id, &reserved);
        reserved.extend(new);
    }
    (None, reserved)
}

/// A task whose result a ready task needs, and of which nobody who keeps it is there.
pub(super) fn out_of_reach(state: &State, presence: &Presence, id: TaskId) -> Option<TaskId> {
    let call = state.tasks.get(&id)?.call.as_ref()?;
    call.dependencies.iter().copied().find(|dependency| {
        let stored = state.tasks.get(dependency).and_then(|task| task.phase.stored());
        stored.is_some_and(|stored| !presence.any_reachable(&stored.holders))
    })
}
