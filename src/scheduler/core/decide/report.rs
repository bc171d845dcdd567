//! What workers report of their attempts. A report of an attempt that is not the task's newest, or
//! not this worker's, changes nothing: that attempt is fenced, and its worker need not care.

use std::collections::HashSet;

use super::{Decision, Event, LogFacts, State, fail_task, is_worker, lose, record_progress};
use crate::protocol::channel::Progress;
use crate::protocol::command::{Answer, Rejection};
use crate::protocol::event::TaskResult;
use crate::protocol::limits::{PAYLOAD_BYTES_MAX, RESULT_BYTES_MAX, TooLarge};
use crate::protocol::result::{LossReason, StoredResult};
use crate::protocol::session::HeldAttempt;
use crate::protocol::task::{Advance, TaskError};
use crate::protocol::terms::Terms;
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
    let mut events = Vec::new();
    record_progress(state, id, || Progress::Finished { result: result.clone() }, &mut events);
    let result = TaskResult::Inline(result);
    events.insert(0, Event::Task(TaskEvent::Finished { task: id, attempt, result }));
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
    let error = TaskError { worker: state.worker_name(worker), attempt, ..cut };
    let call = task.call.as_ref().expect("a task that runs has its call");
    if call.failures < call.options.retries {
        let error = Box::new(error);
        let backoff = task.terms().and_then(Terms::backoff);
        let retried = match backoff.map_or(0, |backoff| backoff.wait_ms(call.failures + 1, id, attempt)) {
            0 => TaskEvent::Retried { task: id, attempt, error },
            wait_ms => TaskEvent::RetriedAfter { task: id, attempt, error, wait_ms },
        };
        return Ok((vec![Event::Task(retried)], Answer::Reported));
    }
    let mut events = Vec::new();
    fail_task(state, id, error, &mut events);
    Ok((events, Answer::Reported))
}

/// An attempt has a result that its worker keeps.
pub(super) fn store(state: &State, worker: Producer, held: HeldAttempt, result: StoredResult) -> Decision {
    let HeldAttempt { task: id, attempt } = held;
    if is_holder(state, worker, held) {
        return Ok((Vec::new(), Answer::Reported));
    }
    if current(state, worker, id, attempt).is_none() {
        return Ok((Vec::new(), Answer::Unwanted(vec![held])));
    }
    if result.bytes > RESULT_BYTES_MAX {
        let (what, hint) = ("the result".to_owned(), "return a path or a key to it".to_owned());
        return Err(TooLarge { what, size: result.bytes, max: RESULT_BYTES_MAX, hint }.into());
    }
    let stored = TaskResult::Stored(result);
    let mut events = vec![Event::Task(TaskEvent::Finished { task: id, attempt, result: stored })];
    record_progress(state, id, || Progress::Stored { result }, &mut events);
    Ok((events, Answer::Reported))
}

/// A worker keeps a copy of a result.
pub(super) fn copied(state: &State, worker: Producer, held: HeldAttempt) -> Decision {
    if !is_worker(state, worker) {
        return Err(Rejection::Invalid("only a worker keeps results".to_owned()));
    }
    if is_holder(state, worker, held) {
        return Ok((Vec::new(), Answer::Reported));
    }
    if !is_stored(state, held) {
        return Ok((Vec::new(), Answer::Unwanted(vec![held])));
    }
    Ok((vec![Event::Task(TaskEvent::Copied { task: held.task, worker })], Answer::Reported))
}

/// A worker does not have a result that it is taken to keep.
pub(super) fn lack(state: &State, worker: Producer, held: HeldAttempt) -> Decision {
    let mut events = Vec::new();
    if is_holder(state, worker, held) {
        let stored = state.tasks[&held.task].phase.stored();
        if stored.is_some_and(|stored| stored.holders.len() > 1) {
            events.push(Event::Task(TaskEvent::Dropped { task: held.task, worker }));
        } else {
            lose(state, held.task, worker, LossReason::Lacking, &mut events);
        }
    }
    Ok((events, Answer::Reported))
}

/// An attempt could not begin, since it lacks another task's result.
pub(super) fn defer(
    state: &State,
    worker: Producer,
    id: TaskId,
    attempt: AttemptNumber,
    missing: TaskId,
) -> Decision {
    let events = match current(state, worker, id, attempt) {
        Some(_) => vec![Event::Task(TaskEvent::Deferred { task: id, attempt, missing })],
        None => Vec::new(),
    };
    Ok((events, Answer::Reported))
}

/// An attempt has come so far. While the disk is nearly full that is not written down.
pub(super) fn advance(
    state: &State,
    facts: &LogFacts,
    worker: Producer,
    held: HeldAttempt,
    advance: Advance,
) -> Decision {
    let HeldAttempt { task: id, attempt } = held;
    let mut events = Vec::new();
    if current(state, worker, id, attempt).is_some() && facts.shortage.is_none() {
        // Cut here too: a worker's bounds are not to be relied on.
        let advance = Advance::new(advance.done, advance.total, &advance.message);
        events.push(Event::Task(TaskEvent::Advanced { task: id, attempt, advance: advance.clone() }));
        record_progress(state, id, || Progress::Advanced(advance.clone()), &mut events);
    }
    Ok((events, Answer::Reported))
}

/// A worker gives an attempt back that has not begun.
pub(super) fn give_back(state: &State, worker: Producer, id: TaskId, attempt: AttemptNumber) -> Decision {
    let events = match current(state, worker, id, attempt) {
        Some(_) => vec![Event::Task(TaskEvent::Returned { task: id, attempt })],
        None => Vec::new(),
    };
    Ok((events, Answer::Reported))
}

/// Attempts that were given to a worker, and of which it does not know, can be given to it again no more when
/// a result that they need is lost meanwhile: they are over.
pub(in crate::scheduler::core) fn undeliverable(
    state: &State,
    worker: Producer,
    known: &[HeldAttempt],
) -> Vec<Event> {
    let known: HashSet<&HeldAttempt> = known.iter().collect();
    let running = state.sessions.get(&worker).into_iter().flat_map(|session| &session.running);
    let deferred = running.filter_map(|id| {
        let task = state.tasks.get(id)?;
        if known.contains(&HeldAttempt { task: *id, attempt: task.attempt }) {
            return None;
        }
        let has_result = |of: &TaskId| state.tasks.get(of).is_some_and(|of| of.phase.has_result());
        let missing = *task.call.as_ref()?.dependencies.iter().find(|of| !has_result(of))?;
        Some(Event::Task(TaskEvent::Deferred { task: *id, attempt: task.attempt, missing }))
    });
    deferred.collect()
}

fn is_stored(state: &State, held: HeldAttempt) -> bool {
    state
        .tasks
        .get(&held.task)
        .is_some_and(|task| task.attempt == held.attempt && task.phase.stored().is_some())
}

fn is_holder(state: &State, worker: Producer, held: HeldAttempt) -> bool {
    is_stored(state, held)
        && state.sessions.get(&worker).is_some_and(|session| session.stored.contains(&held.task))
}

fn current(state: &State, worker: Producer, id: TaskId, attempt: AttemptNumber) -> Option<&Task> {
    let task = state.tasks.get(&id)?;
    (task.attempt == attempt && task.phase == Phase::Running { worker }).then_some(task)
}
