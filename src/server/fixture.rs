//! What the tests of this module stand on: a small log, a driver that does as it is told, a client that
//! sends whatever it is given.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, Join};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::feed::Source;
use super::session::{self, Shared};
use super::{early, trunk};
use crate::log::reader::Reader;
use crate::log::{Bounds, Error, Last, Log};
use crate::protocol::batch::{Batch, Commit, OpenBatch};
use crate::protocol::frame::{self, FrameReader, PREAMBLE_BYTES};
use crate::protocol::message::{ClientMessage, Hello, ServerMessage};
use crate::protocol::session::Role;
use crate::protocol::start::{RecoveryProgress, Start, Starts};
use crate::protocol::{ChannelEvent, Epoch, LogId, Seq, SessionId, TimeMs};
use crate::scheduler::handle::{Call, Recovery};
use crate::scheduler::names::Names;
use crate::scheduler::{Connected, ConnectionId, Departure, Handle, Meters, Outgoing, Request};
use crate::trunk::{Opener, Reading, Strand, Writing, open};

pub(super) const LEASE_MS: u64 = 30_000;

/// What everyone is welcomed with.
pub(super) fn welcome() -> ServerMessage {
    let start = Start { epoch: Epoch(4), ..Start::default() };
    ServerMessage::Welcome { start, seq: Seq(1), lease_ms: LEASE_MS, now_ms: 1 }
}

/// A log in memory. Everything is durable at once.
#[derive(Debug, Default)]
pub(super) struct TestLog {
    batches: Mutex<BTreeMap<LogId, Vec<Batch>>>,
    starts: Mutex<Starts>,
    reads: AtomicUsize,
}

impl TestLog {
    /// Lets it remember these starts.
    pub fn set_starts(&self, starts: Starts) {
        *self.starts.lock().unwrap() = starts;
    }

    /// Appends one batch of records; `true` for an element.
    pub fn append(&self, log: LogId, records: &[(&str, bool)]) -> Commit {
        self.append_batch(log, 0, records)
    }

    /// Appends one batch of a channel's records, of this time.
    pub fn append_at(&self, log: LogId, time_ms: TimeMs, records: &[ChannelEvent]) -> Commit {
        let records: Vec<_> = records.iter().map(|record| (record, record.is_element())).collect();
        self.append_batch(log, time_ms, &records)
    }

    fn append_batch(&self, log: LogId, time_ms: TimeMs, records: &[(impl Serialize, bool)]) -> Commit {
        let bounds = self.bounds(log);
        let mut open = OpenBatch::new(log, bounds.head, bounds.elements);
        for (record, is_element) in records {
            assert!(open.push(record, *is_element));
        }
        let batch = open.seal(Seq(1), Epoch(1), time_ms);
        self.batches.lock().unwrap().entry(log).or_default().push(batch.clone());
        Commit { seq: Seq(1), epoch: Epoch(1), batches: vec![batch] }
    }

    /// Drops what ends at or before this offset.
    pub fn trim_to(&self, log: LogId, before: u64) {
        self.trim(log, before).unwrap();
    }

    /// How often it was read.
    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn of(&self, log: LogId) -> Vec<Batch> {
        self.batches.lock().unwrap().get(&log).cloned().unwrap_or_default()
    }
}

impl Log for TestLog {
    fn describe(&self) -> String {
        "test log".into()
    }

    fn begin_epoch(&self) -> Result<Epoch, Error> {
        Ok(Epoch(1))
    }

    fn append(&self, _: &Commit) -> Result<(), Error> {
        Err(Error::Refused("the tests append by themselves".into()))
    }

    fn flush(&self) -> Result<(), Error> {
        Ok(())
    }

    fn trim(&self, log: LogId, before: u64) -> Result<(), Error> {
        let mut batches = self.batches.lock().unwrap();
        batches.get_mut(&log).unwrap().retain(|batch| batch.header().end_offset() > before);
        Ok(())
    }

    fn starts(&self) -> Starts {
        self.starts.lock().unwrap().clone()
    }

    fn last(&self) -> Last {
        Last::default()
    }

    fn logs(&self) -> Vec<LogId> {
        self.batches.lock().unwrap().keys().copied().collect()
    }

    fn bounds(&self, log: LogId) -> Bounds {
        let batches = self.of(log);
        let Some((first, last)) = batches.first().zip(batches.last()) else { return Bounds::default() };
        Bounds {
            first: first.header().base_offset,
            head: last.header().end_offset(),
            elements: last.header().end_index(),
        }
    }

