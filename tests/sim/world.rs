//! The whole system in one thread: clients, workers, a scheduler, a log, a network and a clock, all
//! moved by one seed. First things go wrong for a while; then everything is let heal, and what was
//! promised is checked from outside.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use headwater::log::{Log, Memory};
use headwater::protocol::event::TaskResult;
use headwater::protocol::task::{Argument, ErrorKind};
use headwater::protocol::{ChannelEvent, Digest, Element, Epoch, LogId, Outcome, TaskEvent, TaskId, TimeMs};
use headwater::scheduler::core::{Event, State};
use headwater::scheduler::recovery;

use crate::network::{Network, Wire};
use crate::progress;
use crate::server::{Disk, RESERVE_BYTES, SETTINGS, Server};
use crate::transcript::{self, Told};
use crate::workers::{COUNT_TO, Worker, result};
use crate::workload::{Client, Shadow, mark};

/// One write to the log in so many fails while things go wrong.
const FAILS_ONE_IN: u32 = 300;

/// Steps in which things go wrong, and at most this many to heal.
const STORM_STEPS: usize = 1500;
const CALM_STEPS: usize = 60_000;

/// The world.
pub struct World {
    rng: Rng,
    now: TimeMs,
    log: Memory,
    network: Network,
    server: Option<Server>,
    clients: Vec<Client>,
    workers: Vec<Worker>,
    shadow: Shadow,
    crashes: u32,
    /// How much the disk has free.
    free_bytes: u64,
    /// What was checked, and compared with replay, last.
    checked: Seen,
    folded: Seen,
    /// What happened, for people.
    told: Told,
}

/// The epoch, the records, and the connections: what a state and who is there follow from.
type Seen = (Epoch, u64, Vec<Wire>);

/// Runs a seed. Answers its transcript; prints it, too, when it is to be told aloud.
pub fn run(seed: u64, aloud: bool) -> Vec<String> {
    let mut world = World::new(seed, Told { lines: Vec::new(), aloud });
    for _ in 0..STORM_STEPS {
        world.step(true);
        world.check();
    }
    world.heal();
    world.audit();
    world.told.lines
}

/// The log that the storm of a seed leaves.
pub fn log_of(seed: u64) -> Memory {
    let mut world = World::new(seed, Told { lines: Vec::new(), aloud: false });
    (0..STORM_STEPS).for_each(|_| world.step(true));
    world.log.crash();
    world.log
}

impl World {
    fn new(seed: u64, mut told: Told) -> Self {
        let mut rng = Rng::with_seed(seed);
        told.push(format!("seed {seed}"));
        let log = Memory::new();
        let disk = Disk { seed, fails_one_in: FAILS_ONE_IN, free_bytes: u64::MAX };
        let server = Server::start(&log, disk, 0, &mut told).ok();
        let mut clients: Vec<Client> = (0..3).map(|_| Client::new(&mut rng)).collect();
        clients[0].submit_counter();
        let workers = ["one", "two"].map(|name| Worker::new(name, &mut rng)).into();
        let (network, shadow) = (Network::default(), Shadow::default());
        World {
            rng,
            now: 0,
            log,
            network,
            server,
            clients,
            workers,
            shadow,
            crashes: 0,
            free_bytes: u64::MAX,
            checked: Seen::default(),
            folded: Seen::default(),
            told,
        }
    }

    /// One thing happens, somewhere.
    fn step(&mut self, storm: bool) {
        self.now += self.rng.u64(..3);
        let choice = self.rng.u16(..1000);
        match choice {
            0..200 => {
                let mut written = Ok(());
                self.serve(|server, now, _, _| written = server.write(now));
                if let Err(error) = written {
                    self.told.push(format!("the log fails: {error}"));
                    self.crash_scheduler();
                }
            }
            200..400 => {
                let wires = self.network.wires();
                if let Some(wire) = self.rng.choice(wires) {
                    self.serve(|server, now, network, _| server.hear(wire, network, now));
                }
            }
            400..500 => {
                let (wires, which) = (self.network.wires(), self.rng.usize(..4));
                if let Some(wire) = self.rng.choice(wires) {
                    self.serve(|server, _, network, _| server.feed(wire, which, network));
                }
            }
            500..520 => self.serve(|server, now, _, _| server.tick(now)),
            520..525 => self.serve(|server, now, _, told| server.write_snapshot(now, told)),
            525..530 => {
                let free_bytes = self.free_bytes;
                self.serve(|server, _, _, told| server.look(free_bytes, told));
            }
            530..750 => self.move_client(storm),
            750..950 => self.move_worker(storm),
            950..985 => self.connect(storm),
            _ if storm => self.trouble(),
            _ => {}
        }
        self.serve(|server, now, network, told| server.release(network, now, told));
    }

