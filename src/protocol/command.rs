//! What clients and workers ask of the scheduler, and what it answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::channel::{ChannelInfo, ChannelName, ChannelOptions, Durability, Retention};
use super::cursor::{CursorInfo, CursorMove, CursorName};
use super::digest::Digest;
use super::elements::Elements;
use super::event::Receipt;
use super::group::{GroupId, GroupInfo, GroupName, GroupOptions, OfGroup, Stretch};
use super::ids::{AttemptNumber, Epoch, LogId, Producer, Seq, TaskId, TaskKey};
use super::payload::Payload;
use super::producer::{ProducedBy, ProducerInfo, ProducerName};
pub use super::query::Query;
pub use super::rejection::Rejection;
use super::result::{Replication, StoredResult};
use super::session::{HeldAttempt, Retire, WorkerInfo, WorkerStatus};
use super::start::Start;
use super::task::{Advance, Explanation, Submission, TaskError, TaskInfo, TaskStatus};
use super::terms::Terms;
use super::transaction::{AppendedPart, Transaction};

/// A wish that changes something. It is decided once: sent again with the same number, it finds its
/// first answer. It may be refused with a [`Rejection`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Run this, and hold its future. Answer: [`Answer::Submitted`].
    Submit(Submission),
    /// Hold a task that exists. Answer: [`Answer::Held`].
    Hold {
        /// The task.
        task: TaskId,
        /// Whether it shall stay without anyone who holds it.
        detach: bool,
    },
    /// Hold these tasks no longer. Answer: [`Answer::Released`].
    Release {
        /// The tasks; those that are not held do not matter.
        tasks: Vec<TaskId>,
    },
    /// Find this channel, or make it. Answer: [`Answer::Channel`].
    OpenChannel {
        /// Its name.
        name: ChannelName,
    },
    /// Append these elements, all or none, in this order. Answer: [`Answer::Appended`].
    Append {
        /// The channel's log.
        log: LogId,
        /// At least one element.
        elements: Elements,
        /// How.
        options: AppendOptions,
    },
    /// Let this channel take no more elements. Answer: [`Answer::Stopped`]; also when it has stopped.
    Stop {
        /// The channel's log.
        log: LogId,
    },
    /// From a worker: an attempt has a result. Answer: [`Answer::Reported`].
    Finish {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
        /// The result.
        result: Payload,
    },
    /// From a worker: an attempt has failed. Answer: [`Answer::Reported`].
    Fail {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
        /// Why.
        error: Box<TaskError>,
    },
    /// From a worker: it retires, and is to be given nothing more. It says so on one connection and, with an
    /// offer without slots, in the hello of each one after that. Answer: [`Answer::Retiring`]; behind it comes
    /// no assignment any more.
    Retire,
    /// Tell a worker to retire: [`ServerMessage::Retire`](super::message::ServerMessage::Retire). From now on
    /// it is given nothing more; one that is away hears of it when it comes back. Answer:
    /// [`Answer::Retiring`].
    RetireWorker {
        /// The worker's session: its name may be another's by now.
        worker: Producer,
        /// How.
        retire: Retire,
    },
    /// From a worker: an attempt has a result, too large for the log, which the worker keeps. Answer:
    /// [`Answer::Reported`].
    Store {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
        /// What it keeps.
        result: StoredResult,
    },
    /// From a worker: it keeps a copy of a stored result, as it was told to
    /// ([`ServerMessage::Copy`](super::message::ServerMessage::Copy)). Answer: [`Answer::Reported`].
    Copied {
        /// The task.
        task: TaskId,
        /// The attempt that brought the result.
        attempt: AttemptNumber,
    },
    /// From a worker: it does not have a stored result that it is taken to keep, or could not copy it. Answer:
    /// [`Answer::Reported`].
    Lack {
        /// The task.
        task: TaskId,
        /// The attempt that brought the result.
        attempt: AttemptNumber,
    },
    /// From a worker: a result that an attempt needs could not be had; the attempt has not begun. Answer:
    /// [`Answer::Reported`].
    Defer {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
        /// Whose result it is.
        missing: TaskId,
    },
    /// From a worker: give it so many attempts at a time, though it runs no more than it has slots, so that it need
    /// not wait for the next when one ends. It is as many as it has slots until it says so, on each connection anew.
    /// It runs them in the order in which they come. Answer: [`Answer::Reported`].
    Window {
        /// How many, those that run included; at most [`WINDOW_MAX`](super::limits::WINDOW_MAX) more than it has
        /// slots.
        attempts: u32,
    },
    /// From a worker: an attempt has not begun, and those before it take long: let another worker run it. Answer:
    /// [`Answer::Reported`].
    Return {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
    },
    /// Make this channel, which must not be there. Answer: [`Answer::Channel`].
    CreateChannel {
        /// Its name.
        name: ChannelName,
        /// What it is made with.
        options: ChannelOptions,
    },
    /// Let this channel keep so much from now on. Answer: [`Answer::Channel`].
    Retain {
        /// The channel's log.
        log: LogId,
        /// What it keeps.
        retention: Retention,
    },
    /// Keep no more of this channel what is before an offset. Futures there are released. Answer: [`Answer::Channel`].
    Trim {
        /// The channel's log.
        log: LogId,
        /// The first offset that is kept, at most the head; nothing for the head, whatever it is then.
        before: Option<u64>,
    },
    /// Let this channel take elements again. Answer: [`Answer::Channel`]; also when it is not stopped.
    Resume {
        /// The channel's log.
        log: LogId,
    },
    /// Forget this channel. Its name may be given again, its offsets are not. Answer: [`Answer::Deleted`].
    Delete {
        /// The channel's log.
        log: LogId,
    },
    /// Set a cursor. Answer: [`Answer::CursorSet`].
    SetCursor(CursorMove),
    /// Forget a cursor. Answer: [`Answer::Deleted`]; also when it is not there.
    DeleteCursor {
        /// The channel's log.
        log: LogId,
        /// Which cursor.
        name: CursorName,
    },
    /// Append to several channels and move cursors, all in one commit or nothing. Answer: [`Answer::Transacted`].
    Transact(Transaction),
    /// Find this group of a channel, or make it. Answer: [`Answer::Group`].
    OpenGroup {
        /// The channel's log.
        log: LogId,
        /// Its name.
        name: GroupName,
        /// How it is to lease from now on; `None` as it does, or as usual.
        options: Option<GroupOptions>,
        /// Where one that is made begins: behind all elements that there are, and not with the first that is kept.
        from_end: bool,
    },
    /// Lease elements of a group to this session, from now on and on this connection: so many at a time. What is leased to
    /// it already is told once more. Answer: [`Answer::Reported`].
    Join {
        /// The group.
        group: GroupId,
        /// How many at a time: from 1 to [`LEASED_PER_MEMBER_MAX`](super::limits::LEASED_PER_MEMBER_MAX).
        window: u32,
    },
    /// Lease nothing more of a group to this session; what is leased to it is leased again, to other members. Answer:
    /// [`Answer::Reported`].
    Leave {
        /// The group.
        group: GroupId,
        /// What it had not begun with, which does not count as tried; what is not leased to this session does not matter.
        untried: Vec<Stretch>,
    },
    /// Elements that are leased to this session are tried from now on, all or none: what comes again, for whatever reason,
    /// counts as tried then. Whoever is leased an element for the first time need not say so. Answer:
    /// [`Answer::Reported`].
    Try(OfGroup),
    /// Elements that are leased to this session are done with, all or none. Answer: [`Answer::Reported`].
    Acknowledge(OfGroup),
    /// Elements that are leased to this session are to be leased again, to any member, all or none. Answer:
    /// [`Answer::Reported`].
    GiveBack(OfGroup),
    /// Let the leases of these elements begin anew; what is not leased to this session does not matter. A member whose
    /// lease was over, and who has said nothing since, is leased nothing: this, of no elements, says that it goes on.
    /// Answer: [`Answer::Reported`].
    Extend(OfGroup),
    /// Forget a group. Answer: [`Answer::Deleted`]; also when it is not there.
    DeleteGroup {
        /// The channel's log.
        log: LogId,
        /// Its name.
        name: GroupName,
    },
    /// Forget a named producer: what was appended under its name stays, and its numbers may begin anew. Answer:
    /// [`Answer::Deleted`]; also when it is not there.
    ForgetProducer {
        /// The channel's log.
        log: LogId,
        /// Which producer.
        name: ProducerName,
    },
    /// From now on acknowledge appends to this channel so that do not say it themselves. Answer: [`Answer::Channel`].
    SetDurability {
        /// The channel's log.
        log: LogId,
        /// When they are acknowledged.
        durability: Durability,
    },
    /// Cancel a task that has not ended, whoever submitted it: its attempt is aborted, and what needs its result fails.
    /// Answer: [`Answer::Ended`], also for one that had ended before, to which nothing happens.
    Cancel {
        /// The task.
        task: TaskId,
    },
    /// Run this under these terms, and hold its future. Answer: [`Answer::Submitted`].
    SubmitUnder {
        /// The call.
        submission: Submission,
        /// At least one.
        terms: Terms,
    },
    /// Try this task again, which has failed or was cancelled, and with it those that it needs and that have. Answer:
    /// [`Answer::Retried`].
    Retry {
        /// The task.
        task: TaskId,
    },
    /// From a worker: an attempt has come so far. Answer: [`Answer::Reported`].
    Advance {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
        /// How far.
        advance: Advance,
    },
    /// From a worker: an attempt that is a client waits for others, and takes no slot and nothing of what it was granted; or it
    /// goes on, or is about to, and takes both again. Until this is said it takes both, on each connection anew. Answer:
    /// [`Answer::Reported`].
    Occupy {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
        /// Whether it takes them.
        occupies: bool,
    },
    /// Have so many workers keep this task's result, if workers keep it: others copy it until so many do, or all that are
    /// there. The wish is of the moment, and nothing comes of it when one that copies is gone or fails. Answer:
    /// [`Answer::Replicated`], at once.
    Replicate {
        /// The task, which has a result.
        task: TaskId,
        /// How many, those that keep it already included: from 1 to
        /// [`REPLICAS_MAX`](super::limits::REPLICAS_MAX).
        copies: u32,
    },
    /// Enter a value as a task that has it as its result, and hold its future. Answer: [`Answer::Submitted`], also when it
    /// is there already.
    Scatter {
        /// The task's key.
        key: TaskKey,
        /// The value.
        value: Payload,
        /// Whether it stays without anyone who holds it.
        detach: bool,
    },
}

