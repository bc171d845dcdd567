//! Workers: they run what they are given, report it until it is taken, and may die or be cut off at any
//! moment. Now and then what they run waits for others, and pauses meanwhile.

mod counter;
mod turns;

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use headwater::client::link::{Delivery, Link};
use headwater::log::Memory;
use headwater::protocol::command::{Answer, Command, Query, Rejection};
use headwater::protocol::message::Closing;
use headwater::protocol::session::{EndReason, FunctionOffer, HeldAttempt, Retire, Role, WorkerOffer};
use headwater::protocol::task::{Advance, ErrorKind, TaskError};
use headwater::protocol::{AttemptNumber, Payload, SessionId};
use headwater::scheduler::core::{Core, Phase, State};

pub use self::counter::COUNT_TO;
use self::counter::Counter;
use self::turns::{Pace, Turns};
use crate::grants;
use crate::network::{Network, Wire};
use crate::stores::{Kept, Stores, described};
use crate::workload::{COUNTER, PLAIN, Regressed, give_up_connection};

/// How many attempts a worker runs at a time.
const SLOTS: u32 = 3;

/// A worker's process.
pub struct Worker {
    link: Link,
    session: SessionId,
    name: String,
    pub wire: Option<Wire>,
    running: Vec<(HeldAttempt, Run)>,
    turns: Turns,
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
            equipment: grants::of_each(),
        };
        Worker {
            link: Link::new(session, Role::Worker(offer), None),
            session,
            name,
            wire: None,
            running: Vec::new(),
            turns: Turns::new(SLOTS),
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
        self.turns.end_connection();
    }

    /// The tasks that are clients and have begun, for the network.
    pub fn counters(&mut self) -> impl Iterator<Item = &mut Counter> {
        let turns = &self.turns;
        self.running.iter_mut().filter_map(|(held, run)| match run {
            Run::Counter(counter) if turns.pace(held) != Pace::Waits => Some(counter.as_mut()),
            _ => None,
        })
    }

    /// Panics unless the scheduler takes those to have paused of which this worker has said so, once it has answered that.
    pub fn check_pauses(&self, core: &Core) {
        let (state, presence) = (core.state(), core.presence());
        let connected = state.producers.get(&self.session);
        let connected = connected.filter(|worker| presence.connection_of(**worker).is_some());
        let Some(worker) = connected.filter(|_| !self.ended) else { return };
        for (HeldAttempt { task, attempt }, has_paused) in self.turns.known() {
            let runs = state.tasks.get(task).filter(|known| known.attempt == *attempt);
            if runs.is_some_and(|known| known.phase == Phase::Running { worker: *worker }) {
                assert_eq!(presence.has_paused(*task), has_paused, "whether {task} {attempt} has paused");
            }
        }
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
        let held = self.running[at].0;
        match self.turns.pace(&held) {
            Pace::Waits if rng.u8(..8) == 0 => {
                let HeldAttempt { task, attempt } = held;
                self.end(at, Command::Return { task, attempt });
            }
            // It takes too long, whether it waits or not.
            Pace::Paused | Pace::Returns if rng.u8(..32) == 0 => self.fail(at, ErrorKind::TimedOut),
            Pace::Paused if rng.bool() => self.turns.ask_to_return(&held),
            Pace::Computes => self.compute(at, rng, stores),
            _ => {}
        }
        self.tell_pauses();
    }

    /// One that computes comes further, waits for others, or comes to its end.
    fn compute(&mut self, at: usize, rng: &mut Rng, stores: &mut Stores) {
        let (held, run) = (self.running[at].0, &self.running[at].1);
        let HeldAttempt { task, attempt } = held;
        let (is_over, is_lost) = match run {
            Run::Plain(_) => (true, false),
            Run::Counter(counter) => (counter.is_done() || counter.is_lost(), counter.is_lost()),
        };
        match rng.u8(..16) {
            0..4 => {
                let advance = Advance::new(rng.u64(..10), 10, "simulated");
                self.ask(Command::Advance { task, attempt, advance });
            }
            4..6 => self.turns.pause(&held),
            // What comes to its end as soon as it may would seldom wait.
            6..9 if is_over => self.turns.pause(&held),
            _ if !is_over => {}
            _ if is_lost || rng.u8(..5) == 0 => self.fail(at, ErrorKind::Returned),
            _ => {
                let given = if let Run::Plain(given) = run { given.clone() } else { Payload::raw("") };
                let result = result(&given, attempt);
                if rng.bool() {
                    stores.put(&self.address, (task, attempt), result.clone());
                    self.end(at, Command::Store { task, attempt, result: described(&result) });
                } else {
                    self.end(at, Command::Finish { task, attempt, result });
                }
            }
        }
    }

    fn fail(&mut self, at: usize, kind: ErrorKind) {
        let HeldAttempt { task, attempt } = self.running[at].0;
        let error = Box::new(TaskError::new(kind, "bad luck", vec![]));
        self.end(at, Command::Fail { task, attempt, error });
    }

    /// One that it was given is over for it, and this says how.
    fn end(&mut self, at: usize, report: Command) {
        let (held, _) = self.running.remove(at);
        self.turns.end(&held);
        let number = self.link.command(report);
        self.reports.insert(number, held);
    }

    fn tell_pauses(&mut self) {
        for (held, occupies) in self.turns.news() {
            let HeldAttempt { task, attempt } = held;
            let number = self.ask(Command::Occupy { task, attempt, occupies });
            self.turns.tell(number, held, occupies);
        }
    }

    fn ask(&mut self, command: Command) -> u64 {
        let number = self.link.command(command);
        self.asked.insert(number);
        number
    }

    /// Sends what waits.
    pub fn send(&mut self, network: &mut Network) {
        counter::send(&mut self.link, self.wire, network);
        self.counters().for_each(|counter| counter.send(network));
    }

    /// Hears what arrived next.
    pub fn hear(&mut self, network: &mut Network, rng: &mut Rng, stores: &mut Stores) {
        counter::hear(&mut self.link, &mut self.wire, network);
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
                    self.turns.add(held, assignment.grants);
                    self.running.push((held, run));
                }
                Delivery::Abort { task, attempt } => {
                    let aborted = HeldAttempt { task, attempt };
                    self.running.retain(|(held, _)| *held != aborted);
                    self.turns.end(&aborted);
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
                        None => _ = self.ask(Command::Lack { task, attempt }),
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
                    self.turns.answered(number);
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
                    let attempts = rng.u32(..2 * SLOTS + 2);
                    let number = self.ask(Command::Window { attempts });
                    self.turns.begin_connection(number, attempts);
                }
                _ => {}
            }
        }
        self.tell_pauses();
        let computing: Vec<bool> =
            self.running.iter().map(|(held, _)| self.turns.pace(held) == Pace::Computes).collect();
        for ((_, run), computes) in self.running.iter_mut().zip(computing) {
            if let Run::Counter(counter) = run {
                counter.hear(network, computes);
            }
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
        self.turns.end_all();
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
        self.counters().for_each(|counter| counter.give_up_connection(network));
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
