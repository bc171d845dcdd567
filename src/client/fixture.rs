//! A scripted scheduler on a loopback socket, for tests. It says what the test says, and nothing else.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Join, join};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::{Connection, Options};
use super::future::TaskFuture;
use super::handle::Client;
use crate::protocol::batch::OpenBatch;
use crate::protocol::channel::Durability;
use crate::protocol::command::{Answer, Command, Query};
use crate::protocol::equipment::Equipment;
use crate::protocol::frame::{self, FrameReader};
use crate::protocol::limits::RESULT_PIECE_BYTES;
use crate::protocol::message::{Assignment, ClientMessage, Closing, Hello, ServerMessage};
use crate::protocol::payload::Codec;
use crate::protocol::result::{Fetch, Fetched, Holder, Located, StoredResult};
use crate::protocol::session::WorkerOffer;
use crate::protocol::start::Start;
use crate::protocol::{AttemptNumber, ChannelEvent, Digest, Epoch, LogId, Seq, TaskId, TaskKey};
use crate::trunk::{Reading, Strand, Writing, accept};

/// A test that hangs fails instead.
const HANG: Duration = Duration::from_secs(20);

pub(crate) struct FakeServer {
    listener: TcpListener,
}

pub(crate) struct Peer<S = TcpStream> {
    stream: S,
    frames: FrameReader,
}

/// A trunk that was opened, and its strands as they come. Dropping it cuts the connection.
pub(crate) struct FakeTrunk {
    strands: mpsc::UnboundedReceiver<Strand>,
    carriers: JoinSet<()>,
}

