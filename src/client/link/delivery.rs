//! What comes out of a link: what the messages brought, and what must not come in one.

use super::CREDIT_BYTES;
use crate::protocol::batch::{BadBatch, Batch};
use crate::protocol::command::{Answer, Rejection};
use crate::protocol::group::{GroupEnd, GroupId, Leased};
use crate::protocol::message::{Assignment, Closing, ServerMessage};
use crate::protocol::result::Located;
use crate::protocol::session::Retire;
use crate::protocol::start::RecoveryProgress;
use crate::protocol::{AttemptNumber, Epoch, LogId, Outcome, TaskId, TimeMs};

/// What a message from the server brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The session is open on this connection.
    Welcome {
        /// The scheduler's epoch.
        epoch: Epoch,
        /// How long the scheduler waits for the session while it cannot be heard.
        lease_ms: u64,
        /// What its clock shows.
        now_ms: TimeMs,
    },
    /// The scheduler still recovers: the welcome comes later, and logs are found and read until then. Comes again and
    /// again.
    Recovering {
        /// How far it is.
        progress: RecoveryProgress,
    },
    /// What became of a command or query.
    Answer {
        /// Its number.
        number: u64,
        /// The answer.
        answer: Result<Answer, Rejection>,
    },
    /// How a watched task ended. It is not watched any more.
    Settled {
        /// The task.
        task: TaskId,
        /// How.
        outcome: Outcome,
    },
    /// A watched task is not known. It is not watched any more.
    Unknown {
        /// The task.
        task: TaskId,
    },
    /// A subscription began; once, before anything else of it.
    Subscribed {
        /// The subscription.
        subscription: u64,
        /// The offset of the first record that will come.
        from: u64,
    },
    /// The next records of a subscription.
    Records {
        /// The subscription.
        subscription: u64,
        /// The records, whole and checked.
        batch: Batch,
        /// The first offset in it that is wanted; those before were not asked for, or came already.
        from: u64,
    },
    /// A subscription has reached what was the head then; once.
    CaughtUp {
        /// The subscription.
        subscription: u64,
        /// The head.
        head: u64,
    },
    /// Records of a subscription are gone.
    Trimmed {
        /// The subscription.
        subscription: u64,
        /// The offset that was to come next.
        from: u64,
        /// The first that there is.
        first: u64,
    },
    /// A subscription is refused and over. [`Rejection::PastHead`] for one that had begun means that
    /// the log went backwards: the store was replaced by an older one.
    SubscriptionRefused {
        /// The subscription.
        subscription: u64,
        /// Why.
        rejection: Rejection,
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
    /// To a worker: retire.
    Retire(Retire),
    /// To a worker: this stored result is not needed any more.
    Free {
        /// The task.
        task: TaskId,
        /// The attempt that brought it.
        attempt: AttemptNumber,
    },
    /// To a worker: keep a copy of this stored result.
    Copy(Located),
    /// To a member of a group: these elements are leased to it.
    Leased {
        /// The group.
        group: GroupId,
        /// They, and how.
        leased: Leased,
    },
    /// To a member of a group: it is leased nothing more.
    GroupEnded {
        /// The group.
        group: GroupId,
        /// Why.
        why: GroupEnd,
    },
    /// The session is over for good, and everything outstanding fails with it.
    Closed(Closing),
}

/// A message that the protocol does not allow here. When it concerns one [`Self::subscription`], the
/// others may go on; else the other side is no scheduler of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A message at a time when it makes no sense.
    #[error("{what} came {when}")]
    Unexpected {
        /// The message.
        what: &'static str,
        /// Where the session stood.
        when: &'static str,
    },
    /// An answer to what was never asked.
    #[error("a message with number {0}, which was never used")]
    UnknownNumber(u64),
    /// Bytes that do not decode.
    #[error("a message does not decode: {0}")]
    Undecodable(String),
    /// A batch that is damaged.
    #[error("{why}")]
    Batch {
        /// The subscription.
        subscription: u64,
        /// What is wrong with it.
        why: BadBatch,
    },
    /// A batch of a log that was not asked for.
    #[error("records of log {found} came where log {log} is read")]
    WrongLog {
        /// The subscription.
        subscription: u64,
        /// The log that is read.
        log: LogId,
        /// The batch's.
        found: LogId,
    },
    /// Records are missing.
    #[error("log {log} went on at offset {found} instead of {expected}, and nothing was said of a trim")]
    Gap {
        /// The subscription.
        subscription: u64,
        /// The log.
        log: LogId,
        /// The offset that was to come next.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// More bytes than there was credit for.
    #[error("{bytes} bytes of log {log} came unasked, over the credit of {CREDIT_BYTES}")]
    OverCredit {
        /// The subscription.
        subscription: u64,
        /// The log.
        log: LogId,
        /// Bytes that have not been consumed.
        bytes: u64,
    },
}

impl ProtocolError {
    /// The subscription that is broken, when it is no more than one.
    pub fn subscription(&self) -> Option<u64> {
        match *self {
            ProtocolError::Batch { subscription, .. }
            | ProtocolError::WrongLog { subscription, .. }
            | ProtocolError::Gap { subscription, .. }
            | ProtocolError::OverCredit { subscription, .. } => Some(subscription),
            _ => None,
        }
    }

    pub(super) fn unexpected(message: &ServerMessage, when: &'static str) -> Self {
        let what = match message {
            ServerMessage::Welcome { .. } => "a welcome",
            ServerMessage::Closing(_) => "a closing",
            ServerMessage::Answer(_) => "an answer",
            ServerMessage::Settled { .. } | ServerMessage::Unknown { .. } => "news of a task",
            ServerMessage::Subscribed { .. }
            | ServerMessage::SubscriptionRefused(_)
            | ServerMessage::Records
            | ServerMessage::CaughtUp { .. }
            | ServerMessage::Trimmed { .. } => "a message of a subscription",
            ServerMessage::Assign(_)
            | ServerMessage::Abort { .. }
            | ServerMessage::Retire(_)
            | ServerMessage::Free { .. }
            | ServerMessage::Copy(_) => "a worker's message",
            ServerMessage::Leased { .. } | ServerMessage::GroupEnded { .. } => "a message of a group",
            ServerMessage::Pong => "a pong",
            ServerMessage::Durable { .. } | ServerMessage::Recovering { .. } => "news of the scheduler",
            ServerMessage::TrunkOpened { .. } => "news of a trunk",
        };
        ProtocolError::Unexpected { what, when }
    }
}