/// How elements are appended, where it is not as usual.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendOptions {
    /// Only if nobody has written at this offset or behind it: no element is there, and no stop. Progress of
    /// futures, which nobody writes by hand, may be. Else [`Rejection::Conflict`].
    pub expect: Option<u64>,
    /// As whose append, of which number: it is made once, whoever sends it.
    pub producer: Option<ProducedBy>,
    /// When it is acknowledged; as the channel says when this does not.
    pub durability: Option<Durability>,
}

impl AppendOptions {
    /// Whether there are none.
    pub fn is_default(&self) -> bool {
        *self == AppendOptions::default()
    }
}

impl Command {
    /// A submission, under these terms if there are any.
    pub fn submit(submission: Submission, terms: Terms) -> Self {
        match terms.is_empty() {
            true => Command::Submit(submission),
            false => Command::SubmitUnder { submission, terms },
        }
    }

    /// An append as usual.
    pub fn append(log: LogId, elements: Elements) -> Self {
        Command::Append { log, elements, options: AppendOptions::default() }
    }

    /// Whether it writes to this channel's log.
    pub fn writes_to(&self, log: LogId) -> bool {
        match self {
            Command::Append { log: written, .. } | Command::Stop { log: written } => *written == log,
            Command::Transact(transaction) => transaction.appends.iter().any(|part| part.log == log),
            _ => false,
        }
    }
}

