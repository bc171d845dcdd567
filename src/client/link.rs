//! One side of a session, the client's. Pure: no socket, no clock, no task; `connection` drives it over
//! TCP, and the simulator through a network that loses and delays.
//!
//! It keeps what must survive a connection: the requests without an answer, the tasks that are watched,
//! the next offset of each subscription. After a reconnect all of it is sent again, in order; the
//! scheduler knows commands that it has carried out by their numbers. So a command is carried out once,
//! and a subscription has no gap and no repeat, however often the connection breaks.
//!
//! Invariants: numbers grow over the session; at most [`IN_FLIGHT_MAX`] requests are on the wire;
//! nothing but the hello is sent before the welcome; a watch is sent after the requests before it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::protocol::batch::{BadBatch, Batch};
use crate::protocol::command::{Answer, Command, Query, Rejection};
use crate::protocol::limits::{IN_FLIGHT_MAX, TASKS_PER_COMMAND_MAX};
use crate::protocol::message::{Assignment, ClientMessage, Closing, Hello, Position, ServerMessage};
use crate::protocol::session::{HeldAttempt, Role};
use crate::protocol::task::Outcome;
use crate::protocol::{AttemptNumber, Epoch, LogId, SessionId, TaskId};

/// How many bytes of batches a subscription may have on their way or unread: 1 MiB, some milliseconds
/// of a loopback's throughput and sixteen full batches.
pub const CREDIT_BYTES: u64 = 1024 * 1024;

/// What arrived, for whoever uses the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The session is connected.
    Welcome {
        /// The scheduler's epoch.
        epoch: Epoch,
        /// How long the session is waited for.
        lease_ms: u64,
    },
    /// What became of a command or query.
    Answer {
        /// Its number.
        number: u64,
        /// What it brought.
        answer: Result<Answer, Rejection>,
    },
    /// How a watched task ended.
    Settled {
        /// The task.
        task: TaskId,
        /// How.
        outcome: Outcome,
    },
    /// A watched task is not known.
    Unknown {
        /// The task.
        task: TaskId,
    },
    /// Records of a subscription.
    Records {
        /// Which.
        subscription: u64,
        /// They are in here, from `from` on.
        batch: Batch,
        /// The first offset that is new.
        from: u64,
    },
    /// A subscription has everything up to the head that the log had when it was reached.
    CaughtUp {
        /// Which.
        subscription: u64,
        /// The head.
        head: u64,
    },
    /// Records of a subscription are gone.
    Trimmed {
        /// Which.
        subscription: u64,
        /// The first that is missing.
        from: u64,
        /// The first that there is.
        first: u64,
    },
    /// A subscription is over before it began, or cannot be resumed: the log went backwards.
    SubscriptionRefused {
        /// Which.
        subscription: u64,
        /// Why.
        rejection: Rejection,
    },
    /// To a worker: run this.
    Assign(Assignment),
    /// To a worker: this is not wanted any more.
    Abort {
        /// The task.
        task: TaskId,
        /// The attempt.
        attempt: AttemptNumber,
    },
    /// The session is over; everything outstanding fails with it.
    Closed(Closing),
}

/// The server said what it must not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A batch is damaged.
    #[error(transparent)]
    Batch(#[from] BadBatch),
    /// Records are missing, or of another log.
    #[error("subscription {subscription} got offset {found} of log {log}, and expected {expected}")]
    Gap {
        /// Which.
        subscription: u64,
        /// The batch's log.
        log: LogId,
        /// The offset expected.
        expected: u64,
        /// The batch's first offset.
        found: u64,
    },
}

/// The client's side of a session.
#[derive(Debug)]
pub struct Link {
    session: SessionId,
    token: Option<String>,
    role: Role,
    phase: Phase,
    was_welcomed: bool,
    last_number: u64,
    /// Without an answer, in order.
    requests: BTreeMap<u64, ClientMessage>,
    /// Those of them that are not on the wire.
    unsent: VecDeque<u64>,
    watched: BTreeSet<TaskId>,
    /// Those of them that the connection does not know of.
    unwatched: Vec<TaskId>,
    subscriptions: BTreeMap<u64, Subscription>,
    outgoing: VecDeque<(u64, ClientMessage)>,
    deliveries: VecDeque<Delivery>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Down,
    Greeting,
    Up,
    Closed,
}

