//! The one task that owns a session's socket and its link.
//!
//! After each step the link's deliveries are handed out and its messages gathered for the next write,
//! so nothing waits but what the link itself holds back. What it costs: all of a session's traffic goes
//! through one task.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::call::Call;
use super::clock::Clock;
use super::flush::Flushes;
use super::membership::{MemberItem, Memberships};
use super::recovery::Recovery;
use super::transport::{DialError, Progress, Wire};
use super::trunks::Way;
use super::waiting::Waiting;
use super::{Ended, LEAVE_MS_MAX, ReadItem, WorkerMessage};
use crate::client::error::{Error, Result};
use crate::client::link::{Delivery, Link, ProtocolError};
use crate::protocol::command::{Command, Rejection};
use crate::protocol::frame::{BadFrame, Frame};
use crate::protocol::limits::TASKS_PER_COMMAND_MAX;
use crate::protocol::message::ServerMessage;
use crate::protocol::session::{HeldAttempt, Role};
use crate::protocol::{Outcome, TaskId};

/// The first pause before connecting again, and the longest: each is twice the one before.
const PAUSE_MS_MIN: u64 = 20;
const PAUSE_MS_MAX: u64 = 1_000;

/// How long one try may take until the welcome: as long as the scheduler waits for a hello.
const HANDSHAKE_MS_MAX: u64 = 10_000;

/// Shorter leases are taken for this, so that pings stay rare.
const LEASE_MS_MIN: u64 = 150;

/// How many calls are taken at once, so that reading and writing get their turn.
const CALLS_PER_STEP_MAX: usize = 1024;

/// How one connection ended.
#[derive(Debug)]
enum End {
    /// Another one may go on.
    Lost(String),
    /// The session is over.
    Over(Error),
}

#[derive(Debug)]
pub(super) struct Actor {
    link: Link,
    calls: mpsc::UnboundedReceiver<Call>,
    inbox: mpsc::UnboundedSender<WorkerMessage>,
    /// Told when the session can be used: at the first welcome, or, unless it is a worker's, when it is known that
    /// the welcome comes once the scheduler has recovered.
    ready: Option<oneshot::Sender<Result<()>>>,
    ended: Ended,
    epoch: Arc<AtomicU64>,
    clock: Clock,
    lease: Duration,
    /// Whether the welcome came on the newest connection.
    is_welcomed: bool,
    /// Until when it has to come.
    welcome_by: Instant,
    recovery: Recovery,
    /// Set when it leaves: then it takes no more calls.
    leave_by: Option<Instant>,
    closers: Vec<oneshot::Sender<()>>,
    releases: Vec<TaskId>,
    answers: Waiting,
    flushes: Flushes,
    memberships: Memberships,
    watchers: HashMap<TaskId, Vec<oneshot::Sender<Result<Outcome>>>>,
    readers: HashMap<u64, Reader>,
    /// The link's number of a handle's subscription.
    subscriptions: HashMap<u64, u64>,
}

#[derive(Debug)]
struct Reader {
    id: u64,
    items: mpsc::UnboundedSender<Result<ReadItem>>,
}

impl Actor {
    pub(super) fn new(
        link: Link,
        calls: mpsc::UnboundedReceiver<Call>,
        inbox: mpsc::UnboundedSender<WorkerMessage>,
        ready: oneshot::Sender<Result<()>>,
        ended: Ended,
        epoch: Arc<AtomicU64>,
        (clock, recovery): (Clock, Recovery),
    ) -> Self {
        Actor {
            link,
            calls,
            inbox,
            ready: Some(ready),
            ended,
            epoch,
            clock,
            lease: Duration::from_millis(LEASE_MS_MIN),
            is_welcomed: false,
            welcome_by: Instant::now(),
            recovery,
            leave_by: None,
            closers: Vec::new(),
            releases: Vec::new(),
            answers: Waiting::default(),
            flushes: Flushes::default(),
            memberships: Memberships::default(),
            watchers: HashMap::new(),
            readers: HashMap::new(),
            subscriptions: HashMap::new(),
        }
    }

