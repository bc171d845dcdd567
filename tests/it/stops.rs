//! A scheduler whose log cannot be written, or has no room: each fault of `log::Faulty` through the whole
//! driver. Who waits is told, and what a new start finds is what was acknowledged.

use std::sync::Arc;
use std::time::Duration;

use headwater::log::faulty::{Fault, Operation};
use headwater::log::{Error, Faulty, Log, Memory, Reader};
use headwater::protocol::command::{Answer, Command, Query, Rejection};
use headwater::protocol::message::{Closing, Hello, ServerMessage};
use headwater::protocol::session::Role;
use headwater::protocol::{ChannelEvent, ChannelName, Element, LogId, Payload, SessionId};
use headwater::scheduler::core::Settings;
use headwater::scheduler::snapshots::Options;
use headwater::scheduler::{ConnectionId, Outgoing, Request, Scheduler, start};
use tokio::sync::mpsc;
use tokio::time::timeout;

const WAIT: Duration = Duration::from_secs(20);
const RESERVE: u64 = 800;

/// A scheduler on an engine, and a client of it that has opened the channel with log 1.
struct Bench {
    scheduler: Scheduler,
    connection: ConnectionId,
    outgoing: mpsc::UnboundedReceiver<Outgoing>,
    number: u64,
}

impl Bench {
    async fn new(log: Arc<Faulty<Memory>>, snapshots: Options) -> Bench {
        let settings = Settings { disk_reserve_bytes: RESERVE, ..Settings::default() };
        let scheduler = start(log.clone(), Reader::new(log), settings, snapshots, None).unwrap();
        // A new one each time: one that is known would find its first answers.
        let session = SessionId(fastrand::u128(..).to_be_bytes());
        let hello = Hello { token: None, session, resume: false, role: Role::Client, seen: None };
        let (outbox, outgoing) = mpsc::unbounded_channel();
        let connection = scheduler.handle.connect(hello, outbox).await.unwrap().connection;
        Bench { scheduler, connection, outgoing, number: 100 }
    }

    async fn ask(&mut self, requests: impl IntoIterator<Item = Request>) {
        assert!(self.number < 200_000, "what is waited for never comes");
        let requests = requests.into_iter().map(|request| {
            self.number += 1;
            (self.number, request)
        });
        let requests = requests.collect();
        self.scheduler.handle.send(self.connection, requests).await.unwrap();
    }

    /// The next message but news of commits; `None` when the scheduler has let go of the connection.
    async fn hear(&mut self) -> Option<ServerMessage> {
        loop {
            let message = timeout(WAIT, self.outgoing.recv()).await.expect("it is told")?.message;
            if !matches!(message, ServerMessage::Welcome { .. } | ServerMessage::Durable { .. }) {
                return Some(message);
            }
        }
    }

