//! What the logs add up to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::deaths::Deaths;
use super::retired::Retired;
use super::small_set::SmallSet;
use super::tasks::Tasks;
use super::value::Value;
use crate::protocol::result::StoredResult;
use crate::protocol::session::{FunctionOffer, SessionKind};
use crate::protocol::task::{Argument, Outcome, TaskOptions, TaskStatus};
use crate::protocol::{
    AttemptNumber, ChannelName, Digest, LogId, Producer, SessionId, Submission, TaskError, TaskId, TaskKey,
    TaskMap, TaskSet,
};

/// The fold over all logs. Only [`State::apply`] changes it.
///
/// The fields from `ready` on are indexes: each follows from the others, and [`State::check`] says how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Records in the task log.
    pub tasks_head: u64,
    /// Every task that someone keeps.
    pub tasks: Tasks,
    /// Every channel.
    pub channels: BTreeMap<LogId, Channel>,
    /// Every session that is not over.
    pub sessions: BTreeMap<Producer, Session>,
    /// How many sessions there ever were: the newest one's number.
    pub last_producer: Producer,
    /// How many channels there ever were: the newest one's log.
    pub last_log: LogId,
    /// The attempts of tasks that are forgotten.
    pub retired: Retired,

    /// Channels by name.
    pub names: BTreeMap<ChannelName, LogId>,
    /// Sessions by identity.
    pub producers: HashMap<SessionId, Producer>,
    /// Tasks that could start now, by function; no empty sets.
    pub ready: BTreeMap<Arc<FunctionOffer>, BTreeSet<Turn>>,
    /// Tasks that nobody keeps: to be forgotten.
    pub unkept: BTreeSet<TaskId>,
    /// Waiting tasks with a dependency that did not finish: to be failed.
    pub doomed: BTreeSet<TaskId>,
    /// Tasks whose stored result nobody needs any more, only their lineage: to be lost.
    pub unneeded: BTreeSet<TaskId>,
    /// Tasks whose lost result somebody needs: to be reopened.
    pub wanted: BTreeSet<TaskId>,
    /// Sessions that tasks opened as clients, by task.
    pub attempt_sessions: TaskMap<BTreeSet<Producer>>,
    /// Those of them whose attempt is over: to be ended.
    pub overdue: BTreeSet<Producer>,
    /// How many tasks there are in each phase.
    pub counts: Counts,
}

/// A ready task's turn: higher priority first, then the older submission, by its offset in the task log.
pub type Turn = (Reverse<i32>, u64);

/// How many tasks there are in each phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting or ready.
    pub pending: u64,
    /// With a worker.
    pub running: u64,
    /// With a result, or with one that is lost and that nobody needs.
    pub finished: u64,
    /// Failed or cancelled.
    pub failed: u64,
}

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
}

/// What keeps a task known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keepers {
    /// The sessions that hold it.
    pub holders: SmallSet<Producer>,
    /// How many tasks that have not ended depend on it.
    pub dependents: u32,
    /// How many tasks that depended on it have a result that may be lost: then they need it again.
    pub lineage: u32,
    /// How many elements name it, by channel, in order of their logs, if any do: see [`Keepers::channels`].
    #[expect(clippy::box_collection, reason = "eight bytes where there is none, as for most tasks")]
    channels: Option<Box<Vec<(LogId, u64)>>>,
    /// Whether it stays without anyone.
    pub detached: bool,
}

impl Keepers {
    /// Those of a task that only these elements name, and that is detached or not.
    pub(super) fn of_channels(elements: Vec<(LogId, u64)>, detached: bool) -> Self {
        let channels = (!elements.is_empty()).then(|| Box::new(elements));
        Keepers { channels, detached, ..Keepers::default() }
    }

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

    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.need_result() || self.lineage > 0
    }

    /// Whether there is one for whom its result is to be had.
    pub fn need_result(&self) -> bool {
        !self.holders.is_empty() || self.dependents > 0 || self.channels.is_some() || self.detached
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
            arguments: postcard::to_allocvec(arguments).expect("arguments are plain data").into(),
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
        matches!(self, Phase::Waiting { .. } | Phase::Ready | Phase::Running { .. })
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
            Phase::Waiting { .. } | Phase::Ready => TaskStatus::Pending,
            Phase::Running { .. } => TaskStatus::Running,
            Phase::Finished(_) | Phase::Stored(_) => TaskStatus::Finished,
            Phase::Lost => TaskStatus::Lost,
            Phase::Failed(_) => TaskStatus::Error,
            Phase::Cancelled => TaskStatus::Cancelled,
        }
    }
}

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: ChannelName,
    /// The offset after its last record.
    pub head: u64,
    /// How many elements it ever had.
    pub elements: u64,
    /// The digest of its elements.
    pub digest: Digest,
    /// Whether it takes no more.
    pub stopped: bool,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its identity.
    pub id: SessionId,
    /// Whose it is.
    pub kind: SessionKind,
    /// How long it is waited for.
    pub lease_ms: u64,
    /// The tasks it holds.
    pub holds: TaskSet,
    /// The tasks whose newest attempt is with it, if it is a worker's.
    pub running: BTreeSet<TaskId>,
    /// The tasks whose stored result it keeps, if it is a worker's.
    pub stored: BTreeSet<TaskId>,
    /// What its newest commands brought, by number; at most
    /// [`IN_FLIGHT_MAX`](crate::protocol::limits::IN_FLIGHT_MAX), the newest.
    pub remembered: BTreeMap<u64, Remembered>,
}

/// What a command brought, as far as it cannot be seen from the rest of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remembered {
    /// It was done.
    Done,
    /// It appended elements.
    Appended {
        /// The offset of the first.
        first: u64,
        /// How many.
        count: u32,
    },
}

impl Session {
    /// A session that holds and runs nothing yet.
    pub(super) fn new(id: SessionId, kind: SessionKind, lease_ms: u64) -> Self {
        let (holds, running, stored, remembered) = Default::default();
        Session { id, kind, lease_ms, holds, running, stored, remembered }
    }
}

impl State {
    /// The head of a log, and how many elements it has.
    pub fn head_of(&self, log: LogId) -> (u64, u64) {
        match self.channels.get(&log) {
            Some(channel) => (channel.head, channel.elements),
            None if log == LogId::TASKS => (self.tasks_head, 0),
            None => (0, 0),
        }
    }

    /// A task's full key.
    pub fn key_of(&self, id: TaskId) -> Option<TaskKey> {
        self.tasks.get(&id).map(|task| task.key(id))
    }

    /// The worker that has a task's newest attempt, while it runs.
    pub fn worker_of(&self, task: TaskId) -> Option<Producer> {
        match self.tasks.get(&task)?.phase {
            Phase::Running { worker } => Some(worker),
            _ => None,
        }
    }

    /// The name of a worker's session.
    pub fn worker_name(&self, worker: Producer) -> Box<str> {
        match self.sessions.get(&worker).map(|session| &session.kind) {
            Some(SessionKind::Worker { name }) => name.clone(),
            _ => "".into(),
        }
    }

    /// Records in all logs.
    pub fn records(&self) -> u64 {
        self.tasks_head + self.channels.values().map(|channel| channel.head).sum::<u64>()
    }
}

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
        Task { label, function, submitted_at, attempt, phase, call: call.map(Box::new), keepers }
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

    /// A ready task's turn.
    pub fn turn(&self) -> Turn {
        let priority = self.call.as_ref().map_or(0, |call| call.options.priority);
        (Reverse(priority), self.submitted_at)
    }
}
