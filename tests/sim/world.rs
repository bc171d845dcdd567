//! The whole system in one thread: clients, workers, a scheduler, a log, a network and a clock, all
//! moved by one seed. First things go wrong for a while; then everything is let heal, and what was
//! promised is checked from outside.

mod audit;

use std::collections::BTreeMap;

use fastrand::Rng;
use headwater::log::{Log, Memory};
use headwater::protocol::session::Retire;
use headwater::protocol::{Epoch, TimeMs};
use headwater::scheduler::core::State;
use headwater::scheduler::recovery;

use crate::grants::Given;
use crate::network::{Network, Wire};
use crate::retiring::Retirements;
use crate::server::{self, Disk, RESERVE_BYTES, SETTINGS, Server};
use crate::shadow::Shadow;
use crate::stores::Stores;
use crate::transcript::Told;
use crate::workers::Worker;
use crate::workload::Client;

/// One write to the log in so many fails while things go wrong.
const FAILS_ONE_IN: u32 = 300;

/// One fetch of a result in so many fails while things go wrong.
const FETCHES_FAIL_ONE_IN: u32 = 8;

/// In one world of so many old copies of the store are put back. Not in all: what was gone may be gone.
const COPIES_ONE_IN: u64 = 4;

/// In one world of so many there is nobody but clients that append to buffered channels and read: all else would have
/// what they append flushed at once.
const QUIET_ONE_IN: u64 = 5;

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
    /// A copy of the store and what clients knew then, in worlds where an old copy may be put back.
    copy: Option<(Memory, Shadow)>,
    has_copies: bool,
    is_quiet: bool,
    retiring: Retirements,
    given: Given,
    /// What workers keep of results.
    stores: Stores,
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
        let is_quiet = seed % QUIET_ONE_IN == 1;
        let mut clients: Vec<Client> = (0..3).map(|_| Client::new(&mut rng)).collect();
        let mut workers = Vec::new();
        if !is_quiet {
            clients[0].submit_counter();
            workers.extend(["one", "two"].map(|name| Worker::new(name, &mut rng)));
        }
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
            copy: None,
            has_copies: seed.is_multiple_of(COPIES_ONE_IN),
            is_quiet,
            retiring: Retirements::default(),
            given: Given::default(),
            stores: Stores::new(FETCHES_FAIL_ONE_IN),
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
            500..515 => self.serve(|server, now, _, _| server.tick(now)),
            515..520 => self.serve(|server, _, _, _| server.want_snapshot()),
            520..525 => self.serve(|server, _, _, told| server.take_snapshot(told)),
            525..530 => {
                let free_bytes = self.free_bytes;
                self.serve(|server, _, _, told| server.look(free_bytes, told));
            }
            530..750 => self.move_client(storm),
            750..950 if self.is_quiet => self.move_client(storm),
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
            if self.is_quiet { client.act_quietly(&mut self.rng) } else { client.act(&mut self.rng) }
        }
        client.send(&mut self.network);
        client.hear(&mut self.network, &mut self.shadow, (&self.stores, self.now), &mut self.rng);
        if client.ended && storm {
            self.clients[at] = Client::new(&mut self.rng);
        }
    }

    fn move_worker(&mut self, storm: bool) {
        let at = self.rng.usize(..self.workers.len());
        let worker = &mut self.workers[at];
        if self.rng.bool() || !storm {
            worker.act(&mut self.rng, &mut self.stores);
        }
        worker.send(&mut self.network);
        worker.hear(&mut self.network, &mut self.rng, &mut self.stores);
        if worker.ended || worker.has_left() {
            let name = worker.name().to_owned();
            worker.die(&mut self.network, &mut self.stores);
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
        let what = match self.rng.u8(..if self.has_copies { 25 } else { 22 }) {
            // Nothing that has anything flushed: crashes, cut connections, and time.
            other @ 1..22 if self.is_quiet => [0, 0, 1, 21][usize::from(other % 4)],
            other => other,
        };
        match what {
            0 => self.crash_scheduler(),
            22 | 23 => self.copy_store(),
            24 => self.put_copy_back(),
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
                self.workers[at].die(&mut self.network, &mut self.stores);
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
            15 => {
                let at = self.rng.usize(..self.workers.len());
                self.told.push(format!("worker {} retires by itself", self.workers[at].name()));
                self.workers[at].retire();
            }
            16 | 17 => {
                let Some(state) = self.state() else { return };
                let workers = crate::retiring::workers(state);
                let Some(worker) = self.rng.choice(workers) else { return };
                let retire = if self.rng.bool() { Retire::Finish } else { Retire::HandOver };
                let at = self.rng.usize(..self.clients.len());
                self.told.push(format!("client {at} asks that worker {worker} retires: {retire:?}"));
                self.clients[at].retire_worker(worker, retire);
            }
            18..20 => {
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
        // Its process ends, and the system has all that was written; or the machine does.
        let is_process = self.rng.u8(..4) < if self.is_quiet { 1 } else { 2 };
        let kept = if is_process { u64::from(u32::MAX) } else { self.rng.u64(..4) };
        self.told.push(format!("scheduler crashes; of what was not flushed {kept} commits are kept at most"));
        let epoch = self.server.take().map(|server| server.epoch());
        self.log.crash_keeping(kept);
        if let Some(epoch) = epoch {
            self.shadow.crashed(epoch, self.log.last().seq, self.now);
        }
        for wire in self.network.wires() {
            self.network.cut(wire);
            self.network.leave_as_server(wire);
        }
    }

    fn copy_store(&mut self) {
        let copy = self.log.copy();
        copy.crash();
        self.told.push(format!("the store is copied at commit {}", copy.last().seq));
        let mut shadow = self.shadow.clone();
        // What is not durable is not in the copy: as lost as in a crash now.
        shadow.crashed(copy.starts().newest().epoch, copy.last().seq, self.now);
        self.copy = Some((copy, shadow));
    }

    /// The scheduler is killed, and an older copy of its store put into the place of the newer one. Whoever has
    /// seen more of it than that hears so; what clients knew then holds on.
    fn put_copy_back(&mut self) {
        let Some((copy, shadow)) = self.copy.take() else { return };
        self.crash_scheduler();
        self.told.push(format!("the copy at commit {} is put back", copy.last().seq));
        (self.log, self.shadow) = (copy, shadow);
        // Epochs and sessions get the same numbers again.
        (self.checked, self.folded) = (Seen::default(), Seen::default());
        (self.retiring, self.given) = (Retirements::default(), Given::default());
        self.clients.iter_mut().for_each(|client| client.store_went_back(&self.log));
        self.workers.iter_mut().for_each(|worker| worker.store_went_back(&self.log));
    }

    /// After every step. What cannot have changed since it was checked is not checked again: the state
    /// changes by records only, and who is there with them or by connections.
    fn check(&mut self) {
        let Some(server) = &self.server else { return };
        let core = server.pipeline.core();
        self.retiring.watch(server.epoch(), core);
        self.workers.iter().for_each(|worker| worker.check_pauses(core));
        self.clients.iter().for_each(|client| client.check_values(core.state()));
        let seen = (server.epoch(), core.state().records(), server.connections());
        if seen != self.checked {
            core.check();
            self.given.watch(server.epoch(), core);
            for (id, task) in core.state().tasks.iter().filter(|(_, task)| task.phase.is_open()) {
                let deaths = task
                    .call
                    .as_ref()
                    .map_or(0, |call| call.deaths.as_ref().map_or(0, |deaths| deaths.count));
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
        let names: BTreeMap<_, _> = server::names_in(&self.log).into_iter().collect();
        assert_eq!(names, core.state().names, "the names are found without the state");
    }

    /// Nothing goes wrong any more: everything that is wanted must come.
    fn heal(&mut self) {
        self.told.push("calm".to_owned());
        self.free_bytes = u64::MAX;
        self.stores.fails_one_in = 0;
        for step in 0..CALM_STEPS {
            self.step(false);
            self.check();
            if step % 64 == 0 && self.is_content() {
                return;
            }
        }
        let waiting: Vec<bool> = self.clients.iter().map(Client::is_content).collect();
        panic!(
            "it does not come to rest: clients {waiting:?}, workers {:?}, open tasks {:?}",
            self.workers.iter().map(Worker::describe).collect::<Vec<_>>(),
            self.state().map(|state| state
                .tasks
                .iter()
                .filter(|(_, task)| task.phase.is_open())
                .collect::<Vec<_>>())
        );
    }

    fn now(&self) -> TimeMs {
        self.now
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
            && self.workers.iter().all(|worker| worker.keeps_what_it_should(state, &self.stores))
    }
}
