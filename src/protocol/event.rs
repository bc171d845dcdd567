//! The facts: what the logs hold. Variants are appended, never reordered; `tests/it/formats.rs` pins
//! the bytes of each.

use serde::{Deserialize, Serialize};

use super::channel::{ChannelName, Durability, Element, Progress, Retention, TrimCause};
use super::cursor::CursorName;
use super::digest::Digest;
use super::group::{GroupId, GroupName, GroupOptions, LeaseEnd, OfGroup, Stretch};
use super::headers::Headers;
use super::ids::{AttemptNumber, Epoch, LogId, Producer, Seq, SessionId, TaskId};
use super::payload::Payload;
use super::producer::ProducerName;
use super::result::{LossReason, StoredResult};
use super::session::{EndReason, SessionKind};
use super::task::{Submission, TaskError};
use super::transaction::AppendedPart;

/// A command's place in its session: the session's short number, and the command's own number in it.
/// A command that is sent again carries the same one, and finds its first answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The session.
    pub producer: Producer,
    /// The command's number in the session, growing.
    pub number: u64,
}

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
    /// A task was cancelled.
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

/// A record of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChannelEvent {
    /// An element. Its index is the number of elements before it.
    Appended {
        /// Who appended it. All elements of one command have the same origin and follow each other.
        origin: Origin,
        /// The element.
        element: Element,
    },
    /// What became of a future that is on the channel.
    Progress {
        /// The future.
        key: super::TaskKey,
        /// What became of it.
        progress: Progress,
    },
    /// The channel takes no more elements.
    Stopped {
        /// Who asked for it.
        origin: Origin,
        /// How many elements there are.
        count: u64,
        /// The digest of them all.
        digest: Digest,
    },
    /// The channel takes elements again: after a stop, or since its name was asked for after it was deleted.
    Resumed {
        /// Who asked for it.
        origin: Origin,
    },
    /// What is before this offset is kept no longer.
    Trimmed {
        /// Why.
        cause: TrimCause,
        /// The offset of the first record that is kept.
        before: u64,
        /// The index of the first element that is kept.
        index: u64,
    },
    /// From here on the channel keeps so much.
    Changed {
        /// Who asked for it.
        origin: Origin,
        /// What it keeps.
        retention: Retention,
    },
    /// The channel is no more: what is before this is kept no longer. Its name may be given again; what is appended then
    /// comes behind this.
    Deleted {
        /// Who asked for it.
        origin: Origin,
        /// How many elements there were ever.
        count: u64,
        /// The digest of them all.
        digest: Digest,
    },
    /// An element with headers. As [`ChannelEvent::Appended`] otherwise.
    AppendedWith {
        /// Who appended it.
        origin: Origin,
        /// Its headers; at least one.
        headers: Headers,
        /// The element.
        element: Element,
    },
    /// The first element of an append of a named producer. The others follow it as those of any append do; they have the
    /// same origin. As [`ChannelEvent::Appended`] otherwise.
    Produced {
        /// Who appended it.
        origin: Origin,
        /// The producer.
        producer: ProducerName,
        /// The append's number.
        number: u64,
        /// How many elements it has, with this one.
        count: u32,
        /// Its headers; it may have none.
        headers: Headers,
        /// The element.
        element: Element,
    },
    /// A named producer is known no longer: its numbers may begin anew.
    ProducerForgotten {
        /// Who asked for it.
        origin: Origin,
        /// The producer.
        producer: ProducerName,
    },
    /// From here on appends to the channel that do not say it themselves are acknowledged so.
    DurabilityChanged {
        /// Who asked for it.
        origin: Origin,
        /// When they are.
        durability: Durability,
    },
}

/// An element as its record has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended<'a> {
    /// Who appended it.
    pub origin: Origin,
    /// Its headers; most elements have none.
    pub headers: &'a Headers,
    /// The element.
    pub element: &'a Element,
}

impl ChannelEvent {
    /// Whether the record is an element and so has an index.
    pub fn is_element(&self) -> bool {
        self.appended().is_some()
    }

    /// The element, if the record is one.
    pub fn appended(&self) -> Option<Appended<'_>> {
        static NONE: Headers = Headers::new();
        match self {
            ChannelEvent::Appended { origin, element } => {
                Some(Appended { origin: *origin, headers: &NONE, element })
            }
            ChannelEvent::AppendedWith { origin, headers, element }
            | ChannelEvent::Produced { origin, headers, element, .. } => {
                Some(Appended { origin: *origin, headers, element })
            }
            ChannelEvent::Progress { .. }
            | ChannelEvent::Stopped { .. }
            | ChannelEvent::Resumed { .. }
            | ChannelEvent::Trimmed { .. }
            | ChannelEvent::Changed { .. }
            | ChannelEvent::Deleted { .. }
            | ChannelEvent::ProducerForgotten { .. }
            | ChannelEvent::DurabilityChanged { .. } => None,
        }
    }

    /// The record of an element, with headers or without.
    pub fn of_element(origin: Origin, headers: Headers, element: Element) -> Self {
        match headers.is_empty() {
            true => ChannelEvent::Appended { origin, element },
            false => ChannelEvent::AppendedWith { origin, headers, element },
        }
    }

    /// What stands before the element in the record of each that a command appended.
    pub fn before_element(origin: Origin) -> Vec<u8> {
        let element = Element::Value(Payload::raw(&b""[..]));
        let encode = "an event holds nothing that postcard cannot carry";
        let behind = postcard::to_stdvec(&element).expect(encode).len();
        let mut record = postcard::to_stdvec(&ChannelEvent::Appended { origin, element }).expect(encode);
        record.truncate(record.len() - behind);
        record
    }
}

impl Digest {
    /// The digest with one more element as its record has it: its headers, then itself.
    #[must_use]
    pub fn with_appended(self, appended: &Appended<'_>) -> Digest {
        let words = |digest: Digest, (key, value): (&str, &str)| {
            digest.with(b"header").with(key.as_bytes()).with(value.as_bytes())
        };
        appended.headers.iter().fold(self, words).with_element(appended.element)
    }

    /// The digest with one more element: its kind, and its task's id or its payload's bytes.
    #[must_use]
    pub fn with_element(self, element: &Element) -> Digest {
        match element {
            Element::Future(key) => self.with(b"future").with(&key.id.0),
            Element::Value(payload) => self.with_value(&payload.bytes),
        }
    }

    /// The digest with one more value, of these bytes.
    #[must_use]
    pub fn with_value(self, payload: &[u8]) -> Digest {
        self.with(b"value").with(payload)
    }
}
