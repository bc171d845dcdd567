//! What a snapshot holds: the scheduler's state at a commit, item by item.
//!
//! Only what cannot be told from the rest is here; indexes are made anew. First comes [`SnapshotItem::Head`], once, then
//! sessions, each with its answers, then channels, each with up to where it was written to; then all else in any order, but a function before the tasks that
//! call it, and last [`SnapshotItem::End`]. They are postcard, one after the other, in pieces of about [`PIECE_BYTES`]; an item is never cut. Variants
//! are appended, never reordered; `tests/it/formats` pins the bytes of each.

use serde::{Deserialize, Serialize};

use super::channel::ChannelName;
use super::digest::Digest;
use super::ids::{AttemptNumber, LogId, Producer, Seq, SessionId, TaskId, TaskKey};
use super::payload::Payload;
use super::result::StoredResult;
use super::session::{EndReason, FunctionOffer, SessionKind};
use super::task::{Argument, TaskError, TaskOptions};

/// A piece ends with the item that makes it as long as this: 64 KiB, so that reading and writing it takes
/// little memory and holds nobody up.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Most tasks that one item names: 1,024, about 16 KiB.
pub const TASKS_PER_ITEM_MAX: usize = 1024;

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
    /// Of a channel whose last records are progress of futures: the offset behind the last one that somebody wrote by
    /// hand. A channel without this item has been written to up to its head; so it is taken in the snapshots of store
    /// versions before 5, which do not know better: then an append that expects less is refused, though it could be
    /// taken, and never taken, though it should be refused.
    WrittenTo {
        /// Its log.
        log: LogId,
        /// That offset.
        offset: u64,
    },
    /// What appends of a session brought.
    Acknowledged {
        /// The session.
        producer: Producer,
        /// Each command's number, the first offset, how many elements, and their commit.
        appends: Vec<(u64, u64, u32, Seq)>,
    },
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
    /// How many elements name it, by channel, in order of their logs.
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
    /// It has failed.
    Failed(Box<TaskError>),
    /// It was cancelled.
    Cancelled,
    /// It has a result that these workers' sessions keep.
    Stored(CallItem, StoredResult, Vec<Producer>),
    /// It had one, and no worker keeps it any more.
    Lost(CallItem),
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
