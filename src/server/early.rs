//! The beginning of a connection: what it is to be; and the wait of those that come before the store is open, which takes long where
//! it is repaired. They are told so, as while the scheduler recovers.
//!
//! What they send behind their hello is read once the store is open.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::farewell::{FLUSH_MS_MAX, turn_away};
use super::handshake::{self, Greeting, Refusal};
use super::session::{self, RECOVERY_TOLD_EVERY, Shared, TrunkWanted, stopped};
use crate::protocol::Seq;
use crate::protocol::frame::{self, FrameReader};
use crate::protocol::message::{Closing, Hello, ServerMessage};
use crate::protocol::start::{RecoveryProgress, Seen, Start};

/// A connection whose peer has said which session it is, and was not answered yet: its halves, and what has come behind the hello.
pub(super) struct Caller<R, W> {
    pub hello: Box<Hello>,
    pub reader: R,
    pub writer: W,
    behind: FrameReader,
}

/// What a connection is to be.
pub(super) enum Greeted<R, W> {
    /// A session's.
    Caller(Caller<R, W>),
    /// A trunk.
    Trunk(TrunkWanted<R, W>),
}

/// Begins a connection, and answers what it is to be, unless it is turned away.
pub(super) async fn greet<R, W>(
    mut reader: R,
    mut writer: W,
    token: Option<&str>,
    stop: &mut watch::Receiver<bool>,
) -> Option<Greeted<R, W>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let greeted = match handshake::announce(&mut writer).await {
        Ok(()) => tokio::select! {
            greeted = handshake::greet(&mut reader, token) => greeted,
            () = stopped(stop) => Err(Refusal::Closing(Closing::ShuttingDown)),
        },
        Err(refusal) => Err(refusal),
    };
    match greeted {
        Ok((Greeting::Hello(hello), behind)) => {
            Some(Greeted::Caller(Caller { hello, reader, writer, behind }))
        }
        Ok((Greeting::OpenTrunk, behind)) => Some(Greeted::Trunk(TrunkWanted { reader, writer, behind })),
        Err(Refusal::Gone) => {
            tracing::debug!("the peer left before it said hello");
            None
        }
        Err(Refusal::Closing(closing)) => {
            turn_away(reader, writer, closing).await;
            None
        }
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Caller<R, W> {
    /// Serves its session, from the hello on.
    pub async fn converse(self, shared: &Shared, stop: watch::Receiver<bool>) {
        let Caller { hello, reader, writer, behind } = self;
        session::converse(*hello, behind, reader, writer, shared, stop).await;
    }
}

/// Serves one connection, from its first byte on. `shared` is there once the store is open. As
/// [`session::serve`](super::session::serve) it answers where a trunk is wanted.
pub(super) async fn serve<R, W>(
    reader: R,
    writer: W,
    token: Option<&str>,
    mut shared: watch::Receiver<Option<Arc<Shared>>>,
    mut stop: watch::Receiver<bool>,
) -> Option<(TrunkWanted<R, W>, Arc<Shared>)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match greet(reader, writer, token, &mut stop).await? {
        Greeted::Caller(mut caller) => {
            let shared = match wait(&mut caller, &mut shared, &mut stop).await {
                Waited::Opened(shared) => shared,
                Waited::Gone => return None,
                Waited::Stopped => {
                    turn_away(caller.reader, caller.writer, Closing::ShuttingDown).await;
                    return None;
                }
            };
            caller.converse(&shared, stop).await;
            None
        }
        Greeted::Trunk(wanted) => tokio::select! {
            shared = opened(&mut shared) => Some((wanted, shared)),
            () = stopped(&mut stop) => None,
        },
    }
}

enum Waited {
    Opened(Arc<Shared>),
    Stopped,
    /// The peer has left, or takes nothing.
    Gone,
}

/// Waits until the store is open, and says once a second that it is to be waited for.
async fn wait<R, W: AsyncWrite + Unpin>(
    caller: &mut Caller<R, W>,
    shared: &mut watch::Receiver<Option<Arc<Shared>>>,
    stop: &mut watch::Receiver<bool>,
) -> Waited {
    let mut told = Vec::new();
    frame::encode(&mut told, 0, &recovering(&caller.hello)).expect("it is small");
    loop {
        tokio::select! {
            shared = opened(shared) => return Waited::Opened(shared),
            () = stopped(stop) => return Waited::Stopped,
            () = sleep(RECOVERY_TOLD_EVERY) => {}
        }
        // Not broken off in the middle.
        let write = async {
            caller.writer.write_all(&told).await?;
            caller.writer.flush().await
        };
        if !matches!(timeout(Duration::from_millis(FLUSH_MS_MAX), write).await, Ok(Ok(()))) {
            return Waited::Gone;
        }
    }
}

/// That there is nothing to be read yet. What the session has seen it has seen: that is checked as soon as it can be.
fn recovering(hello: &Hello) -> ServerMessage {
    let newest = hello.seen.unwrap_or(Seen { start: Start::default(), seq: Seq(0) });
    ServerMessage::Recovering { start: newest.start, newest, progress: RecoveryProgress::Snapshot(0) }
}

async fn opened(shared: &mut watch::Receiver<Option<Arc<Shared>>>) -> Arc<Shared> {
    if let Ok(there) = shared.wait_for(Option::is_some).await
        && let Some(shared) = &*there
    {
        return Arc::clone(shared);
    }
    std::future::pending().await
}