    fn read(&self, log: LogId, from: u64, bytes_max: usize) -> Result<Vec<Batch>, Error> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let mut bytes = 0;
        let wanted = self.of(log).into_iter().filter(|batch| batch.header().end_offset() > from);
        let fits = wanted.enumerate().take_while(|(at, batch)| {
            bytes += batch.bytes().len();
            *at == 0 || bytes <= bytes_max
        });
        Ok(fits.map(|(_, batch)| batch).collect())
    }

    fn find_element(&self, log: LogId, index: u64) -> Result<Option<Batch>, Error> {
        Ok(self.of(log).into_iter().find(|batch| batch.header().end_index() > index))
    }
}

/// The driver's end of the handle.
pub(super) struct TestDriver {
    calls: mpsc::Receiver<Call>,
    /// How far the recovery is; nothing unless a test says so.
    pub recovery: watch::Sender<Option<RecoveryProgress>>,
    /// The names that are known while it lasts.
    pub names: watch::Sender<Names>,
    connections: u64,
}

impl TestDriver {
    pub fn new() -> (Handle, TestDriver) {
        let (sender, calls) = mpsc::channel(16);
        let (recovery, progress) = watch::channel(None);
        let (names, known) = watch::channel(Names::new());
        let handle = Handle::new(
            sender,
            Recovery { progress, names: known, stopping: Arc::default() },
            Meters::default(),
        );
        (handle, TestDriver { calls, recovery, names, connections: 0 })
    }

    pub async fn call(&mut self) -> Call {
        self.calls.recv().await.unwrap()
    }

    pub fn has_no_call(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }

    /// Accepts the connection that comes next.
    pub async fn accept(&mut self) -> (Hello, mpsc::UnboundedSender<Outgoing>) {
        let Call::Connect { hello, outbox, reply } = self.call().await else { panic!("no connect") };
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        outbox.send(Outgoing { number: 0, message: welcome() }).unwrap();
        reply.send(Ok(Connected { connection, lease_ms: LEASE_MS })).unwrap();
        (*hello, outbox)
    }

    pub async fn requests(&mut self) -> Vec<(u64, Request)> {
        match self.call().await {
            Call::Requests { requests, .. } => requests,
            other => panic!("{other:?}"),
        }
    }

    /// Which connection ends next, and how.
    pub async fn disconnected(&mut self) -> (u64, Departure) {
        match self.call().await {
            Call::Disconnect { connection, departure } => (connection.0, departure),
            other => panic!("{other:?}"),
        }
    }
}

/// Lost, and heard of right before.
pub(super) const LOST: Departure = Departure::Lost { silent_ms: 0 };

/// A message that a client got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    pub number: u64,
    pub message: ServerMessage,
    pub batches: Vec<Bytes>,
}

impl Received {
    fn of(frame: &frame::Frame) -> Received {
        let (message, mut behind) = frame.decode().unwrap();
        let mut batches = Vec::new();
        // Tests of the outbox send bytes that are no batches: nobody looks at those.
        while let Ok(batch) = Batch::take(&mut behind) {
            batches.push(batch.bytes().clone());
        }
        Received { number: frame.number, message, batches }
    }

    /// The messages in a stream without a preamble.
    pub fn all_of(bytes: &[u8]) -> Vec<Received> {
        let mut frames = FrameReader::default();
        frames.buffer().extend_from_slice(bytes);
        std::iter::from_fn(|| frames.next_frame().unwrap().map(|frame| Received::of(&frame))).collect()
    }

    pub fn records(&self) -> Vec<(u64, String)> {
        let batches = self.batches.iter().map(|bytes| Batch::read(bytes.clone()).unwrap());
        batches.flat_map(|batch| batch.records().map(Result::unwrap).collect::<Vec<_>>()).collect()
    }
}

/// A client, well-behaved or not.
pub(super) struct TestClient<S> {
    pub stream: S,
    frames: FrameReader,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TestClient<S> {
    pub fn new(stream: S) -> Self {
        TestClient { stream, frames: FrameReader::default() }
    }

    /// Exchanges preambles.
    pub async fn greet(&mut self) {
        self.stream.write_all(&frame::preamble()).await.unwrap();
        self.take_preamble().await;
    }

    pub async fn take_preamble(&mut self) {
        let mut preamble = [0; PREAMBLE_BYTES];
        self.stream.read_exact(&mut preamble).await.unwrap();
        assert_eq!(preamble, frame::preamble());
    }

    pub async fn send(&mut self, number: u64, message: &ClientMessage) {
        self.stream.write_all(&encoded(number, message)).await.unwrap();
    }

    /// The next message; `None` when the server has closed.
    pub async fn receive(&mut self) -> Option<Received> {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Some(Received::of(&frame));
            }
            if self.stream.read_buf(self.frames.buffer()).await.unwrap() == 0 {
                return None;
            }
        }
    }

    pub async fn message(&mut self) -> (u64, ServerMessage) {
        let received = self.receive().await.expect("the server has closed");
        (received.number, received.message)
    }
}

