//! Cancelling tasks.

use super::scatter::refuse_values;
use super::{Decision, Event, Rejection, State, record_progress};
use crate::protocol::channel::Progress;
use crate::protocol::command::Answer;
use crate::protocol::event::Origin;
use crate::protocol::task::TaskStatus;
use crate::protocol::{TaskEvent, TaskId};

/// A task that has not ended is cancelled. What waits for it is failed by upkeep.
pub(super) fn cancel(state: &State, origin: Origin, id: TaskId) -> Decision {
    refuse_values(state, id, "cancel")?;
    let phase = &state.tasks.get(&id).ok_or(Rejection::UnknownTask(id))?.phase;
    if !phase.is_open() {
        return Ok((Vec::new(), Answer::Ended(phase.status())));
    }
    let mut events = vec![Event::Task(TaskEvent::CancelledBy { origin, task: id })];
    record_progress(state, id, || Progress::Cancelled, &mut events);
    Ok((events, Answer::Ended(TaskStatus::Cancelled)))
}
