//! The client's end of a connection, to the scheduler or to a worker that keeps results: preambles,
//! frames in, frames out; over TCP, or over a strand of a trunk. TCP is named in this file alone. It knows no session.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, join};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::client::error::Error;
use crate::protocol::frame::{self, BadFrame, Frame, FrameReader, PREAMBLE_BYTES};
use crate::protocol::limits::TooLarge;
use crate::protocol::message::{ClientMessage, Closing, ServerMessage};
use crate::protocol::version::WIRE_VERSION;
use crate::trunk::{self, Carrier, Opener, Strand};

/// How many bytes of messages are gathered for one write: enough that the cost of a system call is
/// spread over many, little enough that the first of them does not wait long.
const WRITE_BYTES: usize = 256 * 1024;

/// How much room there is for one read.
const READ_BYTES: usize = 64 * 1024;

/// A connection over which the preambles have gone.
#[derive(Debug)]
pub(in crate::client) struct Wire {
    socket: Socket,
    frames: FrameReader,
    out: Vec<u8>,
    written: usize,
    is_shut: bool,
}

/// What bytes go over.
#[derive(Debug)]
pub(super) enum Socket {
    /// A connection of its own.
    Tcp(TcpStream),
    /// A strand, and its place on its trunk.
    Strand(Strand, #[expect(dead_code, reason = "it is given back when it is dropped")] OwnedSemaphorePermit),
}

/// Why there is no connection.
#[derive(Debug, Clone)]
pub(in crate::client) enum DialError {
    /// Trying again may help.
    Temporary(String),
    /// It may not.
    Lasting(Error),
}

/// What happened on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::client) enum Progress {
    /// Bytes came.
    Read,
    /// Bytes went.
    Wrote,
    /// The other side has closed.
    Ended,
}

/// Connects to a `peer` (a scheduler, say), and exchanges the preambles. Takes as long as it takes: the
/// caller bounds it.
pub(in crate::client) async fn dial(address: &str, peer: &str) -> Result<Wire, DialError> {
    let stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => {
            DialError::Lasting(Error::connect(address, format!("{error}: give it as host:port")))
        }
        _ => DialError::Temporary(error.to_string()),
    })?;
    // Messages are gathered here already; the kernel shall not wait for more.
    stream.set_nodelay(true).map_err(cut)?;
    greet(Socket::Tcp(stream), address, peer).await
}

/// Exchanges the preambles.
pub(super) async fn greet(mut socket: Socket, address: &str, peer: &str) -> Result<Wire, DialError> {
    socket.write_all(&frame::preamble()).await.map_err(cut)?;
    let mut preamble = [0; PREAMBLE_BYTES];
    socket.read_exact(&mut preamble).await.map_err(cut)?;
    match frame::version_of(preamble) {
        Some(WIRE_VERSION) => {}
        Some(server) => {
            let closing = Closing::WireVersion { client: WIRE_VERSION, server };
            return Err(DialError::Lasting(Error::Closed(closing)));
        }
        None => {
            let why = format!(
                "what listens there is no Headwater {peer} (it begins with `{}`): check the address",
                preamble.escape_ascii()
            );
            return Err(DialError::Lasting(Error::connect(address, why)));
        }
    }
    Ok(Wire { socket, frames: FrameReader::default(), out: Vec::new(), written: 0, is_shut: false })
}

