//! Who is there: connections, workers' offers, who waits for which task, whose lease runs. Volatile: it
//! belongs to no log, and is empty after a start.

mod check;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::assigned::Assigned;
use super::deadlines::Deadlines;
use super::effect;
use super::slots::Slots;
use super::small_set::SmallSet;
use super::state::{Session, State};
use super::{Event, Phase};
use crate::protocol::command::Command;
use crate::protocol::equipment::{Equipment, Grant};
use crate::protocol::message::ServerMessage;
use crate::protocol::result::{Holder, LossReason};
use crate::protocol::session::{HeldAttempt, Retire, Role, SessionKind};
use crate::protocol::task::Advance;
use crate::protocol::task::Outcome;
use crate::protocol::{Producer, Stock, TaskEvent, TaskId, TaskMap, TaskSet, TimeMs};
use crate::scheduler::handle::ConnectionId;

/// Who is there.
#[derive(Debug, Default)]
pub struct Presence {
    sessions: HashMap<ConnectionId, Producer>,
    connections: BTreeMap<Producer, ConnectionId>,
    slots: Slots,
    /// Tasks whose newest attempt is connected as a client.
    clients: TaskMap<Producer>,
    /// Tasks whose attempt waits for others, as its worker says: it takes no slot, and nothing of what it was granted.
    paused: TaskSet,
    /// How far running attempts have come, as they have said.
    advances: TaskMap<Advance>,
    watchers: TaskMap<SmallSet<ConnectionId>>,
    leases: Deadlines<Producer>,
    /// The workers that are given nothing more, connected or not. Each is told, and remembers it longer than
    /// this: with a scheduler that starts anew it begins by saying so.
    retiring: BTreeMap<Producer, Retire>,
    /// Where each connected worker gives the results that it keeps.
    results_at: HashMap<Producer, Box<str>>,
    /// Results that a worker is told to copy, and which worker.
    copying: BTreeMap<TaskId, Producer>,
    /// In which order workers were given what they have.
    assigned: Assigned,
    /// What each connected worker has beside its functions and slots.
    equipped: BTreeMap<Producer, Equipped>,
}

/// What a connected worker has beside its functions and slots.
#[derive(Debug)]
pub struct Equipped {
    /// As it says itself.
    pub equipment: Equipment,
    /// How much of its resources attempts take.
    pub stock: Stock,
}

impl Presence {
    /// How far a task's running attempt has come, if it has said so.
    pub(super) fn advance_of(&self, task: TaskId) -> Option<&Advance> {
        self.advances.get(&task)
    }

    /// The session of a connection, while it is the session's newest.
    pub fn session_of(&self, connection: ConnectionId) -> Option<Producer> {
        self.sessions.get(&connection).copied()
    }

    /// The connection of a session.
    pub fn connection_of(&self, producer: Producer) -> Option<ConnectionId> {
        self.connections.get(&producer).copied()
    }

    /// The connected workers and their slots.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// What a worker has beside its functions and slots, while it is connected.
    pub fn equipped(&self, worker: Producer) -> Option<&Equipped> {
        self.equipped.get(&worker)
    }

    /// Whether a worker retires, and how.
    pub fn retiring(&self, worker: Producer) -> Option<Retire> {
        self.retiring.get(&worker).copied()
    }

    /// Whether the newest attempt at a task is connected as a client.
    pub fn is_client(&self, task: TaskId) -> bool {
        self.clients.contains_key(&task)
    }

    /// The workers that retire.
    pub fn all_retiring(&self) -> impl Iterator<Item = Producer> {
        self.retiring.keys().copied()
    }

    /// Where a worker gives results, while it is connected and gives any.
    pub fn holder(&self, state: &State, worker: Producer) -> Option<Holder> {
        let address = self.results_at.get(&worker)?.clone();
        Some(Holder { worker: state.worker_name(worker), address })
    }

    /// Whether any of these workers can be asked for a result now.
    pub fn any_reachable(&self, holders: &[Producer]) -> bool {
        holders.iter().any(|holder| self.results_at.contains_key(holder))
    }

