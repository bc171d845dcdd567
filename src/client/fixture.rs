//! A scripted scheduler on a loopback socket, for tests. It says what the test says, and nothing else.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::connection::{Connection, Options};
use super::future::TaskFuture;
use super::handle::Client;
use crate::protocol::batch::OpenBatch;
use crate::protocol::command::{Answer, Command, Query};
use crate::protocol::frame::{self, FrameReader};
use crate::protocol::message::{ClientMessage, Hello, ServerMessage};
use crate::protocol::start::Start;
use crate::protocol::{ChannelEvent, Epoch, LogId, Seq, TaskId, TaskKey};

/// A test that hangs fails instead.
const HANG: Duration = Duration::from_secs(20);

pub(super) struct FakeServer {
    listener: TcpListener,
}

pub(super) struct Peer {
    stream: TcpStream,
    frames: FrameReader,
}

impl FakeServer {
    pub async fn new() -> Self {
        FakeServer { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub fn options(&self) -> Options {
        Options::new(self.listener.local_addr().unwrap().to_string())
    }

    /// The next connection, before a byte was exchanged.
    pub async fn accept_raw(&self) -> TcpStream {
        timeout(HANG, self.listener.accept()).await.expect("no connection").unwrap().0
    }

    /// The next connection, and its hello.
    pub async fn accept(&self) -> (Peer, Hello) {
        let mut stream = self.accept_raw().await;
        stream.write_all(&frame::preamble()).await.unwrap();
        let mut preamble = [0; frame::PREAMBLE_BYTES];
        stream.read_exact(&mut preamble).await.unwrap();
        assert_eq!(preamble, frame::preamble());
        let mut peer = Peer { stream, frames: FrameReader::default() };
        match peer.next().await {
            (0, ClientMessage::Hello(hello)) => (peer, hello),
            other => panic!("{other:?} instead of a hello"),
        }
    }

    /// The next connection, welcomed.
    pub async fn welcome(&self) -> Peer {
        let (mut peer, _) = self.accept().await;
        peer.welcome().await;
        peer
    }

    /// A client that is connected to this server.
    pub async fn connect(&self) -> (Connection, Peer) {
        let (connection, peer) = tokio::join!(Connection::open(self.options()), self.welcome());
        (connection.unwrap(), peer)
    }
}

impl Peer {
    pub async fn welcome(&mut self) {
        let start = Start { epoch: Epoch(1), ..Start::default() };
        self.send(0, ServerMessage::Welcome { start, seq: Seq(0), lease_ms: 60_000 }).await;
    }

    pub async fn send(&mut self, number: u64, message: ServerMessage) {
        self.send_with(number, message, &[]).await;
    }

    pub async fn send_with(&mut self, number: u64, message: ServerMessage, batches: &[Bytes]) {
        let mut out = Vec::new();
        frame::encode_with(&mut out, number, &message, batches).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }

    pub async fn answer(&mut self, number: u64, answer: Answer) {
        self.send(number, ServerMessage::Answer(Ok(answer))).await;
    }

    /// The next message, or `None` at the end of the connection.
    pub async fn try_next(&mut self) -> Option<(u64, ClientMessage)> {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Some((frame.number, frame.decode().unwrap().0));
            }
            let read = self.stream.read_buf(self.frames.buffer());
            if timeout(HANG, read).await.expect("no message").unwrap() == 0 {
                return None;
            }
        }
    }

    pub async fn next(&mut self) -> (u64, ClientMessage) {
        self.try_next().await.expect("the client closed the connection")
    }

    pub async fn command(&mut self) -> (u64, Command) {
        match self.next().await {
            (number, ClientMessage::Command(command)) => (number, command),
            other => panic!("{other:?} instead of a command"),
        }
    }

    pub async fn query(&mut self) -> (u64, Query) {
        match self.next().await {
            (number, ClientMessage::Query(query)) => (number, query),
            other => panic!("{other:?} instead of a query"),
        }
    }
}

/// What comes of this, which must not take for ever.
pub(super) async fn soon<F: Future>(work: F) -> F::Output {
    timeout(HANG, work).await.expect("it hangs")
}

/// The future of a task, of a client that was never connected.
pub(super) fn future<T>(id: TaskId) -> TaskFuture<T> {
    TaskFuture::new(TaskKey::unique("f", id.0), Client::over(Connection::unconnected()), None)
}

macro_rules! assert_matches {
    ($value:expr, $($pattern:tt)+) => {
        match $value {
            $($pattern)+ => {}
            other => panic!("{other:?} is not {}", stringify!($($pattern)+)),
        }
    };
}
pub(super) use assert_matches;

/// These records as one stored batch.
pub(super) fn stored(log: LogId, base: (u64, u64), records: &[ChannelEvent]) -> Bytes {
    let mut open = OpenBatch::new(log, base.0, base.1);
    for record in records {
        assert!(open.push(record, record.is_element()));
    }
    open.seal(Seq(1), Epoch(1), 7).bytes().clone()
}
