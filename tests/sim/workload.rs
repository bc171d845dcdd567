//! Clients that do what clients do, and remember what they were told in the shadow.

mod appends;
mod groups;
mod keeping;
mod readings;
mod tasks;
mod transactions;
mod values;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fastrand::Rng;
use headwater::client::link::{Delivery, Link};
use headwater::log::{Log, Memory};
use headwater::protocol::command::{Answer, AppendOptions, Command, Query, Rejection};
use headwater::protocol::message::{Closing, ServerMessage};
use headwater::protocol::producer::ProducerName;
use headwater::protocol::result::Located;
use headwater::protocol::session::{EndReason, Retire, Role};
use headwater::protocol::task::{Outcome, SCATTER};
use headwater::protocol::transaction::Transaction;
use headwater::protocol::{
    ChannelName, Element, Headers, LogId, Payload, Producer, SessionId, TaskId, TaskKey, TimeMs,
};

use self::appends::some_headers;
use self::groups::Groups;
use self::readings::Readings;
use crate::network::{Heard, Network, Wire};
use crate::shadow::Shadow;
use crate::stores::Stores;

/// The function of ordinary tasks, and of those that are clients themselves.
pub const PLAIN: &str = "rust:sim::plain";
pub const COUNTER: &str = "rust:sim::counter";

/// The label of keys that no other client uses.
const OWN: &str = "own";

/// The channels that clients share; the last is the counters'.
pub const CHANNELS: [&str; 3] = ["a", "b", "counts"];

/// A link believes that its connection is gone; what it sent may still arrive.
pub fn give_up_connection(link: &mut Link, wire: &mut Option<Wire>, network: &mut Network) {
    if let Some(wire) = wire.take() {
        link.disconnected();
        network.leave_as_client(wire);
    }
}

/// Whether something was refused for want of room, or because it was so at first, and comes too late.
fn is_of_room(refused: &Rejection) -> bool {
    match refused {
        Rejection::DiskLow { .. } => true,
        Rejection::Invalid(why) => why.contains("later ones of its session have been carried out"),
        _ => false,
    }
}

/// A client's process.
pub struct Client {
    link: Link,
    session: SessionId,
    pub wire: Option<Wire>,
    logs: BTreeMap<&'static str, LogId>,
    opening: BTreeMap<u64, &'static str>,
    finding: BTreeMap<u64, &'static str>,
    appends: BTreeMap<u64, (LogId, Vec<(Headers, Element)>)>,
    /// How some of them are to be made.
    options: BTreeMap<u64, AppendOptions>,
    /// The newest number that it has asked for of each producer, or heard of.
    numbers: BTreeMap<(LogId, ProducerName), u64>,
    submits: BTreeMap<u64, TaskKey>,
    /// What it cancels, and whether that is a value.
    cancels: BTreeMap<u64, (TaskId, bool)>,
    retries: BTreeMap<u64, TaskId>,
    transactions: BTreeMap<u64, Transaction>,
    /// Where it believes the cursors to be that it moves by them.
    cursors: BTreeMap<LogId, u64>,
    /// Commands that may be refused for want of room, until they are answered.
    asked: BTreeMap<u64, Command>,
    /// Those that were, and are to be asked for again.
    again: VecDeque<Command>,
    held: Vec<TaskKey>,
    /// The values that it scattered, of what it holds.
    scattered: BTreeMap<TaskId, Payload>,
    watching: BTreeSet<TaskId>,
    reading: Readings,
    values: u64,
    /// Up to where its appends to each log were acknowledged.
    acked: BTreeMap<LogId, u64>,
    groups: Groups,
    regress: Regressed,
    pub ended: bool,
}

/// What a store that was put back means for a session that is open.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Regressed {
    /// It has not happened, or everything that it has seen is there.
    #[default]
    No,
    /// It has seen commits that are not there, if only their numbers: it hears of it.
    ItsCommits,
    /// It has records or acknowledgements that are not there: it must not be let in.
    ItsRecords,
}

impl Regressed {
    /// Of a link and this store, which was put back.
    pub fn of(link: &Link, log: &Memory) -> Regressed {
        let newest = log.starts().newest();
        match link.seen() {
            Some(seen) if seen.seq > log.last().seq || seen.start.epoch > newest.epoch => {
                Regressed::ItsCommits
            }
            _ => Regressed::No,
        }
    }
}

