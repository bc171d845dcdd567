//! Holding tasks, and letting them go.

use super::{Decision, Event, Rejection, State};
use crate::protocol::command::Answer;
use crate::protocol::event::Origin;
use crate::protocol::{TaskEvent, TaskId};

/// Holds a task that exists.
pub(super) fn hold(state: &State, origin: Origin, task: TaskId, detached: bool) -> Decision {
    let key = state.key_of(task).ok_or(Rejection::UnknownTask(task))?;
    Ok((vec![Event::Task(TaskEvent::Held { origin, task, detached })], Answer::Held(key)))
}

/// Lets tasks go; what is not held does not matter.
pub(super) fn release(origin: Origin, tasks: Vec<TaskId>) -> (Vec<Event>, Answer) {
    (vec![Event::Task(TaskEvent::Released { origin, tasks })], Answer::Released)
}
