//! The server's end of a trunk: takes strands.

use std::io;

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection, SendResponse};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::heard::{Heard, News};
use super::strand::Strand;
use super::{SILENT_MAX, STRAND_WINDOW_BYTES, TRUNK_WINDOW_BYTES, broken};

/// In how many parts a peer's silence is counted. While this process stands still at most one of them goes by.
const SILENCE_PARTS: u32 = 4;

/// Takes strands, and moves the bytes of all of them while it is asked for the next. When it is dropped, all strands
/// break.
pub struct Acceptor<S> {
    connection: Connection<Heard<S>, Bytes>,
    news: News,
    silence: Interval,
    silent_parts: u32,
}

/// A strand that its client wants.
pub struct Wanted {
    request: Request<h2::RecvStream>,
    answer: SendResponse<Bytes>,
}

/// Begins a trunk on a socket whose client was told that it is one. It has so many strands at a time: further ones are
/// refused.
///
/// # Errors
/// When the socket breaks, or what comes is no trunk.
pub async fn accept<S>(socket: S, strands_max: u32) -> io::Result<Acceptor<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (socket, news) = Heard::new(socket);
    let mut builder = Builder::new();
    builder
        .initial_window_size(STRAND_WINDOW_BYTES)
        .initial_connection_window_size(TRUNK_WINDOW_BYTES)
        .max_send_buffer_size(STRAND_WINDOW_BYTES as usize)
        .max_concurrent_streams(strands_max)
        .max_local_error_reset_streams(None)
        // Those of many tasks that are cancelled at once, before this process has turned to them.
        .max_pending_accept_reset_streams(strands_max as usize)
        .data_frame_budget(usize::MAX);
    let connection = builder.handshake(socket).await.map_err(broken)?;
    let part = SILENT_MAX / SILENCE_PARTS;
    let mut silence = interval_at(Instant::now() + part, part);
    silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Ok(Acceptor { connection, news, silence, silent_parts: 0 })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Acceptor<S> {
    /// The next strand that is wanted; nothing, once the trunk has ended in order. May be dropped at any time without a loss.
    ///
    /// # Errors
    /// Why the trunk is broken.
    pub async fn next(&mut self) -> io::Result<Option<Wanted>> {
        loop {
            tokio::select! {
                biased;
                wanted = self.connection.accept() => {
                    let wanted = wanted.transpose().map_err(broken)?;
                    return Ok(wanted.map(|(request, answer)| Wanted { request, answer }));
                }
                _ = self.silence.tick() => {
                    self.silent_parts = if self.news.take() { 0 } else { self.silent_parts + 1 };
                    if self.silent_parts >= SILENCE_PARTS {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer was silent"));
                    }
                }
            }
        }
    }

    /// Takes no more strands: the trunk ends when those that there are have ended.
    pub fn end(&mut self) {
        self.connection.graceful_shutdown();
    }
}

impl Wanted {
    /// Takes it.
    ///
    /// # Errors
    /// When its client has given it up.
    pub fn take(mut self) -> io::Result<Strand> {
        let sending = self.answer.send_response(Response::new(()), false).map_err(broken)?;
        Ok(Strand::new(sending, self.request.into_body()))
    }

    /// Refuses it.
    pub fn refuse(mut self) {
        self.answer.send_reset(Reason::REFUSED_STREAM);
    }
}
