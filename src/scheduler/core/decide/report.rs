//! What workers report of their attempts. A report of an attempt that is not the task's newest, or
//! not this worker's, changes nothing: that attempt is fenced, and its worker need not care.

use super::{Decision, Event, State, record_progress};
use crate::protocol::channel::Progress;
use crate::protocol::command::{Answer, Rejection};
use crate::protocol::event::TaskResult;
use crate::protocol::limits::{PAYLOAD_BYTES_MAX, TooLarge};
use crate::protocol::task::TaskError;
use crate::protocol::{AttemptNumber, Payload, Producer, TaskEvent, TaskId};
use crate::scheduler::core::{Phase, Task};

/// An attempt has a result.
pub(super) fn finish(
    state: &State,
    worker: Producer,
    id: TaskId,
    attempt: AttemptNumber,
    result: Payload,
) -> Decision {
    if current(state, worker, id, attempt).is_none() {
        return Ok((Vec::new(), Answer::Reported));
    }
    TooLarge::check("the result", result.bytes.len(), PAYLOAD_BYTES_MAX, "return a path or a key to it")
        .map_err(Rejection::TooLarge)?;
    let inline = TaskResult::Inline(result.clone());
    let mut events = vec![Event::Task(TaskEvent::Finished { task: id, attempt, result: inline })];
    record_progress(state, id, &Progress::Finished { result }, &mut events);
    Ok((events, Answer::Reported))
}

/// An attempt has failed: the task is tried again if it has retries left.
pub(super) fn fail(
    state: &State,
    worker: Producer,
    id: TaskId,
    attempt: AttemptNumber,
    error: TaskError,
) -> Decision {
    let Some(task) = current(state, worker, id, attempt) else {
        return Ok((Vec::new(), Answer::Reported));
    };
    // The texts are cut here too: a worker's bounds are not to be relied on.
    let cut = TaskError::new(error.kind, &error.message, error.causes);
    let error = Box::new(TaskError { worker: state.worker_name(worker), attempt, ..cut });
    let call = task.call.as_ref().expect("a task that runs has its call");
    if call.failures < call.options.retries {
        return Ok((vec![Event::Task(TaskEvent::Retried { task: id, attempt, error })], Answer::Reported));
    }
    let mut events = vec![Event::Task(TaskEvent::Failed { task: id, error: error.clone() })];
    record_progress(state, id, &Progress::Failed { error }, &mut events);
    Ok((events, Answer::Reported))
}

fn current(state: &State, worker: Producer, id: TaskId, attempt: AttemptNumber) -> Option<&Task> {
    let task = state.tasks.get(&id)?;
    (task.attempt == attempt && task.phase == Phase::Running { worker }).then_some(task)
}
