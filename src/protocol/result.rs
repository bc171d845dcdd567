//! Results that are too large for the log: workers keep them, and whoever needs one fetches it from there.
//!
//! The log knows what such a result is ([`StoredResult`]) and which workers keep it; where those can be
//! reached, the scheduler tells whoever asks ([`Located`]). One connection brings one result: both sides send
//! the preamble of [`frame`](super::frame), one a [`Fetch`], the other, in frames numbered 0, a
//! [`Fetched::Found`] and pieces, or why not.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::ids::TaskKey;
use super::limits::RESULT_PIECE_BYTES;
use super::message::Closing;
use super::payload::Codec;
use super::session::{EndReason, HeldAttempt};

/// What a result is that workers keep: enough to tell it from any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredResult {
    /// How its bytes are to be read.
    pub codec: Codec,
    /// How many they are; at most [`RESULT_BYTES_MAX`](super::limits::RESULT_BYTES_MAX).
    pub bytes: u64,
    /// The digest of them: see [`Digest::of_result`].
    pub digest: Digest,
}

/// A stored result, and where it can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The task.
    pub key: TaskKey,
    /// The attempt that brought it.
    pub attempt: super::AttemptNumber,
    /// What it is.
    pub result: StoredResult,
    /// Those who keep it and are connected.
    pub holders: Vec<Holder>,
}

impl Located {
    /// The attempt that brought the result, as those who keep it know it.
    pub fn held(&self) -> HeldAttempt {
        HeldAttempt { task: self.key.id, attempt: self.attempt }
    }
}

/// How many keep a result, to whoever wishes for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replication {
    /// It is in the log, as durable as the rest.
    InLog,
    /// Workers keep it.
    Kept {
        /// How many that are there, and do not retire.
        by: u32,
        /// How many are to: as many as was wished for, or all that are there.
        wanted: u32,
        /// Whether another one copies it, or is to, since this was wished for before. Where it is not, and was, one could not.
        under_way: bool,
    },
}

impl Replication {
    /// Whether nothing more is to be done.
    pub fn is_done(self) -> bool {
        match self {
            Replication::InLog => true,
            Replication::Kept { by, wanted, .. } => by >= wanted,
        }
    }
}

/// A worker that keeps a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its name.
    pub worker: Box<str>,
    /// Where it gives results: `host:port`, or `:port` at the host where the scheduler is reached.
    pub address: Box<str>,
}

impl Holder {
    /// Where it gives results, in words.
    pub fn place(&self) -> String {
        match self.address.strip_prefix(':') {
            Some(port) => format!("port {port} of the scheduler's host"),
            None => self.address.to_string(),
        }
    }
}

/// Why a stored result is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LossReason {
    /// The session of the last worker that kept it ended.
    SessionEnded(EndReason),
    /// The worker says that it does not have it.
    Lacking,
    /// The worker retires, and there is no other to give it to.
    Retired,
    /// Nobody needs it but, should they be lost, results that were computed from it.
    Unneeded,
}

impl std::fmt::Display for LossReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LossReason::SessionEnded(reason) => reason.fmt(f),
            LossReason::Lacking => f.write_str("it does not have it any more"),
            LossReason::Retired => f.write_str("it retires, and there is no other to give it to"),
            LossReason::Unneeded => f.write_str("nobody needs it any more"),
        }
    }
}

/// What is asked of a worker that keeps results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The cluster's token, where there is one.
    pub token: Option<String>,
    /// The attempt that brought the result.
    pub result: HeldAttempt,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fetched {
    /// It has the result: its bytes follow in pieces.
    Found(StoredResult),
    /// The next bytes follow this message in the frame: [`RESULT_PIECE_BYTES`], the last ones perhaps fewer.
    Piece,
    /// It does not have it.
    Missing,
    /// It gives nothing to this peer, and why.
    Refused(Closing),
}

impl Digest {
    /// The digest of a stored result: of its bytes in pieces of [`RESULT_PIECE_BYTES`], so that each can be
    /// added as it comes.
    pub fn of_result(bytes: &[u8]) -> Digest {
        bytes.chunks(RESULT_PIECE_BYTES).fold(Digest::default(), Digest::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_result_is_that_of_its_pieces() {
        let bytes: Vec<u8> = (0..RESULT_PIECE_BYTES + 5).map(|at| at as u8).collect();
        let (first, last) = bytes.split_at(RESULT_PIECE_BYTES);
        assert_eq!(Digest::of_result(&bytes), Digest::default().with(first).with(last));
        assert_ne!(Digest::of_result(&bytes), Digest::of_result(first));
    }
}
