//! The scheduler's process: the real pipeline, the real log contract, the real subscriptions, and an
//! edge that carries out effects. A crash drops it and what was not flushed. Writing may fail, too: then
//! it is to be crashed, as a process whose log cannot be written ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater::log::{Error, Faulty, Log, Memory, Reader};
use headwater::protocol::batch::Commit;
use headwater::protocol::command::Answer;
use headwater::protocol::event::Receipt;
use headwater::protocol::message::{ClientMessage, Closing, Hello, Reads, ServerMessage};
use headwater::protocol::start::RecoveryProgress;
use headwater::protocol::{Epoch, Seq, TimeMs};
use headwater::scheduler::core::{Core, Effect, LogFacts, Settings};
use headwater::scheduler::names::{self, More, Names};
use headwater::scheduler::{ConnectionId, Pipeline, Request, recovery};
use headwater::server::{Step, Subscription, View};

use crate::network::{Heard, Network, Wire};
use crate::positions;
use crate::transcript::{self, Told};

/// Leases in simulated milliseconds: short, so that they end within a run.
pub const SETTINGS: Settings =
    Settings { client_lease_ms: 400, worker_lease_ms: 200, deaths_max: 3, disk_reserve_bytes: RESERVE_BYTES };

/// With less free than this, nothing is added.
pub const RESERVE_BYTES: u64 = 1000;

/// What a scheduler finds of its disk.
#[derive(Clone, Copy)]
pub struct Disk {
    /// Moves its faults.
    pub seed: u64,
    /// One write in so many fails; none when it is 0.
    pub fails_one_in: u32,
    /// How much is free.
    pub free_bytes: u64,
}

/// A start takes fewer steps than this to recover.
const RECOVERY_STEPS_MAX: u64 = 60;

/// How many tasks a snapshot comes to at a time: few, so that much happens meanwhile.
const TASKS_PER_STEP: usize = 2;

/// The names of the channels, as a start finds them before its state.
pub fn names_in(log: &Memory) -> Names {
    let mut all = Names::new();
    names::find(log, &mut |found| {
        all.extend(found);
        More::Wanted
    });
    all
}

/// A scheduler that runs.
pub struct Server {
    pub pipeline: Pipeline,
    log: Memory,
    writer: Faulty<Memory>,
    epoch: Epoch,
    sessions: BTreeMap<Wire, Session>,
    connections: u64,
    /// For how many more steps it recovers: until then hellos wait.
    recovering: u64,
    waiting: Vec<(Wire, Hello)>,
    /// The names that are known while it recovers.
    names: Names,
    work: Option<Work>,
    /// The newest commit that was handed out.
    newest: Seq,
    snapshot: Snapshot,
    reader: Reader,
}

/// A snapshot that is due, or being taken.
#[derive(Default)]
struct Snapshot {
    is_due: bool,
    of: Option<Seq>,
    piece: Vec<u8>,
    items: u64,
}

#[derive(Default)]
struct Session {
    connection: Option<ConnectionId>,
    welcomed: bool,
    goodbye: bool,
    subscriptions: BTreeMap<u64, (Subscription, View)>,
}

/// What the writer does, and how far it is.
struct Work {
    commit: Option<Commit>,
    flush: bool,
    writing: Writing,
}

#[derive(Clone, Copy, PartialEq)]
enum Writing {
    HandedOver,
    Appended,
    Flushed,
}

impl Server {
    /// Starts on what the log holds.
    pub fn start(log: &Memory, disk: Disk, now: TimeMs, told: &mut Told) -> Result<Self, Error> {
        let last = log.last();
        let state = recovery::recover(log, &mut |_| Ok(())).expect("the log can be read").state;
        state.check();
        let writer = Faulty::seeded(log.clone(), disk.seed, disk.fails_one_in);
        let epoch = writer.begin_epoch()?;
        told.push(format!("scheduler starts: epoch {epoch} after commit {}", last.seq));
        let receipt = Receipt { epoch, seq: last.seq, digest: last.digest, ..Receipt::default() };
        let facts = LogFacts { starts: writer.starts(), seq: last.seq, receipt, ..LogFacts::default() };
        let mut pipeline = Pipeline::new(Core::new(state, SETTINGS, facts, now), epoch, last.seq);
        pipeline.recovered();
        let (names, reader) = (names_in(log), Reader::new(Arc::new(log.clone())));
        for (id, channel) in &pipeline.core().state().channels {
            reader.trim(*id, channel.kept.first.offset);
        }
        let (log, sessions) = (log.clone(), BTreeMap::new());
        let (connections, recovering, waiting) = (0, disk.seed % RECOVERY_STEPS_MAX, Vec::new());
        let mut server = Server {
            pipeline,
            log,
            writer,
            epoch,
            sessions,
            connections,
            recovering,
            waiting,
            names,
            work: None,
            newest: last.seq,
            snapshot: Snapshot::default(),
            reader,
        };
        server.look(disk.free_bytes, told);
        Ok(server)
    }

