//! The last of a connection: why it ends, and what is said then, to the driver and to the peer.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::handshake;
use super::outbox::{Ended, Outbox};
use super::session::Entry;
use crate::protocol::command::Rejection;
use crate::protocol::frame;
use crate::protocol::message::{Closing, ServerMessage};
use crate::scheduler::{Connected, Departure, Handle};

/// How long a connection that ends may take to send what is left and to be closed by its peer: 5 s.
pub(super) const FLUSH_MS_MAX: u64 = 5_000;

/// Why a session's connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client said goodbye.
    Goodbye,
    /// The peer closed the connection or it broke.
    Left(io::Error),
    /// The peer was silent for its lease.
    Silent(u64),
    /// The driver let it go.
    Released,
    /// The peer is to be told why.
    Closing(Closing),
}

impl From<Ended> for End {
    fn from(ended: Ended) -> End {
        match ended {
            Ended::Released => End::Released,
            Ended::Gone(error) => End::Left(error),
            Ended::TooSlow(bytes) => End::Closing(Closing::TooSlow(bytes)),
        }
    }
}

/// Tells the driver, then the peer, each as the end demands.
pub(super) async fn finish<R, W>(end: End, entry: Entry, handle: &Handle, reader: R, mut outbox: Outbox<W>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match &end {
        End::Closing(Closing::ShuttingDown) | End::Goodbye | End::Released => {
            tracing::debug!(?end, "the connection ends");
        }
        End::Left(error) => tracing::debug!(%error, "the peer left without a goodbye"),
        End::Silent(lease_ms) => tracing::warn!(lease_ms, "the peer was silent for its lease"),
        End::Closing(closing) if is_expected(closing) => {
            tracing::debug!(reason = %closing, "the connection is closed");
        }
        End::Closing(closing) => tracing::warn!(reason = %closing, "the connection is closed"),
    }
    let departure = match end {
        End::Goodbye => Departure::Goodbye,
        End::Silent(silent_ms) => Departure::Lost { silent_ms },
        _ => Departure::Lost { silent_ms: 0 },
    };
    if let Entry::Connected(Connected { connection, .. }) = entry {
        handle.disconnect(connection, departure).await;
    }
    let farewell = async {
        let closing = match end {
            End::Left(_) | End::Silent(_) => return Ok(()),
            End::Closing(closing) => Some(closing),
            End::Released => None,
            End::Goodbye => {
                // Until the driver has said its last.
                outbox.run().await;
                None
            }
        };
        outbox.finish(closing).await?;
        linger(reader).await
    };
    // A peer that is gone, or takes nothing, needs no farewell.
    let _ = timeout(Duration::from_millis(FLUSH_MS_MAX), farewell).await;
}

/// Lets go of a peer that said goodbye while it waited to be let in, and tells the driver when it can be told.
pub(super) async fn leave<R, W>(
    connecting: impl Future<Output = Result<Connected, Closing>>,
    handle: &Handle,
    reader: R,
    mut outbox: Outbox<W>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    tracing::debug!("the peer leaves while the scheduler recovers");
    let farewell = async {
        outbox.finish(None).await?;
        linger(reader).await
    };
    // A peer that is gone needs no farewell.
    let _ = timeout(Duration::from_millis(FLUSH_MS_MAX), farewell).await;
    if let Ok(Connected { connection, .. }) = connecting.await {
        handle.disconnect(connection, Departure::Goodbye).await;
    }
}

/// Whether a connection ends so in the way of things, when workers come and go: the peer is told, and
/// nobody else needs to look.
fn is_expected(closing: &Closing) -> bool {
    matches!(closing, Closing::Rejected(Rejection::Fenced { .. } | Rejection::SessionEnded(_)))
}

/// Says to a peer why there is no session for it.
pub(super) async fn turn_away<R, W>(reader: R, mut writer: W, closing: Closing)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match is_expected(&closing) {
        true => tracing::debug!(reason = %closing, "the connection is refused"),
        false => tracing::warn!(reason = %closing, "the connection is refused"),
    }
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, 0, &ServerMessage::Closing(closing)).expect("a closing is small");
    let farewell = async {
        writer.write_all(&bytes).await?;
        writer.flush().await?;
        writer.shutdown().await?;
        linger(reader).await
    };
    let _ = timeout(Duration::from_millis(FLUSH_MS_MAX), farewell).await;
}

/// Reads on until the peer closes: closing a socket with bytes unread would tear down what was sent last.
async fn linger(mut reader: impl AsyncRead + Unpin) -> io::Result<()> {
    let mut sink = vec![0; handshake::READ_BUFFER_BYTES];
    while reader.read(&mut sink).await? > 0 {}
    Ok(())
}
