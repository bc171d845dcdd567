//! A connection that carries many: runs a session for each strand.
//!
//! Each has a task of its own, as if it had a socket of its own; this one moves the bytes, and knows no session.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, join};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

use super::farewell::turn_away;
use super::handshake::{self, HANDSHAKE_MS_MAX};
use super::session::{self, Shared, TrunkWanted, note_panic, stopped};
use crate::protocol::frame;
use crate::protocol::limits::STRANDS_PER_TRUNK_MAX;
use crate::protocol::message::ServerMessage;
use crate::trunk::{self, Acceptor, Strand};

/// Serves a trunk. Takes no more strands once `stop` is true.
pub(super) async fn serve<R, W>(wanted: TrunkWanted<R, W>, shared: &Arc<Shared>, stop: watch::Receiver<bool>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    serve_at_most(STRANDS_PER_TRUNK_MAX, wanted, shared, stop).await;
}

/// As [`serve`], with so many strands at a time.
pub(super) async fn serve_at_most<R, W>(
    strands_max: u32,
    wanted: TrunkWanted<R, W>,
    shared: &Arc<Shared>,
    stop: watch::Receiver<bool>,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let opened = timeout(Duration::from_millis(HANDSHAKE_MS_MAX), open(strands_max, wanted)).await;
    match opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(trunk) => carry(trunk, strands_max as usize, shared, stop).await,
        Err(error) => tracing::debug!(%error, "the peer left before its trunk was there"),
    }
}

/// Says that the connection is a trunk, and makes it one.
async fn open<R, W>(
    strands_max: u32,
    wanted: TrunkWanted<R, W>,
) -> io::Result<Acceptor<impl AsyncRead + AsyncWrite + Unpin>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let TrunkWanted { reader, mut writer, mut behind } = wanted;
    let mut answer = Vec::new();
    frame::encode(&mut answer, 0, &ServerMessage::TrunkOpened { strands_max }).expect("it is small");
    writer.write_all(&answer).await?;
    writer.flush().await?;
    let behind = Cursor::new(std::mem::take(behind.buffer()));
    trunk::accept(join(behind.chain(reader), writer), strands_max).await
}

/// Moves the bytes and runs the sessions, until the peer is gone and all of them have ended.
async fn carry<S>(
    mut trunk: Acceptor<S>,
    strands_max: usize,
    shared: &Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tracing::debug!("it is a trunk");
    let mut sessions = JoinSet::new();
    let mut is_ending = false;
    let ended = loop {
        tokio::select! {
            wanted = trunk.next() => match wanted {
                // One that has ended for its client may be at its farewell here.
                Ok(Some(wanted)) if is_ending || sessions.len() >= strands_max => wanted.refuse(),
                Ok(Some(wanted)) => if let Ok(strand) = wanted.take() {
                    let span = tracing::info_span!("strand", session = tracing::field::Empty);
                    sessions.spawn(serve_strand(strand, Arc::clone(shared), stop.clone()).instrument(span));
                },
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            },
            Some(ended) = sessions.join_next() => note_panic(ended),
            () = stopped(&mut stop), if !is_ending => {
                is_ending = true;
                trunk.end();
            }
        }
    };
    match ended {
        Ok(()) => tracing::debug!("the trunk ends"),
        Err(error) => tracing::debug!(%error, sessions = sessions.len(), "the trunk broke"),
    }
    // Without it their strands are broken: each session tells the driver, and ends.
    drop(trunk);
    while let Some(ended) = sessions.join_next().await {
        note_panic(ended);
    }
}

async fn serve_strand(strand: Strand, shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    let Strand { reading, writing } = strand;
    if let Some(TrunkWanted { reader, writer, .. }) = session::serve(reading, writing, &shared, stop).await {
        let why = "a strand of a trunk is no trunk itself".to_owned();
        turn_away(reader, writer, handshake::not_headwater(why)).await;
    }
}
