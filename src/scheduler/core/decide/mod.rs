//! What a command means in a state: events, or a rejection. Nothing here changes anything.
//!
//! One file for each kind of command. A command that was carried out before, and comes again because
//! its answer was lost, is given its first answer. One that was refused is decided anew, and is not carried
//! out any more behind later ones of its session.

mod append;
mod cancel;
mod channel;
mod cursor;
mod deadline;
mod group;
mod hold;
mod producer;
mod replicate;
mod report;
mod retire;
mod retry;
mod scatter;
mod session;
mod submit;
mod transact;

pub(super) use deadline::pass_deadline;
pub(super) use report::undeliverable;
pub(super) use retire::Retirement;
pub(super) use session::{end_session, hello};

use super::query;
use super::state::{Remembered, Session, State};
use super::task::Phase;
use super::{Entry, Event, LogFacts};
use crate::protocol::channel::{Durability, Progress};
use crate::protocol::command::{Answer, Command, Rejection};
use crate::protocol::event::Origin;
use crate::protocol::limits::{IN_FLIGHT_MAX, TASKS_PER_COMMAND_MAX, TooLarge};
use crate::protocol::result::LossReason;
use crate::protocol::session::{EndReason, HeldAttempt, SessionKind};
use crate::protocol::task::{TaskError, TaskStatus};
use crate::protocol::terms::Terms;
use crate::protocol::{ChannelEvent, Producer, TaskEvent, TaskId};

/// What a decision brings.
pub(super) type Decision = Result<(Vec<Event>, Answer), Rejection>;

/// Decides a command of a session.
pub(super) fn command(state: &State, facts: &LogFacts, origin: Origin, command: Command) -> Decision {
    let session =
        state.sessions.get(&origin.producer).ok_or(Rejection::SessionEnded(EndReason::LeaseExpired))?;
    if let Some(answer) = first_answer(state, facts, session, origin, &command)? {
        return Ok((Vec::new(), answer));
    }
    if let SessionKind::Attempt { task, attempt } = session.kind {
        let current = state
            .tasks
            .get(&task)
            .is_some_and(|task| task.attempt == attempt && matches!(task.phase, Phase::Running { .. }));
        if !current {
            return Err(Rejection::Fenced { task, attempt });
        }
    }
    // Asked before the command is taken apart.
    let in_order = check_order(session, origin, &command);
    let decision = match command {
        Command::Submit(submission) => submit::decide(state, origin, submission, Terms::default()),
        Command::SubmitUnder { submission, terms } => submit::decide(state, origin, submission, terms),
        Command::Hold { task, detach } => hold::hold(state, origin, task, detach),
        Command::Release { tasks } => {
            let hint = "release the others with another command";
            TooLarge::check("the number of tasks", tasks.len(), TASKS_PER_COMMAND_MAX, hint)?;
            Ok(hold::release(origin, tasks))
        }
        Command::OpenChannel { name } => channel::open(state, origin, name),
        Command::Append { log, elements, options } => {
            append::decide(state, facts, origin, log, elements, options)
        }
        Command::CreateChannel { name, options } => channel::create(state, origin, name, options),
        Command::SetDurability { log, durability } => channel::set_durability(state, origin, log, durability),
        Command::Retain { log, retention } => channel::retain(state, origin, log, retention),
        Command::Trim { log, before } => channel::trim(state, origin, log, before),
        Command::Stop { log } => channel::stop(state, origin, log),
        Command::Resume { log } => channel::resume(state, origin, log),
        Command::Delete { log } => channel::delete(state, origin, log),
        Command::SetCursor(to) => cursor::set(state, origin, to),
        Command::DeleteCursor { log, name } => cursor::delete(state, origin, log, name),
        Command::Transact(transaction) => transact::decide(state, facts, origin, transaction),
        Command::OpenGroup { log, name, options, from_end } => {
            group::open(state, origin, (log, name), options, from_end)
        }
        Command::Join { group, window } => group::join(state, group, window),
        Command::Leave { group, untried } => group::leave(state, origin.producer, group, untried),
        Command::Try(of) => group::try_elements(state, origin, of),
        Command::Acknowledge(of) => group::acknowledge(state, origin, of),
        Command::GiveBack(of) => group::give_back(state, origin, of),
        Command::Extend(of) => group::extend(state, &of),
        Command::DeleteGroup { log, name } => group::delete(state, origin, log, &name),
        Command::ForgetProducer { log, name } => producer::forget(state, origin, log, name),
        Command::Scatter { key, value, detach } => scatter::decide(state, origin, key, value, detach),
        Command::Cancel { task } => cancel::cancel(state, origin, task),
        Command::Retry { task } => retry::retry(state, origin, task),
        Command::Replicate { task, copies } => replicate::replicate(state, task, copies),
        Command::Finish { task, attempt, result } => {
            report::finish(state, origin.producer, task, attempt, result)
        }
        Command::Fail { task, attempt, error } => report::fail(state, origin.producer, task, attempt, *error),
        Command::Store { task, attempt, result } => {
            report::store(state, origin.producer, HeldAttempt { task, attempt }, result)
        }
        Command::Copied { task, attempt } => {
            report::copied(state, origin.producer, HeldAttempt { task, attempt })
        }
        Command::Lack { task, attempt } => {
            report::lack(state, origin.producer, HeldAttempt { task, attempt })
        }
        Command::Defer { task, attempt, missing } => {
            report::defer(state, origin.producer, task, attempt, missing)
        }
        Command::Advance { task, attempt, advance } => {
            report::advance(state, facts, origin.producer, HeldAttempt { task, attempt }, advance)
        }
        Command::Window { .. } | Command::Occupy { .. } => Ok((Vec::new(), Answer::Reported)),
        Command::Return { task, attempt } => report::give_back(state, origin.producer, task, attempt),
        Command::Retire => retire::retire(state, origin.producer),
        Command::RetireWorker { worker, .. } => retire::retire_worker(state, worker),
    };
    let (events, answer) = decision?;
    // Where nothing is done, nothing is done out of order: an append of a named producer may have been made before.
    if !events.is_empty() {
        in_order?;
    }
    Ok((events, answer))
}

