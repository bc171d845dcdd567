//! Cursors: named places up to which a channel has been read.

use serde::{Deserialize, Serialize};

use super::channel::ChannelName;
use super::ids::LogId;
use super::name::name;

name! {
    /// A cursor's name, of those of its channel: 1 to [`NAME_BYTES_MAX`](super::limits::NAME_BYTES_MAX) bytes of letters,
    /// digits, and `. _ - / :`.
    CursorName, "cursor", |name| name
}

/// A cursor is set to a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorMove {
    /// The channel's log.
    pub log: LogId,
    /// Which cursor; it is made when it is not there.
    pub name: CursorName,
    /// The offset of the record that is to be read next, at most the channel's head.
    pub offset: u64,
    /// Only if it is here; a cursor that is not there is at 0.
    pub from: Option<u64>,
    /// For how long after this the channel keeps, whatever its bounds, what the cursor has not passed: in ms; 0 for not at
    /// all, which leaves a channel to its bounds.
    pub pin_ms: u64,
}

/// What is known of a cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CursorInfo {
    /// The channel.
    pub channel: ChannelName,
    /// Which cursor.
    pub name: CursorName,
    /// The offset of the record that is to be read next.
    pub offset: u64,
    /// How many elements of the channel are at this place or behind it.
    pub lag: u64,
    /// For how long after it was set the channel keeps what it has not passed; 0 for not at all.
    pub pin_ms: u64,
    /// Whether elements are kept for its sake now that are over the channel's bounds.
    pub holds_back: bool,
}
