//! The facts: what the logs hold. Variants are appended, never reordered; `tests/it/formats.rs` pins
//! the bytes of each.

mod channel;
mod task;

use serde::{Deserialize, Serialize};

pub use self::channel::{Appended, ChannelEvent};
pub use self::task::{Receipt, TaskEvent, TaskResult};
use super::ids::Producer;

/// A command's place in its session: the session's short number, and the command's own number in it.
/// A command that is sent again carries the same one, and finds its first answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The session.
    pub producer: Producer,
    /// The command's number in the session, growing.
    pub number: u64,
}