#[derive(Debug)]
struct Subscription {
    log: LogId,
    from: Position,
    /// The next offset, once it is known.
    next: Option<u64>,
    caught_up: bool,
    /// Bytes delivered and not yet consumed.
    unconsumed: u64,
    /// Bytes consumed and not yet given back as credit.
    owed: u64,
}

impl Link {
    /// A session that was never connected.
    pub fn new(session: SessionId, role: Role, token: Option<String>) -> Self {
        Link {
            session,
            token,
            role,
            phase: Phase::Down,
            was_welcomed: false,
            last_number: 0,
            requests: BTreeMap::new(),
            unsent: VecDeque::new(),
            watched: BTreeSet::new(),
            unwatched: Vec::new(),
            subscriptions: BTreeMap::new(),
            outgoing: VecDeque::new(),
            deliveries: VecDeque::new(),
        }
    }

    /// Whether the session was ever welcomed.
    pub fn was_welcomed(&self) -> bool {
        self.was_welcomed
    }

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// How many commands and queries have no answer yet.
    pub fn unanswered(&self) -> usize {
        self.requests.len()
    }

    /// A worker's attempts, as the next hello shall tell them.
    pub fn set_held(&mut self, held: Vec<HeldAttempt>) {
        if let Role::Worker(offer) = &mut self.role {
            offer.held = held;
        }
    }

