//! The inner loops, each alone: encoding records, deciding and applying commands, a commit into a store on
//! disk, and reading a range back. `cargo bench` runs them; `headwater bench` measures the whole way.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use tempfile::TempDir;

use headwater::log::{Log, SledLog, SledOptions};
use headwater::protocol::batch::{Batch, Commit, OpenBatch};
use headwater::protocol::channel::ChannelName;
use headwater::protocol::command::Command;
use headwater::protocol::event::Origin;
use headwater::protocol::message::Hello;
use headwater::protocol::session::Role;
use headwater::protocol::task::{Argument, TaskOptions};
use headwater::protocol::{
    ChannelEvent, Element, Epoch, LogId, Payload, Producer, Seq, SessionId, Submission, TaskKey,
};
use headwater::scheduler::core::{Core, LogFacts, Output, Settings, State};
use headwater::scheduler::{ConnectionId, Request};

/// Records of a commit, as a busy scheduler makes them.
const RECORDS: u64 = 1_000;

/// 128 bytes as they are stored: MessagePack has two before a text of this length.
const TEXT_BYTES: usize = 126;

const CHANNEL: LogId = LogId(1);
const CLIENT: ConnectionId = ConnectionId(1);

fn main() {
    divan::main();
}

fn value() -> Element {
    Element::Value(Payload::encode(&"x".repeat(TEXT_BYTES)).expect("it is a text"))
}

fn appended(number: u64) -> ChannelEvent {
    ChannelEvent::Appended { origin: Origin { producer: Producer(1), number }, element: value() }
}

/// Encodes records into batches that begin at an offset.
fn encoded(records: &[ChannelEvent], seq: Seq, from: u64) -> Vec<Batch> {
    let (mut batches, mut open) = (Vec::new(), OpenBatch::new(CHANNEL, from, from));
    for record in records {
        if !open.push(record, true) {
            let next = OpenBatch::new(CHANNEL, open.next_offset(), open.next_index());
            batches.push(std::mem::replace(&mut open, next).seal(seq, Epoch(1), 0));
            open.push(record, true);
        }
    }
    batches.push(open.seal(seq, Epoch(1), 0));
    batches
}

fn records() -> Vec<ChannelEvent> {
    (0..RECORDS).map(appended).collect()
}

/// Appended records into batches, checksums and all.
#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let records = records();
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| encoded(black_box(&records), Seq(1), 0));
}

/// Batches checked and their records decoded.
#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let batches = encoded(&records(), Seq(1), 0);
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        for batch in &batches {
            let batch = Batch::read(batch.bytes().clone()).expect("it is whole");
            batch.records::<ChannelEvent>().for_each(|record| drop(black_box(record)));
        }
    });
}

/// A core with a client and a channel.
fn core() -> Core {
    let mut core = Core::new(State::default(), Settings::default(), LogFacts::default(), 0);
    let (mut out, session) = (Output::default(), SessionId([1; 16]));
    let hello = Hello { token: None, session, resume: false, role: Role::Client, seen: None };
    core.connect(CLIENT, &hello, &mut out);
    let name = ChannelName::new("values").expect("it is a name");
    core.request(CLIENT, 1, Request::Command(Command::OpenChannel { name }), &mut out);
    core
}

/// Commands decided and their events applied, without a log.
fn decide(bencher: Bencher<'_, '_>, command: impl Fn(u64) -> Command) {
    let inputs = || (core(), (0..RECORDS).map(&command).collect::<Vec<_>>());
    bencher.counter(ItemsCount::new(RECORDS)).with_inputs(inputs).bench_local_values(
        |(mut core, commands)| {
            let mut out = Output::default();
            for (at, command) in commands.into_iter().enumerate() {
                core.request(CLIENT, at as u64 + 2, Request::Command(command), &mut out);
            }
            assert!(out.events.len() as u64 >= RECORDS, "they were refused");
            (core, out)
        },
    );
}

#[divan::bench]
fn decide_and_apply_append(bencher: Bencher<'_, '_>) {
    decide(bencher, |_| Command::append(CHANNEL, vec![value()].into()));
}

#[divan::bench]
fn decide_and_apply_submit(bencher: Bencher<'_, '_>) {
    decide(bencher, |number| {
        let mut id = [7; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        Command::Submit(Submission {
            key: TaskKey::unique("noop", id),
            function: "rust:bench::noop".into(),
            version: 1,
            arguments: vec![Argument::Value(Payload::raw(number.to_be_bytes().to_vec()))],
            options: TaskOptions::default(),
        })
    });
}

/// A store on disk, in the folder for temporary files.
struct Store {
    log: SledLog,
    _dir: TempDir,
    epoch: Epoch,
}

impl Store {
    fn fresh() -> Store {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let (log, _) = SledLog::open(dir.path(), SledOptions::default()).expect("a store can be made there");
        let epoch = log.begin_epoch().expect("it is fresh");
        Store { log, _dir: dir, epoch }
    }

    fn commit(&self, records: &[ChannelEvent]) {
        let seq = self.log.last().seq.next();
        let batches = encoded(records, seq, self.log.bounds(CHANNEL).head);
        self.log.append(&Commit { seq, epoch: self.epoch, batches }).expect("there is room");
        self.log.flush().expect("the disk takes it");
    }
}

/// Records encoded, appended as one commit, and fsynced.
#[divan::bench(args = [1, 100, 1_000, 10_000])]
fn commit(bencher: Bencher<'_, '_>, count: u64) {
    let (store, records) = (Store::fresh(), (0..count).map(appended).collect::<Vec<_>>());
    bencher.counter(ItemsCount::new(count)).bench_local(|| store.commit(&records));
}

/// A range of stored batches, as a reader gets it who has fallen behind.
#[divan::bench]
fn read_range(bencher: Bencher<'_, '_>) {
    const COMMITS: u64 = 100;
    let (store, records) = (Store::fresh(), records());
    (0..COMMITS).for_each(|_| store.commit(&records));
    let bytes: usize = encoded(&records, Seq(1), 0).iter().map(|batch| batch.bytes().len()).sum();
    bencher
        .counter(BytesCount::new(bytes as u64 * COMMITS))
        .counter(ItemsCount::new(RECORDS * COMMITS))
        .bench_local(|| {
            let mut from = 0;
            while from < RECORDS * COMMITS {
                let batches = store.log.read(CHANNEL, from, 256 * 1024).expect("the store can be read");
                from = batches.last().expect("there is more").header().end_offset();
            }
        });
}