    async fn answer(&mut self, request: Request) -> Result<Answer, Rejection> {
        self.ask([request]).await;
        match self.hear().await {
            Some(ServerMessage::Answer(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    async fn stop(self) {
        self.scheduler.handle.shutdown().await;
        self.scheduler.driver.await.unwrap().unwrap();
    }
}

fn open() -> Request {
    Request::Command(Command::OpenChannel { name: ChannelName::new("a").unwrap() })
}

fn append(n: u64) -> Request {
    let elements = vec![Element::Value(Payload::raw(n.to_be_bytes().to_vec()))];
    Request::Command(Command::append(LogId(1), elements.into()))
}

/// The numbers on the channel, in order.
fn there(log: &Memory) -> Vec<u64> {
    let batches = log.read(LogId(1), 0, usize::MAX).unwrap();
    let records = batches.iter().flat_map(|batch| batch.records::<ChannelEvent>().collect::<Vec<_>>());
    let number = |event| match event {
        ChannelEvent::Appended { element: Element::Value(payload), .. } => {
            u64::from_be_bytes(payload.bytes[..].try_into().unwrap())
        }
        other => panic!("{other:?}"),
    };
    records.map(|record| number(record.unwrap().1)).collect()
}

/// Three appends that are acknowledged, and then a fault in the way of 20 that wait.
async fn meet(operation: Operation, fault: Fault, seed: u64, kept: u64) {
    let memory = Memory::new();
    let log = Arc::new(Faulty::seeded(memory.clone(), seed, 0));
    let mut bench = Bench::new(log.clone(), Options::default()).await;
    bench.answer(open()).await.unwrap();
    for n in 0..3 {
        assert!(
            matches!(bench.answer(append(n)).await, Ok(Answer::Appended { first, count: 1, .. }) if first == n)
        );
    }
    log.inject(operation, fault);
    bench.ask((3..13).map(append)).await;
    // Some may come too late to be taken at all: then there is nobody any more to send them to.
    let late = (13..23).map(|n| (1000 + n, append(n))).collect();
    let late = bench.scheduler.handle.send(bench.connection, late).await.is_ok();
    let mut refused = 0;
    let closing = loop {
        match bench.hear().await {
            Some(ServerMessage::Answer(Err(Rejection::LogFailed(why)))) => {
                let words = if fault == Fault::DiskFull {
                    "the disk is full: free some space"
                } else {
                    "the store failed"
                };
                assert!(why.contains(words), "{why}");
                refused += 1;
            }
            Some(ServerMessage::Closing(why)) => break why,
            other => panic!("{operation:?} {fault:?}: {other:?}"),
        }
    };
    assert_eq!(refused, if late { 20 } else { 10 }, "{operation:?} {fault:?}: everyone who waits is told");
    assert!(matches!(closing, Closing::Rejected(Rejection::LogFailed(_))), "{closing:?}");
    assert!(bench.hear().await.is_none());
    let ended: Result<(), Error> = timeout(WAIT, bench.scheduler.driver).await.expect("it ends").unwrap();
    assert!(ended.is_err());
    drop(log);

    memory.crash_keeping(kept);
    let found = there(&memory);
    assert!(found.len() >= 3, "{operation:?} {fault:?}: acknowledged, and gone: {found:?}");
    assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>(), "in order, each once");
    let mut bench = Bench::new(Arc::new(Faulty::new(memory.clone())), Options::default()).await;
    bench.answer(open()).await.unwrap();
    let first = found.len() as u64;
    let again = bench.answer(append(first)).await;
    assert!(
        matches!(again, Ok(Answer::Appended { first: given, count: 1, .. }) if given == first),
        "{again:?}"
    );
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_write_that_fails_is_told_and_a_start_finds_what_was_acknowledged() {
    for operation in [Operation::Append, Operation::Flush] {
        for fault in [Fault::DiskFull, Fault::NotDone, Fault::DoneUnreported, Fault::Torn] {
            for seed in 0..if fault == Fault::Torn { 4 } else { 1 } {
                for kept in 0..2 {
                    meet(operation, fault, seed, kept).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_little_room_appends_are_refused_and_taken_again_when_there_is_more() {
    let memory = Memory::new();
    let log = Arc::new(Faulty::new(memory.clone()));
    let mut bench = Bench::new(log.clone(), Options::default()).await;
    bench.answer(open()).await.unwrap();
    bench.answer(append(0)).await.unwrap();
    log.set_free_bytes(Some(RESERVE - 1));
    // It is seen within half a second or so.
    let mut taken = 1;
    let refusal = loop {
        match bench.answer(append(taken)).await {
            Ok(_) => taken += 1,
            Err(refusal) => break refusal,
        }
    };
    let expected = |free_bytes| Rejection::DiskLow {
        place: "faulty memory".to_owned(),
        free_bytes,
        wanted_bytes: RESERVE + RESERVE / 8,
    };
    assert_eq!(refusal, expected(RESERVE - 1));
    let words = "the scheduler's disk is nearly full, 799 bytes are free (faulty memory): nothing was added, and \
                 reading goes on; free some space there (more is taken from 900 bytes on), or start the scheduler \
                 with a smaller --disk-reserve, and ask again";
    assert_eq!(refusal.to_string(), words);
    let overview = bench.answer(Request::Query(Query::Overview)).await;
    assert!(matches!(overview, Ok(Answer::Overview(_))), "{overview:?}");
    bench.stop().await;

    // From the first command of a start on.
    let mut bench = Bench::new(log.clone(), Options::default()).await;
    assert_eq!(bench.answer(append(taken)).await, Err(expected(RESERVE - 1)));
    bench.answer(open()).await.expect("it is there");
    // A little more is not enough yet.
    log.set_free_bytes(Some(RESERVE));
    while bench.answer(append(taken)).await != Err(expected(RESERVE)) {}
    log.set_free_bytes(Some(2 * RESERVE));
    while bench.answer(append(taken)).await.is_err() {}
    assert_eq!(there(&memory), (0..=taken).collect::<Vec<_>>());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_finds_no_room_stops_nothing_and_none_is_begun_when_room_is_little() {
    let memory = Memory::new();
    let log = Arc::new(Faulty::new(memory.clone()));
    let options = Options { every_records: 5, ..Options::default() };
    log.inject(Operation::WriteSnapshot, Fault::DiskFull);
    let mut bench = Bench::new(log.clone(), options).await;
    bench.answer(open()).await.unwrap();
    // The first one fails, and is made up for by the next.
    let mut n = 0;
    while memory.snapshots().unwrap().is_empty() {
        bench.answer(append(n)).await.unwrap();
        n += 1;
    }
    assert!(n > 5, "{n}");
    log.set_free_bytes(Some(0));
    while bench.answer(append(n)).await.is_ok() {
        n += 1;
    }
    let before = loop {
        // One that was begun before is broken off, or done.
        let before = memory.snapshots().unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        if before == memory.snapshots().unwrap() {
            break before;
        }
    };
    for _ in 0..50 {
        // What is not refused: commits of which snapshots would be due.
        bench.ask([Request::Command(Command::Release { tasks: vec![] })]).await;
        assert_eq!(bench.hear().await, Some(ServerMessage::Answer(Ok(Answer::Released))));
    }
    assert_eq!(memory.snapshots().unwrap(), before);
    log.set_free_bytes(None);
    while memory.snapshots().unwrap() == before {
        // Refused until the room is seen.
        let _ = bench.answer(append(n)).await;
    }
    bench.stop().await;
}