    /// It looks how much room there is.
    pub fn look(&mut self, free_bytes: u64, told: &mut Told) {
        self.writer.set_free_bytes(Some(free_bytes));
        let before = self.pipeline.core().shortage().is_some();
        self.pipeline.free_space(self.writer.free_bytes().expect("it was set"));
        let shortage = self.pipeline.core().shortage();
        if shortage.is_some() != before {
            told.push(format!("with {free_bytes} bytes free the scheduler has {shortage:?}"));
        }
    }

    /// A client has connected.
    pub fn accept(&mut self, wire: Wire) {
        self.sessions.insert(wire, Session::default());
    }

    /// Which start this is.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The connections that it knows of.
    pub fn connections(&self) -> Vec<Wire> {
        self.sessions.keys().copied().collect()
    }

    /// Whether nothing is on its way to the log.
    pub fn is_idle(&self) -> bool {
        self.work.is_none() && self.pipeline.is_durable()
    }

    /// The writer's thread does its next bit.
    ///
    /// # Errors
    /// The log could not be written: the process ends.
    pub fn write(&mut self, now: TimeMs) -> Result<(), Error> {
        let Some(Work { commit, flush, writing }) = &mut self.work else {
            let commit = self.pipeline.next_commit(now);
            if let Some(commit) = &commit {
                self.newest = commit.seq;
                if self.snapshot.is_due {
                    self.pipeline.begin_snapshot();
                    self.snapshot = Snapshot { of: Some(commit.seq), ..Snapshot::default() };
                }
            }
            let flush = self.pipeline.next_flush(now);
            self.work =
                (commit.is_some() || flush).then_some(Work { commit, flush, writing: Writing::HandedOver });
            return Ok(());
        };
        *writing = match writing {
            Writing::HandedOver => {
                commit.iter().try_for_each(|commit| self.writer.append(commit))?;
                Writing::Appended
            }
            Writing::Appended if *flush => {
                self.writer.flush()?;
                Writing::Flushed
            }
            Writing::Appended => {
                commit.iter().for_each(|commit| self.reader.appended(commit));
                self.pipeline.appended(self.newest);
                self.work = None;
                return Ok(());
            }
            Writing::Flushed => {
                self.reader.flushed();
                commit.iter().for_each(|commit| self.reader.publish(commit));
                self.pipeline.committed(self.newest);
                self.pipeline.next_trims().iter().for_each(|trim| self.reader.trim(trim.log, trim.first));
                self.work = None;
                return Ok(());
            }
        };
        Ok(())
    }

    /// A snapshot is due: it begins with the next commit.
    pub fn want_snapshot(&mut self) {
        self.snapshot.is_due = self.pipeline.core().shortage().is_none();
    }

