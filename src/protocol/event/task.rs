//! The records of the task log.

use serde::{Deserialize, Serialize};

use super::Origin;
use crate::protocol::channel::ChannelName;
use crate::protocol::cursor::CursorName;
use crate::protocol::digest::Digest;
use crate::protocol::equipment::Grant;
use crate::protocol::group::{GroupId, GroupName, GroupOptions, LeaseEnd, OfGroup, Stretch};
use crate::protocol::ids::{AttemptNumber, Epoch, LogId, Producer, Seq, SessionId, TaskId, TaskKey};
use crate::protocol::payload::Payload;
use crate::protocol::result::{LossReason, StoredResult};
use crate::protocol::session::{EndReason, SessionKind};
use crate::protocol::task::{Advance, Submission, TaskError};
use crate::protocol::terms::Terms;
use crate::protocol::transaction::AppendedPart;

/// A record of the task log (`$tasks`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskEvent {
    /// The scheduler started on this store.
    Recovered(Receipt),
    /// A session began.
    SessionOpened {
        /// Its short number.
        producer: Producer,
        /// Its identity.
        session: SessionId,
        /// Whose it is.
        kind: SessionKind,
        /// How long it is waited for when it cannot be heard.
        lease_ms: u64,
    },
    /// A session is over; what it held is released.
    SessionEnded {
        /// Its short number.
        producer: Producer,
        /// Why.
        reason: EndReason,
    },
    /// A channel was made.
    ChannelCreated {
        /// Who asked for it.
        origin: Origin,
        /// Its log.
        log: LogId,
        /// Its name.
        name: ChannelName,
    },
    /// A task was submitted, and its submitter holds it.
    Submitted {
        /// Who asked for it.
        origin: Origin,
        /// The call.
        submission: Submission,
    },
    /// A session holds a task that was there already.
    Held {
        /// Who asked for it.
        origin: Origin,
        /// The task.
        task: TaskId,
        /// Whether it was detached by this: it now stays without anyone who holds it.
        detached: bool,
    },
    /// A session holds these tasks no longer.
    Released {
        /// Who asked for it.
        origin: Origin,
        /// The tasks.
        tasks: Vec<TaskId>,
    },
    /// An attempt was given to a worker.
    Started {
        /// The task.
        task: TaskId,
        /// The attempt's number.
        attempt: AttemptNumber,
        /// The worker's session.
        worker: Producer,
    },
    /// A task has its result.
    Finished {
        /// The task.
        task: TaskId,
        /// The attempt that brought it.
        attempt: AttemptNumber,
        /// The result.
        result: TaskResult,
    },
    /// A task has failed for good.
    Failed {
        /// The task.
        task: TaskId,
        /// Why, and in which attempt.
        error: Box<TaskError>,
    },
    /// An attempt failed, and the task waits for its next one.
    Retried {
        /// The task.
        task: TaskId,
        /// The attempt that failed.
        attempt: AttemptNumber,
        /// Why.
        error: Box<TaskError>,
    },
    /// An attempt is over without an outcome, and the task waits for its next one.
    Requeued {
        /// The task.
        task: TaskId,
        /// The attempt that is over.
        attempt: AttemptNumber,
        /// Why its worker's session ended.
        reason: EndReason,
    },
    /// A task was cancelled. What is written is [`TaskEvent::CancelledBy`].
    Cancelled {
        /// The task.
        task: TaskId,
    },
    /// Nobody keeps the task any more: all that is known of it is gone.
    Forgotten {
        /// The task.
        task: TaskId,
    },
    /// An attempt was lost with its worker, whose session ended other than by goodbye.
    Died {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
        /// The worker's name.
        worker: Box<str>,
        /// Why its session ended.
        reason: EndReason,
        /// Whether it counts as a death of the task. One that does not, since the attempt had got
        /// something done as a client, ends the row of those that did.
        counts: bool,
    },
    /// Another worker keeps a task's stored result, too.
    Copied {
        /// The task.
        task: TaskId,
        /// The worker's session.
        worker: Producer,
    },
    /// One of the workers that kept a task's stored result keeps it no longer, and others do.
    Dropped {
        /// The task.
        task: TaskId,
        /// The worker's session.
        worker: Producer,
    },
    /// No worker keeps a task's stored result any more: it is computed anew when it is needed.
    Lost {
        /// The task.
        task: TaskId,
        /// The name of the worker that was the last to keep it.
        worker: Box<str>,
        /// Why.
        why: LossReason,
    },
    /// A task's result that no worker keeps is needed: the task waits for another attempt.
    Reopened {
        /// The task.
        task: TaskId,
    },
    /// An attempt is over before it began, since a result that it needs could not be had. The task waits for
    /// its next one.
    Deferred {
        /// The task.
        task: TaskId,
        /// The attempt that is over.
        attempt: AttemptNumber,
        /// Whose result it was.
        missing: TaskId,
    },
    /// An attempt is over before it began: its worker gave it back, since others there take long. The task waits
    /// for its next one.
    Returned {
        /// The task.
        task: TaskId,
        /// The attempt that is over.
        attempt: AttemptNumber,
    },
    /// A cursor was set.
    CursorSet {
        /// Who asked for it.
        origin: Origin,
        /// The channel's log.
        log: LogId,
        /// Which cursor.
        name: CursorName,
        /// The offset of the record that is to be read next.
        offset: u64,
        /// For how long the channel keeps what it has not passed, in ms.
        pin_ms: u64,
    },
    /// A cursor is no more.
    CursorDeleted {
        /// Who asked for it, or for the end of its channel.
        origin: Origin,
        /// The channel's log.
        log: LogId,
        /// Which cursor.
        name: CursorName,
    },
    /// A transaction was made: the cursors that it moved come before this, what it appended is on the channels, all in
    /// this commit.
    Transacted {
        /// Who asked for it.
        origin: Origin,
        /// Where what it appended is, in order of the logs.
        appended: Vec<AppendedPart>,
    },
    /// A group was made. It is known by the offset of this.
    GroupCreated {
        /// Who asked for it.
        origin: Origin,
        /// The channel's log.
        log: LogId,
        /// Its name.
        name: GroupName,
        /// How it leases.
        options: GroupOptions,
        /// The index of the first element that it leases.
        next: u64,
    },
    /// From here on a group leases otherwise.
    GroupChanged {
        /// Who asked for it.
        origin: Origin,
        /// Which group.
        group: GroupId,
        /// How it leases.
        options: GroupOptions,
    },
    /// A group is no more.
    GroupDeleted {
        /// Who asked for it, or for the end of its channel.
        origin: Origin,
        /// Which group.
        group: GroupId,
    },
    /// Elements were leased to a member.
    Leased {
        /// The group.
        group: GroupId,
        /// The member's session.
        member: Producer,
        /// They.
        elements: Vec<Stretch>,
    },
    /// The member to whom they were leased is done with these elements.
    Acknowledged {
        /// Who: the member.
        origin: Origin,
        /// They.
        of: OfGroup,
    },
    /// These elements are leased no longer, and not done with.
    LeaseEnded {
        /// Who asked for it, if somebody has.
        origin: Option<Origin>,
        /// They.
        of: OfGroup,
        /// Why.
        why: LeaseEnd,
    },
    /// The member to whom they are leased tries these elements. Those that are leased for the first time count as tried
    /// without this.
    Tried {
        /// Who: the member.
        origin: Origin,
        /// They.
        of: OfGroup,
    },
    /// A task was cancelled, as somebody asked for.
    CancelledBy {
        /// Who asked for it.
        origin: Origin,
        /// The task.
        task: TaskId,
    },
    /// A task was submitted under terms, and its submitter holds it.
    SubmittedUnder {
        /// Who asked for it.
        origin: Origin,
        /// The call.
        submission: Submission,
        /// Under what conditions it is run.
        terms: Terms,
    },
    /// An attempt failed, and the task waits for some time before its next one.
    RetriedAfter {
        /// The task.
        task: TaskId,
        /// The attempt that failed.
        attempt: AttemptNumber,
        /// Why.
        error: Box<TaskError>,
        /// How long it waits from the time of this commit, in ms.
        wait_ms: u64,
    },
    /// The time that a task waited for after an attempt that failed has come.
    Awaited {
        /// The task.
        task: TaskId,
    },
    /// Tasks that had failed or were cancelled are to be tried again, as somebody asked for, as if none of their attempts
    /// had failed. Each comes behind those that it needs.
    Renewed {
        /// Who asked for it.
        origin: Origin,
        /// The tasks: at most [`TASKS_PER_COMMAND_MAX`](crate::protocol::limits::TASKS_PER_COMMAND_MAX).
        tasks: Vec<TaskId>,
    },
    /// The running attempt has said how far it has come.
    Advanced {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
        /// How far.
        advance: Advance,
    },
    /// An attempt was given to a worker, with some of its resources.
    StartedWith {
        /// The task.
        task: TaskId,
        /// The attempt's number.
        attempt: AttemptNumber,
        /// The worker's session.
        worker: Producer,
        /// What the attempt has of the worker's resources, until it is over.
        grants: Vec<Grant>,
    },
    /// A value was scattered: it is a task that has it as its result, and who did it holds it.
    Scattered {
        /// Who asked for it.
        origin: Origin,
        /// The task's key.
        key: TaskKey,
        /// The value.
        value: Payload,
        /// Whether it stays without anyone who holds it.
        detach: bool,
    },
}

/// Where a task's result is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskResult {
    /// Here.
    Inline(Payload),
    /// With the worker that ran the attempt, and with those that copy it from there.
    Stored(StoredResult),
}

/// What a start of the scheduler found: the receipt of a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Receipt {
    /// The epoch that begins.
    pub epoch: Epoch,
    /// The last durable commit that was found; 0 on a fresh store.
    pub seq: Seq,
    /// The digest of that commit.
    pub digest: Digest,
    /// Records that were folded.
    pub records: u64,
    /// Tasks that are known, in any state.
    pub tasks_kept: u64,
    /// Of these, tasks that wait for another attempt because their last one was lost with its worker.
    pub tasks_requeued: u64,
    /// Of these, tasks that were running: they go on if their worker comes back within its lease, and
    /// are requeued if not.
    pub tasks_running: u64,
    /// Channels that are known.
    pub channels: u64,
    /// What is wrong with the store, in words, when something is.
    pub damage: Option<String>,
}
