//! Workers: they run what they are given, report it until it is taken, and may die or be cut off at any
//! moment. Some tasks are clients themselves: a *counter* reads how far the channel `counts` has got and
//! goes on from there, one element at a time, so that two attempts that both write would be seen.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use headwater::client::link::{Delivery, Link};
use headwater::log::Memory;
use headwater::protocol::command::{Answer, Command, Query, Rejection};
use headwater::protocol::message::{Closing, ServerMessage};
use headwater::protocol::session::{EndReason, FunctionOffer, HeldAttempt, Retire, Role, WorkerOffer};
use headwater::protocol::task::{Advance, ErrorKind, TaskError};
use headwater::protocol::{AttemptNumber, ChannelName, Element, LogId, Payload, SessionId};

use headwater::scheduler::core::State;

use crate::network::{Heard, Network, Wire};
use crate::resources;
use crate::stores::{Kept, Stores, described};
use crate::workload::{COUNTER, PLAIN, Regressed, give_up_connection};

/// How far counters count.
pub const COUNT_TO: u64 = 25;

/// How many attempts a worker runs at a time.
const SLOTS: u32 = 2;

/// A worker's process.
pub struct Worker {
    link: Link,
    session: SessionId,
    name: String,
    pub wire: Option<Wire>,
    running: Vec<(HeldAttempt, Run)>,
    reports: BTreeMap<u64, HeldAttempt>,
    pub ended: bool,
    superseded: bool,
    regress: Regressed,
    retiring: Retiring,
    /// Under which its store is found.
    address: String,
    /// Answers that it waits for, and that are no reports of attempts.
    asked: BTreeSet<u64>,
}

/// How far a worker's retirement has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retiring {
    No,
    /// It says so with this command. What was assigned before that may still come.
    Telling(u64),
    /// The scheduler knows: nothing more must come.
    Known,
}

enum Run {
    /// With its first argument.
    Plain(Payload),
    Counter(Box<Counter>),
}

impl Worker {
    /// A process that has just started.
    pub fn new(name: &str, rng: &mut Rng) -> Self {
        let functions = [PLAIN, COUNTER].map(|name| FunctionOffer { name: name.into(), version: 1 }).to_vec();
        let session = SessionId(rng.u128(..).to_be_bytes());
        let (name, held, address) = (name.to_owned(), vec![], session.to_string());
        let results_at = address.as_str().into();
        let offer = WorkerOffer {
            name: name.as_str().into(),
            slots: SLOTS,
            functions,
            held,
            results_at,
            equipment: resources::of_each(),
        };
        Worker {
            link: Link::new(session, Role::Worker(offer), None),
            session,
            name,
            wire: None,
            running: Vec::new(),
            reports: BTreeMap::new(),
            ended: false,
            superseded: false,
            regress: Regressed::No,
            retiring: Retiring::No,
            address,
            asked: BTreeSet::new(),
        }
    }