    /// Whether a session is a worker's that gives results.
    pub(super) fn gives(&self, worker: Producer) -> bool {
        self.results_at.contains_key(&worker)
    }

    /// The workers that give results.
    pub fn giving(&self) -> impl Iterator<Item = Producer> {
        self.results_at.keys().copied()
    }

    /// Follows what a worker says of itself that is in no log.
    pub(super) fn hear(&mut self, state: &State, worker: Producer, command: &Command) {
        match *command {
            Command::Window { attempts } => self.slots.set_window(worker, attempts),
            Command::Occupy { task, attempt, occupies } => {
                self.occupy(state, worker, HeldAttempt { task, attempt }, occupies);
            }
            Command::Copied { task, .. } | Command::Lack { task, .. } => self.end_copy(task, worker),
            _ => {}
        }
    }

    /// The attempts of a worker that may have killed it: those that are clients or have paused, and of the others as many as it
    /// has slots, the ones that it was given first. All of them when a scheduler that is gone has given them.
    pub(super) fn suspects(&self, worker: Producer, running: &BTreeSet<TaskId>) -> BTreeSet<TaskId> {
        self.assigned.suspects(worker, running, |task| self.is_client(task) || self.has_paused(task))
    }

    /// The worker that is told to copy a task's result.
    pub fn copier(&self, task: TaskId) -> Option<Producer> {
        self.copying.get(&task).copied()
    }

    /// How many results are being copied.
    pub fn copies(&self) -> usize {
        self.copying.len()
    }

    /// A worker is told to copy a task's result.
    pub(super) fn begin_copy(&mut self, task: TaskId, by: Producer) {
        self.copying.insert(task, by);
    }

    /// A worker has copied a task's result, or could not.
    pub(super) fn end_copy(&mut self, task: TaskId, by: Producer) {
        if self.copying.get(&task) == Some(&by) {
            self.copying.remove(&task);
        }
    }

    /// A worker is given nothing more. What was said to hand over stays said.
    pub(super) fn retire(&mut self, worker: Producer, retire: Retire) {
        let before = self.retiring.entry(worker).or_insert(retire);
        *before = retire.max(*before);
        self.slots.retire(worker);
    }

    /// A session is connected. Answers its connection before, if it had one.
    pub(super) fn arrive(
        &mut self,
        state: &State,
        connection: ConnectionId,
        producer: Producer,
        role: &Role,
    ) -> Option<ConnectionId> {
        let before = self.connections.insert(producer, connection);
        if let Some(before) = before {
            self.sessions.remove(&before);
        }
        self.sessions.insert(connection, producer);
        self.leases.remove(&producer);
        match role {
            Role::Client => {}
            Role::Worker(offer) => {
                self.forget_pauses(state, producer);
                let functions = offer.functions.iter().cloned().collect();
                let taken = self.taken_slots(state, producer);
                self.slots.join(producer, offer.slots, functions, taken);
                self.assigned.join(producer, offer.slots);
                let mut stock = Stock::new(&offer.equipment.resources);
                self.taken_grants(state, producer).for_each(|grants| stock.grant(grants));
                self.equipped.insert(producer, Equipped { equipment: offer.equipment.clone(), stock });
                if !offer.results_at.is_empty() {
                    self.results_at.insert(producer, offer.results_at.clone());
                }
                if offer.slots == 0 || self.retiring.contains_key(&producer) {
                    self.retire(producer, Retire::Finish);
                }
            }
            Role::Attempt { task, .. } => {
                self.clients.insert(*task, producer);
            }
        }
        before
    }

    fn taken_slots(&self, state: &State, producer: Producer) -> u32 {
        let Some(session) = state.sessions.get(&producer) else { return 0 };
        let taken = session.running.iter().filter(|task| !self.has_paused(**task)).count();
        u32::try_from(taken).unwrap_or(u32::MAX)
    }

    /// What the attempts that are with a worker take of its resources.
    fn taken_grants<'a>(&'a self, state: &'a State, worker: Producer) -> impl Iterator<Item = &'a [Grant]> {
        let running = state.sessions.get(&worker).into_iter().flat_map(|session| &session.running);
        let taking = running.filter(|task| !self.has_paused(**task));
        taking.filter_map(|task| Some(state.tasks.get(task)?.grants()))
    }

