//! Results that workers keep: who keeps each, what is left when nobody does any more, and the way back.
//!
//! ```text
//!                     attempt brought it                      nobody keeps it, or nobody needs it
//!   Ready, Running ─────────────────────▶ Stored, by holders ────────────────────────────────────▶ Lost
//!         ▲                                                                                          │
//!         └──────────────────────────── reopened, once somebody needs it ◀──────────────────────────┘
//! ```
//!
//! A task whose result may be lost keeps its call, and through it the tasks that it depended on: their
//! **lineage**. Those need not keep their results for it; what is needed to compute it anew is computed anew
//! itself, from as far back as it takes.
//!
//! So does a task that has failed or was cancelled, until somebody asks for another try: then it is renewed, as one that is
//! lost is reopened.

use super::State;
use super::moments::Moment;
use super::task::{Phase, Task};
use crate::protocol::terms::Terms;
use crate::protocol::{Producer, TaskId};

impl State {
    /// Changes who keeps a stored result.
    pub(super) fn change_holders(&mut self, id: TaskId, change: impl FnOnce(&mut Vec<Producer>)) {
        let Some(Task { phase: Phase::Stored(stored), .. }) = self.tasks.get_mut(&id) else { return };
        for holder in &stored.holders {
            if let Some(session) = self.sessions.get_mut(holder) {
                session.stored.remove(&id);
            }
        }
        change(&mut stored.holders);
        for holder in &stored.holders {
            if let Some(session) = self.sessions.get_mut(holder) {
                session.stored.insert(id);
            }
        }
    }

    /// Puts a task among those whose result is kept for nobody, or is missed, as it stands.
    pub(super) fn sort_by_need(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        let is_needed = task.keepers.need_result();
        match task.phase {
            Phase::Stored(_) if is_needed => drop(self.unneeded.remove(&id)),
            Phase::Stored(_) => drop(self.unneeded.insert(id)),
            Phase::Lost if is_needed => drop(self.wanted.insert(id)),
            Phase::Lost => drop(self.wanted.remove(&id)),
            _ => {}
        }
    }

    /// What a task depended on is kept, so that its result can be computed anew.
    pub(super) fn keep_as_lineage(&mut self, dependencies: &[TaskId]) {
        for dependency in dependencies {
            self.change_keepers(*dependency, |keepers| {
                keepers.lineage += 1;
                keepers.dependents = keepers.dependents.saturating_sub(1);
            });
        }
    }

    /// No worker keeps a task's result any more: those that wait for their turn wait for it again.
    pub(super) fn lose(&mut self, id: TaskId) {
        let Some(Task { phase: Phase::Stored(_), .. }) = self.tasks.get(&id) else { return };
        self.change_holders(id, Vec::clear);
        self.set_phase(id, Phase::Lost);
        let call = self.tasks.get(&id).and_then(|task| task.call.as_ref());
        let waiting: Vec<TaskId> = call.into_iter().flat_map(|call| call.waiting()).collect();
        for waiting in waiting {
            let phase = self.tasks.get(&waiting).map(|task| &task.phase);
            if matches!(phase, Some(Phase::Waiting { .. } | Phase::Ready)) {
                self.await_turn(waiting);
            }
        }
    }

    /// A task whose result is lost is to be run again, as if it never had been.
    pub(super) fn reopen(&mut self, id: TaskId) {
        // That it is lost may be told by records that are lost themselves.
        self.lose(id);
        if self.tasks.get(&id).is_some_and(|task| task.phase == Phase::Lost) {
            self.run_again(id);
        }
    }

    /// A task that has failed or was cancelled is to be run again, as if it never had been: its deadline begins anew.
    pub(super) fn renew(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id).filter(|task| task.phase.has_none()) else { return };
        let deadline_ms = task.terms().and_then(Terms::deadline_ms);
        let waiting: Vec<TaskId> = task.call.iter().flat_map(|call| call.waiting()).collect();
        self.run_again(id);
        // Those that were to be failed for it, and have not been yet, wait for it again.
        for waiting in waiting {
            if self.tasks.get(&waiting).is_some_and(|task| matches!(task.phase, Phase::Waiting { .. })) {
                self.await_turn(waiting);
            }
        }
        if let Some(ms) = deadline_ms {
            self.begin_moment(id, Moment::Deadline, ms);
        }
    }

    fn run_again(&mut self, id: TaskId) {
        let Some(call) = self.tasks.get_mut(&id).and_then(|task| task.call.as_mut()) else { return };
        (call.failures, call.deaths) = Default::default();
        for dependency in call.dependencies.clone() {
            // It may have been submitted anew since: behind lost records, or in a log of an older version.
            if let Some(call) = self.tasks.get_mut(&dependency).and_then(|task| task.call.as_mut()) {
                call.add_waiting(id);
            }
            self.change_keepers(dependency, |keepers| {
                keepers.dependents += 1;
                keepers.lineage = keepers.lineage.saturating_sub(1);
            });
        }
        self.await_turn(id);
    }

    /// Lets a task wait for those of its dependencies that have no result, or for its turn.
    pub(super) fn await_turn(&mut self, id: TaskId) {
        let Some(call) = self.tasks.get(&id).and_then(|task| task.call.as_ref()) else { return };
        let phases = call.dependencies.iter().map(|dependency| self.tasks.get(dependency).map(|t| &t.phase));
        let lacking = phases.filter(|phase| !phase.is_some_and(Phase::has_result));
        let (missing, is_doomed) = lacking.fold((0, false), |(missing, is_doomed), phase| {
            (missing + 1, is_doomed || phase.is_none_or(Phase::has_none))
        });
        self.set_phase(id, if missing == 0 { Phase::Ready } else { Phase::Waiting { missing } });
        if is_doomed {
            self.doomed.insert(id);
        }
    }
}
