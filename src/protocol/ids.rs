//! Numbers and identities.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::limits::NAME_BYTES_MAX;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The number of a log: 0 is the task log, every other one a channel, in order of creation.
    LogId(u32)
}
number! {
    /// The number of a commit, dense from 1 over the life of a store. 0 means: before the first.
    Seq(u64)
}
number! {
    /// How often the scheduler has been started on a store, from 1.
    Epoch(u64)
}
number! {
    /// The identity of one start of the scheduler: a random number, so that starts of the same number on two
    /// copies of a store can be told apart.
    StartId(u64)
}
number! {
    /// Which try at a task, from 1. A newer attempt fences the older ones.
    AttemptNumber(u32)
}
number! {
    /// A session's short number inside the logs, dense from 1 in order of opening.
    Producer(u64)
}

impl LogId {
    /// The task log, readable as the channel `$tasks`.
    pub const TASKS: LogId = LogId(0);
}

impl Seq {
    /// The commit after this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

/// The identity of a task, 128 bits: a UUID v7, or a hash (see [`TaskKey`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskId(pub [u8; 16]);

impl Hash for TaskId {
    /// By its second half: in a UUID v7 the first is the time, which neighbours have in common.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        state.write_u64(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// The identity of a session, a UUID v7 that the client makes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub [u8; 16]);

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8; 16]) -> fmt::Result {
    write!(f, "{:032x}", u128::from_be_bytes(*bytes))
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}
impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// A task's identity and the name that people read in front of it: `add-0193f1c2…`.
///
/// The identity is one of
/// - a UUID v7, for a call of its own ([`TaskKey::unique`]);
/// - the hash of function, version and arguments, for a pure function, so that the same call is the
///   same task for every client and after every restart ([`TaskKey::pure`]);
/// - the hash of a name that the user gave ([`TaskKey::named`]).
///
/// The label is not part of the identity. It is at most [`NAME_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskKey {
    /// The identity.
    pub id: TaskId,
    /// The function's short name, or the name that the user gave.
    pub label: CompactString,
}

impl TaskKey {
    /// The key of a call that is like no other. `uuid` is a fresh UUID v7.
    pub fn unique(label: &str, uuid: [u8; 16]) -> Self {
        TaskKey { id: TaskId(uuid), label: label.into() }
    }

    /// The key of a call of a pure function. `arguments` are the call's encoded arguments.
    pub fn pure(label: &str, function: &str, version: u32, arguments: &[u8]) -> Self {
        let mut hash = Xxh3::new();
        hash.update(b"pure\0");
        hash.update(function.as_bytes());
        hash.update(&[0]);
        hash.update(&version.to_le_bytes());
        hash.update(arguments);
        TaskKey { id: TaskId(hash.digest128().to_be_bytes()), label: label.into() }
    }

    /// The key that a user's own name stands for.
    pub fn named(name: &str) -> Self {
        let mut hash = Xxh3::new();
        hash.update(b"named\0");
        hash.update(name.as_bytes());
        TaskKey { id: TaskId(hash.digest128().to_be_bytes()), label: name.into() }
    }

    /// The label of a task of which only the identity is known.
    pub const ANY_LABEL: &str = "task";

    /// Whether this key, as somebody gave it, is that of `other`: both have the same identity, and the same label. One that
    /// was left out, or is [`Self::ANY_LABEL`], is any.
    pub fn is_of(&self, other: &TaskKey) -> bool {
        let is_any = self.label.is_empty() || &*self.label == TaskKey::ANY_LABEL;
        self.id == other.id && (is_any || self.label == other.label)
    }

    /// The short name of a function: its last path segment.
    pub fn label_of(function: &str) -> &str {
        function.rsplit("::").next().unwrap_or(function)
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.label, self.id)
    }
}

/// A text that is neither a key's full form nor a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a task key: give the whole key as `task list` prints it, or the name the task was given"
)]
pub struct BadKey(String);

impl FromStr for TaskKey {
    type Err = BadKey;

    /// Reads `label-` and 32 hexadecimal digits; any other text is a name that a user gave.
    fn from_str(text: &str) -> Result<Self, BadKey> {
        if text.is_empty() || text.len() > NAME_BYTES_MAX + 33 {
            return Err(BadKey(text.to_owned()));
        }
        if let Some((label, digits)) = text.rsplit_once('-')
            && digits.len() == 32
            && let Ok(id) = u128::from_str_radix(digits, 16)
        {
            return Ok(TaskKey { id: TaskId(id.to_be_bytes()), label: label.into() });
        }
        Ok(TaskKey::named(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_as_it_prints() {
        for key in [
            TaskKey::unique("add", [7; 16]),
            TaskKey::pure("add", "rust:m::add", 1, b"x"),
            TaskKey::named("nightly-build"),
        ] {
            assert_eq!(key.to_string().parse::<TaskKey>(), Ok(key));
        }
    }

    #[test]
    fn a_key_is_of_a_task_by_its_identity_and_by_its_label_where_it_has_one() {
        let (add, sum) = (TaskKey::unique("add", [7; 16]), TaskKey::unique("sum", [7; 16]));
        for any in [format!("-{}", add.id), format!("task-{}", add.id)] {
            let any: TaskKey = any.parse().unwrap();
            assert!(add.is_of(&add) && any.is_of(&add) && any.is_of(&sum));
        }
        assert!(!sum.is_of(&add) && !TaskKey::unique("add", [8; 16]).is_of(&add));
    }

    #[test]
    fn a_bare_name_means_the_task_of_that_name() {
        assert_eq!("nightly-build".parse::<TaskKey>(), Ok(TaskKey::named("nightly-build")));
        assert!("".parse::<TaskKey>().is_err());
    }

    #[test]
    fn a_pure_key_depends_on_function_version_and_arguments() {
        let key = |function, version, arguments| TaskKey::pure("f", function, version, arguments).id;
        assert_eq!(key("m::f", 1, b"x"), key("m::f", 1, b"x"));
        assert_ne!(key("m::f", 1, b"x"), key("m::g", 1, b"x"));
        assert_ne!(key("m::f", 1, b"x"), key("m::f", 2, b"x"));
        assert_ne!(key("m::f", 1, b"x"), key("m::f", 1, b"y"));
    }
}
