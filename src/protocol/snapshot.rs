//! What a snapshot holds: the scheduler's state at a commit, item by item.
//!
//! Only what cannot be told from the rest is here; indexes are made anew. First comes [`SnapshotItem::Head`], once, then
//! sessions, each with its answers, then channels, each with what it keeps; then all else in any order, but a function before the tasks that
//! call it, and last [`SnapshotItem::End`]. They are postcard, one after the other, in pieces of about [`PIECE_BYTES`]; an item is never cut. Variants
//! are appended, never reordered; `tests/it/formats` pins the bytes of each.

use serde::{Deserialize, Serialize};

use super::TimeMs;
use super::channel::{ChannelName, Durability, Retention};
use super::cursor::CursorName;
use super::digest::Digest;
use super::equipment::Grant;
use super::group::{GroupId, GroupName, GroupOptions};
use super::ids::{AttemptNumber, LogId, Producer, Seq, SessionId, TaskId, TaskKey};
use super::payload::Payload;
use super::producer::ProducerName;
use super::result::StoredResult;
use super::session::{EndReason, FunctionOffer, SessionKind};
use super::task::{Argument, TaskError, TaskOptions};
use super::terms::Terms;
use super::transaction::AppendedPart;

/// A piece ends with the item that makes it as long as this: 64 KiB, so that reading and writing it takes
/// little memory and holds nobody up.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Most tasks that one item names: 1,024, about 16 KiB.
pub const TASKS_PER_ITEM_MAX: usize = 1024;

/// Most named producers that one item has: 256, at most 60 KiB with the longest names.
pub const PRODUCERS_PER_ITEM_MAX: usize = 256;

/// A part of the scheduler's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotItem {
    /// How far the task log was folded, and the newest numbers that were given.
    Head {
        /// The offset of the first record of the task log that is not in here.
        tasks_head: u64,
        /// The newest session.
        last_producer: Producer,
        /// The newest channel's log.
        last_log: LogId,
    },
    /// A session that is not over.
    Session {
        /// Its short number.
        producer: Producer,
        /// Its identity.
        session: SessionId,
        /// Whose it is.
        kind: SessionKind,
        /// How long it is waited for.
        lease_ms: u64,
    },
    /// What commands of a session brought.
    Answered {
        /// The session.
        producer: Producer,
        /// Each command's number. For an append, in the snapshots of store versions before 5, the first offset and
        /// how many elements: its commit is taken to be the snapshot's, by which it was durable.
        answers: Vec<(u64, Option<(u64, u32)>)>,
    },
    /// A channel.
    Channel {
        /// Its log.
        log: LogId,
        /// Its name.
        name: ChannelName,
        /// The offset of the first record of its log that is not in here.
        head: u64,
        /// How many elements it has.
        elements: u64,
        /// The digest of its elements.
        digest: Digest,
        /// Whether it takes no more.
        stopped: bool,
    },
    /// A function that tasks call. They name it by its place among these items, from 0.
    Function(FunctionOffer),
    /// A task.
    Task(Box<TaskItem>),
    /// Tasks that a session holds: at most [`TASKS_PER_ITEM_MAX`] to an item.
    Held {
        /// The session.
        producer: Producer,
        /// The tasks.
        tasks: Vec<TaskId>,
    },
    /// Tasks that are forgotten, each with its newest attempt and the offset of its forgetting: at most
    /// [`TASKS_PER_ITEM_MAX`] to an item.
    Retired(Vec<(TaskId, AttemptNumber, u64)>),
    /// The last item.
    End {
        /// How many come before it.
        items: u64,
    },
    /// What a channel keeps. A snapshot of store version 4 or before has none: there it is told from the channel's log.
    Kept {
        /// The channel's log.
        log: LogId,
        /// The first record that is kept.
        first: KeptFrom,
        /// How many bytes of values were ever appended.
        bytes: u64,
        /// What it is to keep.
        retention: Retention,
        /// The offset behind the last record that somebody wrote by hand: an element, or an end.
        written_to: u64,
        /// Whether the channel is deleted.
        deleted: bool,
        /// Up to where its elements had come by when.
        marks: Vec<Mark>,
    },
    /// Where elements of a channel that is kept follow each other without a record between: the index and the offset of the
    /// first of each run. At most [`TASKS_PER_ITEM_MAX`] to an item, in order.
    Runs(LogId, Vec<(u64, u64)>),
    /// The futures that a channel keeps, each with its index: at most [`TASKS_PER_ITEM_MAX`] to an item, in order.
    Futures(LogId, Vec<(u64, TaskId)>),
    /// A cursor of a channel that came before.
    Cursor {
        /// The channel's log.
        log: LogId,
        /// Which cursor.
        name: CursorName,
        /// The offset of the record that is to be read next.
        offset: u64,
        /// For how long the channel keeps what it has not passed, in ms.
        pin_ms: u64,
    },
    /// What appends of a session brought.
    Acknowledged {
        /// The session.
        producer: Producer,
        /// Each command's number, the first offset, how many elements, and their commit.
        appends: Vec<(u64, u64, u32, Seq)>,
    },
    /// What a transaction of a session brought.
    Transacted {
        /// The session.
        producer: Producer,
        /// The command's number.
        number: u64,
        /// Its commit.
        seq: Seq,
        /// Where what it appended is.
        appended: Vec<AppendedPart>,
    },
    /// A group of a channel that came before.
    Group {
        /// Which.
        id: GroupId,
        /// The channel's log.
        log: LogId,
        /// Its name.
        name: GroupName,
        /// How it leases.
        options: GroupOptions,
        /// The index of the first element that was never leased.
        next: u64,
    },
    /// Elements of a group that are leased, by index: to which session, and how often they were. At most
    /// [`TASKS_PER_ITEM_MAX`] to an item.
    Leased(GroupId, Vec<(u64, Producer, u32)>),
    /// Elements of a group that wait to be leased again, by index, and how often they were. At most
    /// [`TASKS_PER_ITEM_MAX`] to an item.
    Waiting(GroupId, Vec<(u64, u32)>),
    /// The named producers of a channel that came before, each with the number of its newest append, the offset of the
    /// first element of that, how many elements it has, and its commit: at most [`PRODUCERS_PER_ITEM_MAX`] to an item.
    Producers(LogId, Vec<(ProducerName, u64, u64, u32, Seq)>),
    /// When appends to a channel that came before are acknowledged, if it is not once they are fsynced.
    Durability(LogId, Durability),
    /// Elements of a group that came before, leased or waiting, that were not tried each time that they were leased, by
    /// index: how often they were, without the lease that holds, and whether that counts. At most
    /// [`TASKS_PER_ITEM_MAX`] to an item.
    Tries(GroupId, Vec<(u64, u32, bool)>),
    /// Under what conditions a task is run that came before.
    Conditions {
        /// The task.
        task: TaskId,
        /// As they were set.
        terms: Terms,
        /// When it fails, unless it is over.
        deadline_at: Option<TimeMs>,
        /// When its next attempt may begin, if it waits for that.
        next_attempt_at: Option<TimeMs>,
    },
    /// What the running attempt at a task that came before has of its worker's resources.
    Granted {
        /// The task.
        task: TaskId,
        /// What it has.
        grants: Vec<Grant>,
    },
}

