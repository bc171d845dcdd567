//! `$tasks`: sessions, and what became of every task.

use std::collections::HashMap;

use super::{Found, Kind, Sums};
use crate::cli::torture::tasks::large;
use crate::client::Record;
use crate::protocol::event::TaskResult;
use crate::protocol::result::StoredResult;
use crate::protocol::session::{EndReason, SessionKind};
use crate::protocol::task::{Argument, Submission};
use crate::protocol::{AttemptNumber, Payload, Producer, TaskEvent, TaskId, TaskKey};

/// The fold of `$tasks`, as far as it is checked.
#[derive(Debug, Default)]
pub struct TasksCheck {
    next_offset: u64,
    epoch: u64,
    sessions: HashMap<Producer, Session>,
    /// Those that were not forgotten.
    tasks: HashMap<TaskId, Task>,
    sums: Sums,
}

/// A session that was opened.
#[derive(Debug)]
pub struct Session {
    /// As it prints.
    pub id: String,
    pub kind: SessionKind,
    is_over: bool,
}

/// A task that is known.
#[derive(Debug)]
pub struct Task {
    key: TaskKey,
    attempt: AttemptNumber,
    is_running: bool,
    /// What its function gives; `None` for one that cannot be told from its arguments alone.
    expected: Option<u64>,
    pub outcome: Option<Ending>,
    /// Stored results that were lost.
    pub lost: Vec<Ending>,
    /// Whether the newest of them is, and was not needed since.
    pub is_lost: bool,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Finished(Payload),
    /// With a result that workers keep: it may be lost, and the task ends again then.
    Stored(StoredResult),
    Failed(String),
    Cancelled,
}