/// Refuses a command that was refused when it came first, if later ones of its session have been carried
/// out since: its answer was lost, what it lacked is there now, and yet it cannot come before them. (A
/// session's commands come in order, so that it was decided before them.)
fn check_order(session: &Session, origin: Origin, command: &Command) -> Result<(), Rejection> {
    let is_remembered = matches!(
        command,
        Command::Submit(_)
            | Command::SubmitUnder { .. }
            | Command::Scatter { .. }
            | Command::Hold { .. }
            | Command::Release { .. }
            | Command::Append { .. }
            | Command::CreateChannel { .. }
            | Command::Retain { .. }
            | Command::SetDurability { .. }
            | Command::Delete { .. }
            | Command::SetCursor(_)
            | Command::Transact(_)
            | Command::Acknowledge(_)
            | Command::GiveBack(_)
            | Command::Try(_)
            | Command::ForgetProducer { .. }
            | Command::Cancel { .. }
            | Command::Retry { .. }
    );
    match session.remembered.last_key_value() {
        Some((last, _)) if is_remembered && *last > origin.number => Err(Rejection::Invalid(format!(
            "command {} was refused, and later ones of its session have been carried out since: ask for it again",
            origin.number
        ))),
        _ => Ok(()),
    }
}

/// The answer that a command was given before, if it was carried out.
fn first_answer(
    state: &State,
    facts: &LogFacts,
    session: &Session,
    origin: Origin,
    command: &Command,
) -> Result<Option<Answer>, Rejection> {
    let Some(remembered) = session.remembered.get(&origin.number) else {
        let full = session.remembered.len() as u64 == IN_FLIGHT_MAX;
        return match session.remembered.first_key_value() {
            Some((oldest, _)) if full && origin.number < *oldest => Err(Rejection::Invalid(format!(
                "command {} is older than the last {IN_FLIGHT_MAX} of its session: what it brought is no longer remembered",
                origin.number
            ))),
            _ => Ok(None),
        };
    };
    Ok(Some(match (remembered, command) {
        (Remembered::Appended { first, count, seq }, Command::Append { .. }) => {
            let epoch = facts.starts.epoch_of(*seq);
            // How it was to be acknowledged then is not remembered: now it waits until it is durable.
            let durability = Durability::Fsynced;
            Answer::Appended { first: *first, count: *count, seq: *seq, epoch, durability }
        }
        (Remembered::Transacted { seq, appended }, Command::Transact(_)) => {
            Answer::Transacted { seq: *seq, epoch: facts.starts.epoch_of(*seq), appended: appended.to_vec() }
        }
        (Remembered::Done, Command::Submit(_) | Command::SubmitUnder { .. } | Command::Scatter { .. }) => {
            Answer::Submitted
        }
        (Remembered::Done, Command::Release { .. }) => Answer::Released,
        (Remembered::Done, Command::OpenChannel { name }) => match query::channel(state, name) {
            Ok(info) => Answer::Channel(info),
            // It was deleted since: who wants it open wants it made again.
            Err(_) => return Ok(None),
        },
        (Remembered::Done, Command::CreateChannel { name, .. }) => {
            Answer::Channel(query::channel(state, name)?)
        }
        (
            Remembered::Done,
            Command::Retain { log, .. }
            | Command::SetDurability { log, .. }
            | Command::Trim { log, .. }
            | Command::Resume { log },
        ) => Answer::Channel(channel::writable(state, *log)?.info(*log)),
        (Remembered::Done, Command::Stop { log }) => {
            let channel = channel::writable(state, *log)?;
            Answer::Stopped { count: channel.elements, digest: channel.digest }
        }
        (
            Remembered::Done,
            Command::Delete { .. } | Command::DeleteCursor { .. } | Command::ForgetProducer { .. },
        ) => Answer::Deleted,
        (Remembered::Done, Command::SetCursor(_)) => Answer::CursorSet,
        (Remembered::Done, Command::Acknowledge(_) | Command::GiveBack(_) | Command::Try(_)) => {
            Answer::Reported
        }
        (Remembered::Done, Command::DeleteGroup { .. }) => Answer::Deleted,
        (Remembered::Done, Command::Cancel { .. }) => Answer::Ended(TaskStatus::Cancelled),
        (Remembered::Done, Command::Retry { .. }) => Answer::Retried,
        // As it is now; one that was deleted since is made again.
        (Remembered::Done, Command::OpenGroup { .. }) => return Ok(None),
        (Remembered::Done, Command::Hold { task, .. }) => {
            Answer::Held(state.key_of(*task).ok_or(Rejection::UnknownTask(*task))?)
        }
        _ => return Err(Rejection::Invalid(format!("number {} was another command's", origin.number))),
    }))
}