    /// A new connection is there: the hello goes out. Nothing of an older one may arrive any more.
    pub fn connected(&mut self) {
        if self.phase == Phase::Closed {
            return;
        }
        self.disconnected();
        self.phase = Phase::Greeting;
        let (token, role) = (self.token.clone(), self.role.clone());
        let hello = Hello { token, session: self.session, resume: self.was_welcomed, role };
        self.outgoing.push_back((0, ClientMessage::Hello(hello)));
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Down;
        }
        self.outgoing.clear();
        self.unsent = self.requests.keys().copied().collect();
        self.unwatched = self.watched.iter().copied().collect();
    }

    /// Sends a command, once there is room for it on the wire. Answers its number.
    pub fn command(&mut self, command: Command) -> u64 {
        self.request(ClientMessage::Command(command))
    }

    /// Sends a query. Answers its number.
    pub fn query(&mut self, query: Query) -> u64 {
        self.request(ClientMessage::Query(query))
    }

    fn request(&mut self, message: ClientMessage) -> u64 {
        let number = self.next_number();
        self.requests.insert(number, message);
        self.unsent.push_back(number);
        number
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Asks to hear how a task ends; at most once at a time for each task.
    pub fn watch(&mut self, task: TaskId) {
        if self.watched.insert(task) {
            self.unwatched.push(task);
        }
    }

    /// Begins to read a log. Answers the subscription's number.
    pub fn subscribe(&mut self, log: LogId, from: Position) -> u64 {
        let number = self.next_number();
        let subscription = Subscription { log, from, next: None, caught_up: false, unconsumed: 0, owed: 0 };
        if self.phase == Phase::Up {
            self.outgoing.push_back((number, subscription.message()));
        }
        self.subscriptions.insert(number, subscription);
        number
    }

    /// So many bytes of batches were taken by the reader: as many more may come.
    pub fn consumed(&mut self, number: u64, bytes: u64) {
        let Some(subscription) = self.subscriptions.get_mut(&number) else { return };
        subscription.unconsumed -= bytes;
        subscription.owed += bytes;
        // In steps, so that credit is not a message for each batch.
        if subscription.owed >= CREDIT_BYTES / 2 && self.phase == Phase::Up {
            let bytes = std::mem::take(&mut subscription.owed);
            self.outgoing.push_back((number, ClientMessage::Credit { bytes }));
        }
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, number: u64) {
        if self.subscriptions.remove(&number).is_some() && self.phase == Phase::Up {
            self.outgoing.push_back((number, ClientMessage::Unsubscribe));
        }
    }

    /// Says that the client is still here.
    pub fn ping(&mut self) {
        if self.phase == Phase::Up {
            self.outgoing.push_back((0, ClientMessage::Ping));
        }
    }

    /// Ends the session, after everything that was asked before is on the wire.
    pub fn goodbye(&mut self) {
        if self.phase != Phase::Up {
            return;
        }
        while let Some(number) = self.unsent.pop_front() {
            self.outgoing.push_back((number, self.requests[&number].clone()));
        }
        self.outgoing.push_back((0, ClientMessage::Goodbye));
        self.phase = Phase::Closed;
    }

    /// The next message to send, with its number.
    pub fn next_outgoing(&mut self) -> Option<(u64, ClientMessage)> {
        if let Some(message) = self.outgoing.pop_front() {
            return Some(message);
        }
        if self.phase != Phase::Up {
            return None;
        }
        let on_the_wire = self.requests.len() - self.unsent.len();
        if (on_the_wire as u64) < IN_FLIGHT_MAX
            && let Some(number) = self.unsent.pop_front()
        {
            return Some((number, self.requests[&number].clone()));
        }
        if !self.unsent.is_empty() || self.unwatched.is_empty() {
            return None;
        }
        let rest = self.unwatched.split_off(self.unwatched.len().min(TASKS_PER_COMMAND_MAX));
        let tasks = std::mem::replace(&mut self.unwatched, rest);
        Some((0, ClientMessage::Watch { tasks }))
    }

    /// Takes a message. `batches` is what stood behind it in its frame.
    ///
    /// # Errors
    /// [`ProtocolError`]: the connection is to be given up and made anew.
    pub fn receive(
        &mut self,
        number: u64,
        message: ServerMessage,
        batches: Bytes,
    ) -> Result<(), ProtocolError> {
        match message {
            ServerMessage::Welcome { epoch, lease_ms } => self.welcome(epoch, lease_ms),
            ServerMessage::Closing(why) if why.is_temporary() => self.disconnected(),
            ServerMessage::Closing(why) => {
                self.disconnected();
                self.phase = Phase::Closed;
                self.deliver(Delivery::Closed(why));
            }
            ServerMessage::Answer(answer) => {
                if self.requests.remove(&number).is_some() {
                    self.deliver(Delivery::Answer { number, answer });
                }
            }
            ServerMessage::Settled { task, outcome } => {
                if self.watched.remove(&task) {
                    self.deliver(Delivery::Settled { task, outcome });
                }
            }
            ServerMessage::Unknown { task } => {
                if self.watched.remove(&task) {
                    self.deliver(Delivery::Unknown { task });
                }
            }
            ServerMessage::Subscribed { from } => {
                if let Some(subscription) = self.subscriptions.get_mut(&number) {
                    subscription.next.get_or_insert(from);
                }
            }
            ServerMessage::SubscriptionRefused(rejection) => {
                if self.subscriptions.remove(&number).is_some() {
                    self.deliver(Delivery::SubscriptionRefused { subscription: number, rejection });
                }
            }
            ServerMessage::Records => self.records(number, batches)?,
            ServerMessage::CaughtUp { head } => {
                if let Some(subscription) = self.subscriptions.get_mut(&number)
                    && !std::mem::replace(&mut subscription.caught_up, true)
                {
                    self.deliver(Delivery::CaughtUp { subscription: number, head });
                }
            }
            ServerMessage::Trimmed { first, .. } => {
                if let Some(subscription) = self.subscriptions.get_mut(&number)
                    && let Some(from) = subscription.next.replace(first)
                {
                    self.deliver(Delivery::Trimmed { subscription: number, from, first });
                }
            }
            ServerMessage::Assign(assignment) => self.deliver(Delivery::Assign(assignment)),
            ServerMessage::Abort { task, attempt } => self.deliver(Delivery::Abort { task, attempt }),
            ServerMessage::Pong => {}
        }
        Ok(())
    }

    /// What has arrived, in order.
    pub fn next_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    fn deliver(&mut self, delivery: Delivery) {
        self.deliveries.push_back(delivery);
    }

    fn welcome(&mut self, epoch: Epoch, lease_ms: u64) {
        self.phase = Phase::Up;
        self.was_welcomed = true;
        for (number, subscription) in &mut self.subscriptions {
            subscription.owed = 0;
            self.outgoing.push_back((*number, subscription.message()));
        }
        self.deliver(Delivery::Welcome { epoch, lease_ms });
    }

    fn records(&mut self, number: u64, mut batches: Bytes) -> Result<(), ProtocolError> {
        while !batches.is_empty() {
            let batch = Batch::take(&mut batches)?;
            let Some(subscription) = self.subscriptions.get_mut(&number) else { return Ok(()) };
            let header = *batch.header();
            let next = subscription.next.unwrap_or(header.base_offset);
            if header.log != subscription.log || header.base_offset > next {
                let (log, found) = (header.log, header.base_offset);
                return Err(ProtocolError::Gap { subscription: number, log, expected: next, found });
            }
            let bytes = batch.bytes().len() as u64;
            subscription.unconsumed += bytes;
            if header.end_offset() <= next {
                self.consumed(number, bytes);
                continue;
            }
            subscription.next = Some(header.end_offset());
            self.deliver(Delivery::Records { subscription: number, batch, from: next });
        }
        Ok(())
    }
}

