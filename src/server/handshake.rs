//! How a connection begins: the preambles, the hello or the wish for a trunk, the token. Nothing of the scheduler is asked
//! yet.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::protocol::frame::{self, Frame, FrameReader, PREAMBLE_BYTES};
use crate::protocol::message::{ClientMessage, Closing, Hello};
use crate::protocol::secret;

/// How long a connection may take to say hello: 10 s, much for a slow network, little for one who only
/// holds a place.
pub(super) const HANDSHAKE_MS_MAX: u64 = 10_000;

/// Bytes that a buffer for reading has room for, when it is empty.
pub(super) const READ_BUFFER_BYTES: usize = 32 * 1024;

/// Why there is no session.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The peer went away before it said hello.
    Gone,
    /// The peer is to be told this.
    Closing(Closing),
}

/// What a peer that is let in has said first.
#[derive(Debug)]
pub(super) enum Greeting {
    /// It is this session.
    Hello(Box<Hello>),
    /// The connection is to be a trunk.
    OpenTrunk,
}

/// Sends the preamble. It comes before anything else, whatever that is: without it nobody knows what is said.
pub(super) async fn announce(writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), Refusal> {
    let announcing = async {
        writer.write_all(&frame::preamble()).await?;
        writer.flush().await
    };
    let announced = timeout(Duration::from_millis(HANDSHAKE_MS_MAX), announcing).await;
    announced.map_err(|_| Refusal::Gone)?.map_err(|_| Refusal::Gone)
}

/// Takes the client's preamble and what it says first. What arrived behind it is in the reader.
pub(super) async fn greet(
    reader: &mut (impl AsyncRead + Unpin),
    token: Option<&str>,
) -> Result<(Greeting, FrameReader), Refusal> {
    let greeting = async {
        read_preamble(reader).await?;
        let mut frames = FrameReader::default();
        let first = read_first_frame(reader, &mut frames).await?;
        Ok((check_first(&first, token)?, frames))
    };
    let late = || Refusal::Closing(not_headwater(format!("no hello within {HANDSHAKE_MS_MAX} ms")));
    timeout(Duration::from_millis(HANDSHAKE_MS_MAX), greeting).await.unwrap_or_else(|_| Err(late()))
}

async fn read_preamble(reader: &mut (impl AsyncRead + Unpin)) -> Result<(), Refusal> {
    let mut preamble = [0; PREAMBLE_BYTES];
    reader.read_exact(&mut preamble).await.map_err(|_| Refusal::Gone)?;
    Closing::of_preamble(preamble).map_or(Ok(()), |closing| Err(Refusal::Closing(closing)))
}

async fn read_first_frame(
    reader: &mut (impl AsyncRead + Unpin),
    frames: &mut FrameReader,
) -> Result<Frame, Refusal> {
    loop {
        let frame = frames.next_frame().map_err(|bad| Refusal::Closing(not_headwater(bad.to_string())))?;
        if let Some(frame) = frame {
            return Ok(frame);
        }
        if !matches!(fill(reader, frames).await, Ok(1..)) {
            return Err(Refusal::Gone);
        }
    }
}

fn check_first(first: &Frame, token: Option<&str>) -> Result<Greeting, Refusal> {
    // The secret goes no further than here.
    let (greeting, shown) = match first.decode::<ClientMessage>() {
        Ok((ClientMessage::Hello(mut hello), behind)) if behind.is_empty() => {
            let shown = hello.token.take();
            (Greeting::Hello(Box::new(hello)), shown)
        }
        Ok((ClientMessage::OpenTrunk { token }, behind)) if behind.is_empty() => (Greeting::OpenTrunk, token),
        Ok(_) => return Err(Refusal::Closing(not_headwater("the first message is no hello".into()))),
        Err(why) => {
            return Err(Refusal::Closing(not_headwater(format!("the hello does not decode: {why}"))));
        }
    };
    match secret::admits(token, shown.as_deref()) {
        true => Ok(greeting),
        false => Err(Refusal::Closing(Closing::BadToken)),
    }
}

pub(super) fn not_headwater(why: String) -> Closing {
    Closing::NotHeadwater(why)
}

/// Reads what there is into the reader's buffer, and answers how many bytes; 0 at the end.
pub(super) async fn fill(
    reader: &mut (impl AsyncRead + Unpin),
    frames: &mut FrameReader,
) -> std::io::Result<usize> {
    let buffer = frames.buffer();
    if buffer.capacity() == buffer.len() {
        buffer.reserve(READ_BUFFER_BYTES);
    }
    reader.read_buf(buffer).await
}
