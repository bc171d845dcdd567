//! One connection of the many, and its two halves.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::broken;

/// Most bytes that are taken from one write: 64 KiB, a few frames of HTTP/2.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// One connection of the many. When it is dropped before both ways have ended, the other side learns that it broke.
#[derive(Debug)]
pub struct Strand {
    /// What comes.
    pub reading: Reading,
    /// What goes.
    pub writing: Writing,
}

/// What comes over a strand.
#[derive(Debug)]
pub struct Reading {
    stream: RecvStream,
    /// What has come and was not read. Its room is given back as it is read.
    unread: Bytes,
}

/// What goes over a strand. It is on its way once it is written; flushing does nothing more.
#[derive(Debug)]
pub struct Writing {
    stream: SendStream<Bytes>,
    is_shut: bool,
}

impl Strand {
    pub(super) fn new(sending: SendStream<Bytes>, receiving: RecvStream) -> Strand {
        let reading = Reading { stream: receiving, unread: Bytes::new() };
        Strand { reading, writing: Writing { stream: sending, is_shut: false } }
    }
}

impl AsyncRead for Reading {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.stream.poll_data(context)) {
                Some(data) => self.unread = data.map_err(broken)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        self.stream.flow_control().release_capacity(count).map_err(broken)?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Writing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let wanted = bytes.len().min(PIECE_BYTES_MAX);
        self.stream.reserve_capacity(wanted);
        // It tells of room that is new: what was there before has to be looked for.
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(context)) {
                Some(room) => drop(room.map_err(broken)?),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = wanted.min(self.stream.capacity());
        self.stream.send_data(Bytes::copy_from_slice(&bytes[..count]), false).map_err(broken)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.is_shut, true) {
            self.stream.send_data(Bytes::new(), true).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}