/// What a command or a query brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The task is in the log, and held.
    Submitted,
    /// The task is held.
    Held(TaskKey),
    /// The tasks are released.
    Released,
    /// The channel.
    Channel(ChannelInfo),
    /// The elements are in the log.
    Appended {
        /// The offset of the first; the others follow without a gap.
        first: u64,
        /// How many there are.
        count: u32,
        /// The commit that holds them. Of an append that is answered again, after an upgrade from a store before
        /// version 5, perhaps a later one.
        seq: Seq,
        /// The epoch of that commit.
        epoch: Epoch,
        /// What holds when this leaves: it is on the disk, or it is written and will be within a time.
        durability: Durability,
    },
    /// The channel is stopped.
    Stopped {
        /// How many elements it has.
        count: u64,
        /// The digest of them all.
        digest: Digest,
    },
    /// The report was taken, or came too late to matter.
    Reported,
    /// Channels.
    Channels(Vec<ChannelInfo>),
    /// Tasks; without their outcomes.
    Tasks(Vec<TaskInfo>),
    /// A task.
    Task(Box<TaskInfo>),
    /// The log and the cluster.
    Overview(Overview),
    /// What is stored.
    Stored(Stored),
    /// Pieces of a snapshot, in order.
    SnapshotPieces {
        /// They, as they were written.
        pieces: Vec<Bytes>,
        /// Whether none follow.
        is_end: bool,
    },
    /// The worker is given nothing more.
    Retiring,
    /// Workers.
    Workers(Vec<WorkerStatus>),
    /// The results that the worker need not keep.
    Unwanted(Vec<HeldAttempt>),
    /// The log of a channel: all that is known of one while the scheduler recovers. To
    /// [`ClientMessage::FindLog`](super::message::ClientMessage::FindLog).
    Log(LogId),
    /// The channel, the cursor or the named producer is no more.
    Deleted,
    /// The cursor is where it was to be.
    CursorSet,
    /// Cursors.
    Cursors(Vec<CursorInfo>),
    /// How many subscriptions read a channel now.
    Subscribers(u64),
    /// All of a transaction is in the log.
    Transacted {
        /// The commit that holds it.
        seq: Seq,
        /// The epoch of that commit.
        epoch: Epoch,
        /// Where what it appended is, in order of the logs.
        appended: Vec<AppendedPart>,
    },
    /// A group.
    Group(GroupInfo),
    /// Groups.
    Groups(Vec<GroupInfo>),
    /// Nothing was appended: the named producer has come further than this append's number before.
    AppendedBefore {
        /// The producer's newest number.
        newest: u64,
    },
    /// Named producers.
    Producers(Vec<ProducerInfo>),
    /// What was acknowledged is on the disk.
    Durable,
    /// The task has ended: it was cancelled, now or before, or has ended otherwise before.
    Ended(TaskStatus),
    /// The task is tried again.
    Retried,
    /// Why a task is where it is, or does not run.
    Explained(Box<Explanation>),
    /// So many keep the result now.
    Replicated(Replication),
}

