//! What can go wrong for a client, by what its caller can do about it.

use std::sync::Arc;
use std::time::Duration;

use super::function::EncodeError;
use super::link::ProtocolError;
use super::millis::millis;
use crate::protocol::command::Rejection;
use crate::protocol::counted::counted;
use crate::protocol::equipment::BadEquipment;
use crate::protocol::ids::BadKey;
use crate::protocol::limits::TooLarge;
use crate::protocol::message::Closing;
use crate::protocol::name::BadName;
use crate::protocol::size::Bytes as Size;
use crate::protocol::{ChannelName, TaskError, TaskKey};

/// A `Result` with an [`enum@Error`], for clients and for task functions alike.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a client cannot have what it asked for. Cheap to clone: one cause may fail many requests.
///
/// It is also an error that a task function can return: `?` turns most errors of the standard library
/// into one, [`Error::other`] any other that implements [`std::error::Error`], [`Error::msg`] a text.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No session could be opened. Check the address, and whether the scheduler runs there.
    #[error("cannot connect to {address}: {why}")]
    Connect {
        /// Where to.
        address: Box<str>,
        /// Why, and what to do next.
        why: Box<str>,
    },
    /// The scheduler ended the session for good: connect anew.
    #[error(transparent)]
    Closed(Closing),
    /// The other side does not keep to the protocol: it is of another version, or a bug.
    #[error("the scheduler broke the protocol: {0}: use the same version of headwater on both sides")]
    Protocol(#[from] ProtocolError),
    /// The scheduler refused this, and nothing was changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The task failed.
    #[error("{0}")]
    Task(Box<TaskError>),
    /// The task was cancelled: submit it again if it is still wanted.
    #[error("task {0} was cancelled: submit it again if it is still wanted")]
    Cancelled(TaskKey),
    /// A task has its result, and the workers that keep it did not give it.
    #[error(
        "the result of {task} cannot be fetched from worker `{worker}` at {address}: {why}: this machine must reach \
         what that worker has as --results-at"
    )]
    Fetch {
        /// The task.
        task: TaskKey,
        /// The worker that was tried last.
        worker: Box<str>,
        /// Where.
        address: Box<str>,
        /// What went wrong there.
        why: Box<str>,
    },
    /// Something is over its limit; nothing was sent.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// So much is on its way that has no answer yet that nothing was sent. See
    /// [`Channel::ready`](super::Channel::ready).
    #[error(
        "{} of appends have no answer yet, and no more than {} may: nothing was sent; await `ready()` before each \
         append, or the acknowledgements of earlier ones", Size(*.bytes), Size(*.max)
    )]
    TooManyInFlight {
        /// How many bytes.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A value that cannot be encoded.
    #[error("the {what} cannot be encoded: {why}")]
    Encode {
        /// What it was to be: `value`, `argument 2`.
        what: Box<str>,
        /// What serde says.
        why: Box<str>,
    },
    /// A value of another type than the one asked for.
    #[error("the {what} cannot be decoded: {why}")]
    Decode {
        /// Where it came from.
        what: Box<str>,
        /// What does not fit.
        why: Box<str>,
    },
    /// An argument that cannot be encoded.
    #[error(transparent)]
    Argument(#[from] EncodeError),
    /// Records of a channel are gone; reading it as elements goes on behind them.
    #[error(
        "the records of channel `{channel}` from {from} up to {first} are gone: reading goes on at {first}"
    )]
    Trimmed {
        /// The channel.
        channel: ChannelName,
        /// The offset that was to be read next.
        from: u64,
        /// The offset of the next record.
        first: u64,
    },
    /// Records of a channel were lost with a damaged store; reading it as elements goes on behind them.
    #[error(
        "the records of channel `{channel}` from {from} up to {to} are lost ({why}): reading goes on at {to}"
    )]
    Damaged {
        /// The channel.
        channel: ChannelName,
        /// The first offset that is lost.
        from: u64,
        /// The offset of the next record.
        to: u64,
        /// Why, in words.
        why: Box<str>,
    },
    /// What was waited for did not come in time.
    #[error("{what} did not come within {timeout_ms} ms: it may still come, wait again or for longer")]
    TimedOut {
        /// What was waited for.
        what: Box<str>,
        /// How long.
        timeout_ms: u64,
    },
    /// A channel was stopped before it had so many elements.
    #[error("channel `{channel}` was stopped at {}: element {index} will never come", counted(*.count, "element"))]
    NoElement {
        /// The channel.
        channel: ChannelName,
        /// The element that was waited for, counted from 0.
        index: u64,
        /// How many it has.
        count: u64,
    },
    /// An element was trimmed.
    #[error("element {index} of channel `{channel}` is gone: read from the start to see what is left")]
    ElementGone {
        /// The channel.
        channel: ChannelName,
        /// The element, counted from 0.
        index: u64,
    },
    /// A function that is no task.
    #[error("{function} is no task: write #[task] above it, and pass it by its name. {}", registered(.tasks))]
    NotATask {
        /// The function, as its type is called.
        function: Box<str>,
        /// The tasks that this program has.
        tasks: Vec<Box<str>>,
    },
    /// A text that cannot name a channel.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// A text that says nothing of what workers have or tasks need.
    #[error(transparent)]
    BadEquipment(#[from] BadEquipment),
    /// A text that is no task key.
    #[error(transparent)]
    BadKey(#[from] BadKey),
    /// This client was closed.
    #[error("this client was closed: connect again to go on")]
    Stopped,
    /// Another error, of a task function's own.
    #[error(transparent)]
    Other(Arc<dyn std::error::Error + Send + Sync>),
}

fn registered(tasks: &[Box<str>]) -> String {
    match tasks {
        [] => "this program has no tasks".to_owned(),
        tasks => format!("the tasks of this program are: {}", tasks.join(", ")),
    }
}

/// Waits for something, and no longer than this.
///
/// # Errors
/// [`Error::TimedOut`], or what went wrong before.
pub(super) async fn within<T>(
    timeout: Duration,
    what: impl FnOnce() -> String,
    wait: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::time::timeout(timeout, wait).await.unwrap_or_else(|_| {
        let timeout_ms = millis(timeout);
        Err(Error::TimedOut { what: what().into(), timeout_ms })
    })
}

impl Error {
    /// An error that is a text.
    pub fn msg(message: impl std::fmt::Display) -> Self {
        message.to_string().into()
    }

    /// Another error; its causes are kept.
    pub fn other(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Error::Other(Arc::new(error))
    }

    pub(super) fn connect(address: &str, why: impl std::fmt::Display) -> Self {
        Error::Connect { address: address.into(), why: why.to_string().into() }
    }

    /// As an error of reading this channel: the scheduler knows logs by their numbers.
    pub(crate) fn of_reading(self, channel: &ChannelName) -> Self {
        match self {
            Error::Rejected(Rejection::PastHead { offset, head, .. }) => {
                Rejection::PastHead { name: format!("channel `{channel}`"), offset, head }.into()
            }
            other => other,
        }
    }

    pub(super) fn decode(what: impl Into<Box<str>>, why: String) -> Self {
        Error::Decode { what: what.into(), why: why.into() }
    }

    pub(super) fn encode(what: impl Into<Box<str>>, why: String) -> Self {
        Error::Encode { what: what.into(), why: why.into() }
    }
}

impl From<Box<dyn std::error::Error + Send + Sync>> for Error {
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        Error::Other(error.into())
    }
}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Box::<dyn std::error::Error + Send + Sync>::from(message).into()
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