/// A strand as a client has it.
pub(super) type TestStrand = Join<Reading, Writing>;

/// The next strand of a trunk, over which the preambles have gone.
pub(super) async fn strand(opener: &Opener) -> TestClient<TestStrand> {
    let Strand { reading, writing } = opener.strand().await.unwrap();
    let mut client = TestClient::new(tokio::io::join(reading, writing));
    client.greet().await;
    client
}

pub(super) fn encoded(number: u64, message: &ClientMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, number, message).unwrap();
    bytes
}

pub(super) fn hello(token: Option<&str>) -> ClientMessage {
    let token = token.map(str::to_owned);
    let (session, role) = (SessionId([7; 16]), Role::Client);
    ClientMessage::Hello(Hello { token, session, resume: false, role, seen: None })
}

/// A server without a port: sessions over pipes in memory.
pub(super) struct Site {
    pub log: Arc<TestLog>,
    pub reader: Reader,
    pub driver: TestDriver,
    pub stop: watch::Sender<bool>,
    shared: Arc<Shared>,
}

impl Site {
    pub fn new() -> Site {
        Site::with_token(None)
    }

    pub fn with_token(token: Option<&str>) -> Site {
        let log = Arc::new(TestLog::default());
        let reader = Reader::new(Arc::clone(&log) as Arc<dyn Log>);
        let (handle, driver) = TestDriver::new();
        let source = Source::new(reader.clone());
        let shared = Arc::new(Shared { handle, source, token: token.map(str::to_owned) });
        Site { log, reader, driver, stop: watch::Sender::new(false), shared }
    }

    /// A connection on which nothing has been said.
    pub fn connect(&self) -> TestClient<DuplexStream> {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.subscribe());
        tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(there);
            if let Some(wanted) = session::serve(reader, writer, &shared, stop.clone()).await {
                trunk::serve(wanted, &shared, stop).await;
            }
        });
        TestClient::new(here)
    }

    /// A connection on which nothing has been said, to a server whose store is not open; and the way to open it.
    pub fn connect_early(&self, token: Option<&str>) -> (TestClient<DuplexStream>, impl FnOnce() + use<>) {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (stop, token) = (self.stop.subscribe(), token.map(str::to_owned));
        let (open, opened) = watch::channel(None);
        tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(there);
            let wanted = early::serve(reader, writer, token.as_deref(), opened, stop.clone()).await;
            if let Some((wanted, shared)) = wanted {
                trunk::serve(wanted, &shared, stop).await;
            }
        });
        let shared = Arc::clone(&self.shared);
        (TestClient::new(here), move || drop(open.send_replace(Some(shared))))
    }

    /// A trunk of so many strands at a time, what carries it, and the task that serves it. Who breaks off the carrier cuts
    /// the connection.
    pub async fn trunk(&self, strands_max: u32) -> (Opener, JoinHandle<io::Result<()>>, JoinHandle<()>) {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.subscribe());
        let serving = tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(there);
            let wanted =
                session::serve(reader, writer, &shared, stop.clone()).await.expect("a trunk is wanted");
            trunk::serve_at_most(strands_max, wanted, &shared, stop).await;
        });
        let mut client = TestClient::new(here);
        client.greet().await;
        client.send(0, &ClientMessage::OpenTrunk { token: self.shared.token.clone() }).await;
        assert_eq!(client.message().await, (0, ServerMessage::TrunkOpened { strands_max }));
        // The trunk's first bytes may have come with the answer.
        let (reading, writing) = tokio::io::split(client.stream);
        let behind = io::Cursor::new(std::mem::take(client.frames.buffer()));
        let (opener, carrier) = open(tokio::io::join(behind.chain(reading), writing)).await.unwrap();
        (opener, tokio::spawn(carrier), serving)
    }

    /// A connection that was welcomed, and the driver's outbox for it.
    pub async fn welcomed(&mut self) -> (TestClient<DuplexStream>, mpsc::UnboundedSender<Outgoing>) {
        let mut client = self.connect();
        client.greet().await;
        client.send(0, &hello(None)).await;
        let (_, outbox) = self.driver.accept().await;
        assert_eq!(client.message().await, (0, welcome()));
        (client, outbox)
    }

    /// Appends one batch and says so.
    pub fn append(&self, log: LogId, records: &[(&str, bool)]) {
        self.reader.publish(&self.log.append(log, records));
    }
}

/// Lets everyone run until all of them wait: a paused clock moves only then. It waits for no time.
pub(super) async fn until_idle() {
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
}
