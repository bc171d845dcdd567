//! Giving results to whoever asks for them: clients, and other workers. See [`crate::protocol::result`].
//!
//! Whoever is not let in, says nothing, or takes nothing holds a place for some seconds and a piece in memory,
//! no more: a result that is freed is freed while it is given, too.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::held::Held;
use super::listen::Listener;
use super::store::check;
use crate::protocol::Digest;
use crate::protocol::frame::{self, FrameReader, PREAMBLE_BYTES};
use crate::protocol::message::Closing;
use crate::protocol::result::{Fetch, Fetched};
use crate::protocol::secret;
use crate::protocol::session::HeldAttempt;

/// Most connections at one time: 64, each with a piece or two in memory. Further ones wait in the kernel's line.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// How long a connection may take to say what it wants: as long as the scheduler waits for a hello.
const HANDSHAKE_MS_MAX: u64 = 10_000;

/// Most bytes of what it says then: 64 KiB, much for a token.
const FETCH_BYTES_MAX: usize = 64 * 1024;

/// How long a peer may take for one piece, and how long the end of a connection is waited for.
const PIECE_MS_MAX: u64 = 10_000;
const END_MS_MAX: u64 = 1_000;

/// How long no connection is accepted after accepting has failed (no file descriptors, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Listener {
    /// Gives the results of a session, until it is dropped: then those who are served are cut off.
    pub async fn serve(&self, held: &Arc<Held>) -> Infallible {
        let token: Option<Arc<str>> = self.token.as_deref().map(Arc::from);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "giving a result broke down: its connection is closed");
                    }
                }
                accepted = self.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, peer)) => {
                        let (token, held) = (token.clone(), held.clone());
                        connections.spawn(async move {
                            let served = Serving::new(stream).serve(token.as_deref(), &held).await;
                            tracing::debug!(%peer, ?served, "a peer that asked for a result is gone");
                        });
                    }
                    Err(error) => {
                        tracing::error!(%error, "a connection for a result could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

/// The peer is gone, or takes too long.
#[derive(Debug)]
struct Gone;

/// One connection.
struct Serving {
    stream: TcpStream,
    out: Vec<u8>,
}

impl Serving {
    fn new(stream: TcpStream) -> Self {
        Serving { stream, out: Vec::new() }
    }

    async fn serve(mut self, token: Option<&str>, held: &Arc<Held>) -> Result<(), Gone> {
        // Pieces are large: nothing is to be waited for.
        self.stream.set_nodelay(true).map_err(|_| Gone)?;
        let asked = timeout(Duration::from_millis(HANDSHAKE_MS_MAX), self.greet(token));
        match asked.await.map_err(|_| Gone)?? {
            Ok(asked) => self.give(asked, held).await?,
            Err(closing) => self.say(&Fetched::Refused(closing), Bytes::new()).await?,
        }
        self.end().await;
        Ok(())
    }

    /// Exchanges the preambles, and hears what is asked for; or why nothing is given.
    async fn greet(&mut self, token: Option<&str>) -> Result<Result<HeldAttempt, Closing>, Gone> {
        self.stream.write_all(&frame::preamble()).await.map_err(|_| Gone)?;
        let mut preamble = [0; PREAMBLE_BYTES];
        self.stream.read_exact(&mut preamble).await.map_err(|_| Gone)?;
        if let Some(closing) = Closing::of_preamble(preamble) {
            return Ok(Err(closing));
        }
        let strange = |why: String| Ok(Err(Closing::NotHeadwater(why)));
        let mut frames = FrameReader::default();
        let first = loop {
            match frames.next_frame() {
                Ok(Some(frame)) => break frame,
                Ok(None) if frames.buffer().len() > FETCH_BYTES_MAX => {
                    return strange(format!("a question of more than {FETCH_BYTES_MAX} bytes"));
                }
                Ok(None) => {}
                Err(bad) => return strange(bad.to_string()),
            }
            if !matches!(self.stream.read_buf(frames.buffer()).await, Ok(1..)) {
                return Err(Gone);
            }
        };
        let asked = match first.decode::<Fetch>() {
            Ok((asked, behind)) if behind.is_empty() => asked,
            Ok(_) => return strange("something behind the question".to_owned()),
            Err(why) => return strange(format!("the question does not decode: {why}")),
        };
        Ok(match secret::admits(token, asked.token.as_deref()) {
            true => Ok(asked.result),
            false => Err(Closing::BadToken),
        })
    }

    async fn give(&mut self, asked: HeldAttempt, held: &Arc<Held>) -> Result<(), Gone> {
        let Some(result) = held.store().result(&asked) else {
            // Whoever asks was told so by the scheduler, which must know better.
            held.lack(asked);
            return self.say(&Fetched::Missing, Bytes::new()).await;
        };
        self.say(&Fetched::Found(result), Bytes::new()).await?;
        let (mut at, mut digest) = (0, Digest::default());
        while at < result.bytes {
            let piece = held.store().piece(&asked, at).await.and_then(|piece| {
                let Some(piece) = piece else { return Ok(None) };
                at += piece.len() as u64;
                digest = digest.with(&piece);
                // Before the last one goes: nobody has all of something wrong.
                if at == result.bytes {
                    check(result.digest, digest).map(|()| Some(piece))
                } else {
                    Ok(Some(piece))
                }
            });
            match piece {
                Ok(Some(piece)) => self.say(&Fetched::Piece, piece).await?,
                // It was freed meanwhile: who still wants it hears of another holder.
                Ok(None) => return Err(Gone),
                Err(why) => {
                    held.lost(asked, &why);
                    return self.say(&Fetched::Missing, Bytes::new()).await;
                }
            }
        }
        Ok(())
    }

    async fn say(&mut self, message: &Fetched, piece: Bytes) -> Result<(), Gone> {
        self.out.clear();
        frame::encode_with(&mut self.out, 0, message, &[piece])
            .expect("a piece is far smaller than a frame may be");
        let written = timeout(Duration::from_millis(PIECE_MS_MAX), self.stream.write_all(&self.out));
        written.await.map_err(|_| Gone)?.map_err(|_| Gone)
    }

    /// Closes so that what was said last arrives, even if the peer says more than anyone reads.
    async fn end(&mut self) {
        let end = async {
            let mut rest = [0; 4096];
            // A peer that is gone has read what it wanted.
            let _ = self.stream.shutdown().await;
            while matches!(self.stream.read(&mut rest).await, Ok(1..)) {}
        };
        let _ = timeout(Duration::from_millis(END_MS_MAX), end).await;
    }
}
