//! The results that a worker keeps: those too large for the log, and copies of other workers'.
//!
//! ```text
//!   attempt ──keep──▶ store: in memory, the oldest spilled ◀──piece── serve ◀── clients, other workers
//!      ▲                ▲            │
//!      └──── held: arguments, copies, what is unwanted ────▶ scheduler: Store, Copied, Lack, Unwanted
//! ```
//!
//! The scheduler decides what is kept, and by whom; here is only what it is told, and what it is told of.
//!
//! Invariants:
//! - A result is in the store before the scheduler hears of it, and until the scheduler says that it is free or
//!   unwanted, or the session ends. With its session all of it is gone.
//! - What comes back from the disk, and what comes from others, has the digest that the scheduler knows, or is
//!   not taken. The scheduler hears of what is lost so.
//! - Memory is bounded by [`Options::memory_bytes`], beside what tasks and fetches have in their hands, as long
//!   as the disk takes what is spilled.

mod held;
mod listen;
mod serve;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::client::blob::Room;
use crate::protocol::limits::PAYLOAD_BYTES_MAX;

pub use self::listen::At;
pub(super) use self::{
    held::{Held, Told},
    listen::Listener,
};

/// How many bytes of results a worker keeps in memory unless told otherwise: 256 MiB.
pub const MEMORY_BYTES: u64 = 256 * 1024 * 1024;

/// What comes from a peer and is larger than this part of what may be in memory goes to a file at once: an eighth, so that some can
/// come at one time.
const FETCHED_PART: u64 = 8;

/// Where a worker keeps results, and where it gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where others fetch them.
    pub at: At,
    /// How many bytes of them stay in memory; what is beyond goes to temporary files, the oldest first.
    pub memory_bytes: u64,
    /// Where these files are: without a name, and gone with the process however it ends. Unless given, in the
    /// system's temporary directory.
    pub spill_dir: Option<PathBuf>,
}

impl Options {
    /// Where a task's result is put while it is encoded: what has no room in memory would be spilled at once.
    pub(super) fn room(&self) -> Room {
        Room { memory_bytes: self.memory_bytes.max(PAYLOAD_BYTES_MAX as u64), dir: self.spill_dir.clone() }
    }

    /// Where a result is put that is fetched.
    fn room_for_fetched(&self) -> Room {
        Room { memory_bytes: self.memory_bytes / FETCHED_PART, dir: self.spill_dir.clone() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options { at: At::Local, memory_bytes: MEMORY_BYTES, spill_dir: None }
    }
}