impl Client {
    /// A process that has just started.
    pub fn new(rng: &mut Rng) -> Self {
        let session = SessionId(rng.u128(..).to_be_bytes());
        Client {
            link: Link::new(session, Role::Client, None),
            session,
            wire: None,
            logs: BTreeMap::new(),
            opening: BTreeMap::new(),
            finding: BTreeMap::new(),
            appends: BTreeMap::new(),
            options: BTreeMap::new(),
            numbers: BTreeMap::new(),
            submits: BTreeMap::new(),
            cancels: BTreeMap::new(),
            retries: BTreeMap::new(),
            transactions: BTreeMap::new(),
            cursors: BTreeMap::new(),
            asked: BTreeMap::new(),
            again: VecDeque::new(),
            held: Vec::new(),
            scattered: BTreeMap::new(),
            watching: BTreeSet::new(),
            reading: Readings::default(),
            values: 0,
            acked: BTreeMap::new(),
            groups: Groups::default(),
            regress: Regressed::No,
            ended: false,
        }
    }

    /// Whether everything that it asked for has come.
    pub fn is_content(&self) -> bool {
        let caught_up = self.reading.have_caught_up();
        let answered = self.link.unanswered() == 0 && self.again.is_empty();
        self.ended || (answered && self.watching.is_empty() && caught_up)
    }

