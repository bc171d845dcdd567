//! Entering a value as a task that has it as its result.

use super::{Decision, Event, Phase, Rejection, State};
use crate::protocol::command::Answer;
use crate::protocol::event::Origin;
use crate::protocol::limits::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, TooLarge};
use crate::protocol::task::{SCATTER, SCATTERED_TOO_LARGE};
use crate::protocol::{Payload, TaskEvent, TaskId, TaskKey};

/// Enters a value, or holds the one that has its key and is the same.
pub(super) fn decide(state: &State, origin: Origin, key: TaskKey, value: Payload, detach: bool) -> Decision {
    TooLarge::check("the value's name", key.label.len(), NAME_BYTES_MAX, "shorten it")?;
    TooLarge::check("the value", value.bytes.len(), PAYLOAD_BYTES_MAX, SCATTERED_TOO_LARGE)?;
    let event = match state.tasks.get(&key.id) {
        None => TaskEvent::Scattered { origin, key, value, detach },
        Some(task) if &*task.function.name != SCATTER => {
            return Err(Rejection::KeyTaken { key: key.label.into(), function: task.function.name.clone() });
        }
        Some(task) => match &task.phase {
            Phase::Finished(known) if known.to_payload() == value => {
                TaskEvent::Held { origin, task: key.id, detached: detach }
            }
            _ => return Err(names_another_value(&key)),
        },
    };
    Ok((vec![Event::Task(event)], Answer::Submitted))
}

/// Refuses a value under a key that another one has.
pub(super) fn names_another_value(key: &TaskKey) -> Rejection {
    Rejection::Invalid(format!("key `{}` already names another value: choose another key", key.label))
}

/// Refuses what only tasks that run can have done to them.
pub(super) fn refuse_values(state: &State, id: TaskId, what: &str) -> Result<(), Rejection> {
    let Some(task) = state.tasks.get(&id).filter(|task| &*task.function.name == SCATTER) else {
        return Ok(());
    };
    let why = format!("{} is a value that was scattered, no call: there is nothing to {what}", task.key(id));
    Err(Rejection::Invalid(why))
}