impl Ending {
    /// Whether it brought this number.
    pub fn brings(&self, number: u64) -> bool {
        match self {
            Ending::Finished(payload) => payload.decode() == Ok(number),
            Ending::Stored(result) => *result == large(number),
            Ending::Failed(_) | Ending::Cancelled => false,
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Finished(payload) => write!(f, "finished with {payload:?}"),
            Ending::Stored(result) => write!(f, "finished with {} bytes, {}", result.bytes, result.digest),
            Ending::Failed(error) => write!(f, "failed ({error})"),
            Ending::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl Task {
    fn is_stored(&self) -> bool {
        matches!(self.outcome, Some(Ending::Stored(_)))
    }
}

impl TasksCheck {
    pub fn session(&self, producer: Producer) -> Option<&Session> {
        self.sessions.get(&producer)
    }

    pub fn task(&self, task: TaskId) -> Option<&Task> {
        self.tasks.get(&task)
    }

    pub fn records(&self) -> u64 {
        self.next_offset
    }

    pub fn sums(&self) -> Sums {
        self.sums
    }

    pub fn take(&mut self, record: &Record<TaskEvent>, found: &mut Found) {
        let (offset, next) = (record.offset, self.next_offset);
        found.add_unless(offset == next, Kind::Gap, || format!("`$tasks` has {offset} where {next} is due"));
        self.next_offset = offset + 1;
        match &record.event {
            TaskEvent::Recovered(receipt) => {
                let (epoch, before) = (receipt.epoch.0, self.epoch);
                // A start that was killed before its receipt was durable leaves none.
                found.add_unless(epoch > before, Kind::Gap, || {
                    format!("epoch {epoch} follows epoch {before}, at `$tasks` {offset}")
                });
                if let Some(damage) = &receipt.damage {
                    found.add(Kind::Damage, format!("epoch {epoch} began with: {damage}"));
                }
                self.epoch = epoch;
                self.sums.epochs += 1;
            }
            TaskEvent::SessionOpened { producer, session, kind, .. } => {
                let session = Session { id: session.to_string(), kind: kind.clone(), is_over: false };
                found.add_unless(producer.0 == self.sessions.len() as u64 + 1, Kind::Gap, || {
                    format!("producer {producer} is the session number {}", self.sessions.len() + 1)
                });
                let is_new = self.sessions.insert(*producer, session).is_none();
                found.add_unless(is_new, Kind::Repeated, || format!("producer {producer} was opened twice"));
            }
            TaskEvent::SessionEnded { producer, reason } => {
                let session = self.sessions.get_mut(producer);
                let was_open = session.is_some_and(|session| !std::mem::replace(&mut session.is_over, true));
                found.add_unless(was_open, Kind::Repeated, || format!("producer {producer} ended twice"));
                self.sums.sessions_expired += u64::from(*reason == EndReason::LeaseExpired);
            }
            TaskEvent::Submitted { submission, .. } | TaskEvent::SubmittedUnder { submission, .. } => {
                self.submitted(submission, found);
            }
            TaskEvent::Started { task, attempt, .. } | TaskEvent::StartedWith { task, attempt, .. } => {
                self.started(*task, *attempt, offset, found)
            }
            TaskEvent::Retried { task, attempt, .. }
            | TaskEvent::RetriedAfter { task, attempt, .. }
            | TaskEvent::Requeued { task, attempt, .. }
            | TaskEvent::Deferred { task, attempt, .. }
            | TaskEvent::Returned { task, attempt } => {
                self.over(*task, Some(*attempt), offset, found);
            }
            TaskEvent::Finished { task, attempt, result: TaskResult::Inline(payload) } => {
                self.ended(*task, Some(*attempt), Ending::Finished(payload.clone()), offset, found);
            }
            TaskEvent::Finished { task, attempt, result: TaskResult::Stored(result) } => {
                self.ended(*task, Some(*attempt), Ending::Stored(*result), offset, found);
            }
            TaskEvent::Copied { task, .. } | TaskEvent::Dropped { task, .. } => {
                let is_stored = self.tasks.get(task).is_some_and(Task::is_stored);
                found.add_unless(is_stored, Kind::Outcome, || {
                    format!("task {task} has no stored result, and a worker keeps it, at `$tasks` {offset}")
                });
            }
            TaskEvent::Lost { task, .. } => self.lost(*task, offset, found),
            TaskEvent::Reopened { task } => {
                let task_found = self.tasks.get_mut(task);
                let was_lost = task_found.is_some_and(|task| std::mem::take(&mut task.is_lost));
                self.sums.recomputed += 1;
                found.add_unless(was_lost, Kind::Outcome, || {
                    format!("task {task} is reopened, and its result was not lost, at `$tasks` {offset}")
                });
            }
            TaskEvent::Failed { task, error } => {
                self.ended(*task, None, Ending::Failed(error.to_string()), offset, found);
            }
            TaskEvent::Cancelled { task } | TaskEvent::CancelledBy { task, .. } => {
                self.ended(*task, None, Ending::Cancelled, offset, found)
            }
            TaskEvent::Forgotten { task } => {
                let was_known = self.tasks.remove(task).is_some();
                found.add_unless(was_known, Kind::Repeated, || format!("task {task} was forgotten twice"));
            }
            TaskEvent::Renewed { tasks, .. } => {
                for id in tasks {
                    let before = self.tasks.get_mut(id).and_then(|task| task.outcome.take());
                    let had_none = matches!(before, Some(Ending::Failed(_) | Ending::Cancelled));
                    found.add_unless(had_none, Kind::Outcome, || {
                        format!("task {id} is tried again, and was {before:?}, at `$tasks` {offset}")
                    });
                }
            }
            // What comes of a death is in the record behind it.
            TaskEvent::Died { .. } | TaskEvent::Awaited { .. } | TaskEvent::Advanced { .. } => {}
            TaskEvent::ChannelCreated { .. }
            | TaskEvent::CursorSet { .. }
            | TaskEvent::CursorDeleted { .. }
            | TaskEvent::Transacted { .. }
            | TaskEvent::GroupCreated { .. }
            | TaskEvent::GroupChanged { .. }
            | TaskEvent::GroupDeleted { .. }
            | TaskEvent::Leased { .. }
            | TaskEvent::Tried { .. }
            | TaskEvent::Acknowledged { .. }
            | TaskEvent::LeaseEnded { .. }
            // Its clients scatter nothing.
            | TaskEvent::Scattered { .. }
            | TaskEvent::Held { .. }
            | TaskEvent::Released { .. } => {}
        }
    }

    fn submitted(&mut self, submission: &Submission, found: &mut Found) {
        let (key, expected) = (submission.key.clone(), self.expected(submission));
        let task = Task {
            key: key.clone(),
            attempt: AttemptNumber(0),
            is_running: false,
            expected,
            outcome: None,
            lost: Vec::new(),
            is_lost: false,
        };
        let is_new = self.tasks.insert(key.id, task).is_none();
        found.add_unless(is_new, Kind::Repeated, || format!("task {key} was entered twice"));
        self.sums.tasks += 1;
    }

    /// What the function gives, worked out again.
    fn expected(&self, submission: &Submission) -> Option<u64> {
        let number = |argument: &Argument| match argument {
            Argument::Value(payload) => payload.decode::<u64>().ok(),
            // It may not have ended yet, but what it must bring is known.
            Argument::Future(task) => self.tasks.get(task)?.expected,
            // None of its tasks is given any.
            Argument::Nested(_) => None,
        };
        match (TaskKey::label_of(&submission.function), &submission.arguments[..]) {
            ("sum" | "small_sum", [a, b]) | ("slow_sum" | "large_sum", [a, b, _]) => {
                Some(number(a)?.wrapping_add(number(b)?))
            }
            ("enlarge", [a]) => number(a),
            _ => None,
        }
    }

    fn started(&mut self, id: TaskId, attempt: AttemptNumber, offset: u64, found: &mut Found) {
        self.sums.attempts += 1;
        let Some(task) = self.tasks.get_mut(&id) else {
            return found.add(Kind::Outcome, format!("task {id} started unknown, at `$tasks` {offset}"));
        };
        let fits = attempt > task.attempt && !task.is_running && !task.is_lost && task.outcome.is_none();
        found.add_unless(fits, Kind::Outcome, || {
            format!("attempt {attempt} of {} began after attempt {}: {:?}", task.key, task.attempt, task)
        });
        (task.attempt, task.is_running) = (attempt, true);
    }

    /// An attempt is over; only the newest can be.
    fn over(
        &mut self,
        id: TaskId,
        attempt: Option<AttemptNumber>,
        offset: u64,
        found: &mut Found,
    ) -> Option<&mut Task> {
        let Some(task) = self.tasks.get_mut(&id) else {
            found.add(Kind::Outcome, format!("unknown task {id} is over, at `$tasks` {offset}"));
            return None;
        };
        if let Some(outcome) = &task.outcome {
            let what = format!("task {} was {outcome} and ends again, at `$tasks` {offset}", task.key);
            found.add(Kind::Outcome, what);
        } else if task.is_lost {
            let what = format!("task {} was lost and ends, not reopened, at `$tasks` {offset}", task.key);
            found.add(Kind::Outcome, what);
        } else if let Some(attempt) = attempt {
            found.add_unless(task.is_running && attempt == task.attempt, Kind::Fence, || {
                let (key, newest) = (&task.key, task.attempt);
                format!("attempt {attempt} of {key} is over at `$tasks` {offset}: the newest is {newest}")
            });
        }
        task.is_running = false;
        Some(task)
    }

    fn ended(
        &mut self,
        id: TaskId,
        attempt: Option<AttemptNumber>,
        ending: Ending,
        offset: u64,
        found: &mut Found,
    ) {
        self.sums.outcomes += 1;
        let Some(task) = self.over(id, attempt, offset, found) else { return };
        match (&ending, task.expected) {
            (Ending::Failed(error), _) => {
                found.add(Kind::Outcome, format!("task {} failed, which none may: {error}", task.key));
            }
            (Ending::Finished(_) | Ending::Stored(_), Some(expected)) if !ending.brings(expected) => {
                found.add(Kind::WrongResult, format!("task {} {ending}, not {expected}", task.key));
            }
            _ => {}
        }
        task.outcome.get_or_insert(ending);
    }

    /// Only a stored result can be lost, and once.
    fn lost(&mut self, id: TaskId, offset: u64, found: &mut Found) {
        let task = self.tasks.get_mut(&id).filter(|task| task.is_stored());
        let Some(task) = task else {
            let what = format!("the result of {id} is lost, and none was stored, at `$tasks` {offset}");
            return found.add(Kind::Outcome, what);
        };
        task.lost.extend(task.outcome.take());
        task.is_lost = true;
    }

    /// Nothing waits and nothing runs; what is lost is not needed.
    pub fn check_settled(&self, found: &mut Found) {
        for task in self.tasks.values().filter(|task| task.outcome.is_none() && !task.is_lost) {
            found.add(Kind::Unsettled, format!("task {} has not ended", task.key));
        }
    }
}
