//! A start that takes long: who reads logs does not wait for it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use headwater::log::{Bounds, Error, Last, Log, Memory, Reader};
use headwater::protocol::batch::{Batch, Commit};
use headwater::protocol::start::Starts;
use headwater::protocol::{Epoch, LogId, Seq};
use headwater::scheduler::core::Settings;
use headwater::scheduler::{self, Scheduler, snapshots};
use headwater::server::{self, Server};
use headwater::{Channel, Client, Item, Offset};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A log whose task log cannot be read while the gate is shut: no state comes of it.
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
        if log == LogId::TASKS {
            let shut = self.is_shut.lock().unwrap();
            drop(self.opened.wait_while(shut, |is_shut| *is_shut).unwrap());
        }
        self.log.read(log, from, bytes_max)
    }

    fn find_element(&self, log: LogId, index: u64) -> Result<Option<Batch>, Error> {
        self.log.find_element(log, index)
    }

    fn snapshots(&self) -> Result<Vec<Seq>, Error> {
        Ok(Vec::new())
    }
}

struct Cluster {
    scheduler: Scheduler,
    server: (oneshot::Sender<()>, JoinHandle<()>),
    address: String,
}

async fn start(log: Arc<dyn Log>, listen: &str) -> Cluster {
    let reader = Reader::new(log.clone());
    let server = Server::bind(listen, server::Options::default()).await.unwrap();
    let address = server.local_addr().to_string();
    let snapshots = snapshots::Options::default();
    let scheduler = scheduler::start(log, reader.clone(), Settings::default(), snapshots, None).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = server.run(scheduler.handle.clone(), reader, async { drop(stopped.await) });
    Cluster { scheduler, server: (stop, tokio::spawn(running)), address }
}

impl Cluster {
    async fn stop(self) {
        self.scheduler.handle.shutdown().await;
        soon(self.scheduler.driver).await.unwrap().unwrap();
        drop(self.server.0);
        soon(self.server.1).await.unwrap();
    }
}

async fn soon<F: IntoFuture>(work: F) -> F::Output {
    timeout(Duration::from_secs(30), work).await.expect("it hangs")
}

/// A log in which a client has appended three numbers, its channel, and where it was connected.
async fn written() -> (Memory, Channel<i64>, String) {
    let log = Memory::new();
    let cluster = start(Arc::new(log.clone()), "127.0.0.1:0").await;
    let client = Client::connect(&cluster.address).await.unwrap();
    let channel = client.channel::<i64>("numbers").await.unwrap();
    channel.append_values(&[1, 2, 3]).await.unwrap();
    let address = cluster.address.clone();
    cluster.stop().await;
    (log, channel, address)
}

fn gated(log: &Memory) -> Arc<Gated> {
    Arc::new(Gated { log: log.clone(), is_shut: Mutex::new(true), opened: Condvar::new() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_read_while_the_scheduler_recovers() {
    let (log, channel, address) = written().await;
    let gate = gated(&log);
    let cluster = start(gate.clone(), &address).await;
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
    // A client that was never here waits, too.
    let late = tokio::spawn(async move { Client::connect(&address).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!append.is_finished() && !late.is_finished(), "there is no state yet");
    gate.open();
    assert_eq!(soon(append).await.unwrap().unwrap(), 3);
    let Some(Ok(Item::Record(record))) = soon(records.next()).await else { panic!() };
    assert_eq!(record.offset, 3, "the same stream goes on");
    let late = soon(late).await.unwrap().unwrap();
    assert_eq!(late.channel::<i64>("numbers").await.unwrap().append_value(&5).await.unwrap(), 4);
    assert!(soon(cluster.scheduler.receipt).await.is_ok());
    cluster.scheduler.handle.shutdown().await;
    soon(cluster.scheduler.driver).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_is_broken_off_when_it_is_asked_to_stop() {
    let (log, _channel, address) = written().await;
    let gate = gated(&log);
    let cluster = start(gate.clone(), &address).await;
    cluster.scheduler.handle.shutdown().await;
    gate.open();
    assert!(soon(cluster.scheduler.receipt).await.is_err(), "it found nothing");
    soon(cluster.scheduler.driver).await.unwrap().unwrap();
}
