//! The client's end of a TCP connection, to the scheduler or to a worker that keeps results: preambles,
//! frames in, frames out. The transport is named in this file alone. It knows no session.

use std::io;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::error::Error;
use crate::protocol::frame::{self, BadFrame, Frame, FrameReader, PREAMBLE_BYTES};
use crate::protocol::limits::TooLarge;
use crate::protocol::message::Closing;
use crate::protocol::version::WIRE_VERSION;

/// How many bytes of messages are gathered for one write: enough that the cost of a system call is
/// spread over many, little enough that the first of them does not wait long.
const WRITE_BYTES: usize = 256 * 1024;

/// How much room there is for one read.
const READ_BYTES: usize = 64 * 1024;

/// A connection over which the preambles have gone.
#[derive(Debug)]
pub(in crate::client) struct Wire {
    stream: TcpStream,
    frames: FrameReader,
    out: Vec<u8>,
    written: usize,
    is_shut: bool,
}

/// Why there is no connection.
#[derive(Debug)]
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
    let mut stream = TcpStream::connect(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => {
            DialError::Lasting(Error::connect(address, format!("{error}: give it as host:port")))
        }
        _ => DialError::Temporary(error.to_string()),
    })?;
    let cut = |error: io::Error| DialError::Temporary(format!("the connection ended at its begin: {error}"));
    // Messages are gathered here already; the kernel shall not wait for more.
    stream.set_nodelay(true).map_err(cut)?;
    stream.write_all(&frame::preamble()).await.map_err(cut)?;
    let mut preamble = [0; PREAMBLE_BYTES];
    stream.read_exact(&mut preamble).await.map_err(cut)?;
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
    Ok(Wire { stream, frames: FrameReader::default(), out: Vec::new(), written: 0, is_shut: false })
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
            let _ = self.stream.shutdown().await;
        }
    }

    /// Reads or writes, whichever can be done first. May be dropped at any time without a loss.
    pub(in crate::client) async fn advance(&mut self) -> io::Result<Progress> {
        let (mut reading, mut writing) = self.stream.split();
        let buffer = self.frames.buffer();
        buffer.reserve(READ_BYTES);
        tokio::select! {
            read = reading.read_buf(buffer) => {
                Ok(if read? == 0 { Progress::Ended } else { Progress::Read })
            }
            wrote = writing.write(&self.out[self.written..]), if !self.out.is_empty() => {
                self.written += wrote?;
                if self.written == self.out.len() {
                    self.out.clear();
                    self.written = 0;
                }
                Ok(Progress::Wrote)
            }
        }
    }

    /// The next frame that has come as a whole.
    pub(in crate::client) fn next_frame(&mut self) -> Result<Option<Frame>, BadFrame> {
        self.frames.next_frame()
    }
}