/// A blanket implementation would forbid that [`enum@Error`] is an error itself.
macro_rules! from_other {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Error::other(error)
            }
        })+
    };
}

from_other!(
    std::io::Error,
    std::fmt::Error,
    std::num::ParseIntError,
    std::num::ParseFloatError,
    std::num::TryFromIntError,
    std::str::ParseBoolError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    std::env::VarError,
    std::time::SystemTimeError,
    serde_json::Error,
    tokio::task::JoinError,
    tokio::time::error::Elapsed,
);

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn parse(text: &str) -> Result<u8> {
        let number: u8 = text.parse()?;
        if number == 0 {
            Err("zero is too little")?
        }
        Ok(number)
    }

    #[test]
    fn task_functions_return_other_errors_as_they_are() {
        assert_eq!(parse("x").unwrap_err().to_string(), "invalid digit found in string");
        assert_eq!(parse("0").unwrap_err().to_string(), "zero is too little");
        let inner = "x".parse::<u8>().unwrap_err();
        let error = Error::from(std::io::Error::other(inner));
        assert!(error.source().is_some() || error.to_string().contains("invalid digit"));
    }

    #[test]
    fn a_function_that_is_no_task_hears_which_there_are() {
        let error = Error::NotATask { function: "m::f".into(), tasks: vec!["m::add".into()] };
        assert!(error.to_string().ends_with("the tasks of this program are: m::add"), "{error}");
        let error = Error::NotATask { function: "m::f".into(), tasks: vec![] };
        assert!(error.to_string().ends_with("this program has no tasks"), "{error}");
    }
}
