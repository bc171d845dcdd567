//! Who is there: connections, workers' offers, who waits for which task, whose lease runs. Volatile: it
//! belongs to no log, and is empty after a start.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::assigned::Assigned;
use super::deadlines::Deadlines;
use super::effect;
use super::slots::Slots;
use super::small_set::SmallSet;
use super::state::{Session, State};
use super::stock::Stock;
use super::task::Task;
use super::{Event, Phase};
use crate::protocol::equipment::{Equipment, Grant};
use crate::protocol::message::ServerMessage;
use crate::protocol::result::{Holder, LossReason};
use crate::protocol::session::{Retire, Role, SessionKind};
use crate::protocol::task::Advance;
use crate::protocol::task::Outcome;
use crate::protocol::{Producer, TaskEvent, TaskId, TaskMap, TimeMs};
use crate::scheduler::handle::ConnectionId;

/// Who is there.
#[derive(Debug, Default)]
pub struct Presence {
    sessions: HashMap<ConnectionId, Producer>,
    connections: BTreeMap<Producer, ConnectionId>,
    slots: Slots,
    /// Tasks whose newest attempt is connected as a client: they take no slot.
    yielded: TaskMap<Producer>,
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
    /// How much of its resources is granted.
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
        self.yielded.contains_key(&task)
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

    /// The workers that give results.
    pub fn giving(&self) -> impl Iterator<Item = Producer> {
        self.results_at.keys().copied()
    }

    /// A worker is given so many attempts at a time.
    pub(super) fn set_window(&mut self, worker: Producer, attempts: u32) {
        self.slots.set_window(worker, attempts);
    }

