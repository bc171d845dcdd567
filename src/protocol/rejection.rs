//! Why something is refused.

use serde::{Deserialize, Serialize};

use super::channel::ChannelName;
use super::counted::counted;
use super::cursor::CursorName;
use super::group::{GroupId, GroupName};
use super::ids::{AttemptNumber, TaskId};
use super::limits::TooLarge;
use super::producer::ProducerName;
use super::session::EndReason;
use super::size::Bytes as Size;
use super::start::Regress;

/// Why a command, a query or a subscription is refused. Nothing was changed, but for
/// [`Rejection::LogFailed`], where nobody knows before a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// The session is over.
    #[error("the session has ended because {0}: connect again to get a new one")]
    SessionEnded(EndReason),
    /// The session belongs to an attempt that a newer one has fenced.
    #[error("attempt {attempt} of task {task} is over: what it still sends is refused")]
    Fenced {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
    },
    /// The channel takes no more elements.
    #[error(
        "channel `{0}` is stopped at {elements}: append to another one, or let it go on with `headwater channel resume`",
        elements = counted(*.1, "element")
    )]
    ChannelStopped(ChannelName, u64),
    /// There is no such channel.
    #[error("there is no channel {0}: `headwater channel list` shows those there are")]
    UnknownChannel(String),
    /// The channel is the scheduler's own.
    #[error("channel `{0}` is the scheduler's own: it can be read, not written")]
    ReservedChannel(ChannelName),
    /// There is no such task.
    #[error("task {0} is not known: nobody kept it, or it never was; submit it again")]
    UnknownTask(TaskId),
    /// The name stands for a task of another function.
    #[error("key `{key}` already names a task of `{function}`: choose another key")]
    KeyTaken {
        /// The name.
        key: Box<str>,
        /// The other task's function.
        function: Box<str>,
    },
    /// A position after the end of a log.
    #[error("offset {offset} is past the head of {name}, which is {head}: give {head} or less")]
    PastHead {
        /// Which log.
        name: String,
        /// The offset that was asked for.
        offset: u64,
        /// Where the log ends.
        head: u64,
    },
    /// Something is over its limit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The message is not one that this session may send, or makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The log can no longer be written; nothing more is accepted until a restart. The command may be
    /// in the log all the same: look before it is sent again under another number. Commands that were sent behind
    /// this one and have no answer yet go to the next start, which may take them.
    #[error(
        "the log could not be written ({0}): the scheduler stops; what was acknowledged is safe, and whether \
         this was carried out shows after its restart"
    )]
    LogFailed(String),
    /// The scheduler is on its way out.
    #[error("the scheduler is shutting down")]
    ShuttingDown,
    /// There is no such worker.
    #[error("there is no worker {0}")]
    UnknownWorker(String),
    /// The disk that keeps the log is nearly full, so that nothing is added to it by a client's wish: no
    /// task, no element, no channel. Everything else goes on. Commands that were sent behind this one may
    /// have been taken all the same, if room was made between them.
    #[error(
        "the scheduler's disk is nearly full, {} are free ({place}): nothing was added, and reading goes on; free \
         some space there (more is taken from {} on), or start the scheduler with a smaller --disk-reserve, and \
         ask again",
        Size(*.free_bytes), Size(*.wanted_bytes)
    )]
    DiskLow {
        /// Where the log is kept, in words: an engine and its place.
        place: String,
        /// How much is free there.
        free_bytes: u64,
        /// From how much on more is taken.
        wanted_bytes: u64,
    },
    /// There is a channel of that name.
    #[error(
        "there is a channel `{0}` already: `headwater channel show` says what it keeps, and `channel set` changes that"
    )]
    ChannelExists(ChannelName),
    /// A cursor is not where it was to be moved from.
    #[error(
        "cursor `{name}` is at offset {at}, not at {from}: somebody else has moved it; read on from there"
    )]
    CursorMoved {
        /// Which cursor.
        name: CursorName,
        /// Where it is.
        at: u64,
        /// Where it was to be.
        from: u64,
    },
    /// An append expected that nobody has written from an offset on, and somebody has; or the offset is past the head.
    #[error("{}", conflict(.channel, *.expected, *.head))]
    Conflict {
        /// The channel.
        channel: ChannelName,
        /// The offset that was expected.
        expected: u64,
        /// The head: the offset of the next record.
        head: u64,
    },
    /// There is no such group.
    #[error("there is no group {0} any more: `headwater channel group list` shows those there are")]
    UnknownGroup(GroupId),
    /// An element is not leased to this session, or not any more.
    #[error(
        "element {index} is not leased to this member of group `{group}` any more: it was done with, or its lease was over and it goes to another"
    )]
    LeaseOver {
        /// The group.
        group: GroupName,
        /// The element's index.
        index: u64,
    },
    /// A named producer's newest number is not the one behind which an append was to be made.
    #[error(
        "producer `{name}` is at number {at}, not at {from}, and nothing was appended: an append before this one was \
         refused, or somebody else appends under this name; ask for its last number, and go on behind it"
    )]
    ProducerMoved {
        /// Which producer.
        name: ProducerName,
        /// Its newest number; 0 for one that is not there.
        at: u64,
        /// Behind which number it was to be.
        from: u64,
    },
    /// What was acknowledged as buffered, or read before it was durable, never became durable.
    #[error(
        "commits {} to {} of epoch {} never became durable: the machine failed before they were on the disk. What was \
         acknowledged as buffered or read ahead of them is gone, and its offsets may be given anew: append it again, \
         and read again from where you are sure",
        .0.from, .0.to, .0.epoch
    )]
    Undone(Regress),
}

impl Rejection {
    /// Whether what was refused may be in the log all the same.
    pub fn may_be_done(&self) -> bool {
        matches!(self, Rejection::LogFailed(_) | Rejection::ShuttingDown | Rejection::SessionEnded(_))
    }
}

fn conflict(channel: &ChannelName, expected: u64, head: u64) -> String {
    match expected <= head {
        true => format!(
            "channel `{channel}` was written to at offset {expected} or behind it, and nothing was appended: read on \
             from {expected}, and expect {head}, its head now, if it is still to be appended"
        ),
        false => format!(
            "offset {expected} is past the head of channel `{channel}`, {head}, and nothing was appended: expect {head} \
             once all before it is read"
        ),
    }
}
