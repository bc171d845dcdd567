//! The indexes of a state, made anew from what they follow from: as [`State::check`] says, and as
//! [`State::apply`] keeps them up while events come one by one.

use std::collections::BTreeSet;

use super::state::{Phase, State, Task};
use crate::protocol::TaskId;
use crate::protocol::session::SessionKind;

impl State {
    /// Makes all indexes anew. A task is taken as pending when it is neither with a worker nor settled.
    pub(super) fn index(&mut self) {
        self.names = self.channels.iter().map(|(log, channel)| (channel.name.clone(), *log)).collect();
        self.producers = self.sessions.iter().map(|(producer, session)| (session.id, *producer)).collect();
        self.index_keepers();
        self.index_dependencies();
        self.index_phases();
        self.index_sessions();
    }

    /// Who keeps each task: the sessions that hold it, and the unsettled tasks that need it.
    fn index_keepers(&mut self) {
        for task in self.tasks.values_mut() {
            (task.keepers.sessions, task.keepers.dependents) = (0, 0);
        }
        for session in self.sessions.values_mut() {
            session.holds.retain(|id| match self.tasks.get_mut(id) {
                Some(task) => {
                    task.keepers.sessions += 1;
                    true
                }
                None => false,
            });
        }
        for need in self.needs() {
            if let Some(task) = self.tasks.get_mut(&need.of) {
                task.keepers.dependents += 1;
            }
        }
        let unkept = self.tasks.iter().filter(|(_, task)| !task.keepers.any());
        self.unkept = unkept.map(|(id, _)| *id).collect();
    }

    /// Which unsettled tasks wait for each other, and which of them in vain.
    fn index_dependencies(&mut self) {
        self.doomed.clear();
        for task in self.tasks.values_mut() {
            if let Some(call) = &mut task.call {
                call.waiting.clear();
            }
            if let Some(call) = &task.call
                && !matches!(task.phase, Phase::Running { .. })
            {
                task.phase =
                    if call.dependencies.is_empty() { Phase::Ready } else { Phase::Waiting { missing: 0 } };
            }
        }
        for Need { by, of } in self.needs() {
            let missing = match self.tasks.get_mut(&of) {
                Some(Task { phase: Phase::Finished(_), .. }) => continue,
                Some(Task { call: Some(call), .. }) => {
                    call.waiting.insert(by);
                    true
                }
                _ => false,
            };
            let Some(Task { phase: Phase::Waiting { missing: count }, .. }) = self.tasks.get_mut(&by) else {
                continue;
            };
            *count += 1;
            if !missing {
                self.doomed.insert(by);
            }
        }
        for task in self.tasks.values_mut() {
            if task.phase == (Phase::Waiting { missing: 0 }) {
                task.phase = Phase::Ready;
            }
        }
    }

    /// What each unsettled task depends on.
    fn needs(&self) -> Vec<Need> {
        let calls = self.tasks.iter().filter_map(|(id, task)| Some((*id, task.call.as_ref()?)));
        calls.flat_map(|(by, call)| call.dependencies.iter().map(move |of| Need { by, of: *of })).collect()
    }

    fn index_phases(&mut self) {
        (self.counts, self.ready) = Default::default();
        for session in self.sessions.values_mut() {
            session.running.clear();
        }
        let mut order = Vec::with_capacity(self.tasks.len());
        for (id, task) in &self.tasks {
            *self.counts.of(&task.phase) += 1;
            order.push((task.submitted_at, *id));
            match task.phase {
                Phase::Ready => {
                    self.ready.entry(task.function.clone()).or_default().insert(task.turn(*id));
                }
                Phase::Running { worker } => {
                    if let Some(session) = self.sessions.get_mut(&worker) {
                        session.running.insert(*id);
                    }
                }
                _ => {}
            }
        }
        self.order = order.into_iter().collect();
    }

    fn index_sessions(&mut self) {
        self.attempt_sessions.clear();
        self.overdue = BTreeSet::new();
        for (producer, session) in &self.sessions {
            let SessionKind::Attempt { task: id, attempt } = session.kind else { continue };
            self.attempt_sessions.entry(id).or_default().insert(*producer);
            let runs = |task: &Task| task.attempt == attempt && matches!(task.phase, Phase::Running { .. });
            if !self.tasks.get(&id).is_some_and(runs) {
                self.overdue.insert(*producer);
            }
        }
    }
}

/// An unsettled task that needs another one.
struct Need {
    by: TaskId,
    of: TaskId,
}
