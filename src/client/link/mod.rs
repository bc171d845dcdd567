//! The client's side of a session, without a socket: what to send next, and what the messages that
//! arrive mean. Pure: no clock, no randomness, no async. [`super::connection`] drives it over TCP, a
//! simulator drives it without.
//!
//! A [`Link`] outlives connections. What was asked and is not answered is kept, in one map by number:
//!
//! ```text
//!     answered, gone │ sent on this connection │ not sent on it yet
//!   ─────────────────┼─────────────────────────┼───────────────────▶ number
//!                    │ at most IN_FLIGHT_MAX   next_to_send
//!                      commands of these
//! ```
//!
//! Invariants:
//! - Requests go out in the order in which they were made, but for values that are appended: those of one channel
//!   that wait are gathered in one command. A new connection begins again with the oldest that is unanswered, under
//!   the same number and as it was sent first, so that the scheduler decides each once.
//! - While the scheduler recovers, only what changes nothing overtakes: subscriptions, and the log of a channel that
//!   is there. Which there is not, only the answer in its turn says.
//! - What is delivered of a subscription has no gap and no repeat, across any number of connections;
//!   a range that was trimmed is delivered as such.
//! - What it has seen of the store is never more than the store had made durable, and each hello shows it: so a
//!   store that went back is noticed before anything of it is taken for what was there.
//! - A worker's attempts are in [`Role::Worker`]'s list from the assignment until the scheduler has
//!   acknowledged their report or aborted them, so that each hello tells the truth.
//!
//! It never imports `log`, `scheduler` or `server`.

mod ahead;
mod buffered;
mod delivery;
mod gather;
mod intake;
mod outgoing;
mod sight;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use self::buffered::Buffered;
use self::gather::Gathering;
use self::intake::Intake;
use self::sight::Sight;
use crate::protocol::channel::Durability;
use crate::protocol::command::{Answer, Command, Query, Rejection};
use crate::protocol::message::{Closing, ServerMessage};
use crate::protocol::session::{HeldAttempt, Role};
use crate::protocol::start::Seen;
use crate::protocol::{ChannelName, LogId, SessionId, TaskId};

pub use self::delivery::{Delivery, ProtocolError};
pub use self::intake::CREDIT_BYTES;

/// Where the session stands with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none.
    Down,
    /// It is new, and the hello is to be sent.
    HelloDue,
    /// The hello is sent; nothing else goes out until the welcome, or the news that it comes later.
    HelloSent,
    /// The welcome comes when the scheduler has recovered; until then logs can be found and read.
    Reading,
    /// Open.
    Up,
    /// Goodbye was sent.
    Left,
    /// The session is over for good.
    Over,
}

/// What stays until it is answered, or until it is not wanted any more.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Request {
    Command(Command),
    Query(Query),
    FindChannel(ChannelName),
    Watch(TaskId),
    Subscribe,
}

/// The client's side of a session. See the [module](self).
///
/// Every method may be called at any time. Once the session is over ([`Link::is_closed`]) or goodbye was
/// said ([`Link::has_left`]) nothing goes out any more and nothing is answered.
#[derive(Debug)]
pub struct Link {
    session: SessionId,
    role: Role,
    token: Option<String>,
    state: State,
    was_welcomed: bool,
    sight: Sight,
    buffered: Buffered,
    is_leaving: bool,
    last_number: u64,
    requests: BTreeMap<u64, Request>,
    gathering: Gathering,
    watched: BTreeMap<TaskId, u64>,
    intakes: BTreeMap<u64, Intake>,
    deliveries: VecDeque<Delivery>,
    // Of this connection only:
    next_to_send: u64,
    /// What of the requests below this can be asked before the welcome was asked.
    next_to_read: u64,
    commands_in_flight: u64,
    credit_due: BTreeSet<u64>,
    unsubscribed: VecDeque<u64>,
    is_ping_due: bool,
}

