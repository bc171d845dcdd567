//! Trying again what has failed.

use std::collections::HashSet;

use super::scatter::refuse_values;
use super::{Decision, Event, Phase, Rejection, State, record_progress};
use crate::protocol::channel::Progress;
use crate::protocol::command::Answer;
use crate::protocol::event::Origin;
use crate::protocol::limits::TASKS_PER_COMMAND_MAX;
use crate::protocol::{TaskEvent, TaskId};

/// A task that has failed or was cancelled is tried again, and so is each that it needs, near or far, and that has.
pub(super) fn retry(state: &State, origin: Origin, id: TaskId) -> Decision {
    refuse_values(state, id, "try again")?;
    let task = state.tasks.get(&id).ok_or(Rejection::UnknownTask(id))?;
    if !task.phase.has_none() {
        let (key, status) = (task.key(id), task.phase.status());
        let why = format!("{key} is {status}: only what has failed or was cancelled can be tried again");
        return Err(Rejection::Invalid(why));
    }
    let tasks = with_what_it_needs(state, id)?;
    let mut events = Vec::new();
    for part in tasks.chunks(TASKS_PER_COMMAND_MAX) {
        events.push(Event::Task(TaskEvent::Renewed { origin, tasks: part.to_vec() }));
    }
    for task in tasks {
        record_progress(state, task, || Progress::Renewed, &mut events);
    }
    Ok((events, Answer::Retried))
}

/// A task without a result and those that it needs and that have none, each behind those that it needs itself.
fn with_what_it_needs(state: &State, id: TaskId) -> Result<Vec<TaskId>, Rejection> {
    // Those that are looked at, each with how many of its dependencies were. Not by recursion: a chain may be long.
    let (mut path, mut seen, mut found) = (vec![(id, 0)], HashSet::from([id]), Vec::new());
    while let Some((id, looked_at)) = path.last_mut() {
        let task = &state.tasks[&*id];
        let call = task.call.as_ref().ok_or_else(|| {
            let key = task.key(*id);
            Rejection::Invalid(format!(
                "{key} has ended under an older version, which did not keep how to call it: submit it under another key"
            ))
        })?;
        match call.dependencies.get(*looked_at) {
            Some(needed) => {
                *looked_at += 1;
                // One whose result is lost is run again by itself, and needs what it needs.
                let is_to_run = state
                    .tasks
                    .get(needed)
                    .is_some_and(|task| task.phase.has_none() || task.phase == Phase::Lost);
                if is_to_run && seen.insert(*needed) {
                    path.push((*needed, 0));
                }
            }
            None => {
                if task.phase.has_none() {
                    found.push(*id);
                }
                path.pop();
            }
        }
    }
    Ok(found)
}
