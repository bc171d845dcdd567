//! Deadlines that pass.

use super::{Event, State, fail_task};
use crate::protocol::TaskId;
use crate::protocol::task::{ErrorKind, TaskError};
use crate::scheduler::core::{Phase, Task};

/// A task is not over, and its deadline has passed: it has failed, wherever it stands.
pub(in crate::scheduler::core) fn pass_deadline(state: &State, id: TaskId) -> Vec<Event> {
    let Some(task) = state.tasks.get(&id) else { return Vec::new() };
    let ms = task.terms().and_then(|terms| terms.deadline_ms()).unwrap_or_default();
    let message = format!("it was not done within its deadline of {ms} ms");
    let mut error = TaskError::new(ErrorKind::DeadlinePassed, &message, vec![standing(task)]);
    error.attempt = task.attempt;
    if let Phase::Running { worker } = task.phase {
        error.worker = state.worker_name(worker);
    }
    let mut events = Vec::new();
    fail_task(state, id, error, &mut events);
    events
}

/// What it was doing then, in words.
fn standing(task: &Task) -> String {
    match &task.phase {
        Phase::Running { .. } => format!("attempt {} was under way", task.attempt),
        Phase::Waiting { missing } => format!("it waited for {missing} of its dependencies"),
        Phase::Delayed => {
            format!("it waited for its next attempt, after attempt {} had failed", task.attempt)
        }
        _ => "it waited for a worker".to_owned(),
    }
}