    /// A bit of the snapshot is taken that has begun; in the end it is written, or not.
    pub fn take_snapshot(&mut self, told: &mut Told) {
        let Some(at) = self.snapshot.of else { return };
        if let Some(items) = self.pipeline.next_items(TASKS_PER_STEP) {
            for item in items {
                self.snapshot.items += 1;
                self.snapshot.piece = postcard::to_extend(&item, std::mem::take(&mut self.snapshot.piece))
                    .expect("an item encodes");
            }
        } else if self.pipeline.durable() >= at {
            let Snapshot { piece, items, .. } = std::mem::take(&mut self.snapshot);
            let written = self.writer.write_snapshot(at, &mut std::iter::once(piece));
            told.push(match written {
                Ok(()) => format!("snapshot of commit {at}, {items} items"),
                Err(error) => format!("no snapshot: {error}"),
            });
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: TimeMs) {
        if self.pipeline.core().has_more_upkeep()
            || self.pipeline.core().next_deadline().is_some_and(|at| at <= now)
        {
            self.pipeline.tick(now);
        }
    }

    /// Carries out what may leave.
    pub fn release(&mut self, network: &mut Network, now: TimeMs, told: &mut Told) {
        self.recover();
        while let Some(effect) = self.pipeline.next_effect() {
            told.push(format!("  → {}", transcript::effect(self.pipeline.core().state(), &effect)));
            let wire_of = |connection: ConnectionId| {
                self.sessions
                    .iter()
                    .find(|(_, session)| session.connection == Some(connection))
                    .map(|(wire, _)| *wire)
            };
            match effect {
                Effect::Accept { connection, lease_ms } => {
                    let Some(wire) = wire_of(connection) else {
                        self.pipeline.disconnect(now, connection, false);
                        continue;
                    };
                    self.sessions.get_mut(&wire).expect("found above").welcomed = true;
                    let welcome = self.pipeline.welcome(lease_ms, 0);
                    network.send_to_client(wire, 0, &welcome, &[]);
                }
                Effect::Send { connection, number, message } => {
                    if let Some(wire) = wire_of(connection) {
                        network.send_to_client(wire, number, &message, &[]);
                    }
                }
                Effect::Close { connection, why } => {
                    if let Some(wire) = wire_of(connection) {
                        network.send_to_client(wire, 0, &ServerMessage::Closing(why), &[]);
                        network.leave_as_server(wire);
                        self.sessions.remove(&wire);
                    }
                }
            }
        }
    }

    fn enter(&mut self, wire: Wire, hello: &Hello) {
        let Some(session) = self.sessions.get_mut(&wire) else { return };
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        session.connection = Some(connection);
        self.pipeline.connect(connection, hello);
    }

    /// A bit of the recovery is done; in the end those who wait are let in.
    fn recover(&mut self) {
        if self.recovering > 0 {
            self.recovering -= 1;
            if self.recovering == 0 {
                let waiting = std::mem::take(&mut self.waiting);
                waiting.iter().for_each(|(wire, hello)| self.enter(*wire, hello));
            }
        }
    }

    /// A session hears its client's next message, or of its end.
    pub fn hear(&mut self, wire: Wire, network: &mut Network, now: TimeMs) {
        let Some(session) = self.sessions.get_mut(&wire) else {
            network.leave_as_server(wire);
            return;
        };
        let (number, message) = match network.hear_as_server::<ClientMessage>(wire) {
            Heard::Nothing => return,
            Heard::Cut => {
                let session = self.sessions.remove(&wire).expect("found above");
                network.leave_as_server(wire);
                if let Some(connection) = session.connection {
                    self.pipeline.disconnect(now, connection, session.goodbye);
                }
                return;
            }
            Heard::Message(number, message, _) => (number, message),
        };
        let connection = session.connection;
        let request = match message {
            ClientMessage::Hello(hello) => {
                let regress = hello.seen.and_then(|seen| self.log.starts().check(&seen).err());
                match regress.filter(|_| self.recovering > 0) {
                    Some(regress) => {
                        let closing = ServerMessage::Closing(Closing::Regressed(regress));
                        network.send_to_client(wire, 0, &closing, &[]);
                        network.leave_as_server(wire);
                        self.sessions.remove(&wire);
                    }
                    None if self.recovering > 0 => {
                        let progress = RecoveryProgress::Records(self.recovering);
                        let (start, last) = (self.log.starts().newest(), self.log.last());
                        let newest = self.log.starts().seen(last.epoch, last.seq);
                        let told = ServerMessage::Recovering { start, newest, progress };
                        network.send_to_client(wire, 0, &told, &[]);
                        self.waiting.push((wire, hello));
                    }
                    None => self.enter(wire, &hello),
                }
                return;
            }
            ClientMessage::Command(command) => Request::Command(command),
            ClientMessage::Query(query) => Request::Query(query),
            ClientMessage::Watch { tasks } => Request::Watch(tasks),
            ClientMessage::Goodbye => {
                session.goodbye = true;
                return;
            }
            ClientMessage::Subscribe { log, from, credit_bytes, reads } => {
                let opened = View::open(&self.reader, from, reads).and_then(|view| {
                    let first = view.bounds(&self.reader, log).first;
                    Ok((view, first, view.begin(&self.reader, log, from, credit_bytes)?))
                });
                match opened {
                    Ok((view, first, (subscription, subscribed))) => {
                        if reads == Reads::Durable {
                            positions::check(&self.log, log, first, from, subscription.next_offset());
                        }
                        session.subscriptions.insert(number, (subscription, view));
                        network.send_to_client(wire, number, &subscribed, &[]);
                    }
                    Err(rejection) => {
                        network.send_to_client(
                            wire,
                            number,
                            &ServerMessage::SubscriptionRefused(rejection),
                            &[],
                        );
                    }
                }
                return;
            }
            ClientMessage::Credit { bytes } => {
                if let Some((subscription, _)) = session.subscriptions.get_mut(&number) {
                    subscription.add_credit(bytes);
                }
                return;
            }
            ClientMessage::Unsubscribe => {
                session.subscriptions.remove(&number);
                return;
            }
            ClientMessage::Ping => return,
            // Who shares a connection with whom is beneath this network: each session has a wire of its own.
            ClientMessage::OpenTrunk { .. } => unreachable!("no session asks for it"),
            // What is not known by now is asked in its turn; so is what was under way when the recovery ended.
            ClientMessage::FindLog { name } => {
                if self.recovering > 0
                    && let Some(log) = self.names.get(&name)
                {
                    network.send_to_client(wire, number, &ServerMessage::Answer(Ok(Answer::Log(*log))), &[]);
                }
                return;
            }
        };
        self.pipeline.request(
            connection.expect("nothing but logs is asked for before the welcome"),
            number,
            request,
        );
    }

    /// One step of one of a session's subscriptions.
    pub fn feed(&mut self, wire: Wire, which: usize, network: &mut Network) {
        let Some(session) = self.sessions.get_mut(&wire) else { return };
        let count = session.subscriptions.len();
        if count == 0 {
            return;
        }
        let (number, (subscription, view)) =
            session.subscriptions.iter_mut().nth(which % count).expect("below the count");
        let log = subscription.log();
        let read = |from, bytes| view.read(&self.reader, log, from, bytes);
        let step = subscription.step(view.bounds(&self.reader, log), read);
        match step.expect("the log can be read") {
            Step::Send(message, behind) => network.send_to_client(wire, *number, &message, &behind),
            Step::WaitForCredit | Step::WaitForHead => {}
        }
    }
}
