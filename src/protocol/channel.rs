//! Channels: their names, their elements, and what becomes of the futures on them.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::event::Origin;
use super::ids::{AttemptNumber, LogId, TaskKey};
use super::limits::{FLUSH_MS_MAX, TooLarge};
use super::name::name;
use super::payload::{Lent, Payload};
use super::rejection::Rejection;
use super::result::StoredResult;
use super::task::{Advance, TaskError};

/// The task log's name as a channel that can be read.
pub const TASKS_CHANNEL: &str = "$tasks";

name! {
    /// A channel's name: 1 to [`NAME_BYTES_MAX`](super::limits::NAME_BYTES_MAX) bytes of letters, digits, and `. _ - / :`.
    ///
    /// Names that begin with `$` are the scheduler's own (`$tasks`): they can be read, never written.
    ChannelName, "channel", |name| name.strip_prefix('$').unwrap_or(name)
}

impl ChannelName {
    /// Whether the channel is the scheduler's own.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The task had failed or was cancelled, and is tried again, as somebody asked for: a start and an end follow again.
    Renewed,
    /// The running attempt has said how far it has come.
    Advanced(Advance),
}

impl Progress {
    /// Whether the task has ended with this. Behind [`Progress::Stored`] more may come, if that is lost, and behind
    /// [`Progress::Failed`] and [`Progress::Cancelled`], if it is tried again.
    pub fn is_final(&self) -> bool {
        !matches!(
            self,
            Progress::Started { .. } | Progress::Lost { .. } | Progress::Renewed | Progress::Advanced(_)
        )
    }
}

/// What a channel keeps of its newest elements; without bounds, all. What is over one of the bounds is trimmed with
/// the commit that makes it so, or, by age, within about a second. A cursor may hold it back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Most elements, at least 1.
    pub max_elements: Option<u64>,
    /// In ms, at least 1: elements older than this go, none goes earlier. Late is at most a second and a twentieth of this.
    pub max_age_ms: Option<u64>,
    /// Most bytes of values, at least 1, counted as they are encoded; the newest commit's stay in any case. Trimmed is so
    /// that up to a twentieth less is kept.
    pub max_bytes: Option<u64>,
}

impl Retention {
    /// Keeps everything.
    pub const ALL: Retention = Retention { max_elements: None, max_age_ms: None, max_bytes: None };

    /// Keeps this many elements.
    #[must_use]
    pub fn with_elements(self, max: u64) -> Self {
        Retention { max_elements: Some(max), ..self }
    }

    /// Keeps values of so many bytes.
    #[must_use]
    pub fn with_bytes(self, max: u64) -> Self {
        Retention { max_bytes: Some(max), ..self }
    }
}

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// Once it is on the disk (`fdatasync`): neither a crash nor a power failure takes it away.
    #[default]
    Fsynced,
    /// Once the scheduler has written it, which leaves it to the system to bring it to the disk. The end of the
    /// scheduler's process takes nothing away, a SIGKILL neither. A power failure, or a crash of the machine, within
    /// this time may take it away, with all that came behind it, and its offsets may be given to others then.
    Buffered {
        /// At most so long after it was written begins what brings it to the disk (`fdatasync`), in ms by the scheduler's
        /// clock: 1 to [`FLUSH_MS_MAX`].
        flush_ms: u32,
    },
}

impl Durability {
    /// Checks the time within which is flushed.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] for none, [`Rejection::TooLarge`] for too much.
    pub fn check(self) -> Result<(), Rejection> {
        let Durability::Buffered { flush_ms } = self else { return Ok(()) };
        if flush_ms == 0 {
            let why =
                "what is to be on the disk within 0 ms is waited for: give at least 1 ms, or say `fsynced`";
            return Err(Rejection::Invalid(why.to_owned()));
        }
        let (what, hint) =
            ("the time within which is flushed, in ms,", "give less: a power failure takes away so much");
        Ok(TooLarge::check(what, flush_ms as usize, FLUSH_MS_MAX as usize, hint)?)
    }
}

/// What a channel is made with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelOptions {
    /// What it keeps.
    pub retention: Retention,
    /// When appends to it are acknowledged that do not say it themselves.
    pub durability: Durability,
}

impl From<Retention> for ChannelOptions {
    fn from(retention: Retention) -> Self {
        ChannelOptions { retention, ..ChannelOptions::default() }
    }
}

impl From<Durability> for ChannelOptions {
    fn from(durability: Durability) -> Self {
        ChannelOptions { durability, ..ChannelOptions::default() }
    }
}

/// Why elements of a channel were trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrimCause {
    /// Somebody asked for it.
    Asked(Origin),
    /// There were more than [`Retention::max_elements`].
    Elements,
    /// They were older than [`Retention::max_age_ms`].
    Age,
    /// They took more than [`Retention::max_bytes`].
    Bytes,
}

/// What the scheduler knows of a channel without reading its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelInfo {
    /// The name.
    pub name: ChannelName,
    /// Its log.
    pub log: LogId,
    /// The offset of the first record that is kept; the head when none is.
    pub first: u64,
    /// The offset after the last record.
    pub head: u64,
    /// How many elements were ever appended.
    pub elements: u64,
    /// How many of these are trimmed: the index of the first that is kept.
    pub trimmed: u64,
    /// How many bytes the values that are kept take, as they are encoded; an estimate when some that came in one commit
    /// with them are trimmed.
    pub bytes: u64,
    /// What it keeps.
    pub retention: Retention,
    /// Whether it takes no more elements.
    pub stopped: bool,
    /// The running digest of its elements.
    pub digest: Digest,
    /// When appends to it are acknowledged that do not say it themselves.
    pub durability: Durability,
}

impl ChannelInfo {
    /// What is known of a log whose records are counted and nothing else: the task log.
    pub fn of_records(name: ChannelName, log: LogId, first: u64, head: u64) -> Self {
        let (elements, trimmed, bytes, retention) = (0, 0, 0, Retention::ALL);
        let (digest, durability, stopped) = Default::default();
        ChannelInfo {
            name,
            log,
            first,
            head,
            elements,
            trimmed,
            bytes,
            retention,
            stopped,
            digest,
            durability,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::limits::NAME_BYTES_MAX;

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
        // The longest, counted in bytes.
        for (good, bad) in [("x".repeat(200), "x".repeat(201)), ("ö".repeat(100), "ö".repeat(101))] {
            assert!(ChannelName::new(&good).is_ok());
            let error = ChannelName::new(&bad).unwrap_err().to_string();
            assert!(error.contains("cannot name a channel: it is too long; use 1 to 200 bytes"), "{error}");
        }
    }
}
