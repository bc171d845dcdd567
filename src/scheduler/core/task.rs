//! A task, as the state has it. There may be millions: what few of them have is behind a pointer.

use std::cmp::Reverse;
use std::sync::Arc;

use super::deaths::Deaths;
use super::demand::Demand;
use super::moments::When;
use super::small_set::SmallSet;
use super::value::Value;
use crate::protocol::equipment::Grant;
use crate::protocol::payload::{Encoded, boxed};
use crate::protocol::result::StoredResult;
use crate::protocol::session::FunctionOffer;
use crate::protocol::task::{Argument, Outcome, TaskOptions, TaskStatus};
use crate::protocol::terms::Terms;
use crate::protocol::{AttemptNumber, LogId, Producer, Submission, TaskError, TaskId, TaskKey};

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its label, where that is not its function's short name. With its id it is the key.
    #[expect(clippy::box_collection, reason = "eight bytes where there is none, as for most tasks")]
    label: Option<Box<String>>,
    /// What it calls.
    pub function: Arc<FunctionOffer>,
    /// The offset of its submission in the task log.
    pub submitted_at: u64,
    /// The newest attempt; before the first, 0 or the newest of the task that had its key before.
    pub attempt: AttemptNumber,
    /// Where it stands.
    pub phase: Phase,
    /// How to call it; gone once its result is in the log, or it has none.
    pub call: Option<Box<Call>>,
    /// Who keeps it.
    pub keepers: Keepers,
    /// Under what conditions it is run, if any were set.
    pub conditions: Option<Box<Conditions>>,
}

/// Under what conditions a task is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// As they were set.
    pub terms: Terms,
    /// When it fails; only while it is open, and was not lost since it was submitted.
    pub deadline: Option<When>,
    /// When its next attempt may begin; only while it is delayed.
    pub next_attempt: Option<When>,
    /// What it asks of its worker beside the function; follows from the terms.
    pub demand: Option<Arc<Demand>>,
    /// What its running attempt has of its worker's resources.
    pub grants: Vec<Grant>,
}

/// A ready task's turn: higher priority first, then the older submission, by its offset in the task log.
pub type Turn = (Reverse<i32>, u64);

impl Task {
    /// A task that was submitted at this offset of the task log, and that nobody keeps yet.
    pub(super) fn new(
        label: &str,
        function: Arc<FunctionOffer>,
        submitted_at: u64,
        attempt: AttemptNumber,
        call: Option<Call>,
    ) -> Self {
        let label = (label != TaskKey::label_of(&function.name)).then(|| Box::new(label.to_owned()));
        let (phase, keepers) = (Phase::Waiting { missing: 0 }, Keepers::default());
        let (call, conditions) = (call.map(Box::new), None);
        Task { label, function, submitted_at, attempt, phase, call, keepers, conditions }
    }

    /// Its label.
    pub fn label(&self) -> &str {
        match &self.label {
            Some(label) => label,
            None => TaskKey::label_of(&self.function.name),
        }
    }

    /// Its key; it has this id.
    pub fn key(&self, id: TaskId) -> TaskKey {
        TaskKey { id, label: self.label().into() }
    }

    /// The terms under which it is run.
    pub fn terms(&self) -> Option<&Terms> {
        self.conditions.as_ref().map(|conditions| &conditions.terms)
    }

    /// What it asks of its worker beside the function.
    pub fn demand(&self) -> Option<&Arc<Demand>> {
        self.conditions.as_ref()?.demand.as_ref()
    }

    /// What its running attempt has of its worker's resources.
    pub fn grants(&self) -> &[Grant] {
        self.conditions.as_ref().map_or(&[], |conditions| &conditions.grants)
    }

    /// A ready task's turn.
    pub fn turn(&self) -> Turn {
        let priority = self.call.as_ref().map_or(0, |call| call.options.priority);
        (Reverse(priority), self.submitted_at)
    }
}

/// What keeps a task known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keepers {
    /// The sessions that hold it.
    pub sessions: SmallSet<Producer>,
    /// How many tasks that have not ended depend on it.
    pub dependents: u32,
    /// How many tasks that depended on it may be run again, since their result may be lost, or they have failed: then they
    /// need it again.
    pub lineage: u32,
    /// How many elements name it, by channel, in order of their logs, if any do: see [`Keepers::channels`].
    #[expect(clippy::box_collection, reason = "eight bytes where there is none, as for most tasks")]
    channels: Option<Box<Vec<(LogId, u64)>>>,
    /// Whether it stays without anyone.
    pub detached: bool,
}

impl Keepers {
    /// How many elements name it, by channel, in order of their logs.
    pub fn channels(&self) -> &[(LogId, u64)] {
        self.channels.as_deref().map_or(&[], Vec::as_slice)
    }

    /// One more element of a channel names it.
    pub(super) fn add_element(&mut self, log: LogId) {
        let channels = self.channels.get_or_insert_default();
        match channels.binary_search_by_key(&log, |(log, _)| *log) {
            Ok(at) => channels[at].1 += 1,
            Err(at) => channels.insert(at, (log, 1)),
        }
    }

