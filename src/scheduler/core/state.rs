//! What the logs add up to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::demand::Demand;
use super::group::Group;
use super::kept::Kept;
use super::moments::Moments;
use super::moves::Moves;
use super::retired::Retired;
use super::task::{Phase, Turn};
use super::tasks::Tasks;
use crate::protocol::channel::Durability;
use crate::protocol::cursor::CursorName;
use crate::protocol::group::{GroupId, GroupName};
use crate::protocol::producer::ProducerName;
use crate::protocol::session::{FunctionOffer, SessionKind};
use crate::protocol::transaction::AppendedPart;
use crate::protocol::{
    ChannelName, Digest, LogId, Producer, Seq, SessionId, TaskId, TaskKey, TaskMap, TaskSet,
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
    /// Every group of every channel.
    pub groups: BTreeMap<GroupId, Group>,
    /// The attempts of tasks that are forgotten.
    pub retired: Retired,
    /// Whether this is being folded behind records of the task log that are lost.
    pub is_behind_lost: bool,
    /// Whether what is being folded was written by a version under which tasks that failed let go of what they needed: see
    /// [`FAILED_KEEP_CALLS_SINCE`](crate::protocol::version::FAILED_KEEP_CALLS_SINCE).
    pub failed_lose_calls: bool,

    /// Channels by name.
    pub names: BTreeMap<ChannelName, LogId>,
    /// Sessions by identity.
    pub producers: HashMap<SessionId, Producer>,
    /// Tasks that could start now and ask for nothing but a function, by that; no empty sets.
    pub ready: BTreeMap<Arc<FunctionOffer>, BTreeSet<Turn>>,
    /// Of those that ask for more than that: by what they ask for; no empty sets.
    pub ready_with: BTreeMap<Arc<Demand>, BTreeSet<Turn>>,
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
    /// When something is to happen to tasks.
    pub moments: Moments,
    /// What became of tasks, for who wants to know.
    pub moves: Moves,
}

/// How many tasks there are in each phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting, ready, or delayed.
    pub pending: u64,
    /// With a worker.
    pub running: u64,
    /// With a result, or with one that is lost and that nobody needs.
    pub finished: u64,
    /// Failed or cancelled.
    pub failed: u64,
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
    /// The offset after the last record that somebody wrote by hand: an element, or an end. What is behind it is
    /// progress of futures, or says what is kept. Where records are gone it is taken that they were written by hand.
    pub written_to: u64,
    /// Whether it is no more: only its name and how far it had come are remembered.
    pub deleted: bool,
    /// What it keeps of its elements.
    pub kept: Kept,
    /// Its cursors.
    pub cursors: BTreeMap<CursorName, Cursor>,
    /// When appends to it are acknowledged that do not say it themselves.
    pub durability: Durability,
    /// Its groups; an index.
    pub groups: BTreeMap<GroupName, GroupId>,
    /// Its named producers, each with its newest append: at most
    /// [`PRODUCERS_PER_CHANNEL_MAX`](crate::protocol::limits::PRODUCERS_PER_CHANNEL_MAX). What is trimmed does not matter.
    pub producers: BTreeMap<ProducerName, Produced>,
}

/// The newest append of a named producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// Its number.
    pub number: u64,
    /// The offset of its first element.
    pub first: u64,
    /// How many elements it has.
    pub count: u32,
    /// Their commit.
    pub seq: Seq,
}

/// A named place up to which a channel has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The offset of the record that is to be read next.
    pub offset: u64,
    /// For how long after it was set the channel keeps what it has not passed; 0 for not at all.
    pub pin_ms: u64,
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
    /// How many elements of groups are leased to it; an index.
    pub leased: BTreeMap<GroupId, u64>,
    /// What its newest commands brought, by number; at most
    /// [`IN_FLIGHT_MAX`](crate::protocol::limits::IN_FLIGHT_MAX), the newest.
    pub remembered: BTreeMap<u64, Remembered>,
}

/// What a command brought, as far as it cannot be seen from the rest of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remembered {
    /// It was done.
    Done,
    /// It appended elements.
    Appended {
        /// The offset of the first.
        first: u64,
        /// How many.
        count: u32,
        /// Their commit.
        seq: Seq,
    },
    /// It was a transaction.
    Transacted {
        /// Its commit.
        seq: Seq,
        /// Where what it appended is, in order of the logs.
        appended: Box<[AppendedPart]>,
    },
}

impl Channel {
    /// It takes elements: it was resumed, or it has one, and the record that says so is lost.
    pub(super) fn reopen(&mut self) {
        (self.stopped, self.deleted) = (false, false);
    }

    /// A channel without any record.
    pub fn new(name: ChannelName) -> Self {
        let (head, elements, digest, stopped, written_to, deleted) = Default::default();
        let (kept, cursors, groups, producers, durability) = Default::default();
        Channel {
            name,
            head,
            elements,
            digest,
            stopped,
            written_to,
            deleted,
            kept,
            cursors,
            groups,
            producers,
            durability,
        }
    }
}

impl Session {
    /// A session that holds and runs nothing yet.
    pub(super) fn new(id: SessionId, kind: SessionKind, lease_ms: u64) -> Self {
        let (holds, running, stored, leased, remembered) = Default::default();
        Session { id, kind, lease_ms, holds, running, stored, leased, remembered }
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