    /// Whether it keeps what the scheduler takes it to keep, and nothing else.
    pub fn keeps_what_it_should(&self, state: &State, stores: &Stores) -> bool {
        let kept: BTreeSet<Kept> = stores.of(&self.address).collect();
        let session = state.producers.get(&self.session).and_then(|producer| state.sessions.get(producer));
        let stored = session.into_iter().flat_map(|session| &session.stored);
        self.ended || kept == stored.map(|task| (*task, state.tasks[task].attempt)).collect()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether another one took its place.
    pub fn is_superseded(&self) -> bool {
        self.superseded
    }

    /// What it has, for people.
    pub fn describe(&self) -> String {
        let Worker { name, running, reports, asked, ended, .. } = self;
        let running: Vec<&HeldAttempt> = running.iter().map(|(held, _)| held).collect();
        format!("{name}: runs {running:?}, reports {reports:?}, asked {asked:?}, ended {ended}")
    }

    /// Whether it has nothing to do and nothing to tell.
    pub fn is_content(&self) -> bool {
        self.ended || (self.running.is_empty() && self.reports.is_empty() && self.asked.is_empty())
    }

    /// An older copy of the store was put back.
    pub fn store_went_back(&mut self, log: &Memory) {
        self.regress = self.regress.max(Regressed::of(&self.link, log));
    }

    /// Connects.
    pub fn connect(&mut self, wire: Wire) {
        self.wire = Some(wire);
        self.link.connected();
    }

    /// The tasks that are clients, for the network.
    pub fn counters(&mut self) -> impl Iterator<Item = &mut Counter> {
        self.running.iter_mut().filter_map(|(_, run)| match run {
            Run::Counter(counter) => Some(counter.as_mut()),
            Run::Plain(_) => None,
        })
    }

    /// Something that it runs comes to its end. Now and then, while things go wrong, something that it keeps is
    /// damaged.
    pub fn act(&mut self, rng: &mut Rng, stores: &mut Stores) {
        if stores.fails_one_in > 0 && rng.u8(..100) == 0 {
            let kept: Vec<Kept> = stores.of(&self.address).collect();
            if let Some((task, attempt)) = rng.choice(kept) {
                stores.free(&self.address, (task, attempt));
                self.ask(Command::Lack { task, attempt });
            }
        }
        if self.running.is_empty() {
            return;
        }
        let at = rng.usize(..self.running.len());
        if !self.has_begun(at) {
            if rng.u8(..8) == 0 {
                let (held, _) = self.running.remove(at);
                let HeldAttempt { task, attempt } = held;
                let number = self.link.command(Command::Return { task, attempt });
                self.reports.insert(number, held);
            }
            return;
        }
        if rng.u8(..4) == 0 {
            let HeldAttempt { task, attempt } = self.running[at].0;
            let advance = Advance::new(rng.u64(..10), 10, "simulated");
            return self.ask(Command::Advance { task, attempt, advance });
        }
        let over = match &self.running[at].1 {
            Run::Plain(_) => true,
            Run::Counter(counter) => counter.is_done() || counter.is_lost,
        };
        if !over {
            // It waits, or goes on.
            if rng.u8(..4) == 0 {
                let HeldAttempt { task, attempt } = self.running[at].0;
                self.ask(Command::Occupy { task, attempt, occupies: rng.bool() });
            }
            return;
        }
        let (held, run) = self.running.remove(at);
        let HeldAttempt { task, attempt } = held;
        let is_lost = matches!(&run, Run::Counter(counter) if counter.is_lost);
        let command = if is_lost || rng.u8(..5) == 0 {
            let error = Box::new(TaskError::new(ErrorKind::Returned, "bad luck", vec![]));
            Command::Fail { task, attempt, error }
        } else {
            let given = if let Run::Plain(given) = run { given } else { Payload::raw("") };
            let result = result(&given, attempt);
            if rng.bool() {
                stores.put(&self.address, (task, attempt), result.clone());
                Command::Store { task, attempt, result: described(&result) }
            } else {
                Command::Finish { task, attempt, result }
            }
        };
        let number = self.link.command(command);
        self.reports.insert(number, held);
    }

    /// Whether one of those that it was given runs: all that are clients, and of the others as many as it has slots.
    fn has_begun(&self, at: usize) -> bool {
        let takes_slot = |(_, run): &(HeldAttempt, Run)| matches!(run, Run::Plain(_));
        let before = self.running[..at].iter().filter(|run| takes_slot(run)).count();
        !takes_slot(&self.running[at]) || before < SLOTS as usize
    }

    fn ask(&mut self, command: Command) {
        let number = self.link.command(command);
        self.asked.insert(number);
    }

    /// Sends what waits.
    pub fn send(&mut self, network: &mut Network) {
        send(&mut self.link, self.wire, network);
        self.counters().for_each(|counter| send(&mut counter.link, counter.wire, network));
    }

    /// Hears what arrived next.
    pub fn hear(&mut self, network: &mut Network, rng: &mut Rng, stores: &mut Stores) {
        hear(&mut self.link, &mut self.wire, network);
        while let Some(delivery) = self.link.next_delivery() {
            match delivery {
                Delivery::Assign(assignment) => {
                    assert!(self.retiring != Retiring::Known, "assigned to one who retires");
                    let held = HeldAttempt { task: assignment.key.id, attempt: assignment.attempt };
                    assert!(self.running.iter().all(|(other, _)| *other != held), "assigned twice");
                    assert!(self.reports.values().all(|other| *other != held), "assigned after it was over");
                    let run = match stores.arguments(&assignment.arguments, rng) {
                        Ok(_) if &*assignment.function == COUNTER => {
                            Run::Counter(Box::new(Counter::new(held, rng)))
                        }
                        Ok(arguments) => Run::Plain(arguments[0].clone()),
                        Err(missing) => {
                            let HeldAttempt { task, attempt } = held;
                            let number = self.link.command(Command::Defer { task, attempt, missing });
                            self.reports.insert(number, held);
                            continue;
                        }
                    };
                    self.running.push((held, run));
                }
                Delivery::Abort { task, attempt } => {
                    self.running.retain(|(held, _)| *held != HeldAttempt { task, attempt });
                }
                Delivery::Retire(Retire::Finish) => {
                    self.retire();
                    self.retiring = Retiring::Known;
                }
                Delivery::Retire(Retire::HandOver) => {
                    self.retiring = Retiring::Known;
                    self.drop_all(network);
                    self.link.goodbye();
                }
                Delivery::Free { task, attempt } => {
                    stores.free(&self.address, (task, attempt));
                }
                Delivery::Copy(located) => {
                    let (task, attempt) = (located.key.id, located.attempt);
                    match stores.fetch(&located, rng) {
                        Some(result) => {
                            stores.put(&self.address, (task, attempt), result);
                            self.ask(Command::Copied { task, attempt });
                        }
                        None => self.ask(Command::Lack { task, attempt }),
                    }
                }
                Delivery::Answer { number, answer: Ok(Answer::Unwanted(results)) } => {
                    self.asked.remove(&number);
                    self.reports.remove(&number);
                    for HeldAttempt { task, attempt } in results {
                        stores.free(&self.address, (task, attempt));
                    }
                }
                Delivery::Answer { number, .. } if self.retiring == Retiring::Telling(number) => {
                    self.retiring = Retiring::Known;
                }
                Delivery::Answer { answer: Ok(Answer::Retiring), .. } => {}
                Delivery::Answer { number, answer } => {
                    assert_eq!(answer, Ok(Answer::Reported));
                    self.reports.remove(&number);
                    self.asked.remove(&number);
                }
                Delivery::Closed(why) => {
                    let ended = |reason| Closing::Rejected(Rejection::SessionEnded(reason));
                    self.ended = true;
                    self.superseded = why == ended(EndReason::Superseded);
                    let went_back = matches!(why, Closing::Regressed(_)) && self.regress != Regressed::No;
                    assert!(self.superseded || went_back || why == ended(EndReason::LeaseExpired), "{why}");
                }
                Delivery::Welcome { .. } => {
                    assert!(self.regress == Regressed::No, "it has seen what is gone");
                    let kept = stores.of(&self.address);
                    let results = kept.map(|(task, attempt)| HeldAttempt { task, attempt }).collect();
                    self.asked.insert(self.link.query(Query::Unwanted { results }));
                    self.ask(Command::Window { attempts: rng.u32(..2 * SLOTS + 2) });
                    let computing: Vec<HeldAttempt> = self.running.iter().map(|(held, _)| *held).collect();
                    for HeldAttempt { task, attempt } in computing {
                        if rng.bool() {
                            self.ask(Command::Occupy { task, attempt, occupies: rng.bool() });
                        }
                    }
                }
                _ => {}
            }
        }
        for counter in self.counters() {
            hear(&mut counter.link, &mut counter.wire, network);
            counter.take();
        }
        // A counter that is told that it is over leaves, and its worker hears of it in its own time.
        let keeps_nothing = stores.of(&self.address).next().is_none();
        if self.retiring == Retiring::Known && self.is_content() && keeps_nothing {
            self.link.goodbye();
        }
    }

    /// Takes nothing more, and leaves when it has nothing to do.
    pub fn retire(&mut self) {
        if self.retiring == Retiring::No {
            self.retiring = Retiring::Telling(self.link.retire());
        }
    }

    /// Whether it has said goodbye.
    pub fn has_left(&self) -> bool {
        self.link.has_left()
    }

    fn drop_all(&mut self, network: &mut Network) {
        let dropped = self.running.drain(..);
        let counters = dropped.filter_map(|(_, run)| match run {
            Run::Counter(counter) => counter.wire,
            Run::Plain(_) => None,
        });
        counters.for_each(|wire| network.leave_as_client(wire));
    }

    /// Believes that its connections are gone.
    pub fn give_up_connection(&mut self, network: &mut Network) {
        give_up_connection(&mut self.link, &mut self.wire, network);
        for counter in self.counters() {
            give_up_connection(&mut counter.link, &mut counter.wire, network);
        }
    }

    /// The process is gone.
    pub fn die(&mut self, network: &mut Network, stores: &mut Stores) {
        self.ended = true;
        stores.die(&self.address);
        let counters = self.running.iter_mut().filter_map(|(_, run)| match run {
            Run::Counter(counter) => counter.wire.take(),
            Run::Plain(_) => None,
        });
        counters.chain(self.wire.take()).for_each(|wire| network.leave_as_client(wire));
    }
}

/// What an attempt at a task brings that was given this.
pub fn result(given: &Payload, attempt: AttemptNumber) -> Payload {
    Payload::raw(format!("{} {attempt}", given.to_json()))
}

/// An attempt that is a client.
pub struct Counter {
    link: Link,
    pub wire: Option<Wire>,
    log: Option<LogId>,
    next: u64,
    waiting: bool,
    fenced: bool,
    /// The store does not have what it wrote: it gives up.
    is_lost: bool,
}

impl Counter {
    fn new(held: HeldAttempt, rng: &mut Rng) -> Self {
        let role = Role::Attempt { task: held.task, attempt: held.attempt };
        let link = Link::new(SessionId(rng.u128(..).to_be_bytes()), role, None);
        let (next, waiting) = (0, true);
        let mut counter =
            Counter { link, wire: None, log: None, next, waiting, fenced: false, is_lost: false };
        counter.open();
        counter
    }

