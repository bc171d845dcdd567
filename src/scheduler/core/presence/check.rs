//! The invariants of who is there, checked after every step of the simulator and of the scenarios.

use super::{Equipped, Presence};
use crate::protocol::Stock;
use crate::protocol::session::SessionKind;
use crate::scheduler::core::{Phase, State};

impl Presence {
    /// What must be true between steps.
    pub(in crate::scheduler::core) fn check(&self, state: &State) {
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
            self.taken_grants(state, *producer).for_each(|grants| expected.grant(grants));
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
        for task in &self.paused {
            assert!(state.worker_of(*task).is_some(), "{task} has paused and does not run");
        }
        for (task, producer) in &self.clients {
            let session = state
                .sessions
                .get(producer)
                .unwrap_or_else(|| panic!("{task} is a client by a session that is over"));
            assert!(matches!(session.kind, SessionKind::Attempt { task: own, .. } if own == *task));
            assert!(
                state.tasks.get(task).is_some_and(|task| matches!(task.phase, Phase::Running { .. })),
                "{task} is a client and does not run"
            );
        }
    }
}
