//! What handles ask of the actor.

use tokio::sync::{mpsc, oneshot};

use super::ReadItem;
use super::membership::MemberItem;
use super::run::Taker;
use crate::client::error::Result;
use crate::protocol::command::{Answer, AppendOptions, Command, Query};
use crate::protocol::group::{GroupId, Stretch};
use crate::protocol::message::{Position, Reads};
use crate::protocol::start::Seen;
use crate::protocol::{ChannelName, LogId, Outcome, TaskId};

/// Something that a handle asks for, in the order of the session.
#[derive(Debug)]
pub(super) enum Call {
    Command(Command, oneshot::Sender<Result<Answer>>),
    Append {
        log: LogId,
        run: Taker,
        options: AppendOptions,
    },
    Query(Query, oneshot::Sender<Result<Answer>>),
    FindChannel(ChannelName, oneshot::Sender<Result<Answer>>),
    Watch(TaskId, oneshot::Sender<Result<Outcome>>),
    Retire(oneshot::Sender<Result<Answer>>),
    Flush(Option<LogId>, oneshot::Sender<Result<Vec<Seen>>>),
    Release(TaskId),
    Subscribe {
        id: u64,
        log: LogId,
        from: Position,
        reads: Reads,
        items: mpsc::UnboundedSender<Result<ReadItem>>,
    },
    Consumed {
        id: u64,
        bytes: u64,
    },
    Unsubscribe {
        id: u64,
    },
    Join {
        group: GroupId,
        window: u32,
        items: mpsc::UnboundedSender<Result<MemberItem>>,
    },
    Leave {
        group: GroupId,
        untried: Vec<Stretch>,
    },
    /// Whoever flushed knows that this is gone, of a log or of all.
    Undone {
        log: Option<LogId>,
        acked: Seen,
    },
    Close(oneshot::Sender<()>),
}