impl Link {
    /// A session that has not been opened yet. `session` is a fresh UUID v7.
    pub fn new(session: SessionId, role: Role, token: Option<String>) -> Self {
        Link {
            session,
            role,
            token,
            state: State::Down,
            was_welcomed: false,
            sight: Sight::default(),
            buffered: Buffered::default(),
            is_leaving: false,
            last_number: 0,
            requests: BTreeMap::new(),
            gathering: Gathering::default(),
            watched: BTreeMap::new(),
            intakes: BTreeMap::new(),
            deliveries: VecDeque::new(),
            next_to_send: 0,
            next_to_read: 0,
            commands_in_flight: 0,
            credit_due: BTreeSet::new(),
            unsubscribed: VecDeque::new(),
            is_ping_due: false,
        }
    }

    /// As whom the session is open.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// A new connection is there. Messages of an older one must not arrive after this.
    pub fn connected(&mut self) {
        self.disconnected();
        if self.state == State::Down {
            self.state = State::HelloDue;
        }
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        (self.next_to_send, self.next_to_read) = (0, 0);
        self.commands_in_flight = 0;
        self.credit_due.clear();
        self.unsubscribed.clear();
        self.is_ping_due = false;
        if !matches!(self.state, State::Left | State::Over) {
            self.state = State::Down;
        }
    }

    /// Whether the session is open on a connection.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Whether the session was ever welcomed.
    pub fn was_welcomed(&self) -> bool {
        self.was_welcomed
    }

    /// What it has seen of the store, once it could see anything.
    pub fn seen(&self) -> Option<Seen> {
        self.sight.seen()
    }

    /// Whether the session is over for good.
    pub fn is_closed(&self) -> bool {
        self.state == State::Over
    }

    /// Whether goodbye has been said.
    pub fn has_left(&self) -> bool {
        self.state == State::Left
    }

    /// How many commands and queries have no answer yet.
    pub fn unanswered(&self) -> usize {
        let is_asked = |request: &&Request| !matches!(request, Request::Watch(_) | Request::Subscribe);
        self.requests.values().filter(is_asked).count()
    }

    /// Asks for a command, and gives its number. It is answered once, by a [`Delivery::Answer`]; that a channel is
    /// open already perhaps by [`Answer::Log`], while the scheduler recovers: then the command is not sent any more.
    pub fn command(&mut self, command: Command) -> u64 {
        self.request(Request::Command(command))
    }

    /// Asks a query, and gives its number. It is answered once, by a [`Delivery::Answer`].
    pub fn query(&mut self, query: Query) -> u64 {
        self.request(Request::Query(query))
    }

    /// Asks for the log of a channel that must be there, and gives the question's number. It is answered once, by a
    /// [`Delivery::Answer`]: [`Answer::Channel`], or [`Answer::Log`] while the scheduler recovers.
    pub fn find_channel(&mut self, name: ChannelName) -> u64 {
        self.request(Request::FindChannel(name))
    }

    /// Asks how a task ends: one [`Delivery::Settled`] or [`Delivery::Unknown`], however often it is
    /// watched before that.
    pub fn watch(&mut self, task: TaskId) {
        if !self.watched.contains_key(&task) {
            let number = self.request(Request::Watch(task));
            self.watched.insert(task, number);
        }
    }

    /// A worker takes nothing more: says so now, by a command whose number this gives, and in every hello from
    /// now on. Behind the answer to it comes no assignment.
    pub fn retire(&mut self) -> u64 {
        self.offer_no_slots();
        self.command(Command::Retire)
    }

    /// Ends the session as soon as all commands are answered. A worker that has to connect for that once more
    /// takes nothing then.
    pub fn goodbye(&mut self) {
        self.offer_no_slots();
        self.is_leaving = true;
    }

    /// Lets the scheduler know that the session is alive, when it is open.
    pub fn ping(&mut self) {
        self.is_ping_due = self.state == State::Up;
    }