/// Who speaks over a strand.
pub(crate) type StrandPeer = Peer<Join<Reading, Writing>>;

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
        Peer::greeted(self.accept_raw().await).await.hello().await
    }

    /// The next connection, whose client wants a trunk, and the token that it shows.
    pub async fn accept_wish(&self) -> (Peer, Option<String>) {
        let mut peer = Peer::greeted(self.accept_raw().await).await;
        match peer.next().await {
            (0, ClientMessage::OpenTrunk { token }) => (peer, token),
            other => panic!("{other:?} instead of a trunk"),
        }
    }

    /// The next connection, made a trunk of so many strands at a time.
    pub async fn accept_trunk(&self, strands_max: u32) -> FakeTrunk {
        let (mut peer, _) = self.accept_wish().await;
        peer.send(0, ServerMessage::TrunkOpened { strands_max }).await;
        let mut acceptor = accept(peer.stream, strands_max).await.unwrap();
        let (taken, strands) = mpsc::unbounded_channel();
        let mut carriers = JoinSet::new();
        carriers.spawn(async move {
            while let Ok(Some(wanted)) = acceptor.next().await {
                if let Ok(strand) = wanted.take() {
                    let _ = taken.send(strand);
                }
            }
        });
        FakeTrunk { strands, carriers }
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

impl FakeTrunk {
    /// The next strand, and its hello.
    pub async fn accept(&mut self) -> (StrandPeer, Hello) {
        let strand = timeout(HANG, self.strands.recv()).await.expect("no strand").expect("the trunk is gone");
        let Strand { reading, writing } = strand;
        Peer::greeted(join(reading, writing)).await.hello().await
    }

    /// The next strand, welcomed.
    pub async fn welcome(&mut self) -> StrandPeer {
        let (mut peer, _) = self.accept().await;
        peer.welcome().await;
        peer
    }

    /// Waits until its client has closed it.
    pub async fn closed(mut self) {
        timeout(HANG, self.carriers.join_next()).await.expect("it is open").unwrap().unwrap();
    }
}

/// What the clock of the scheduler shows that the fixture plays: an hour less than this machine's, so that what goes by the
/// wrong one is seen.
pub(crate) fn scheduler_now_ms() -> u64 {
    let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    here.as_millis() as u64 - 3_600_000
}

/// The answer to an append: so many elements from this offset on, in commit 7 of epoch 1.
pub(crate) fn acked(first: u64, count: u32) -> Answer {
    Answer::Appended { first, count, seq: Seq(7), epoch: Epoch(1), durability: Durability::Fsynced }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// A connection over which the preambles have gone.
    async fn greeted(mut stream: S) -> Self {
        stream.write_all(&frame::preamble()).await.unwrap();
        let mut preamble = [0; frame::PREAMBLE_BYTES];
        timeout(HANG, stream.read_exact(&mut preamble)).await.expect("no preamble").unwrap();
        assert_eq!(preamble, frame::preamble());
        Peer { stream, frames: FrameReader::default() }
    }

    async fn hello(mut self) -> (Self, Hello) {
        match self.next().await {
            (0, ClientMessage::Hello(hello)) => (self, hello),
            other => panic!("{other:?} instead of a hello"),
        }
    }

    pub async fn welcome(&mut self) {
        let start = Start { epoch: Epoch(1), ..Start::default() };
        let welcome =
            ServerMessage::Welcome { start, seq: Seq(0), lease_ms: 60_000, now_ms: scheduler_now_ms() };
        self.send(0, welcome).await;
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

    /// Closes the connection: who was connected makes another.
    pub async fn close(&mut self) {
        self.stream.shutdown().await.unwrap();
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

    /// The next message. How much a worker wants to be given follows from time: that is answered and left out.
    pub async fn next(&mut self) -> (u64, ClientMessage) {
        loop {
            match self.try_next().await.expect("the client closed the connection") {
                (number, ClientMessage::Command(Command::Window { .. })) => {
                    self.answer(number, Answer::Reported).await;
                }
                other => return other,
            }
        }
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
pub(crate) async fn soon<F: Future>(work: F) -> F::Output {
    timeout(HANG, work).await.expect("it hangs")
}

/// The future of a task, of a client that was never connected.
pub(crate) fn future<T>(id: TaskId) -> TaskFuture<T> {
    TaskFuture::new(TaskKey::unique("f", id.0), Client::over(Connection::unconnected()), None)
}

/// What a worker of [`Holding`] does with one who asks for its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    Give,
    Missing,
    Refuse,
    /// Gives so many pieces, and closes.
    CutAfter(usize),
    /// Gives it with one byte changed.
    Damage,
    /// Says that it has another result.
    Other,
    /// Gives a last piece that is too long.
    Long,
    /// Says nothing after the preamble.
    Stall,
    /// Has another wire version.
    Version,
    /// Is no worker.
    Stranger,
    /// Does not listen any more.
    Dead,
}

/// Scripted workers that keep one result.
pub(crate) struct Holding {
    pub located: Located,
    _workers: JoinSet<()>,
}

/// A result of task `f`, and who keeps it.
pub(crate) fn located(bytes: &[u8], holders: Vec<Holder>) -> Located {
    let digest = Digest::of_result(bytes);
    let result = StoredResult { codec: Codec::MessagePack, bytes: bytes.len() as u64, digest };
    Located { key: TaskKey::unique("f", [1; 16]), attempt: AttemptNumber(1), result, holders }
}

impl Holding {
    /// Each of them does as its script says, whenever it is asked.
    pub async fn new(bytes: Vec<u8>, scripts: &[Script]) -> Self {
        let (mut workers, mut holders) = (JoinSet::new(), Vec::new());
        for (at, script) in scripts.iter().enumerate() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string().into();
            holders.push(Holder { worker: format!("w{at}").into(), address });
            if *script != Script::Dead {
                workers.spawn(hold(listener, *script, located(&bytes, vec![]), bytes.clone()));
            }
        }
        Holding { located: located(&bytes, holders), _workers: workers }
    }
}

async fn hold(listener: TcpListener, script: Script, located: Located, bytes: Vec<u8>) {
    loop {
        let mut stream = listener.accept().await.unwrap().0;
        let mut preamble = frame::preamble();
        match script {
            Script::Version => preamble[4] += 1,
            Script::Stranger => preamble = *b"SSH-2.0-",
            _ => {}
        }
        stream.write_all(&preamble).await.unwrap();
        let mut theirs = [0; frame::PREAMBLE_BYTES];
        let _ = stream.read_exact(&mut theirs).await;
        if matches!(script, Script::Version | Script::Stranger) {
            continue;
        }
        let mut frames = FrameReader::default();
        let asked = loop {
            match frames.next_frame().unwrap() {
                Some(frame) => break frame.decode::<Fetch>().unwrap().0,
                None => assert_ne!(stream.read_buf(frames.buffer()).await.unwrap(), 0),
            }
        };
        assert_eq!(asked.result.task, located.key.id);
        let mut out = Vec::new();
        let mut say = |message: Fetched, piece: &[u8]| {
            let piece = Bytes::copy_from_slice(piece);
            frame::encode_with(&mut out, 0, &message, &[piece]).unwrap();
        };
        match script {
            Script::Missing => say(Fetched::Missing, &[]),
            Script::Refuse => say(Fetched::Refused(Closing::BadToken), &[]),
            Script::Other => say(Fetched::Found(StoredResult { bytes: 1, ..located.result }), &[]),
            _ => say(Fetched::Found(located.result), &[]),
        }
        let pieces: Vec<&[u8]> = bytes.chunks(RESULT_PIECE_BYTES).collect();
        let gives = match script {
            Script::CutAfter(pieces) => pieces,
            Script::Give | Script::Damage | Script::Long => pieces.len(),
            _ => 0,
        };
        for (at, piece) in pieces.into_iter().enumerate().take(gives) {
            let mut piece = piece.to_vec();
            match script {
                Script::Damage if at == 1 => piece[9] ^= 1,
                Script::Long => piece.resize(RESULT_PIECE_BYTES, 0),
                _ => {}
            }
            say(Fetched::Piece, &piece);
        }
        if script == Script::Stall {
            std::future::pending::<()>().await;
        }
        // One who has found something wrong is gone before all is written.
        let _ = stream.write_all(&out).await;
    }
}

macro_rules! assert_matches {
    ($value:expr, $($pattern:tt)+) => {
        match $value {
            $($pattern)+ => {}
            other => panic!("{other:?} is not {}", stringify!($($pattern)+)),
        }
    };
}
pub(crate) use assert_matches;

/// What a worker of this name offers: a slot, and nothing else.
pub(crate) fn offer(name: &str) -> WorkerOffer {
    WorkerOffer {
        name: name.into(),
        slots: 1,
        functions: vec![],
        held: vec![],
        results_at: "".into(),
        equipment: Equipment::default(),
    }
}

/// A first attempt at a task, without arguments.
pub(crate) fn assignment(key: TaskKey) -> Assignment {
    Assignment {
        key,
        attempt: AttemptNumber(1),
        function: "f".into(),
        version: 1,
        arguments: vec![],
        timeout_ms: None,
        grants: vec![],
    }
}

/// These records as one stored batch.
pub(crate) fn stored(log: LogId, base: (u64, u64), records: &[ChannelEvent]) -> Bytes {
    let mut open = OpenBatch::new(log, base.0, base.1);
    for record in records {
        assert!(open.push(record, record.is_element()));
    }
    open.seal(Seq(1), Epoch(1), 7).bytes().clone()
}