    fn serve(&mut self, act: impl FnOnce(&mut Server, TimeMs, &mut Network, &mut Told)) {
        if let Some(server) = &mut self.server {
            act(server, self.now, &mut self.network, &mut self.told);
        }
    }

    fn move_client(&mut self, storm: bool) {
        let at = self.rng.usize(..self.clients.len());
        let client = &mut self.clients[at];
        if storm && self.rng.u8(..3) == 0 {
            client.act(&mut self.rng);
        }
        client.send(&mut self.network);
        client.hear(&mut self.network, &mut self.shadow);
        if client.ended && storm {
            self.clients[at] = Client::new(&mut self.rng);
        }
    }

    fn move_worker(&mut self, storm: bool) {
        let at = self.rng.usize(..self.workers.len());
        let worker = &mut self.workers[at];
        if self.rng.u8(..4) == 0 || !storm {
            worker.act(&mut self.rng);
        }
        worker.send(&mut self.network);
        worker.hear(&mut self.network, &mut self.rng);
        if worker.ended {
            let name = worker.name().to_owned();
            worker.die(&mut self.network);
            // Whoever was replaced stays away, so that two namesakes do not take turns for ever.
            if worker.is_superseded() && self.workers.len() > 1 {
                self.workers.swap_remove(at);
            } else {
                self.workers[at] = Worker::new(&name, &mut self.rng);
            }
        }
    }

    /// Whoever has no connection makes one.
    fn connect(&mut self, storm: bool) {
        let Some(server) = &mut self.server else {
            // Whoever supervises the scheduler starts it again.
            let fails_one_in = if storm { FAILS_ONE_IN } else { 0 };
            let disk = Disk { seed: self.rng.u64(..), fails_one_in, free_bytes: self.free_bytes };
            self.server = Server::start(&self.log, disk, self.now, &mut self.told).ok();
            return;
        };
        let network = &mut self.network;
        let mut open = || {
            let wire = network.open();
            server.accept(wire);
            wire
        };
        for client in self.clients.iter_mut().filter(|client| client.wire.is_none() && !client.ended) {
            client.connect(open());
        }
        for worker in &mut self.workers {
            if worker.wire.is_none() && !worker.ended {
                worker.connect(open());
            }
            for counter in worker.counters().filter(|counter| counter.wire.is_none() && !counter.is_fenced())
            {
                counter.connect(open());
            }
        }
    }

    fn trouble(&mut self) {
        match self.rng.u8(..19) {
            0 => self.crash_scheduler(),
            1..7 => {
                let wires = self.network.wires();
                if let Some(wire) = self.rng.choice(wires) {
                    self.told.push(format!("connection {wire} is cut"));
                    self.network.cut(wire);
                }
            }
            7..9 => {
                let at = self.rng.usize(..self.clients.len());
                self.told.push(format!("client {at} is killed"));
                self.clients[at].die(&mut self.network);
            }
            9 => {
                let at = self.rng.usize(..self.clients.len());
                self.told.push(format!("client {at} leaves"));
                self.clients[at].leave(&mut self.network);
            }
            10..12 => {
                let at = self.rng.usize(..self.workers.len());
                let name = if self.rng.bool() {
                    self.workers[at].name().to_owned()
                } else {
                    format!("new{}", self.now)
                };
                self.told.push(format!("worker {} is killed, {name} starts", self.workers[at].name()));
                self.workers[at].die(&mut self.network);
                self.workers[at] = Worker::new(&name, &mut self.rng);
            }
            12 if self.workers.len() < 5 => {
                // Its place is taken while it lives on: what it still says must not count.
                let at = self.rng.usize(..self.workers.len());
                let name = self.workers[at].name().to_owned();
                self.told.push(format!("a second worker {name} starts"));
                let worker = Worker::new(&name, &mut self.rng);
                self.workers.push(worker);
            }
            13 => {
                let at = self.rng.usize(..self.clients.len());
                self.told.push(format!("client {at} gives up its connection"));
                self.clients[at].give_up_connection(&mut self.network);
            }
            14 => {
                let at = self.rng.usize(..self.workers.len());
                self.told.push(format!("worker {} gives up its connections", self.workers[at].name()));
                self.workers[at].give_up_connection(&mut self.network);
            }
            15..17 => {
                // Half of the time it fills up, and half of the time there is room again.
                self.free_bytes = if self.free_bytes < RESERVE_BYTES {
                    self.rng.u64(RESERVE_BYTES..2 * RESERVE_BYTES)
                } else {
                    self.rng.u64(..RESERVE_BYTES)
                };
                self.told.push(format!("the disk has {} bytes free", self.free_bytes));
            }
            _ => {
                self.told.push("time passes".to_owned());
                self.now += self.rng.u64(..300);
            }
        }
    }