    /// Takes a message from the server: its frame's number, and the bytes that stood behind it.
    ///
    /// # Errors
    /// [`ProtocolError`]. If it is of one subscription, that one is over and the session goes on; after
    /// any other the connection is of no use.
    pub fn receive(
        &mut self,
        number: u64,
        message: ServerMessage,
        batches: Bytes,
    ) -> Result<(), ProtocolError> {
        if !batches.is_empty() && message != ServerMessage::Records {
            return Err(ProtocolError::Undecodable(format!("{} bytes too many", batches.len())));
        }
        match (self.state, message) {
            (State::Over, _) => Ok(()),
            (State::Down, message) => Err(ProtocolError::unexpected(&message, "without a connection")),
            (_, ServerMessage::Closing(closing)) => {
                self.close(closing);
                Ok(())
            }
            (State::HelloSent | State::Reading, ServerMessage::Recovering { start, newest, progress }) => {
                self.state = State::Reading;
                // What was seen before is behind that: the hello has shown it.
                self.sight.begin(start, newest);
                self.deliveries.push_back(Delivery::Recovering { progress });
                Ok(())
            }
            (State::HelloSent | State::Reading, ServerMessage::Welcome { start, seq, lease_ms, now_ms }) => {
                (self.state, self.was_welcomed) = (State::Up, true);
                self.sight.begin(start, Seen { start, seq });
                self.buffered.settle(None, Seen { start, seq });
                self.deliveries.push_back(Delivery::Welcome { epoch: start.epoch, lease_ms, now_ms });
                Ok(())
            }
            // It was on its way when the driver said welcome, and was overtaken.
            (State::Up | State::Left, ServerMessage::Recovering { .. }) => Ok(()),
            // It crosses a goodbye that was said before it.
            (State::Left, ServerMessage::Welcome { .. }) => Ok(()),
            (State::HelloDue | State::HelloSent, message) => {
                Err(ProtocolError::unexpected(&message, "before the welcome"))
            }
            (State::Reading | State::Up | State::Left, ServerMessage::Answer(Ok(Answer::Log(log)))) => {
                self.receive_log(number, log)
            }
            (State::Reading, message) => {
                let received = self.receive_of_subscription(number, message, batches);
                self.end_broken(received)
            }
            (State::Up | State::Left, message) => {
                let received = self.receive_while_up(number, message, batches);
                self.end_broken(received)
            }
        }
    }

    /// What the messages have brought, in order.
    pub fn next_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    /// The numbers of all commands so far that have no answer yet; of those that write to one channel, if it is named.
    /// What comes later does not join them.
    pub fn unanswered_commands(&mut self, log: Option<LogId>) -> impl Iterator<Item = u64> {
        self.gathering.end();
        self.requests.iter().filter_map(move |(number, request)| match request {
            Request::Command(command) if log.is_none_or(|log| command.writes_to(log)) => Some(*number),
            _ => None,
        })
    }

    /// The newest commit of what was acknowledged of one log, or of all, before it was durable, and is not known to be durable:
    /// of each start that acknowledged some. [`Query::Durable`] asks for it.
    pub fn buffered(&self, log: Option<LogId>) -> Vec<Seen> {
        self.buffered.newest(log)
    }

    /// Whoever asked knows that what was acknowledged up to there, of one log or of all, never became durable.
    pub fn undone(&mut self, log: Option<LogId>, acked: Seen) {
        self.buffered.settle(log, acked);
    }

    fn request(&mut self, request: Request) -> u64 {
        self.gathering.end();
        self.enter(request)
    }

    fn enter(&mut self, request: Request) -> u64 {
        self.last_number += 1;
        self.requests.insert(self.last_number, request);
        self.last_number
    }

    fn close(&mut self, closing: Closing) {
        self.disconnected();
        if !closing.is_temporary() {
            self.state = State::Over;
            self.requests.clear();
            self.gathering.end();
            self.watched.clear();
            self.intakes.clear();
            self.deliveries.push_back(Delivery::Closed(closing));
        }
    }