    /// The next offset of each log that it reads.
    pub fn positions(&self) -> impl Iterator<Item = (LogId, u64)> + '_ {
        self.reading.positions().filter(|_| !self.ended)
    }

    /// An older copy of the store was put back.
    pub fn store_went_back(&mut self, log: &Memory) {
        self.regress = self.regress.max(Regressed::of(&self.link, log));
        self.reading.store_went_back();
        let read = self.reading.durable_positions();
        let ends = self.acked.iter().map(|(log, end)| (*log, *end)).chain(read);
        if ends.into_iter().any(|(id, end)| end > log.bounds(id).head) {
            self.regress = Regressed::ItsRecords;
        }
    }

    /// Whether an older copy of the store was put back, and it has seen more.
    fn went_back(&self) -> bool {
        self.regress != Regressed::No
    }

    /// Connects.
    pub fn connect(&mut self, wire: Wire) {
        self.wire = Some(wire);
        self.link.connected();
        self.find();
    }

    /// Looks for the channels by name, once at a time: while the scheduler recovers, too.
    fn find(&mut self) {
        for name in CHANNELS.into_iter().filter(|_| self.finding.is_empty()).collect::<Vec<_>>() {
            let wanted = ChannelName::new(name).expect("a good name");
            self.finding.insert(self.link.find_channel(wanted), name);
        }
    }

    /// Does something that clients do.
    pub fn act(&mut self, rng: &mut Rng) {
        let Some(log) = self.some_log(rng) else { return };
        match rng.u8(..100) {
            0..21 => self.append_values(rng, log),
            21..27 => self.transact(rng, log),
            27..33 => self.consume(rng, log),
            33..56 => self.submit(rng),
            56..60 => self.scatter(rng),
            60..75 => {
                if let Some(key) = rng.choice(&self.held).cloned() {
                    let options = self.some_options(rng, log);
                    self.append(log, vec![(some_headers(rng), Element::Future(key))], options);
                }
            }
            75..82 => {
                if let Some(key) = rng.choice(&self.held) {
                    self.watching.insert(key.id);
                    self.link.watch(key.id);
                }
            }
            82..86 => self.keep(rng, log),
            86..92 => {
                // What is being submitted again is not let go: the release would come after the new hold.
                let at = rng.usize(..=self.held.len());
                if self.held.get(at).is_some_and(|key| self.submits.values().all(|other| other != key)) {
                    let key = self.held.swap_remove(at);
                    self.scattered.remove(&key.id);
                    self.link.command(Command::Release { tasks: vec![key.id] });
                }
            }
            92..97 => self.reading.begin(&mut self.link, rng, log, 2),
            97 if rng.bool() => self.replicate(rng),
            97 => _ = self.link.query(Query::Overview),
            98 if rng.bool() => self.cancel(rng),
            98 => self.retry(rng),
            _ if rng.u8(..10) == 0 => _ = self.link.command(Command::Stop { log }),
            _ => {}
        }
    }

    /// Any of the channels, once they are open.
    fn some_log(&mut self, rng: &mut Rng) -> Option<LogId> {
        let name = CHANNELS[rng.usize(..2)];
        if let Some(log) = self.logs.get(name) {
            return Some(*log);
        }
        if self.again.is_empty() && !self.opening.values().any(|opening| *opening == name) {
            self.ask(Command::OpenChannel { name: ChannelName::new(name).expect("a good name") });
        }
        None
    }

    /// Asks for what may be refused for want of room.
    fn ask(&mut self, command: Command) {
        if let Command::Append { log, elements, options } = command {
            return self.ask_append(log, elements.iter().collect(), options);
        }
        let number = self.link.command(command.clone());
        match &command {
            Command::Submit(submission) | Command::SubmitUnder { submission, .. } => {
                self.submits.insert(number, submission.key.clone());
            }
            Command::Scatter { key, .. } => {
                self.submits.insert(number, key.clone());
            }
            Command::OpenChannel { name } => {
                let name = CHANNELS.into_iter().find(|known| *known == name.as_str());
                self.opening.insert(number, name.expect("one of those that clients share"));
            }
            _ => {}
        }
        self.asked.insert(number, command);
    }

    /// Asks that a worker retires; it may have left by then.
    pub fn retire_worker(&mut self, worker: Producer, retire: Retire) {
        self.link.command(Command::RetireWorker { worker, retire });
    }

    /// Sends what waits.
    pub fn send(&mut self, network: &mut Network) {
        let Some(wire) = self.wire else { return };
        if let Some(command) = self.again.pop_front() {
            self.ask(command);
        }
        while let Some((number, message)) = self.link.next_outgoing() {
            network.send_to_server(wire, number, &message);
        }
    }

    /// Hears what arrived next.
    pub fn hear(
        &mut self,
        network: &mut Network,
        shadow: &mut Shadow,
        (stores, now): (&Stores, TimeMs),
        rng: &mut Rng,
    ) {
        let Some(wire) = self.wire else { return };
        match network.hear_as_client::<ServerMessage>(wire) {
            Heard::Nothing => return,
            Heard::Cut => {
                self.link.disconnected();
                network.leave_as_client(wire);
                self.wire = None;
            }
            Heard::Message(number, message, behind) => {
                self.link.receive(number, message, behind).expect("the server keeps to the protocol");
            }
        }
        while let Some(delivery) = self.link.next_delivery() {
            match delivery {
                Delivery::Settled { task, outcome: Outcome::Stored(located) } => {
                    assert!(!located.holders.is_empty(), "{task}: a result that nobody has");
                    if stores.fetch(&located, rng).is_some() {
                        self.watching.remove(&task);
                        shadow.settled(task, Outcome::Stored(Located { holders: vec![], ..located }));
                    } else {
                        self.link.watch(task);
                    }
                }
                other => self.take(other, shadow, now),
            }
        }
    }

    fn take(&mut self, delivery: Delivery, shadow: &mut Shadow, now: TimeMs) {
        match delivery {
            Delivery::Answer { number, answer } => self.answered(number, answer, shadow, now),
            Delivery::Settled { task, outcome } => {
                self.watching.remove(&task);
                shadow.settled(task, outcome);
            }
            Delivery::Unknown { task } => {
                self.watching.remove(&task);
                assert!(self.held.iter().all(|key| key.id != task), "{task} is held and unknown");
            }
            Delivery::Records { subscription, batch, from } => {
                self.link.consumed(subscription, batch.bytes().len() as u64);
                self.reading.records(subscription, &batch, from, shadow);
            }
            Delivery::CaughtUp { subscription, head } => self.reading.caught_up(subscription, head),
            Delivery::Closed(why) => {
                let expired = Closing::Rejected(Rejection::SessionEnded(EndReason::LeaseExpired));
                match why {
                    Closing::Regressed(_) => {
                        assert!(self.regress != Regressed::No, "{why}, and nothing is gone")
                    }
                    _ => assert_eq!(why, expired, "a session ends for no other reason"),
                }
                self.ended = true;
            }
            Delivery::SubscriptionRefused { subscription, rejection } => {
                self.reading.refused(subscription, &rejection, shadow);
            }
            Delivery::Trimmed { subscription, from, first } => {
                self.reading.trimmed(subscription, from, first, shadow);
            }
            Delivery::Subscribed { subscription, from } => self.reading.began(subscription, from),
            Delivery::Welcome { .. } => {
                assert!(self.regress == Regressed::No, "it has seen what is gone");
                self.join_again();
            }
            Delivery::Leased { group, leased } => self.was_leased(group, leased, shadow),
            Delivery::GroupEnded { group, why } => self.group_ended(group, why),
            Delivery::Recovering { .. }
            | Delivery::Assign(_)
            | Delivery::Abort { .. }
            | Delivery::Free { .. }
            | Delivery::Copy(_)
            | Delivery::Retire(_) => {}
        }
    }

    fn answered(&mut self, number: u64, answer: Result<Answer, Rejection>, shadow: &mut Shadow, now: TimeMs) {
        let command = self.asked.remove(&number);
        if let (Some(command), Err(Rejection::DiskLow { .. })) = (&command, &answer)
            && !self.gives_up(number, command)
        {
            self.again.push_back(command.clone());
            self.opening.remove(&number);
            self.submits.remove(&number);
            self.appends.remove(&number);
            self.options.remove(&number);
            return;
        }
        if let Some(name) = self.opening.remove(&number) {
            let log = log_in(&answer).unwrap_or_else(|| panic!("{name} could not be opened: {answer:?}"));
            self.knows(name, log);
            return;
        }
        if let Some(name) = self.finding.remove(&number) {
            match log_in(&answer) {
                Some(log) => self.knows(name, log),
                // It may have been deleted.
                None => drop(self.logs.remove(name)),
            }
            return;
        }
        if let Some(key) = self.submits.remove(&number) {
            if let Some(Command::Scatter { value, detach, .. }) = command {
                return self.scatter_answered((key, value, detach), answer, shadow);
            }
            match answer {
                Ok(Answer::Submitted) if !self.held.contains(&key) => self.held.push(key),
                Ok(Answer::Submitted) => {}
                Err(Rejection::KeyTaken { function, .. }) if &*function == SCATTER => {}
                // A dependency that was released before this was sent.
                Err(Rejection::UnknownTask(_)) => {}
                Err(refused) if is_of_room(&refused) => {
                    let is_own = &*key.label == OWN;
                    shadow.refused_tasks.extend(is_own.then_some(key.id));
                }
                other => panic!("a submission was answered with {other:?}"),
            }
            return;
        }
        if self.end_answered(number, &answer, shadow) {
            return;
        }
        if self.group_answered(number, &answer, shadow) {
            return;
        }
        if let Some(transaction) = self.transactions.remove(&number) {
            return self.transacted(transaction, answer, shadow);
        }
        self.append_answered(number, answer, shadow, now);
    }

    fn knows(&mut self, name: &'static str, log: LogId) {
        let before = self.logs.insert(name, log);
        assert!(before.is_none_or(|before| before == log), "{name} is log {log}, and was {before:?}");
    }

    /// Whether it no longer wants what was refused for want of room: some of what it asked for.
    fn gives_up(&self, number: u64, command: &Command) -> bool {
        match command {
            Command::Append { .. } => number.is_multiple_of(3),
            Command::Submit(submission) | Command::SubmitUnder { submission, .. } => {
                number.is_multiple_of(3) && &*submission.key.label == OWN
            }
            _ => false,
        }
    }

    /// Believes that its connection is gone; what it sent may still arrive.
    pub fn give_up_connection(&mut self, network: &mut Network) {
        give_up_connection(&mut self.link, &mut self.wire, network);
    }

    /// Says goodbye in order.
    pub fn leave(&mut self, network: &mut Network) {
        self.link.goodbye();
        self.send(network);
        self.die(network);
    }

    /// The process is gone.
    pub fn die(&mut self, network: &mut Network) {
        self.ended = true;
        if let Some(wire) = self.wire.take() {
            network.leave_as_client(wire);
        }
    }
}

/// The log of a channel that was opened or found.
fn log_in(answer: &Result<Answer, Rejection>) -> Option<LogId> {
    match answer {
        Ok(Answer::Channel(info)) => Some(info.log),
        Ok(Answer::Log(log)) => Some(*log),
        _ => None,
    }
}