impl Subscription {
    fn message(&self) -> ClientMessage {
        let from = self.next.map_or(self.from, Position::Offset);
        let credit_bytes = CREDIT_BYTES.saturating_sub(self.unconsumed);
        ClientMessage::Subscribe { log: self.log, from, credit_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::batch::OpenBatch;
    use crate::protocol::{Payload, Seq};

    fn link() -> Link {
        let mut link = Link::new(SessionId([1; 16]), Role::Client, None);
        reconnect(&mut link);
        link
    }

    /// Connects and answers whether the hello asked to resume.
    fn reconnect(link: &mut Link) -> bool {
        link.connected();
        let Some((0, ClientMessage::Hello(hello))) = link.next_outgoing() else { panic!("no hello") };
        assert_eq!(link.next_outgoing(), None, "nothing goes out before the welcome");
        receive(link, 0, ServerMessage::Welcome { epoch: Epoch(1), lease_ms: 1000 });
        assert!(matches!(link.next_delivery(), Some(Delivery::Welcome { .. })));
        hello.resume
    }

    fn receive(link: &mut Link, number: u64, message: ServerMessage) {
        link.receive(number, message, Bytes::new()).unwrap();
    }

    fn release(n: u8) -> Command {
        Command::Release { tasks: vec![TaskId([n; 16])] }
    }

    fn sent(link: &mut Link) -> Vec<u64> {
        std::iter::from_fn(|| link.next_outgoing()).map(|(number, _)| number).collect()
    }

    fn batch(base_offset: u64, count: u64) -> Batch {
        let mut open = OpenBatch::new(LogId(1), base_offset, 0);
        for n in 0..count {
            open.push(&Payload::encode(&n).unwrap(), true);
        }
        open.seal(Seq(1), Epoch(1), 0)
    }

    #[test]
    fn what_has_no_answer_is_sent_again_in_order() {
        let mut link = link();
        let numbers: Vec<u64> = (0..4).map(|n| link.command(release(n))).collect();
        assert_eq!(sent(&mut link), numbers);
        receive(&mut link, numbers[1], ServerMessage::Answer(Ok(Answer::Released)));
        assert!(matches!(link.next_delivery(), Some(Delivery::Answer { number: 2, .. })));
        assert!(reconnect(&mut link), "a session that was welcomed is resumed");
        let later = link.command(release(9));
        assert_eq!(sent(&mut link), [numbers[0], numbers[2], numbers[3], later]);
        receive(&mut link, numbers[1], ServerMessage::Answer(Ok(Answer::Released)));
        assert_eq!(link.next_delivery(), None, "an answer counts once");
    }

    #[test]
    fn no_more_than_the_window_is_on_the_wire() {
        let mut link = link();
        let numbers: Vec<u64> = (0..IN_FLIGHT_MAX + 5).map(|_| link.command(release(0))).collect();
        link.watch(TaskId([0; 16]));
        assert_eq!(sent(&mut link), numbers[..IN_FLIGHT_MAX as usize]);
        for number in &numbers[..5] {
            receive(&mut link, *number, ServerMessage::Answer(Ok(Answer::Released)));
        }
        assert_eq!(
            sent(&mut link),
            [&numbers[IN_FLIGHT_MAX as usize..], &[0]].concat(),
            "the watch goes last"
        );
    }

    #[test]
    fn a_watch_outlives_the_connection_and_is_answered_once() {
        let mut link = link();
        let task = TaskId([7; 16]);
        link.watch(task);
        link.watch(task);
        assert_eq!(sent(&mut link), [0]);
        reconnect(&mut link);
        assert_eq!(link.next_outgoing(), Some((0, ClientMessage::Watch { tasks: vec![task] })));
        let settled = ServerMessage::Settled { task, outcome: Outcome::Cancelled };
        receive(&mut link, 0, settled.clone());
        receive(&mut link, 0, settled);
        assert!(matches!(link.next_delivery(), Some(Delivery::Settled { .. })));
        assert_eq!(link.next_delivery(), None);
    }

    #[test]
    fn a_subscription_goes_on_behind_what_it_got() {
        let mut link = link();
        let number = link.subscribe(LogId(1), Position::End);
        sent(&mut link);
        reconnect(&mut link);
        let again = link.next_outgoing();
        let from = Position::End;
        assert_eq!(
            again,
            Some((number, ClientMessage::Subscribe { log: LogId(1), from, credit_bytes: CREDIT_BYTES }))
        );
        receive(&mut link, number, ServerMessage::Subscribed { from: 10 });
        let got = batch(8, 4);
        let bytes = got.bytes().len() as u64;
        link.receive(number, ServerMessage::Records, got.bytes().clone()).unwrap();
        assert_eq!(
            link.next_delivery(),
            Some(Delivery::Records { subscription: number, batch: got.clone(), from: 10 })
        );
        reconnect(&mut link);
        let from = Position::Offset(12);
        let credit_bytes = CREDIT_BYTES - bytes;
        assert_eq!(
            link.next_outgoing(),
            Some((number, ClientMessage::Subscribe { log: LogId(1), from, credit_bytes }))
        );
        link.receive(number, ServerMessage::Records, got.bytes().clone()).unwrap();
        assert_eq!(link.next_delivery(), None, "what was read already does not come again");
        let error = link.receive(number, ServerMessage::Records, batch(13, 1).bytes().clone()).unwrap_err();
        assert!(matches!(error, ProtocolError::Gap { expected: 12, found: 13, .. }));
    }

    #[test]
    fn credit_is_given_back_as_it_is_consumed() {
        let mut link = link();
        let number = link.subscribe(LogId(1), Position::Offset(0));
        sent(&mut link);
        receive(&mut link, number, ServerMessage::Subscribed { from: 0 });
        let (mut next, mut credit) = (0, 0);
        while credit == 0 {
            let batch = batch(next, 5000);
            next = batch.header().end_offset();
            link.receive(number, ServerMessage::Records, batch.bytes().clone()).unwrap();
            link.consumed(number, batch.bytes().len() as u64);
            if let Some((_, ClientMessage::Credit { bytes })) = link.next_outgoing() {
                credit = bytes;
            }
        }
        assert!((CREDIT_BYTES / 2..CREDIT_BYTES).contains(&credit), "{credit}");
    }

    #[test]
    fn the_end_of_the_session_is_told_and_a_pause_is_not() {
        let mut link = link();
        receive(&mut link, 0, ServerMessage::Closing(Closing::ShuttingDown));
        assert_eq!(link.next_delivery(), None);
        reconnect(&mut link);
        receive(&mut link, 0, ServerMessage::Closing(Closing::BadToken));
        assert_eq!(link.next_delivery(), Some(Delivery::Closed(Closing::BadToken)));
        link.connected();
        assert_eq!(link.next_outgoing(), None);
    }
}