/// What is stored at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The newest durable commit.
    pub seq: Seq,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its digest: of its batches, in the order of their logs.
    pub digest: Digest,
    /// The starts that the store remembers, in order.
    pub starts: Vec<Start>,
    /// The snapshots of this commit or earlier ones, newest first.
    pub snapshots: Vec<Seq>,
    /// The logs, in order: all that hold something of that commit or an earlier one, perhaps newer ones, too.
    /// What they hold is read by subscriptions.
    pub logs: Vec<LogId>,
}

/// The log and the cluster at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// The running epoch.
    pub epoch: Epoch,
    /// The newest commit.
    pub seq: Seq,
    /// The receipt of the last start.
    pub receipt: Receipt,
    /// Where the records are kept, in words: an engine and its place.
    pub store: String,
    /// The head of the task log.
    pub tasks_head: u64,
    /// Records in all logs.
    pub records: u64,
    /// Tasks waiting, for their dependencies or for a worker.
    pub pending: u64,
    /// Tasks running.
    pub running: u64,
    /// Tasks finished and kept.
    pub finished: u64,
    /// Tasks failed or cancelled, and kept.
    pub failed: u64,
    /// How many channels there are.
    pub channels: u64,
    /// The workers.
    pub workers: Vec<WorkerInfo>,
}