/// A place in a channel: what is before it is kept no longer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFrom {
    /// The offset of the first record that is kept.
    pub offset: u64,
    /// The index of the first element that is kept.
    pub index: u64,
    /// How many bytes of values were appended before it.
    pub bytes: u64,
}

/// A place in a channel, and when it had been reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The place: the end of a commit.
    pub end: KeptFrom,
    /// The time of the commit.
    pub time_ms: TimeMs,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskItem {
    /// Its key.
    pub key: TaskKey,
    /// Its function's place among the items.
    pub function: u32,
    /// The offset of its submission in the task log.
    pub submitted_at: u64,
    /// The newest attempt.
    pub attempt: AttemptNumber,
    /// Where it stands.
    pub phase: PhaseItem,
    /// How many elements name it, by channel, in order of their logs. Since store version 5 empty: it is told from what
    /// the channels keep.
    pub channels: Vec<(LogId, u64)>,
    /// Whether it stays without anyone.
    pub detached: bool,
}

/// Where a task stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PhaseItem {
    /// It waits for tasks among its arguments that have not finished, or for its turn.
    Pending(CallItem),
    /// Its newest attempt is with this worker's session.
    Running(CallItem, Producer),
    /// It has its result.
    Finished(Payload),
    /// It has failed; in the snapshots of store versions before 6, which do not say how to call it.
    Failed(Box<TaskError>),
    /// It was cancelled; as before.
    Cancelled,
    /// It has a result that these workers' sessions keep.
    Stored(CallItem, StoredResult, Vec<Producer>),
    /// It had one, and no worker keeps it any more.
    Lost(CallItem),
    /// It has failed, and may be tried again.
    FailedOf(CallItem, Box<TaskError>),
    /// It was cancelled, and may be tried again.
    CancelledOf(CallItem),
}

/// How to call a task that has no result in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallItem {
    /// The arguments.
    pub arguments: Vec<Argument>,
    /// What the client chose.
    pub options: TaskOptions,
    /// Attempts that failed so far.
    pub failures: u32,
    /// Attempts that were lost with their worker so far.
    pub deaths: u32,
    /// The newest of them: the attempt, the worker's name, why its session ended.
    pub newest_deaths: Vec<(AttemptNumber, Box<str>, EndReason)>,
}