    /// One element of a channel that named it is trimmed. One that is not counted was of a task before it.
    pub(super) fn remove_element(&mut self, log: LogId) {
        let Some(channels) = &mut self.channels else { return };
        let Ok(at) = channels.binary_search_by_key(&log, |(log, _)| *log) else { return };
        channels[at].1 -= 1;
        if channels[at].1 == 0 {
            channels.remove(at);
        }
        if channels.is_empty() {
            self.channels = None;
        }
    }

    /// No element of any channel names it.
    pub(super) fn clear_elements(&mut self) {
        self.channels = None;
    }

    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.need_result() || self.lineage > 0
    }

    /// Whether there is one for whom its result is to be had.
    pub fn need_result(&self) -> bool {
        !self.sessions.is_empty() || self.dependents > 0 || self.channels.is_some() || self.detached
    }
}

/// How to call a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The arguments, in postcard: see [`Call::arguments`].
    arguments: Box<[u8]>,
    /// The tasks among them, each once.
    pub dependencies: Box<[TaskId]>,
    /// The tasks with a call that depend on this one, if there are any: see [`Call::waiting`].
    waiting: Option<Box<SmallSet<TaskId>>>,
    /// What the client chose.
    pub options: TaskOptions,
    /// Attempts that failed so far.
    pub failures: u32,
    /// Attempts that were lost with their worker so far, if any were.
    pub deaths: Option<Box<Deaths>>,
}

impl Call {
    /// A call that was not tried yet.
    pub(super) fn new(arguments: &[Argument], options: TaskOptions) -> Self {
        Call {
            arguments: encoded(arguments),
            dependencies: Submission::dependencies_of(arguments).into(),
            waiting: None,
            options,
            failures: 0,
            deaths: None,
        }
    }

    /// The tasks with a call that depend on this one: those of them that wait are told when it ends.
    pub fn waiting(&self) -> impl Iterator<Item = TaskId> {
        self.waiting.iter().flat_map(|waiting| waiting.iter())
    }

    /// Whether this task with a call depends on this one.
    pub(super) fn is_waited_for_by(&self, task: &TaskId) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.contains(task))
    }

    /// A task with a call depends on this one.
    pub(super) fn add_waiting(&mut self, task: TaskId) {
        self.waiting.get_or_insert_default().insert(task);
    }

    /// It does so no longer.
    pub(super) fn remove_waiting(&mut self, task: TaskId) {
        let Some(waiting) = &mut self.waiting else { return };
        waiting.remove(task);
        if waiting.is_empty() {
            self.waiting = None;
        }
    }

    /// No task depends on this one.
    pub(super) fn clear_waiting(&mut self) {
        self.waiting = None;
    }

    /// The arguments.
    pub fn arguments(&self) -> Vec<Argument> {
        postcard::from_bytes(&self.arguments).expect("they were encoded here")
    }
}

/// Arguments as a call has them: on the stack while they are encoded, if they are short, and in just the room that they take
/// then.
fn encoded(arguments: &[Argument]) -> Box<[u8]> {
    boxed(postcard::to_extend(arguments, Encoded::new()).expect("arguments are plain data"))
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// So many of its dependencies have not finished.
    Waiting {
        /// How many.
        missing: u32,
    },
    /// It could start.
    Ready,
    /// Its newest attempt is with this worker.
    Running {
        /// The worker's session.
        worker: Producer,
    },
    /// It has its result.
    Finished(Value),
    /// It has failed.
    Failed(Box<TaskError>),
    /// It was cancelled.
    Cancelled,
    /// It has a result that workers keep.
    Stored(Box<Stored>),
    /// It had one, and no worker keeps that any more.
    Lost,
    /// An attempt has failed, and the time for the next one has not come.
    Delayed,
}

/// A result that workers keep: that of the newest attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What it is.
    pub result: StoredResult,
    /// The sessions of those who keep it, at least one.
    pub holders: Vec<Producer>,
}

impl Phase {
    /// How the task ended, if it did and the log knows all of it.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Phase::Finished(result) => Some(Outcome::Finished(result.to_payload())),
            Phase::Failed(error) => Some(Outcome::Failed(error.clone())),
            Phase::Cancelled => Some(Outcome::Cancelled),
            _ => None,
        }
    }

    /// Whether the task is still to be run, or runs.
    pub fn is_open(&self) -> bool {
        matches!(self, Phase::Waiting { .. } | Phase::Ready | Phase::Running { .. } | Phase::Delayed)
    }

    /// Whether its result can be had.
    pub fn has_result(&self) -> bool {
        matches!(self, Phase::Finished(_) | Phase::Stored(_))
    }

    /// Whether it ended without a result.
    pub fn has_none(&self) -> bool {
        matches!(self, Phase::Failed(_) | Phase::Cancelled)
    }

    /// The result that workers keep, if they do.
    pub fn stored(&self) -> Option<&Stored> {
        match self {
            Phase::Stored(stored) => Some(stored),
            _ => None,
        }
    }

    /// The phase in the words of the protocol.
    pub fn status(&self) -> TaskStatus {
        match self {
            Phase::Waiting { .. } | Phase::Ready | Phase::Delayed => TaskStatus::Pending,
            Phase::Running { .. } => TaskStatus::Running,
            Phase::Finished(_) | Phase::Stored(_) => TaskStatus::Finished,
            Phase::Lost => TaskStatus::Lost,
            Phase::Failed(_) => TaskStatus::Error,
            Phase::Cancelled => TaskStatus::Cancelled,
        }
    }
}