    fn crash_scheduler(&mut self) {
        self.crashes += 1;
        let kept = self.rng.u64(..2);
        self.told.push(format!("scheduler crashes; of what was not flushed {kept} commits are kept"));
        self.server = None;
        self.log.crash_keeping(kept);
        for wire in self.network.wires() {
            self.network.cut(wire);
            self.network.leave_as_server(wire);
        }
    }

    /// After every step. What cannot have changed since it was checked is not checked again: the state
    /// changes by records only, and who is there with them or by connections.
    fn check(&mut self) {
        let Some(server) = &self.server else { return };
        let core = server.pipeline.core();
        let seen = (server.epoch(), core.state().records(), server.connections());
        if seen != self.checked {
            core.check();
            for (id, task) in &core.state().tasks {
                let deaths = task.call.as_ref().map_or(0, |call| call.deaths.count);
                assert!(deaths < SETTINGS.deaths_max, "{id} is poison after {deaths} deaths, and goes on");
            }
            self.checked = seen.clone();
        }
        if !server.is_idle() || seen == self.folded {
            return;
        }
        self.folded = seen;
        let folded = recovery::fold(&self.log).expect("the log can be read");
        assert_eq!(&folded, core.state(), "replay gives the live state");
        let recovered = recovery::recover(&self.log, &mut |_| Ok(())).expect("the log can be read");
        assert_eq!(
            &recovered.state,
            core.state(),
            "a snapshot and the records behind it give the live state"
        );
        recovered.state.check();
    }

    /// Nothing goes wrong any more: everything that is wanted must come.
    fn heal(&mut self) {
        self.told.push("calm".to_owned());
        self.free_bytes = u64::MAX;
        for step in 0..CALM_STEPS {
            self.step(false);
            self.check();
            if step % 64 == 0 && self.is_content() {
                return;
            }
        }
        let waiting: Vec<bool> = self.clients.iter().map(Client::is_content).collect();
        panic!(
            "it does not come to rest: clients {waiting:?}, counts {:?}",
            self.state().map(|state| state.counts)
        );
    }

    fn state(&self) -> Option<&State> {
        self.server.as_ref().map(|server| server.pipeline.core().state())
    }

    fn is_content(&self) -> bool {
        let Some(server) = &self.server else { return false };
        let state = server.pipeline.core().state();
        let settled = state.counts.pending == 0 && state.counts.running == 0;
        let read = self
            .clients
            .iter()
            .flat_map(Client::positions)
            .all(|(log, next)| next == self.log.bounds(log).head);
        settled
            && read
            && server.is_idle()
            && self.clients.iter().all(Client::is_content)
            && self.workers.iter().all(Worker::is_content)
    }

    /// Reads all logs as anyone could, and holds them against what clients were told.
    fn audit(&mut self) {
        let state = self.state().expect("it runs").clone();
        self.audit_outcomes(&state);
        progress::audit(&self.log, &state);
        for (log, channel) in &state.channels {
            let records = self.records_of(*log);
            let digest =
                elements(&records).fold(Digest::default(), |digest, element| digest.with_element(element));
            assert_eq!(digest, channel.digest, "the digest of {}", channel.name);
            let mut seen = BTreeSet::new();
            for element in elements(&records).filter(|element| matches!(element, Element::Value(_))) {
                assert!(seen.insert(mark(element)), "{element:?} is twice on {}", channel.name);
                assert!(
                    !self.shadow.refused.contains(&mark(element)),
                    "{element:?} was refused and is there"
                );
            }
            if channel.name.as_str() == "counts" {
                let counted: Vec<u64> = elements(&records).map(count).collect();
                assert_eq!(counted, (0..counted.len() as u64).collect::<Vec<_>>(), "two attempts wrote");
                self.told.push(format!("counted to {}", counted.len()));
            }
            self.audit_stop(&records);
        }
        for ((log, offset), expected) in &self.shadow.acked {
            match self.records_of(*log).get(*offset as usize) {
                Some(ChannelEvent::Appended { element, .. }) if mark(element) == *expected => {}
                other => panic!("acknowledged at {offset} of log {log}, and there is {other:?}"),
            }
        }
        for ((session, log), expected) in &self.shadow.order {
            let records = self.records_of(*log);
            let there: Vec<_> = elements(&records).map(mark).filter(|mark| expected.contains(mark)).collect();
            assert_eq!(there, *expected, "the order in which {session} appended to {log}");
        }
        for ((log, offset), expected) in &self.shadow.read {
            assert_eq!(self.records_of(*log).get(*offset as usize), Some(expected), "what a reader saw");
        }
        let acked = self.shadow.acked.len();
        self.told.push(format!(
            "{acked} acknowledged, {} crashes, {} records",
            self.crashes,
            state.records()
        ));
    }

