//! What travels between a client or worker and the server: one message a frame.
//!
//! A frame's `number` says what a message belongs to: a command, query or watch and its answer carry
//! the request's number, which grows over a session; the messages of a subscription carry the number
//! of the [`ClientMessage::Subscribe`] that opened it; others carry 0.

use serde::{Deserialize, Serialize};

use super::TimeMs;
use super::channel::ChannelName;
use super::command::{Answer, Command, Query, Rejection};
use super::equipment::Grant;
use super::frame::{self, PREAMBLE_BYTES};
use super::group::{GroupEnd, GroupId, Leased};
use super::ids::{AttemptNumber, LogId, Seq, SessionId, TaskId, TaskKey};
use super::payload::Payload;
use super::result::Located;
use super::session::{Retire, Role};
use super::start::{RecoveryProgress, Regress, Seen, Start};
use super::task::Outcome;
use super::template::Template;
use super::version::WIRE_VERSION;

/// What a client or worker says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The cluster's token, where there is one.
    pub token: Option<String>,
    /// The session, new or to be resumed.
    pub session: SessionId,
    /// Whether the session has been welcomed before. A session that is to be resumed and is over is
    /// refused, never begun anew: what it held is gone.
    pub resume: bool,
    /// As whom.
    pub role: Role,
    /// What the session has seen of the store, once it has been welcomed.
    pub seen: Option<Seen>,
}

/// From which record of a log to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// The record at this offset.
    Offset(u64),
    /// The element with this index.
    Index(u64),
    /// What comes next.
    End,
    /// The record at this offset, trimmed or not: of all that is stored. For those who copy the store.
    Stored(u64),
    /// The last so many elements that there are when it is answered: the first of them, or the first record there is
    /// when there are fewer. In the task log, which has no elements, every record counts.
    Last(u64),
    /// The first record of this time or later; what comes next when there is none. Where the scheduler's clock was set
    /// back, several records may have only earlier ones right before them: it is one of these.
    Time(TimeMs),
}

/// Which records of a log a subscription brings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reads {
    /// Those that are durable.
    #[default]
    Durable,
    /// Those, too, that are written and not durable yet: if the machine fails, they may never have been.
    Appended {
        /// The newest commit that was read so, and whose it was. If it never became durable, the subscription is refused
        /// with [`Rejection::Undone`].
        seen: Option<Seen>,
    },
}

/// From a client or worker. Who sends it may only borrow the command: the bytes are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage<C = Command> {
    /// The first message.
    Hello(Hello),
    /// A command; answered by [`ServerMessage::Answer`] once it is durable.
    Command(C),
    /// A question; answered by [`ServerMessage::Answer`].
    Query(Query),
    /// Tell how these tasks end: one [`ServerMessage::Settled`] for each, soon or late, and
    /// [`ServerMessage::Unknown`] for those that do not exist.
    Watch {
        /// The tasks.
        tasks: Vec<TaskId>,
    },
    /// Begin to send a log's records.
    Subscribe {
        /// The log.
        log: LogId,
        /// From where.
        from: Position,
        /// How many bytes of batches may be sent before more credit comes.
        credit_bytes: u64,
        /// Which of its records.
        reads: Reads,
    },
    /// More bytes may be sent.
    Credit {
        /// How many more.
        bytes: u64,
    },
    /// End the subscription.
    Unsubscribe,
    /// Nothing to say, but still here.
    Ping,
    /// The session is over: release what it holds.
    Goodbye,
    /// While the scheduler recovers: which log has this name? Asked ahead of the command or query that asks
    /// for the channel, under its number. Answered by [`Answer::Log`] as soon as the name is known, unless the
    /// welcome comes before that; never refused: what is not answered is asked in its turn.
    FindLog {
        /// The channel's name.
        name: ChannelName,
    },
    /// Instead of a hello: this connection is to be a trunk, for the sessions of many attempts. Answered by
    /// [`ServerMessage::TrunkOpened`], or a closing; behind that come no more frames, but the trunk's own bytes, and over each
    /// of its strands a connection from its preambles on. The strands' hellos have the token as well.
    OpenTrunk {
        /// The cluster's token, where there is one.
        token: Option<String>,
    },
}