    /// Keeps the session connected until it is over. Whoever still waits then is told why: replies and
    /// subscriptions look for it when their sender is dropped.
    pub(super) async fn run(mut self, way: Way, connect_timeout: Duration) {
        let error = self.keep_connected(way, Instant::now() + connect_timeout).await;
        // Set once, here.
        let _ = self.ended.set(error.clone());
        // Those who do not listen any more need not be told.
        let _ = self.inbox.send(WorkerMessage::Closed(error.clone()));
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Err(error));
        }
    }

    async fn keep_connected(&mut self, way: Way, give_up_at: Instant) -> Error {
        let address = way.address();
        let mut pause_ms = PAUSE_MS_MIN;
        loop {
            let handshake_by = Instant::now() + Duration::from_millis(HANDSHAKE_MS_MAX);
            let welcome_by = if self.ready.is_none() { handshake_by } else { give_up_at.min(handshake_by) };
            let dial = timeout(welcome_by - Instant::now(), way.dial());
            let end = match self.serve_until(dial).await {
                None => return Error::Stopped,
                Some(Ok(Ok(wire))) => {
                    let end = self.converse(wire, welcome_by).await;
                    if self.is_welcomed {
                        pause_ms = PAUSE_MS_MIN;
                    }
                    end
                }
                Some(Ok(Err(DialError::Temporary(why)))) => End::Lost(why),
                Some(Ok(Err(DialError::Lasting(error)))) => return error,
                Some(Err(_)) => End::Lost("there is no answer".to_owned()),
            };
            let why = match end {
                End::Over(error) => return error,
                End::Lost(why) => why,
            };
            if self.ready.is_some() && Instant::now() + Duration::from_millis(pause_ms) >= give_up_at {
                let why = format!("{why}: is the scheduler running there? `headwater scheduler` starts one");
                return Error::connect(address, why);
            }
            tracing::debug!(%address, why, pause_ms, "not connected: trying again");
            // Many clients of one scheduler shall not all come back at the same moment.
            let pause = sleep(Duration::from_millis(fastrand::u64(pause_ms / 2..=pause_ms)));
            if self.serve_until(pause).await.is_none() {
                return Error::Stopped;
            }
            pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
        }
    }

    /// Takes calls while there is no connection, until `work` is done; `None`: it is time to end.
    async fn serve_until<F: Future>(&mut self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        loop {
            let leave_by = self.leave_by;
            if leave_by.is_some() && self.link.unanswered() == 0 {
                return None;
            }
            tokio::select! {
                output = &mut work => return Some(output),
                call = self.calls.recv(), if leave_by.is_none() => self.take_calls(call),
                () = sleep_until(leave_by.unwrap_or_else(Instant::now)), if leave_by.is_some() => return None,
            }
        }
    }

    async fn converse(&mut self, mut wire: Wire, welcome_by: Instant) -> End {
        (self.is_welcomed, self.welcome_by) = (false, welcome_by);
        self.recovery.over();
        self.link.connected();
        let end = self.exchange(&mut wire).await;
        self.link.disconnected();
        match end {
            End::Lost(_) if self.link.has_left() => End::Over(Error::Stopped),
            end => end,
        }
    }

    async fn exchange(&mut self, wire: &mut Wire) -> End {
        let (mut heard, mut spoke) = (Instant::now(), Instant::now());
        loop {
            while wire.has_room()
                && let Some((number, message)) = self.link.next_outgoing()
            {
                if let Err(error) = wire.push(number, &message) {
                    return End::Over(error.into());
                }
            }
            if self.link.has_left() && wire.is_flushed() {
                // The goodbye is read before the socket closes: what is unread then would be lost.
                wire.shut().await;
            }
            let (ping_at, silent_at) = (spoke + self.lease / 3, heard + self.lease);
            let wake_at = if self.is_welcomed { ping_at.min(silent_at) } else { self.welcome_by };
            let wake_at = self.leave_by.map_or(wake_at, |leave_by| leave_by.min(wake_at));
            tokio::select! {
                call = self.calls.recv(), if self.leave_by.is_none() => self.take_calls(call),
                progress = wire.advance() => match progress {
                    Ok(Progress::Wrote) => spoke = Instant::now(),
                    Ok(Progress::Read) => {
                        heard = Instant::now();
                        if let Some(end) = self.take_frames(wire) {
                            return end;
                        }
                    }
                    Ok(Progress::Ended) => return End::Lost("the scheduler closed the connection".to_owned()),
                    Err(error) => return End::Lost(error.to_string()),
                },
                () = sleep_until(wake_at) => {
                    let now = Instant::now();
                    if self.leave_by.is_some_and(|leave_by| leave_by <= now) {
                        return End::Over(Error::Stopped);
                    } else if !self.is_welcomed {
                        return End::Lost("what listens there does not answer".to_owned());
                    } else if silent_at <= now {
                        return End::Lost(format!("the scheduler was silent for {:?}", self.lease));
                    }
                    self.link.ping();
                    spoke = now;
                }
            }
        }
    }

    fn take_frames(&mut self, wire: &mut Wire) -> Option<End> {
        loop {
            match wire.next_frame() {
                Ok(Some(frame)) => {
                    if let Some(end) = self.take_frame(&frame) {
                        return Some(end);
                    }
                }
                Ok(None) => return None,
                Err(bad @ BadFrame::Checksum) => return Some(End::Lost(bad.to_string())),
                Err(bad) => {
                    return Some(End::Over(ProtocolError::Undecodable(bad.to_string()).into()));
                }
            }
        }
    }

    fn take_frame(&mut self, frame: &Frame) -> Option<End> {
        let (message, behind) = match frame.decode::<ServerMessage>() {
            Ok(decoded) => decoded,
            Err(why) => return Some(End::Over(ProtocolError::Undecodable(why).into())),
        };
        let closing =
            if let ServerMessage::Closing(closing) = &message { Some(closing.clone()) } else { None };
        if let Err(error) = self.link.receive(frame.number, message, behind) {
            match error.subscription() {
                Some(subscription) => self.end_reader(subscription, error.into()),
                None => return Some(End::Over(error.into())),
            }
        }
        while let Some(delivery) = self.link.next_delivery() {
            self.hand_out(delivery);
        }
        closing.map(|closing| match closing.is_temporary() {
            true => End::Lost(closing.to_string()),
            false => End::Over(Error::Closed(closing)),
        })
    }

    fn hand_out(&mut self, delivery: Delivery) {
        // A receiver that was dropped is not interested any more.
        match delivery {
            Delivery::Welcome { epoch, lease_ms, now_ms } => {
                self.is_welcomed = true;
                self.lease = Duration::from_millis(lease_ms.max(LEASE_MS_MIN));
                self.epoch.store(epoch.0, Ordering::Relaxed);
                self.clock.see(now_ms);
                self.memberships.welcomed(&mut self.link);
                self.recovery.over();
                let _ = self.inbox.send(WorkerMessage::Welcomed);
                self.get_ready();
            }
            Delivery::Recovering { progress } => {
                if !matches!(self.link.role(), Role::Worker(_)) {
                    self.get_ready();
                }
                // It comes once a second: whoever says so is there.
                self.welcome_by = Instant::now() + Duration::from_millis(HANDSHAKE_MS_MAX);
                self.recovery.is_at(progress);
            }
            Delivery::Answer { number, answer } => {
                self.memberships.answered(number, &answer);
                self.answers.answer(number, answer);
                self.flushes.answered(&self.link, number);
            }
            Delivery::Settled { task, outcome } => self.settle(task, &Ok(outcome)),
            Delivery::Unknown { task } => {
                self.settle(task, &Err(Error::Rejected(Rejection::UnknownTask(task))));
            }
            Delivery::Subscribed { subscription, from } => {
                self.pass_on(subscription, ReadItem::Subscribed { from });
            }
            Delivery::Records { subscription, batch, from } => {
                self.pass_on(subscription, ReadItem::Records { batch, from });
            }
            Delivery::CaughtUp { subscription, head } => {
                self.pass_on(subscription, ReadItem::CaughtUp { head });
            }
            Delivery::Trimmed { subscription, from, first } => {
                self.pass_on(subscription, ReadItem::Trimmed { from, first });
            }
            Delivery::SubscriptionRefused { subscription, rejection } => {
                self.end_reader(subscription, rejection.into());
            }
            Delivery::Assign(assignment) => drop(self.inbox.send(WorkerMessage::Assign(assignment))),
            Delivery::Abort { task, attempt } => {
                drop(self.inbox.send(WorkerMessage::Abort { task, attempt }));
            }
            Delivery::Retire(retire) => drop(self.inbox.send(WorkerMessage::Retire(retire))),
            Delivery::Free { task, attempt } => {
                drop(self.inbox.send(WorkerMessage::Free(HeldAttempt { task, attempt })));
            }
            Delivery::Copy(located) => drop(self.inbox.send(WorkerMessage::Copy(located))),
            Delivery::Leased { group, leased } => {
                self.memberships.pass_on(group, MemberItem::Leased(leased, Instant::now()));
            }
            Delivery::GroupEnded { group, why } => self.memberships.pass_on(group, MemberItem::Ended(why)),
            // The actor ends with it, and says so to all.
            Delivery::Closed(_) => {}
        }
    }

    fn get_ready(&mut self) {
        if let Some(ready) = self.ready.take() {
            let _ = ready.send(Ok(()));
        }
    }

    fn settle(&mut self, task: TaskId, result: &Result<Outcome>) {
        for watcher in self.watchers.remove(&task).into_iter().flatten() {
            let _ = watcher.send(result.clone());
        }
    }

    fn pass_on(&mut self, subscription: u64, item: ReadItem) {
        if let Some(reader) = self.readers.get(&subscription) {
            let _ = reader.items.send(Ok(item));
        }
    }

    fn end_reader(&mut self, subscription: u64, error: Error) {
        if let Some(reader) = self.readers.remove(&subscription) {
            self.subscriptions.remove(&reader.id);
            let _ = reader.items.send(Err(error));
        }
    }

    /// Takes a call, and those that wait behind it.
    fn take_calls(&mut self, first: Option<Call>) {
        let mut next = first;
        if next.is_none() {
            self.leave();
        }
        for _ in 0..CALLS_PER_STEP_MAX {
            let Some(call) = next.take() else { break };
            self.take_call(call);
            if self.leave_by.is_some() {
                break;
            }
            next = self.calls.try_recv().ok();
        }
        if let Some(call) = next {
            self.take_call(call);
        }
        self.send_releases();
    }

    fn take_call(&mut self, call: Call) {
        match call {
            Call::Command(command, waiter) => {
                self.send_releases();
                self.answers.add(self.link.command(command), waiter);
            }
            Call::Append { log, run, options } => {
                self.send_releases();
                let elements = run.take();
                let (count, is_produced) = (elements.len(), options.producer.is_some());
                let number = self.link.append(log, elements, options);
                match is_produced {
                    true => self.answers.add_produced(number, run),
                    false => self.answers.add_run(number, count, run),
                }
            }
            Call::Query(query, waiter) => {
                self.send_releases();
                self.answers.add(self.link.query(query), waiter);
            }
            Call::FindChannel(name, waiter) => {
                self.send_releases();
                self.answers.add(self.link.find_channel(name), waiter);
            }
            Call::Watch(task, waiter) => {
                let watchers = self.watchers.entry(task).or_default();
                watchers.retain(|watcher| !watcher.is_closed());
                watchers.push(waiter);
                self.link.watch(task);
            }
            Call::Retire(waiter) => {
                self.send_releases();
                self.answers.add(self.link.retire(), waiter);
            }
            Call::Flush(log, waiter) => {
                self.send_releases();
                self.flushes.add(&mut self.link, log, waiter);
            }
            Call::Undone { log, acked } => self.link.undone(log, acked),
            Call::Release(task) => {
                self.releases.push(task);
                if self.releases.len() == TASKS_PER_COMMAND_MAX {
                    self.send_releases();
                }
            }
            Call::Subscribe { id, log, from, reads, items } => {
                let number = self.link.subscribe_to(log, from, reads);
                self.subscriptions.insert(id, number);
                self.readers.insert(number, Reader { id, items });
            }
            Call::Consumed { id, bytes } => {
                if let Some(number) = self.subscriptions.get(&id) {
                    self.link.consumed(*number, bytes);
                }
            }
            Call::Unsubscribe { id } => {
                if let Some(number) = self.subscriptions.remove(&id) {
                    self.readers.remove(&number);
                    self.link.unsubscribe(number);
                }
            }
            Call::Join { group, window, items } => {
                self.memberships.join(&mut self.link, group, window, items);
            }
            Call::Leave { group, untried } => {
                self.memberships.leave(&mut self.link, group, untried);
            }
            Call::Close(closer) => {
                self.closers.push(closer);
                self.leave();
            }
        }
    }

    /// Releases keep their place in the order of commands: they are gathered only while nothing else
    /// comes in between.
    fn send_releases(&mut self) {
        if !self.releases.is_empty() {
            let tasks = std::mem::take(&mut self.releases);
            self.link.command(Command::Release { tasks });
        }
    }

    fn leave(&mut self) {
        self.leave_by = Some(Instant::now() + Duration::from_millis(LEAVE_MS_MAX));
        self.link.goodbye();
    }
}