    /// Whether a running task's attempt waits for others: it takes no slot then, and nothing of what it was granted.
    pub fn has_paused(&self, task: TaskId) -> bool {
        self.paused.contains(&task)
    }

    /// An attempt of a worker takes its slot and what it was granted, or no longer.
    fn occupy(&mut self, state: &State, worker: Producer, attempt: HeldAttempt, occupies: bool) {
        let HeldAttempt { task: id, attempt } = attempt;
        let Some(task) = state.tasks.get(&id) else { return };
        if task.attempt != attempt || task.phase != (Phase::Running { worker }) {
            return;
        }
        let is_news = if occupies { self.paused.remove(&id) } else { self.paused.insert(id) };
        match occupies {
            _ if !is_news => {}
            true => self.take(worker, task.grants()),
            false => self.give_back(worker, task.grants()),
        }
    }

    /// A worker says anew which of its attempts have paused.
    fn forget_pauses(&mut self, state: &State, worker: Producer) {
        let running = state.sessions.get(&worker).into_iter().flat_map(|session| &session.running);
        for id in running {
            if self.paused.remove(id) {
                self.take(worker, state.tasks.get(id).map_or(&[], |task| task.grants()));
            }
        }
    }

    /// An attempt takes a slot of a worker, and what it was granted.
    fn take(&mut self, worker: Producer, grants: &[Grant]) {
        self.slots.take(worker);
        if let Some(equipped) = self.equipped.get_mut(&worker) {
            equipped.stock.grant(grants);
        }
    }

    /// An attempt takes no slot of a worker any more, and nothing of what it was granted.
    fn give_back(&mut self, worker: Producer, grants: &[Grant]) {
        self.slots.give_back(worker);
        if let Some(equipped) = self.equipped.get_mut(&worker) {
            equipped.stock.give_back(grants);
        }
    }

    /// A connection is gone. Answers its session, if it was the session's newest.
    pub(super) fn depart(&mut self, connection: ConnectionId) -> Option<Producer> {
        let producer = self.sessions.remove(&connection)?;
        self.connections.remove(&producer);
        self.leave(producer);
        Some(producer)
    }

    /// A worker is not there any more.
    fn leave(&mut self, producer: Producer) {
        self.slots.leave(producer);
        self.equipped.remove(&producer);
        self.results_at.remove(&producer);
        self.copying.retain(|_, by| *by != producer);
    }

    /// Begins a session's lease. An attempt's session has none: it lives as long as the attempt, which
    /// ends with its worker's lease at the latest.
    pub(super) fn await_return(&mut self, producer: Producer, session: &Session, now: TimeMs) {
        self.leases.remove(&producer);
        if !matches!(session.kind, SessionKind::Attempt { .. }) {
            self.leases.set(producer, now + session.lease_ms);
        }
    }

    /// Lets all leases run for so much longer.
    pub(super) fn postpone_leases(&mut self, ms: u64) {
        self.leases.postpone(ms);
    }

    /// The next session whose lease is over.
    pub(super) fn pop_expired(&mut self, now: TimeMs) -> Option<Producer> {
        self.leases.pop(now)
    }

    /// When the next lease is over.
    pub fn next_deadline(&self) -> Option<TimeMs> {
        self.leases.next()
    }

    /// Notes who waits for a task; answers at once when there is nothing to wait for.
    pub(super) fn watch(
        &mut self,
        state: &State,
        connection: ConnectionId,
        id: TaskId,
    ) -> Option<ServerMessage> {
        let Some(task) = state.tasks.get(&id) else { return Some(ServerMessage::Unknown { task: id }) };
        if let Some(outcome) = task.phase.outcome().or_else(|| self.stored(state, id)) {
            return Some(ServerMessage::Settled { task: id, outcome });
        }
        if task.phase == Phase::Lost && !task.keepers.need_result() {
            return Some(ServerMessage::Unknown { task: id });
        }
        let watchers = self.watchers.entry(id).or_default();
        watchers.retain(|other| self.sessions.contains_key(other));
        watchers.insert(connection);
        None
    }

