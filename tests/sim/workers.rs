//! Workers: they run what they are given, report it until it is taken, and may die or be cut off at any
//! moment. Some tasks are clients themselves: a *counter* reads how far the channel `counts` has got and
//! goes on from there, one element at a time, so that two attempts that both write would be seen.

use std::collections::BTreeMap;

use fastrand::Rng;
use headwater::client::link::{Delivery, Link};
use headwater::log::Memory;
use headwater::protocol::command::{Answer, Command, Query, Rejection};
use headwater::protocol::message::{Closing, ServerMessage};
use headwater::protocol::session::{EndReason, FunctionOffer, HeldAttempt, Retire, Role, WorkerOffer};
use headwater::protocol::task::{ErrorKind, TaskError};
use headwater::protocol::{AttemptNumber, ChannelName, Element, LogId, Payload, SessionId};

use crate::network::{Heard, Network, Wire};
use crate::workload::{COUNTER, PLAIN, Regressed, give_up_connection};

/// How far counters count.
pub const COUNT_TO: u64 = 25;

/// A worker's process.
pub struct Worker {
    link: Link,
    name: String,
    pub wire: Option<Wire>,
    running: Vec<(HeldAttempt, Run)>,
    reports: BTreeMap<u64, HeldAttempt>,
    pub ended: bool,
    superseded: bool,
    regress: Regressed,
    retiring: Retiring,
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
        let role = Role::Worker(WorkerOffer { name: name.into(), slots: 2, functions, held: vec![] });
        Worker {
            link: Link::new(SessionId(rng.u128(..).to_be_bytes()), role, None),
            name: name.to_owned(),
            wire: None,
            running: Vec::new(),
            reports: BTreeMap::new(),
            ended: false,
            superseded: false,
            regress: Regressed::No,
            retiring: Retiring::No,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether another one took its place.
    pub fn is_superseded(&self) -> bool {
        self.superseded
    }

    /// Whether it has nothing to do and nothing to tell.
    pub fn is_content(&self) -> bool {
        self.ended || (self.running.is_empty() && self.reports.is_empty())
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

    /// Something that it runs comes to its end.
    pub fn act(&mut self, rng: &mut Rng) {
        if self.running.is_empty() {
            return;
        }
        let at = rng.usize(..self.running.len());
        let over = match &self.running[at].1 {
            Run::Plain(_) => true,
            Run::Counter(counter) => counter.is_done() || counter.is_lost,
        };
        if !over {
            return;
        }
        let (held, run) = self.running.swap_remove(at);
        let HeldAttempt { task, attempt } = held;
        let is_lost = matches!(&run, Run::Counter(counter) if counter.is_lost);
        let command = if is_lost || rng.u8(..5) == 0 {
            let error = Box::new(TaskError::new(ErrorKind::Returned, "bad luck", vec![]));
            Command::Fail { task, attempt, error }
        } else {
            let given = if let Run::Plain(given) = run { given } else { Payload::raw("") };
            Command::Finish { task, attempt, result: result(&given, attempt) }
        };
        let number = self.link.command(command);
        self.reports.insert(number, held);
    }

    /// Sends what waits.
    pub fn send(&mut self, network: &mut Network) {
        send(&mut self.link, self.wire, network);
        self.counters().for_each(|counter| send(&mut counter.link, counter.wire, network));
    }

    /// Hears what arrived next.
    pub fn hear(&mut self, network: &mut Network, rng: &mut Rng) {
        hear(&mut self.link, &mut self.wire, network);
        while let Some(delivery) = self.link.next_delivery() {
            match delivery {
                Delivery::Assign(assignment) => {
                    assert!(self.retiring != Retiring::Known, "assigned to one who retires");
                    let held = HeldAttempt { task: assignment.key.id, attempt: assignment.attempt };
                    assert!(self.running.iter().all(|(other, _)| *other != held), "assigned twice");
                    assert!(self.reports.values().all(|other| *other != held), "assigned after it was over");
                    let run = match &*assignment.function {
                        COUNTER => Run::Counter(Box::new(Counter::new(held, rng))),
                        _ => Run::Plain(assignment.arguments[0].clone()),
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
                Delivery::Answer { number, .. } if self.retiring == Retiring::Telling(number) => {
                    self.retiring = Retiring::Known;
                }
                Delivery::Answer { answer: Ok(Answer::Retiring), .. } => {}
                Delivery::Answer { number, answer } => {
                    assert_eq!(answer, Ok(Answer::Reported));
                    self.reports.remove(&number);
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
                }
                _ => {}
            }
        }
        for counter in self.counters() {
            hear(&mut counter.link, &mut counter.wire, network);
            counter.take();
        }
        // A counter that is told that it is over leaves, and its worker hears of it in its own time.
        if self.retiring == Retiring::Known && self.running.is_empty() && self.reports.is_empty() {
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
    pub fn die(&mut self, network: &mut Network) {
        self.ended = true;
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
            self.link.command(Command::Append { log, elements: vec![element] });
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