/// A state with a channel, for tests: its log is 1, its name `a`.
#[cfg(test)]
fn with_channel() -> State {
    let mut state = State::default();
    let name = crate::protocol::ChannelName::new("a").expect("a good name");
    state.channels.insert(crate::protocol::LogId(1), super::Channel::new(name));
    state
}

fn is_worker(state: &State, producer: Producer) -> bool {
    state.sessions.get(&producer).is_some_and(|session| matches!(session.kind, SessionKind::Worker { .. }))
}

/// The last worker that kept a task's result keeps it no longer.
pub(super) fn lose(state: &State, id: TaskId, last: Producer, why: LossReason, events: &mut Vec<Event>) {
    let worker = state.worker_name(last);
    events.push(Event::Task(TaskEvent::Lost { task: id, worker: worker.clone(), why }));
    record_progress(state, id, || Progress::Lost { worker: worker.clone() }, events);
}

/// A task has failed for good.
pub(super) fn fail_task(state: &State, id: TaskId, error: TaskError, events: &mut Vec<Event>) {
    let error = Box::new(error);
    events.push(Event::Task(TaskEvent::Failed { task: id, error: error.clone() }));
    record_progress(state, id, || Progress::Failed { error: error.clone() }, events);
}

/// Adds a record of a task's progress for each channel that it is on.
pub(super) fn record_progress(
    state: &State,
    id: TaskId,
    progress: impl Fn() -> Progress,
    events: &mut Vec<Event>,
) {
    let Some(task) = state.tasks.get(&id) else { return };
    for (log, _) in task.keepers.channels() {
        let event = ChannelEvent::Progress { key: task.key(id), progress: progress() };
        events.push(Event::Channel(*log, event));
    }
}
