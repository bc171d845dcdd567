//! The indexes of a state, made anew from what they follow from: as [`State::check`] says, and as
//! [`State::apply`] keeps them up while events come one by one.

use std::collections::BTreeSet;

use super::state::State;
use super::task::{Keepers, Phase, Task};
use crate::protocol::TaskId;
use crate::protocol::session::SessionKind;

impl State {
    /// Makes all indexes anew. A task is taken as pending when it is neither with a worker nor settled.
    pub(super) fn index(&mut self) {
        self.names = self.channels.iter().map(|(log, channel)| (channel.name.clone(), *log)).collect();
        self.producers = self.sessions.iter().map(|(producer, session)| (session.id, *producer)).collect();
        self.index_keepers();
        self.index_dependencies();
        self.index_moments();
        self.index_phases();
        self.index_needs();
        self.index_sessions();
        self.index_groups();
    }

    /// Who keeps each task: the channels that name it, the sessions that hold it, and the tasks that need it, or may need it again.
    fn index_keepers(&mut self) {
        for task in self.tasks.values_mut() {
            let Keepers { sessions, dependents, lineage, .. } = &mut task.keepers;
            (*sessions, *dependents, *lineage) = Default::default();
            task.keepers.clear_elements();
        }
        for (log, channel) in &self.channels {
            for (_, id) in &channel.kept.futures {
                if let Some(task) = self.tasks.get_mut(id) {
                    task.keepers.add_element(*log);
                }
            }
        }
        for (producer, session) in &mut self.sessions {
            session.holds.retain(|id| match self.tasks.get_mut(id) {
                Some(task) => {
                    task.keepers.sessions.insert(*producer);
                    true
                }
                None => false,
            });
        }
        for need in self.needs() {
            if let Some(task) = self.tasks.get_mut(&need.of) {
                let Keepers { dependents, lineage, .. } = &mut task.keepers;
                *if need.is_open { dependents } else { lineage } += 1;
            }
        }
        let unkept = self.tasks.iter().filter(|(_, task)| !task.keepers.any());
        self.unkept = unkept.map(|(id, _)| *id).collect();
    }

    /// Which tasks wait for each other, and which of them in vain.
    fn index_dependencies(&mut self) {
        self.doomed.clear();
        for task in self.tasks.values_mut() {
            if let Some(call) = &mut task.call {
                call.clear_waiting();
            }
            if let Some(call) = &task.call
                && matches!(task.phase, Phase::Ready | Phase::Waiting { .. } | Phase::Delayed)
            {
                task.phase =
                    if call.dependencies.is_empty() { Phase::Ready } else { Phase::Waiting { missing: 0 } };
            }
        }
        for Need { by, of, .. } in self.needs() {
            let needed = self.tasks.get_mut(&of);
            let (has_result, has_none) = match needed {
                Some(task) => {
                    task.call.iter_mut().for_each(|call| {
                        call.add_waiting(by);
                    });
                    (task.phase.has_result(), task.phase.has_none())
                }
                None => (false, true),
            };
            let Some(Task { phase: Phase::Waiting { missing }, .. }) = self.tasks.get_mut(&by) else {
                continue;
            };
            if !has_result {
                *missing += 1;
            }
            if has_none {
                self.doomed.insert(by);
            }
        }
        for task in self.tasks.values_mut() {
            if task.phase == (Phase::Waiting { missing: 0 }) {
                task.phase = Phase::Ready;
            }
        }
    }

    /// What each task with a call depends on.
    fn needs(&self) -> Vec<Need> {
        let calls = self.tasks.iter().filter_map(|(id, task)| Some((*id, task, task.call.as_ref()?)));
        let needs = calls.flat_map(|(by, task, call)| {
            let is_open = task.phase.is_open();
            call.dependencies.iter().map(move |of| Need { by, of: *of, is_open })
        });
        needs.collect()
    }

    /// Which stored results nobody needs, and which lost ones somebody does.
    fn index_needs(&mut self) {
        let of = |is_it: fn(&Task) -> bool| self.tasks.iter().filter(move |(_, task)| is_it(task));
        let unneeded = of(|task| task.phase.stored().is_some() && !task.keepers.need_result());
        let wanted = of(|task| task.phase == Phase::Lost && task.keepers.need_result());
        (self.unneeded, self.wanted) =
            (unneeded.map(|(id, _)| *id).collect(), wanted.map(|(id, _)| *id).collect());
    }

    fn index_phases(&mut self) {
        (self.counts, self.ready, self.ready_with) = Default::default();
        for session in self.sessions.values_mut() {
            session.running.clear();
            session.stored.clear();
        }
        for (id, task) in self.tasks.iter() {
            *self.counts.of(&task.phase) += 1;
            match &task.phase {
                Phase::Ready => {
                    match task.demand() {
                        Some(demand) => self.ready_with.entry(demand.clone()).or_default(),
                        None => self.ready.entry(task.function.clone()).or_default(),
                    }
                    .insert(task.turn());
                }
                Phase::Running { worker } => {
                    if let Some(session) = self.sessions.get_mut(worker) {
                        session.running.insert(*id);
                    }
                }
                Phase::Stored(stored) => {
                    for holder in &stored.holders {
                        if let Some(session) = self.sessions.get_mut(holder) {
                            session.stored.insert(*id);
                        }
                    }
                }
                _ => {}
            }
        }
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

/// A task that needs another one, or would if its own result were lost.
struct Need {
    by: TaskId,
    of: TaskId,
    is_open: bool,
}
