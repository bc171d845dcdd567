//! Channels: their names, their elements, and what becomes of the futures on them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::ids::{AttemptNumber, LogId, TaskKey};
use super::limits::NAME_BYTES_MAX;
use super::payload::{Lent, Payload};
use super::result::StoredResult;
use super::task::TaskError;

/// The task log's name as a channel that can be read.
pub const TASKS_CHANNEL: &str = "$tasks";

/// A channel's name: 1 to [`NAME_BYTES_MAX`] bytes of letters, digits, and `. _ - / :`.
///
/// Names that begin with `$` are the scheduler's own (`$tasks`): they can be read, never written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelName(Box<str>);

/// A text that no channel can be named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{name}` cannot name a channel: {why}; use 1 to {NAME_BYTES_MAX} bytes of letters, digits and `. _ - / :`"
)]
pub struct BadChannelName {
    name: String,
    why: &'static str,
}

impl ChannelName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`BadChannelName`] says what is wrong with it.
    pub fn new(name: &str) -> Result<Self, BadChannelName> {
        let bare = name.strip_prefix('$').unwrap_or(name);
        let allowed = |c: char| c.is_alphanumeric() || ".-_/:".contains(c);
        let why = if bare.is_empty() {
            "it is empty"
        } else if name.len() > NAME_BYTES_MAX {
            "it is too long"
        } else if !bare.chars().all(allowed) {
            "it has other characters"
        } else {
            return Ok(ChannelName(name.into()));
        };
        Err(BadChannelName { name: name.chars().take(80).collect(), why })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the channel is the scheduler's own.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ChannelName {
    type Err = BadChannelName;
    fn from_str(name: &str) -> Result<Self, BadChannelName> {
        ChannelName::new(name)
    }
}

impl TryFrom<String> for ChannelName {
    type Error = BadChannelName;
    fn try_from(name: String) -> Result<Self, BadChannelName> {
        ChannelName::new(&name)
    }
}

impl From<ChannelName> for String {
    fn from(name: ChannelName) -> String {
        name.0.into()
    }
}

/// What a client appends to a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Element {
    /// A future: the channel keeps its task alive and takes records of its progress.
    Future(TaskKey),
    /// A small value.
    Value(Payload),
}

/// An [`Element`] whose value lies elsewhere. The bytes are the same.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum LentElement<'a> {
    /// A future.
    Future(TaskKey),
    /// A small value.
    #[serde(borrow)]
    Value(Lent<'a>),
}

/// What became of a future on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// An attempt was given to a worker.
    Started {
        /// Which attempt.
        attempt: AttemptNumber,
        /// The worker's name.
        worker: Box<str>,
    },
    /// The task has its result.
    Finished {
        /// The result.
        result: Payload,
    },
    /// The task has failed for good.
    Failed {
        /// Why.
        error: Box<TaskError>,
    },
    /// The task was cancelled.
    Cancelled,
    /// The task has its result, which workers keep.
    Stored {
        /// What it is.
        result: StoredResult,
    },
    /// The stored result is lost with the last worker that kept it. It is computed anew: a start and an end
    /// follow again.
    Lost {
        /// The worker's name.
        worker: Box<str>,
    },
}

impl Progress {
    /// Whether the task has ended with this. Behind [`Progress::Stored`] more may come, if that is lost.
    pub fn is_final(&self) -> bool {
        !matches!(self, Progress::Started { .. } | Progress::Lost { .. })
    }
}

/// What the scheduler knows of a channel without reading its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelInfo {
    /// The name.
    pub name: ChannelName,
    /// Its log.
    pub log: LogId,
    /// The offset after the last record.
    pub head: u64,
    /// How many elements were ever appended.
    pub elements: u64,
    /// Whether it takes no more elements.
    pub stopped: bool,
    /// The running digest of its elements.
    pub digest: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "adds", "builds/2026-11-23", "größe", "$tasks", "x:y.z_w"] {
            assert_eq!(ChannelName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "$", "two words", "a\nb", "a*", &"x".repeat(NAME_BYTES_MAX + 1)] {
            let error = ChannelName::new(bad).unwrap_err().to_string();
            assert!(error.contains("letters, digits"), "{error}");
        }
        assert!(ChannelName::new("$tasks").unwrap().is_reserved());
    }
}
