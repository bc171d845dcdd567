//! A start that takes long: who reads logs does not wait for it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use headwater::log::{Bounds, Error, Last, Log, Memory, Reader, SnapshotPieces};
use headwater::protocol::batch::{Batch, Commit};
use headwater::protocol::start::Starts;
use headwater::protocol::{Epoch, LogId, Seq};
use headwater::scheduler::core::Settings;
use headwater::scheduler::snapshots::History;
use headwater::scheduler::{self, Scheduler, snapshots};
use headwater::server::{self, Server};
use headwater::{Channel, Client, Item, Offset};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A log whose snapshot cannot be read to its end while the gate is shut: no state comes of it.
struct Gated {
    log: Memory,
    is_shut: Mutex<bool>,
    opened: Condvar,
}

impl Gated {
    fn open(&self) {
        *self.is_shut.lock().unwrap() = false;
        self.opened.notify_all();
    }
}

/// Opens the gate in the end, whatever that is: a recovery that waits would not let the test end.
pub struct Gate(Arc<Gated>);

impl Gate {
    pub fn log(&self) -> Arc<dyn Log> {
        self.0.clone()
    }

    pub fn open(&self) {
        self.0.open();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

impl Log for Gated {
    fn describe(&self) -> String {
        self.log.describe()
    }

    fn begin_epoch(&self) -> Result<Epoch, Error> {
        self.log.begin_epoch()
    }

    fn starts(&self) -> Starts {
        self.log.starts()
    }

    fn append(&self, commit: &Commit) -> Result<(), Error> {
        self.log.append(commit)
    }

    fn flush(&self) -> Result<(), Error> {
        self.log.flush()
    }

    fn trim(&self, log: LogId, before: u64) -> Result<(), Error> {
        self.log.trim(log, before)
    }

    fn last(&self) -> Last {
        self.log.last()
    }

    fn logs(&self) -> Vec<LogId> {
        self.log.logs()
    }

    fn bounds(&self, log: LogId) -> Bounds {
        self.log.bounds(log)
    }

    fn read(&self, log: LogId, from: u64, bytes_max: usize) -> Result<Vec<Batch>, Error> {
        self.log.read(log, from, bytes_max)
    }

    fn find_element(&self, log: LogId, index: u64) -> Result<Option<Batch>, Error> {
        self.log.find_element(log, index)
    }

    fn snapshots(&self) -> Result<Vec<Seq>, Error> {
        self.log.snapshots()
    }

    fn open_snapshot(&self, at: Seq) -> Result<SnapshotPieces, Error> {
        self.log.open_snapshot(at)
    }

    fn read_snapshot(&self, at: Seq, see: &mut dyn FnMut(&[u8])) -> Result<(), Error> {
        let shut = self.is_shut.lock().unwrap();
        drop(self.opened.wait_while(shut, |is_shut| *is_shut).unwrap());
        self.log.read_snapshot(at, see)
    }
}

pub struct Cluster {
    pub scheduler: Scheduler,
    server: (oneshot::Sender<()>, JoinHandle<()>),
    pub address: String,
    pub reader: Reader,
}

pub async fn start(log: Arc<dyn Log>, listen: &str) -> Cluster {
    let reader = Reader::new(log.clone());
    let server = Server::bind(listen, server::Options::default()).await.unwrap();
    let address = server.local_addr().to_string();
    let snapshots = snapshots::Options::default();
    let scheduler = scheduler::start(log, reader.clone(), Settings::default(), snapshots, None).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = server.run(scheduler.handle.clone(), reader.clone(), async { drop(stopped.await) });
    Cluster { scheduler, server: (stop, tokio::spawn(running)), address, reader }
}

impl Cluster {
    pub async fn stop(self) {
        self.scheduler.handle.shutdown().await;
        soon(self.scheduler.driver).await.unwrap().unwrap();
        drop(self.server.0);
        soon(self.server.1).await.unwrap();
    }
}

pub async fn soon<F: IntoFuture>(work: F) -> F::Output {
    timeout(Duration::from_secs(30), work).await.expect("it hangs")
}

/// A log in which a client has appended three numbers before a snapshot, and a letter to another channel behind it;
/// the first channel, and where the client was connected.
pub async fn written() -> (Memory, Channel<i64>, String) {
    let log = Memory::new();
    let cluster = start(Arc::new(log.clone()), "127.0.0.1:0").await;
    let client = Client::connect(&cluster.address).await.unwrap();
    let channel = client.channel::<i64>("numbers").await.unwrap();
    channel.append_values(&[1, 2, 3]).await.unwrap();
    snapshots::write(&log, History::All, 0, &|| Ok(())).unwrap();
    client.channel::<String>("letters").await.unwrap().append_value(&"a".to_owned()).await.unwrap();
    let address = cluster.address.clone();
    cluster.stop().await;
    (log, channel, address)
}

pub fn gated(log: &Memory) -> Gate {
    Gate(Arc::new(Gated { log: log.clone(), is_shut: Mutex::new(true), opened: Condvar::new() }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_read_while_the_scheduler_recovers() {
    let (log, channel, address) = written().await;
    let gate = gated(&log);
    let cluster = start(gate.log(), &address).await;
    assert!(cluster.scheduler.handle.recovering().is_some());
    let mut records = channel.from(Offset::Start).records();
    for offset in 0..3 {
        let Some(Ok(Item::Record(record))) = soon(records.next()).await else { panic!() };
        assert_eq!(record.offset, offset);
    }
    assert!(matches!(soon(records.next()).await, Some(Ok(Item::CaughtUp { head: 3 }))));
    let append = tokio::spawn({
        let channel = channel.clone();
        async move { channel.append_value(&4).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!append.is_finished(), "there is no state yet");
    gate.open();
    assert_eq!(soon(append).await.unwrap().unwrap().offset, 3);
    let Some(Ok(Item::Record(record))) = soon(records.next()).await else { panic!() };
    assert_eq!(record.offset, 3, "the same stream goes on");
    assert!(soon(cluster.scheduler.receipt).await.is_ok());
    cluster.scheduler.handle.shutdown().await;
    soon(cluster.scheduler.driver).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_never_here_finds_channels_by_name_while_the_scheduler_recovers() {
    let (log, _channel, address) = written().await;
    let gate = gated(&log);
    let cluster = start(gate.log(), &address).await;
    let client = soon(Client::connect(&address)).await.unwrap();
    let numbers = soon(client.channel::<i64>("numbers")).await.unwrap();
    let mut values = numbers.from(Offset::Start).values();
    for value in 1..=3 {
        assert_eq!(soon(values.next()).await.unwrap().unwrap(), value);
    }
    let letters = soon(client.existing_channel::<String>("letters")).await.unwrap();
    let mut records = letters.from(Offset::Start).records();
    assert!(matches!(soon(records.next()).await, Some(Ok(Item::Record(_)))), "one behind the snapshot, too");
    assert!(matches!(soon(records.next()).await, Some(Ok(Item::CaughtUp { head: 1 }))));
    // What is not there is not known before the state is.
    let made = tokio::spawn({
        let client = client.clone();
        async move { client.channel::<i64>("new").await }
    });
    let missing = tokio::spawn({
        let client = client.clone();
        async move { client.existing_channel::<i64>("missing").await }
    });
    let count = tokio::spawn(async move { numbers.len().await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(cluster.scheduler.handle.recovering().is_some(), "it still recovers");
    assert!(!made.is_finished() && !missing.is_finished() && !count.is_finished());
    gate.open();
    assert_eq!(soon(made).await.unwrap().unwrap().append_value(&1).await.unwrap().offset, 0);
    let refused = soon(missing).await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("there is no channel `missing`"), "{refused}");
    assert_eq!(soon(count).await.unwrap().unwrap(), 3);
    assert_eq!(soon(letters.append_value(&"b".to_owned())).await.unwrap().offset, 1);
    let Some(Ok(Item::Record(record))) = soon(records.next()).await else { panic!() };
    assert_eq!(record.offset, 1, "the same stream goes on");
    drop((client, letters, records, values));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_reads_and_ends_while_the_scheduler_recovers() {
    let (log, _channel, address) = written().await;
    let gate = gated(&log);
    let cluster = start(gate.log(), &address).await;
    for (name, offsets) in [("numbers", 3), ("letters", 1)] {
        let mut tail = tokio::process::Command::new(env!("CARGO_BIN_EXE_headwater"));
        tail.args(["channel", "tail", name, "--json", "--connect", &address]).kill_on_drop(true);
        let ended = timeout(Duration::from_secs(4), tail.output()).await;
        let output = ended.expect("it waits, for the state or with its goodbye").unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text} {:?}", String::from_utf8(output.stderr));
        assert_eq!(text.lines().count(), offsets + 1, "and the mark: {text}");
    }
    assert!(cluster.scheduler.handle.recovering().is_some(), "it still recovers");
    gate.open();
    assert!(soon(cluster.scheduler.receipt).await.is_ok());
    cluster.scheduler.handle.shutdown().await;
    soon(cluster.scheduler.driver).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_is_broken_off_when_it_is_asked_to_stop() {
    let (log, _channel, address) = written().await;
    let gate = gated(&log);
    let cluster = start(gate.log(), &address).await;
    cluster.scheduler.handle.shutdown().await;
    gate.open();
    assert!(soon(cluster.scheduler.receipt).await.is_err(), "it found nothing");
    soon(cluster.scheduler.driver).await.unwrap().unwrap();
}