    fn receive_while_up(
        &mut self,
        number: u64,
        message: ServerMessage,
        batches: Bytes,
    ) -> Result<(), ProtocolError> {
        match message {
            ServerMessage::Answer(answer) => return self.receive_answer(number, answer),
            ServerMessage::Settled { task, outcome } => {
                if self.unwatch(task) {
                    self.deliveries.push_back(Delivery::Settled { task, outcome });
                }
            }
            ServerMessage::Unknown { task } => {
                if self.unwatch(task) {
                    self.deliveries.push_back(Delivery::Unknown { task });
                }
            }
            ServerMessage::Assign(assignment) => {
                let Role::Worker(offer) = &mut self.role else {
                    return Err(ProtocolError::Unexpected {
                        what: "an assignment",
                        when: "to one who is no worker",
                    });
                };
                offer.held.push(HeldAttempt { task: assignment.key.id, attempt: assignment.attempt });
                self.deliveries.push_back(Delivery::Assign(assignment));
            }
            ServerMessage::Abort { task, attempt } => {
                self.let_go(HeldAttempt { task, attempt });
                self.deliveries.push_back(Delivery::Abort { task, attempt });
            }
            ServerMessage::Retire(retire) => self.deliveries.push_back(Delivery::Retire(retire)),
            ServerMessage::Free { task, attempt } => {
                self.deliveries.push_back(Delivery::Free { task, attempt });
            }
            ServerMessage::Copy(located) => self.deliveries.push_back(Delivery::Copy(located)),
            ServerMessage::Leased { group, leased } => {
                self.deliveries.push_back(Delivery::Leased { group, leased });
            }
            ServerMessage::GroupEnded { group, why } => {
                self.deliveries.push_back(Delivery::GroupEnded { group, why });
            }
            ServerMessage::Pong => {}
            ServerMessage::Durable { seq } => {
                self.sight.see(seq);
                self.buffered.settle(None, Seen { start: self.sight.running(), seq });
            }
            message @ (ServerMessage::Welcome { .. } | ServerMessage::Closing(_)) => {
                return Err(ProtocolError::unexpected(&message, "while the session was open"));
            }
            message => return self.receive_of_subscription(number, message, batches),
        }
        Ok(())
    }

    fn receive_answer(
        &mut self,
        number: u64,
        answer: Result<Answer, Rejection>,
    ) -> Result<(), ProtocolError> {
        if number == 0 || number > self.last_number {
            return Err(ProtocolError::UnknownNumber(number));
        }
        // Nothing was decided: the next connection asks again.
        if answer == Err(Rejection::ShuttingDown) {
            return Ok(());
        }
        // A command that was sent again while its first sending was still being decided may be answered
        // twice; the second answer finds nothing.
        match self.requests.get(&number) {
            Some(Request::Command(command)) => {
                if let (Command::Append { log, .. }, Ok(Answer::Appended { seq, durability, .. })) =
                    (command, &answer)
                    && *durability != Durability::Fsynced
                    && let Some(acked) = self.sight.of_running(*seq)
                {
                    self.buffered.acked(*log, acked);
                }
                if let Command::Finish { task, attempt, .. }
                | Command::Store { task, attempt, .. }
                | Command::Fail { task, attempt, .. }
                | Command::Defer { task, attempt, .. }
                | Command::Return { task, attempt } = command
                {
                    self.let_go(HeldAttempt { task: *task, attempt: *attempt });
                }
                if number < self.next_to_send {
                    self.commands_in_flight -= 1;
                }
            }
            Some(Request::Query(Query::Durable { acked })) => {
                // Whatever log was asked for: commits are durable in their order. What is not is settled when it is known
                // to whoever asked.
                if answer.is_ok() {
                    self.buffered.settle(None, *acked);
                }
            }
            Some(Request::Query(_) | Request::FindChannel(_)) => {}
            Some(Request::Watch(_) | Request::Subscribe) => {
                return Err(ProtocolError::Unexpected {
                    what: "an answer",
                    when: "to a watch or subscription",
                });
            }
            None => return Ok(()),
        }
        self.requests.remove(&number);
        self.deliveries.push_back(Delivery::Answer { number, answer });
        Ok(())
    }

    fn unwatch(&mut self, task: TaskId) -> bool {
        match self.watched.remove(&task) {
            Some(number) => self.requests.remove(&number).is_some(),
            None => false,
        }
    }

    fn offer_no_slots(&mut self) {
        if let Role::Worker(offer) = &mut self.role {
            offer.slots = 0;
        }
    }

    fn let_go(&mut self, attempt: HeldAttempt) {
        if let Role::Worker(offer) = &mut self.role
            // Those that were given first are over first, as a rule.
            && let Some(at) = offer.held.iter().position(|held| *held == attempt)
        {
            offer.held.remove(at);
        }
    }
}
