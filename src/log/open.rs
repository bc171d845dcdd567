//! What can come out of opening a store.

use std::io;
use std::path::{Path, PathBuf};

use super::{Last, space};

/// What was found when a store was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Whether the store is new: nothing was ever committed to it.
    pub fresh: bool,
    /// What is wrong with the store, in words, when something is: it is behind its `head` file.
    pub damage: Option<String>,
}

/// Why a store was not opened, by what one can do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another handle in this one, has it.
    #[error("the store {dir} is held by another process: stop that one, or use another directory")]
    HeldByAnotherProcess {
        /// The store's directory.
        dir: PathBuf,
    },
    /// It was written by a newer build.
    #[error(
        "store version {found} is newer than {ours}: run a newer headwater, or restore a backup of version {ours}"
    )]
    NewerFormat {
        /// Its version.
        found: u16,
        /// The newest that this build can read.
        ours: u16,
    },
    /// The system refused a file or directory.
    #[error("the store {dir} cannot be opened: {why}")]
    Io {
        /// The store's directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        why: io::Error,
    },
    /// There is no room.
    #[error(
        "the store {dir} cannot be opened, the disk is full: free some space there and start again; \
         everything that was acknowledged is there"
    )]
    Full {
        /// The store's directory.
        dir: PathBuf,
    },
    /// Its content makes no sense.
    #[error(
        "the store {dir} is damaged: {why}; a start without --no-repair, or `headwater log repair`, keeps it and \
         goes on with all that is whole"
    )]
    Damaged {
        /// The store's directory.
        dir: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl OpenError {
    /// That the system refused.
    pub(super) fn io(dir: &Path, why: io::Error) -> Self {
        let dir = dir.to_owned();
        if space::is_want_of_room(&why) { OpenError::Full { dir } } else { OpenError::Io { dir, why } }
    }
}

/// What is wrong, when a store whose newest commit is `store` lies beside a head file that says `head`.
pub(super) fn behind(store: Last, head: Last) -> Option<String> {
    let what = if store.seq < head.seq {
        "has lost its newest commits"
    } else if store.seq == head.seq && store != head {
        "holds another newest commit than it should"
    } else {
        return None;
    };
    let words = |last: Last| format!("commit {}, epoch {}, digest {}", last.seq, last.epoch, last.digest);
    Some(format!(
        "the store {what}: it ends at {}; the head file beside it says {}",
        words(store),
        words(head)
    ))
}