    /// The attempts of a worker that may have killed it: those that are clients, and of the others as many as it has
    /// slots, the ones that it was given first. All of them when a scheduler that is gone has given them.
    pub(super) fn suspects(&self, worker: Producer, running: &BTreeSet<TaskId>) -> BTreeSet<TaskId> {
        self.assigned.suspects(worker, running, |task| self.is_client(task))
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
                let functions = offer.functions.iter().cloned().collect();
                let taken = self.taken_slots(state, producer);
                self.slots.join(producer, offer.slots, functions, taken);
                self.assigned.join(producer, offer.slots);
                let mut stock = Stock::new(&offer.equipment.resources);
                granted(state, producer).for_each(|grants| stock.grant(grants));
                self.equipped.insert(producer, Equipped { equipment: offer.equipment.clone(), stock });
                if !offer.results_at.is_empty() {
                    self.results_at.insert(producer, offer.results_at.clone());
                }
                if offer.slots == 0 || self.retiring.contains_key(&producer) {
                    self.retire(producer, Retire::Finish);
                }
            }
            Role::Attempt { task, .. } => {
                if self.yielded.insert(*task, producer).is_none()
                    && let Some(worker) = state.worker_of(*task)
                {
                    self.slots.give_back(worker);
                }
            }
        }
        before
    }

    fn taken_slots(&self, state: &State, producer: Producer) -> u32 {
        let Some(session) = state.sessions.get(&producer) else { return 0 };
        let taken = session.running.iter().filter(|task| !self.yielded.contains_key(task)).count();
        u32::try_from(taken).unwrap_or(u32::MAX)
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
                self.end_yield(state, *producer);
                if let Some(connection) = self.connections.remove(producer) {
                    self.sessions.remove(&connection);
                }
            }
            TaskEvent::Started { task, worker, .. } => {
                self.begin_run(*task, *worker);
            }
            TaskEvent::StartedWith { task, worker, grants, .. } => {
                self.begin_run(*task, *worker);
                if let Some(equipped) = self.equipped.get_mut(worker) {
                    equipped.stock.grant(grants);
                }
            }
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
    fn begin_run(&mut self, task: TaskId, worker: Producer) {
        self.slots.take(worker);
        self.assigned.add(worker, task);
    }

    /// An attempt is over; if it took a slot, that is free, and so is what it had of its worker's resources.
    fn end_run(&mut self, state: &State, task: TaskId) {
        self.advances.remove(&task);
        if let Some(grants) = state.tasks.get(&task).map(Task::grants).filter(|grants| !grants.is_empty())
            && let Some(equipped) = state.worker_of(task).and_then(|worker| self.equipped.get_mut(&worker))
        {
            equipped.stock.give_back(grants);
        }
        if let Some(worker) = state.worker_of(task) {
            self.assigned.remove(worker, task);
        }
        if let Some(worker) = state.worker_of(task)
            && !self.yielded.contains_key(&task)
        {
            self.slots.give_back(worker);
        }
    }

    /// A session is over; if it was an attempt's that goes on, that takes a slot again.
    fn end_yield(&mut self, state: &State, producer: Producer) {
        let Some(Session { kind: SessionKind::Attempt { task, .. }, .. }) = state.sessions.get(&producer)
        else {
            return;
        };
        if self.yielded.get(task) == Some(&producer) {
            self.yielded.remove(task);
            if let Some(worker) = state.worker_of(*task) {
                self.slots.take(worker);
            }
        }
    }

    /// What must be true between steps.
    pub(super) fn check(&self, state: &State) {
        for (connection, producer) in &self.sessions {
            assert_eq!(
                self.connections.get(producer),
                Some(connection),
                "a connection that its session does not know"
            );
            assert!(
                state.sessions.contains_key(producer),
                "connection {connection:?} of a session that is over"
            );
        }
        assert_eq!(self.sessions.len(), self.connections.len());
        for (producer, session) in &state.sessions {
            let connected = self.connections.contains_key(producer);
            if matches!(session.kind, SessionKind::Attempt { .. }) {
                assert!(!self.leases.contains(producer), "{producer:?}: a lease of an attempt's");
                continue;
            }
            assert_ne!(
                connected,
                self.leases.contains(producer),
                "{producer:?}: connected, or its lease runs"
            );
        }
        self.slots.check();
        for (producer, worker) in self.slots.workers() {
            assert_eq!(worker.taken, self.taken_slots(state, *producer), "taken slots of {producer:?}");
            assert!(
                self.connections.contains_key(producer),
                "worker {producer:?} offers and is not connected"
            );
        }
        for (producer, Equipped { equipment, stock }) in &self.equipped {
            let mut expected = Stock::new(&equipment.resources);
            granted(state, *producer).for_each(|grants| expected.grant(grants));
            assert_eq!(*stock, expected, "what is granted of {producer:?}");
        }
        assert!(self.equipped.keys().eq(self.slots.workers().keys()), "workers and what they have");
        for producer in self.retiring.keys() {
            let kind = state.sessions.get(producer).map(|session| &session.kind);
            assert!(
                matches!(kind, Some(SessionKind::Worker { .. })),
                "{producer:?} retires and is no worker"
            );
        }
        for (producer, worker) in self.slots.workers() {
            assert_eq!(
                worker.retires(),
                self.retiring.contains_key(producer),
                "whether {producer:?} retires"
            );
        }
        for producer in self.results_at.keys() {
            assert!(self.connections.contains_key(producer), "{producer:?} gives results and is away");
        }
        for (task, by) in &self.copying {
            assert!(self.results_at.contains_key(by), "{by:?} copies {task} and is away");
            assert!(
                state.tasks.get(task).is_some_and(|task| task.phase.stored().is_some()),
                "{task} is copied and not stored"
            );
        }
        for (task, producer) in &self.yielded {
            let session = state
                .sessions
                .get(producer)
                .unwrap_or_else(|| panic!("{task} yielded to a session that is over"));
            assert!(matches!(session.kind, SessionKind::Attempt { task: own, .. } if own == *task));
            assert!(
                state.tasks.get(task).is_some_and(|task| matches!(task.phase, Phase::Running { .. })),
                "{task} yielded and does not run"
            );
        }
    }
}

/// What the attempts that are with a worker have of its resources.
fn granted(state: &State, worker: Producer) -> impl Iterator<Item = &[Grant]> {
    let running = state.sessions.get(&worker).into_iter().flat_map(|session| &session.running);
    running.filter_map(|task| Some(state.tasks.get(task)?.grants()))
}