/// Connects to a scheduler, and has the connection made a trunk; answers how many strands it may have at a time, too. As
/// [`dial`] otherwise.
pub(super) async fn dial_trunk(
    address: &str,
    token: Option<String>,
) -> Result<(Opener, Carrier, u32), DialError> {
    let mut wire = dial(address, "scheduler").await?;
    let wish = ClientMessage::<()>::OpenTrunk { token };
    wire.push(0, &wish).map_err(|error| DialError::Lasting(error.into()))?;
    let answer = loop {
        match wire.next_frame() {
            Ok(Some(frame)) => break frame.decode::<ServerMessage>(),
            Ok(None) => {}
            Err(bad) => return Err(DialError::Temporary(bad.to_string())),
        }
        if wire.advance().await.map_err(cut)? == Progress::Ended {
            return Err(DialError::Temporary("the scheduler closed the connection".to_owned()));
        }
    };
    let strands_max = match answer {
        Ok((ServerMessage::TrunkOpened { strands_max }, _)) => strands_max,
        Ok((ServerMessage::Closing(closing), _)) if closing.is_temporary() => {
            return Err(DialError::Temporary(closing.to_string()));
        }
        Ok((ServerMessage::Closing(closing), _)) => return Err(DialError::Lasting(Error::Closed(closing))),
        Ok(_) => {
            return Err(DialError::Temporary("the scheduler does not say that it is a trunk".to_owned()));
        }
        Err(why) => {
            return Err(DialError::Temporary(format!("what the scheduler says does not decode: {why}")));
        }
    };
    let Wire { socket, mut frames, .. } = wire;
    let (reading, writing) = tokio::io::split(socket);
    // The trunk's first bytes may have come with the answer.
    let behind = Cursor::new(std::mem::take(frames.buffer()));
    let (opener, carrier) = trunk::open(join(behind.chain(reading), writing)).await.map_err(cut)?;
    Ok((opener, carrier, strands_max))
}

fn cut(error: io::Error) -> DialError {
    DialError::Temporary(format!("the connection ended at its begin: {error}"))
}

impl Wire {
    /// Whether more messages may be gathered for the next write.
    pub(in crate::client) fn has_room(&self) -> bool {
        self.written == 0 && self.out.len() < WRITE_BYTES
    }

    /// Gathers a message for the next write.
    pub(in crate::client) fn push<M: Serialize>(&mut self, number: u64, message: &M) -> Result<(), TooLarge> {
        frame::encode(&mut self.out, number, message)
    }

    /// Whether everything that was gathered is written.
    pub(in crate::client) fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Says that nothing more will be written. The other side may still write.
    pub(in crate::client) async fn shut(&mut self) {
        if !std::mem::replace(&mut self.is_shut, true) {
            // A connection that is gone is shut as well.
            let _ = self.socket.shutdown().await;
        }
    }

    /// Reads or writes, whichever can be done first. May be dropped at any time without a loss.
    pub(in crate::client) async fn advance(&mut self) -> io::Result<Progress> {
        self.frames.buffer().reserve(READ_BYTES);
        match &mut self.socket {
            Socket::Tcp(stream) => {
                let (reading, writing) = stream.split();
                either(reading, writing, &mut self.frames, &mut self.out, &mut self.written).await
            }
            Socket::Strand(Strand { reading, writing }, _) => {
                either(reading, writing, &mut self.frames, &mut self.out, &mut self.written).await
            }
        }
    }

    /// The next frame that has come as a whole.
    pub(in crate::client) fn next_frame(&mut self) -> Result<Option<Frame>, BadFrame> {
        self.frames.next_frame()
    }
}

/// Reads, or writes what is not written yet, whichever can be done first.
async fn either(
    mut reading: impl AsyncRead + Unpin,
    mut writing: impl AsyncWrite + Unpin,
    frames: &mut FrameReader,
    out: &mut Vec<u8>,
    written: &mut usize,
) -> io::Result<Progress> {
    tokio::select! {
        read = reading.read_buf(frames.buffer()) => {
            Ok(if read? == 0 { Progress::Ended } else { Progress::Read })
        }
        wrote = writing.write(&out[*written..]), if !out.is_empty() => {
            *written += wrote?;
            if *written == out.len() {
                out.clear();
                *written = 0;
            }
            Ok(Progress::Wrote)
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Socket::Strand(strand, _) => Pin::new(&mut strand.reading).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Socket::Strand(strand, _) => Pin::new(&mut strand.writing).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Socket::Strand(strand, _) => Pin::new(&mut strand.writing).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Socket::Strand(strand, _) => Pin::new(&mut strand.writing).poll_shutdown(context),
        }
    }
}