    fn open(&mut self) {
        self.link.command(Command::OpenChannel { name: counted() });
    }

    /// Connects.
    pub fn connect(&mut self, wire: Wire) {
        self.wire = Some(wire);
        self.link.connected();
    }

    /// Whether it is over for it.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    fn is_done(&self) -> bool {
        self.next >= COUNT_TO
    }

    fn take(&mut self) {
        while let Some(delivery) = self.link.next_delivery() {
            match delivery {
                Delivery::Answer { answer: Ok(Answer::Channel(info)), .. } => {
                    (self.log, self.next, self.waiting) = (Some(info.log), info.elements, false);
                }
                // How many elements it has, only the state knows.
                Delivery::Answer { answer: Ok(Answer::Log(_)), .. } => {
                    self.link.query(Query::Channel { name: counted() });
                }
                Delivery::Answer { answer: Ok(Answer::Appended { .. }), .. } => {
                    self.next += 1;
                    self.waiting = false;
                }
                Delivery::Answer { answer: Err(Rejection::DiskLow { .. }), .. } => match self.log {
                    None => self.open(),
                    Some(_) => self.waiting = false,
                },
                Delivery::Answer { answer, .. } => {
                    assert!(answer.is_err(), "{answer:?}");
                    self.fenced = true;
                }
                Delivery::Closed(why) => {
                    self.fenced = true;
                    self.is_lost = matches!(why, Closing::Regressed(_));
                }
                _ => {}
            }
        }
        if let (Some(log), false, false) = (self.log, self.waiting, self.is_done()) {
            let element = Element::Value(Payload::encode(&self.next).expect("a number encodes"));
            self.link.command(Command::append(log, vec![element].into()));
            self.waiting = true;
        }
    }
}

/// The channel that counters count on.
fn counted() -> ChannelName {
    ChannelName::new("counts").expect("a good name")
}

fn send(link: &mut Link, wire: Option<Wire>, network: &mut Network) {
    let Some(wire) = wire else { return };
    while let Some((number, message)) = link.next_outgoing() {
        network.send_to_server(wire, number, &message);
    }
}

fn hear(link: &mut Link, wire: &mut Option<Wire>, network: &mut Network) {
    let Some(on) = *wire else { return };
    match network.hear_as_client::<ServerMessage>(on) {
        Heard::Nothing => {}
        Heard::Cut => {
            link.disconnected();
            network.leave_as_client(on);
            *wire = None;
        }
        Heard::Message(number, message, behind) => {
            link.receive(number, message, behind).expect("the server keeps to the protocol");
        }
    }
}
