//! What clients and workers ask the scheduler without changing anything.

use serde::{Deserialize, Serialize};

use super::channel::ChannelName;
#[cfg(doc)]
use super::command::Answer;
#[cfg(doc)]
use super::command::Rejection;
use super::cursor::CursorName;
use super::group::GroupName;
use super::ids::{LogId, Producer, Seq, TaskId};
use super::producer::ProducerName;
use super::session::HeldAttempt;
use super::start::Seen;

/// A question; it changes nothing. The answer is as of a moment that is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// All channels, by name; at most [`LISTING_ROWS_MAX`](super::limits::LISTING_ROWS_MAX) after
    /// `after`. Answer: [`Answer::Channels`].
    Channels {
        /// Only names after this one.
        after: Option<ChannelName>,
    },
    /// One channel, `$tasks` too. Answer: [`Answer::Channel`].
    Channel {
        /// Its name.
        name: ChannelName,
    },
    /// Tasks in the order of their submission; at most
    /// [`LISTING_ROWS_MAX`](super::limits::LISTING_ROWS_MAX), and no more than fit a frame: ask on from
    /// the last until none comes. Answer: [`Answer::Tasks`].
    Tasks {
        /// Only tasks submitted at this offset of the task log or later.
        from: u64,
    },
    /// One task. Answer: [`Answer::Task`].
    Task {
        /// The task.
        task: TaskId,
    },
    /// The log and the cluster at a glance. Answer: [`Answer::Overview`].
    Overview,
    /// What is stored, for those who copy all of it: the newest durable commit, and a page of the logs, at
    /// most [`LISTING_ROWS_MAX`](super::limits::LISTING_ROWS_MAX). Ask on from the last until none comes.
    /// Answered from the logs, not from the state. Answer: [`Answer::Stored`].
    Stored {
        /// Only logs behind this one.
        after: Option<LogId>,
    },
    /// Pieces of a snapshot: at least one, and more as long as they are under
    /// [`SNAPSHOT_BYTES_MAX`](super::limits::SNAPSHOT_BYTES_MAX) together. The server keeps the file open that
    /// was asked for last, so that it can be read to its end when it is dropped meanwhile. Answer:
    /// [`Answer::SnapshotPieces`].
    SnapshotPieces {
        /// Its commit.
        at: Seq,
        /// The number of the first piece, from 0.
        from: u64,
    },
    /// The workers in the order in which they joined, those that are away and waited for too; at most
    /// [`LISTING_ROWS_MAX`](super::limits::LISTING_ROWS_MAX), and no more than fit a frame: ask on from the
    /// last until none comes. Answer: [`Answer::Workers`].
    Workers {
        /// Only those whose session is newer than this one.
        after: Producer,
    },
    /// One worker. Answer: [`Answer::Workers`] with one row.
    Worker {
        /// Its session.
        worker: Producer,
    },
    /// From a worker: which of these results, at most
    /// [`LISTING_ROWS_MAX`](super::limits::LISTING_ROWS_MAX), it need not keep. It asks for all that it keeps
    /// whenever it is welcomed: it may have missed [`ServerMessage::Free`](super::message::ServerMessage::Free).
    /// Answer: [`Answer::Unwanted`].
    Unwanted {
        /// The attempts that brought them.
        results: Vec<HeldAttempt>,
    },
    /// The cursors of a channel, by name; at most [`LISTING_ROWS_MAX`](super::limits::LISTING_ROWS_MAX). Answer:
    /// [`Answer::Cursors`].
    Cursors {
        /// The channel's log.
        log: LogId,
        /// Only names after this one.
        after: Option<CursorName>,
    },
    /// How many subscriptions read a channel now. Answer: [`Answer::Subscribers`].
    Subscribers {
        /// The channel's log.
        log: LogId,
    },
    /// The groups of a channel, by name; at most [`LISTING_ROWS_MAX`](super::limits::LISTING_ROWS_MAX). Answer:
    /// [`Answer::Groups`].
    Groups {
        /// The channel's log.
        log: LogId,
        /// Only names after this one.
        after: Option<GroupName>,
    },
    /// The named producers of a channel, by name; at most [`LISTING_ROWS_MAX`](super::limits::LISTING_ROWS_MAX). Answer:
    /// [`Answer::Producers`].
    Producers {
        /// The channel's log.
        log: LogId,
        /// Only names after this one.
        after: Option<ProducerName>,
    },
    /// Make durable all that was acknowledged so far, and see whether it is all there. Answer: [`Answer::Durable`], or
    /// [`Rejection::Undone`] when the store does not have it any more.
    Durable {
        /// The newest commit of which something was acknowledged before it was durable, and whose it was.
        acked: Seen,
    },
    /// Why a task is where it is, or does not run. Answer: [`Answer::Explained`].
    Explain {
        /// The task.
        task: TaskId,
    },
}