    /// Each outcome is in the task log once, of the newest attempt, made of what was submitted; and
    /// watchers heard nothing else.
    fn audit_outcomes(&mut self, state: &State) {
        let (mut ended, mut newest, mut given) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let mut outcomes: BTreeMap<TaskId, Vec<Outcome>> = BTreeMap::new();
        let mut deaths: BTreeMap<TaskId, u32> = BTreeMap::new();
        for batch in self.log.read(LogId::TASKS, 0, usize::MAX).expect("the log can be read") {
            for record in batch.records::<TaskEvent>() {
                let event = record.expect("records decode").1;
                match &event {
                    TaskEvent::Submitted { submission, .. } => {
                        let key = &submission.key;
                        assert!(
                            !self.shadow.refused_tasks.contains(&key.id),
                            "{key} was refused and is there"
                        );
                        if let Some(Argument::Value(first)) = submission.arguments.first() {
                            given.insert(submission.key.id, first.clone());
                        }
                    }
                    TaskEvent::Started { task, attempt, .. } => {
                        let before = newest.insert(*task, *attempt);
                        assert!(before < Some(*attempt), "{task} has two attempts {attempt}");
                    }
                    TaskEvent::Retried { task, attempt, .. } | TaskEvent::Requeued { task, attempt, .. } => {
                        assert_eq!(newest.get(task), Some(attempt), "an older attempt of {task} counted");
                    }
                    TaskEvent::Died { task, attempt, reason, counts, .. } => {
                        assert_eq!(newest.get(task), Some(attempt), "an older attempt of {task} died");
                        assert!(reason.is_death(), "{reason}");
                        let row = deaths.entry(*task).or_default();
                        *row = if *counts { *row + 1 } else { 0 };
                    }
                    TaskEvent::Finished { task, attempt, result: TaskResult::Inline(brought) } => {
                        assert_eq!(newest.get(task), Some(attempt), "an older attempt of {task} counted");
                        assert!(ended.insert(*task), "{task} ended twice");
                        if let Some(given) = given.get(task) {
                            assert_eq!(*brought, result(given, *attempt), "{task} ended as another one");
                        }
                        outcomes.entry(*task).or_default().push(Outcome::Finished(brought.clone()));
                    }
                    TaskEvent::Failed { task, error } => {
                        if error.kind == ErrorKind::Poison {
                            let deaths = deaths.get(task).copied();
                            assert_eq!(deaths, Some(SETTINGS.deaths_max), "{task} is poison");
                            assert_eq!(error.causes.len(), SETTINGS.deaths_max as usize, "{task}: {error}");
                            assert_eq!(
                                newest.get(task),
                                Some(&error.attempt),
                                "an older attempt of {task} counted"
                            );
                        }
                        assert!(ended.insert(*task), "{task} ended twice");
                        outcomes.entry(*task).or_default().push(Outcome::Failed(error.clone()));
                    }
                    // What is forgotten may be submitted again.
                    TaskEvent::Forgotten { task } => {
                        ended.remove(task);
                        deaths.remove(task);
                    }
                    _ => {}
                }
                self.told.push(transcript::event(state, &Event::Task(event)));
            }
        }
        for (task, heard) in &self.shadow.outcomes {
            let ended = outcomes.get(task).map_or(&[][..], Vec::as_slice);
            assert!(heard.iter().all(|outcome| ended.contains(outcome)), "{task}: {heard:?}, not {ended:?}");
        }
    }

    fn audit_stop(&self, records: &[ChannelEvent]) {
        let stop = records.iter().position(|record| matches!(record, ChannelEvent::Stopped { .. }));
        if let Some(at) = stop {
            assert!(!records[at..].iter().any(ChannelEvent::is_element), "an element after the stop");
        }
    }

    fn records_of(&self, log: LogId) -> Vec<ChannelEvent> {
        let batches = self.log.read(log, 0, usize::MAX).expect("the log can be read");
        batches
            .iter()
            .flat_map(|batch| {
                batch.records().map(|record| record.expect("records decode").1).collect::<Vec<_>>()
            })
            .collect()
    }
}

fn elements(records: &[ChannelEvent]) -> impl Iterator<Item = &Element> {
    records.iter().filter_map(|record| match record {
        ChannelEvent::Appended { element, .. } => Some(element),
        _ => None,
    })
}

fn count(element: &Element) -> u64 {
    let Element::Value(payload) = element else { panic!("a future on the counters' channel") };
    let count = payload.decode().expect("a number");
    assert!(count < COUNT_TO);
    count
}