    /// A result that workers keep, once one of them is there.
    fn stored(&self, state: &State, id: TaskId) -> Option<Outcome> {
        effect::located(state, self, id).filter(|located| !located.holders.is_empty()).map(Outcome::Stored)
    }

    /// What those have to hear who wait for results that a worker keeps, now that it is there.
    pub(super) fn settle_stored(
        &mut self,
        state: &State,
        worker: Producer,
    ) -> Vec<(ConnectionId, ServerMessage)> {
        let Some(session) = state.sessions.get(&worker) else { return Vec::new() };
        let mut told = Vec::new();
        for id in &session.stored {
            let Some(outcome) = self.watchers.contains_key(id).then(|| self.stored(state, *id)).flatten()
            else {
                continue;
            };
            let message = ServerMessage::Settled { task: *id, outcome };
            let watchers = self.watchers.remove(id).unwrap_or_default();
            told.extend(watchers.iter().map(|connection| (connection, message.clone())));
        }
        told
    }

    /// Who waits for a task.
    pub(super) fn watchers(&self, task: TaskId) -> impl Iterator<Item = ConnectionId> {
        self.watchers.get(&task).into_iter().flat_map(SmallSet::iter)
    }

    /// Follows a fact. `state` is as it was before it.
    pub(super) fn observe(&mut self, state: &State, event: &Event) {
        let Event::Task(event) = event else { return };
        match event {
            TaskEvent::SessionEnded { producer, .. } => {
                self.leases.remove(producer);
                self.retiring.remove(producer);
                self.leave(*producer);
                self.assigned.forget(*producer);
                self.end_client(state, *producer);
                if let Some(connection) = self.connections.remove(producer) {
                    self.sessions.remove(&connection);
                }
            }
            TaskEvent::Started { task, worker, .. } => self.begin_run(*task, *worker, &[]),
            TaskEvent::StartedWith { task, worker, grants, .. } => self.begin_run(*task, *worker, grants),
            TaskEvent::Advanced { task, advance, .. } => {
                self.advances.insert(*task, advance.clone());
            }
            TaskEvent::Retried { task, .. }
            | TaskEvent::RetriedAfter { task, .. }
            | TaskEvent::Requeued { task, .. }
            | TaskEvent::Deferred { task, .. }
            | TaskEvent::Returned { task, .. } => self.end_run(state, *task),
            TaskEvent::Copied { task, worker } => {
                self.end_copy(*task, *worker);
                self.watchers.remove(task);
            }
            TaskEvent::Lost { task, why, .. } => {
                self.copying.remove(task);
                if *why == LossReason::Unneeded {
                    self.watchers.remove(task);
                }
            }
            TaskEvent::Finished { task, .. }
            | TaskEvent::Failed { task, .. }
            | TaskEvent::Cancelled { task }
            | TaskEvent::CancelledBy { task, .. }
            | TaskEvent::Forgotten { task } => {
                self.end_run(state, *task);
                self.watchers.remove(task);
                self.copying.remove(task);
            }
            _ => {}
        }
    }

    /// An attempt is with a worker.
    fn begin_run(&mut self, task: TaskId, worker: Producer, grants: &[Grant]) {
        self.take(worker, grants);
        self.assigned.add(worker, task);
    }

    /// An attempt is over; what it took is free.
    fn end_run(&mut self, state: &State, id: TaskId) {
        self.advances.remove(&id);
        let Some(task) = state.tasks.get(&id) else { return };
        let Phase::Running { worker } = task.phase else { return };
        self.assigned.remove(worker, id);
        if !self.paused.remove(&id) {
            self.give_back(worker, task.grants());
        }
    }

    /// A session is over; it may have been an attempt's.
    fn end_client(&mut self, state: &State, producer: Producer) {
        if let Some(Session { kind: SessionKind::Attempt { task, .. }, .. }) = state.sessions.get(&producer)
            && self.clients.get(task) == Some(&producer)
        {
            self.clients.remove(task);
        }
    }
}