/// From the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerMessage {
    /// The hello is accepted.
    Welcome {
        /// The running start.
        start: Start,
        /// The newest durable commit.
        seq: Seq,
        /// How long the session is waited for while it cannot be heard. Speak at least three times
        /// in it.
        lease_ms: u64,
        /// What the scheduler's clock shows: it dates all records, and others may differ.
        now_ms: TimeMs,
    },
    /// The hello is refused, or the connection ends, and why. Nothing follows.
    Closing(Closing),
    /// What became of a command or query.
    Answer(Result<Answer, Rejection>),
    /// How a watched task ended.
    Settled {
        /// The task.
        task: TaskId,
        /// How.
        outcome: Outcome,
    },
    /// A watched task is not known.
    Unknown {
        /// The task.
        task: TaskId,
    },
    /// A subscription began.
    Subscribed {
        /// The offset of the first record that will come.
        from: u64,
        /// A commit at which the log reached up to there, whether or not its records come: a durable one, unless others are
        /// read, too.
        seq: Seq,
    },
    /// A subscription is refused.
    SubscriptionRefused(Rejection),
    /// Stored batches follow this message in the frame, one after the other, byte for byte. The first
    /// may begin before the offset asked for.
    Records,
    /// Everything up to here, which was the head at this moment, has been sent.
    CaughtUp {
        /// The head.
        head: u64,
    },
    /// The records from here on are gone; the next is at `first`.
    Trimmed {
        /// The offset that was to be sent next.
        from: u64,
        /// The first that there is.
        first: u64,
    },
    /// To a worker: run this.
    Assign(Assignment),
    /// To a worker: this attempt is not wanted any more.
    Abort {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
    },
    /// The answer to [`ClientMessage::Ping`].
    Pong,
    /// Every commit up to this one is durable. It comes before the first message that tells of it.
    Durable {
        /// The commit.
        seq: Seq,
    },
    /// The hello is good, and the scheduler still recovers its state: the welcome comes later. Until then
    /// logs can be found by name and subscribed, and nothing else. Comes again once a second; the last may be overtaken by the
    /// welcome.
    Recovering {
        /// The start that does: of it may be what is read.
        start: Start,
        /// The newest commit that can be read: it recovers that.
        newest: Seen,
        /// How far it is.
        progress: RecoveryProgress,
    },
    /// To a worker: retire. It answers with [`Command::Retire`] and, when the time has come, with
    /// [`ClientMessage::Goodbye`]; what is behind it is no assignment.
    Retire(Retire),
    /// To a worker: this stored result is not needed any more.
    Free {
        /// The task.
        task: TaskId,
        /// The attempt that brought it.
        attempt: AttemptNumber,
    },
    /// To a worker: keep a copy of this result, too. Answered with [`Command::Copied`] or [`Command::Lack`].
    Copy(Located),
    /// To a member of a group: these elements are leased to it, for as long as the group says.
    Leased {
        /// The group.
        group: GroupId,
        /// They.
        leased: Leased,
    },
    /// To a member of a group: it is leased nothing more.
    GroupEnded {
        /// The group.
        group: GroupId,
        /// Why.
        why: GroupEnd,
    },
    /// This connection is a trunk: see [`ClientMessage::OpenTrunk`].
    TrunkOpened {
        /// How many strands it may have at a time. Further ones are refused: open another trunk.
        strands_max: u32,
    },
}

/// An attempt for a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The task.
    pub key: TaskKey,
    /// The attempt.
    pub attempt: AttemptNumber,
    /// The function's full name.
    pub function: Box<str>,
    /// The function's version that the client had.
    pub version: u32,
    /// The arguments in order.
    pub arguments: Vec<Given>,
    /// How long it may take from when it begins, in ms.
    pub timeout_ms: Option<u64>,
    /// What it has of the worker's resources.
    pub grants: Vec<Grant>,
}

/// An argument as an attempt gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Given {
    /// The value.
    Value(Payload),
    /// The stored result of another task, to be fetched from one of those who keep it.
    Stored(Located),
    /// A value with the results of other tasks inside it.
    Nested {
        /// The value with holes.
        template: Template,
        /// What fills them: of each of [`Template::tasks`], in that order.
        results: Vec<Filling>,
    },
}

/// The result that fills the holes of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filling {
    /// It itself.
    Value(Payload),
    /// It is stored, to be fetched from one of those who keep it.
    Stored(Located),
}

/// Why the server ends a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Closing {
    /// The bytes were not a Headwater client's.
    #[error("these bytes are not the Headwater protocol: {0}")]
    NotHeadwater(String),
    /// Another wire version.
    #[error(
        "wire protocol version {client} is not {server}, the scheduler's: use the same version of headwater on both sides"
    )]
    WireVersion {
        /// The client's.
        client: u16,
        /// The scheduler's.
        server: u16,
    },
    /// The token is missing or wrong.
    #[error("the token is missing or wrong: give the scheduler's with --token-file")]
    BadToken,
    /// The session is over or not to be had.
    #[error(transparent)]
    Rejected(Rejection),
    /// The same session connected anew.
    #[error("the same session has connected again")]
    Replaced,
    /// The client did not take what was meant for it.
    #[error("{0} bytes waited to be read: read faster, or watch fewer tasks")]
    TooSlow(u64),
    /// The scheduler is shutting down.
    #[error("the scheduler is shutting down")]
    ShuttingDown,
    /// The store does not have what the session has seen. The session is over.
    #[error(transparent)]
    Regressed(Regress),
}

impl Closing {
    /// Why one whose connection begins with these bytes is not served here, if so.
    pub fn of_preamble(preamble: [u8; PREAMBLE_BYTES]) -> Option<Closing> {
        match frame::version_of(preamble) {
            Some(WIRE_VERSION) => None,
            Some(client) => Some(Closing::WireVersion { client, server: WIRE_VERSION }),
            None => Some(Closing::NotHeadwater(format!("they begin with `{}`", preamble.escape_ascii()))),
        }
    }

    /// Whether trying again later makes sense. [`Closing::Replaced`] is said to the newest connection of a
    /// session, too, when the hello of an older one, given up long ago, arrives late.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Closing::ShuttingDown | Closing::TooSlow(_) | Closing::Replaced)
            || matches!(self, Closing::Rejected(Rejection::ShuttingDown | Rejection::LogFailed(_)))
    }
}
