//! How tasks go from one phase to the next, and the indexes with them.

use std::collections::{BTreeMap, BTreeSet};

use super::moments::Moment;
use super::state::State;
use super::task::{Call, Conditions, Phase};
use crate::protocol::equipment::Grant;
use crate::protocol::terms::Terms;
use crate::protocol::{AttemptNumber, Producer, TaskId};

impl State {
    pub(super) fn start(&mut self, id: TaskId, attempt: AttemptNumber, worker: Producer, grants: &[Grant]) {
        // Behind lost records one that is over may be meant, whose key was given again: nobody knows how to call that.
        if let Some(task) = self.tasks.get_mut(&id).filter(|task| task.call.is_some()) {
            task.attempt = attempt;
            self.set_phase(id, Phase::Running { worker });
        }
        // Behind lost records it may have been running, so that what it had before goes first.
        if let Some(task) = self.tasks.get_mut(&id).filter(|task| task.call.is_some() && !grants.is_empty()) {
            task.conditions.get_or_insert_default().grants = grants.to_vec();
        }
    }

    /// A task that was just submitted, and has no turn yet, is to be run under these terms.
    pub(super) fn set_terms(&mut self, id: TaskId, terms: &Terms) {
        let demand = self.tasks.demand(id, terms);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.conditions =
            Some(Box::new(Conditions { terms: terms.clone(), demand, ..Conditions::default() }));
        if let Some(ms) = terms.deadline_ms() {
            self.begin_moment(id, Moment::Deadline, ms);
        }
    }

    /// An attempt at a task has failed.
    pub(super) fn count_failure(&mut self, id: TaskId) {
        self.moves.failed(id);
        if let Some(call) = self.tasks.get_mut(&id).and_then(|task| task.call.as_mut()) {
            call.failures += 1;
        }
    }

    /// A task waits for some time before its next attempt.
    pub(super) fn delay(&mut self, id: TaskId, wait_ms: u64) {
        // Behind lost records it may be over.
        if self.tasks.get(&id).is_some_and(|task| task.phase.is_open()) {
            self.set_phase(id, Phase::Delayed);
            self.begin_moment(id, Moment::Retry, wait_ms);
        }
    }

    /// Moves a task to its end, and those that wait for it learn of it. When its result is in the log its call is no longer
    /// needed, and its dependencies no longer kept by it; else it may be run again.
    pub(super) fn settle(&mut self, id: TaskId, phase: Phase) {
        // Behind lost records one that is over may be meant: what nobody knows how to call cannot be computed anew.
        let is_stored = matches!(phase, Phase::Stored(_));
        if is_stored && self.tasks.get(&id).is_none_or(|task| task.call.is_none()) {
            return;
        }
        let has_result = phase.has_result();
        let may_run_again = is_stored || (phase.has_none() && !self.failed_lose_calls);
        let was_open = self.tasks.get(&id).is_some_and(|task| task.phase.is_open());
        self.set_phase(id, phase);
        let Some(call) = self.tasks.get_mut(&id).and_then(|task| task.call.take()) else { return };
        if may_run_again {
            if was_open {
                self.keep_as_lineage(&call.dependencies);
            }
        } else {
            self.leave_dependencies(id, &call, was_open);
        }
        for waiting in call.waiting() {
            let Some(task) = self.tasks.get_mut(&waiting) else { continue };
            let Phase::Waiting { missing } = &mut task.phase else { continue };
            if !has_result {
                self.doomed.insert(waiting);
                continue;
            }
            *missing -= 1;
            if *missing == 0 {
                self.set_phase(waiting, Phase::Ready);
            }
        }
        if may_run_again && let Some(task) = self.tasks.get_mut(&id) {
            task.call = Some(call);
        }
    }

    /// A task needs its dependencies no longer, and they need not tell it how they end. `was_open`: it had not
    /// ended.
    fn leave_dependencies(&mut self, id: TaskId, call: &Call, was_open: bool) {
        for dependency in &call.dependencies {
            if let Some(call) = self.tasks.get_mut(dependency).and_then(|task| task.call.as_mut()) {
                call.remove_waiting(id);
            }
            // A dependency that was lost and came again counts anew.
            self.change_keepers(*dependency, |keepers| {
                let count = if was_open { &mut keepers.dependents } else { &mut keepers.lineage };
                *count = count.saturating_sub(1);
            });
        }
    }

    pub(super) fn forget(&mut self, offset: u64, id: TaskId) {
        // The phase is left first, so that no index still names the task.
        let was_open = self.tasks.get(&id).is_some_and(|task| task.phase.is_open());
        self.change_holders(id, Vec::clear);
        self.set_phase(id, Phase::Cancelled);
        let Some(task) = self.tasks.remove(&id) else { return };
        self.counts.failed -= 1;
        self.retired.put(id, task.attempt, offset);
        self.unkept.remove(&id);
        if let Some(call) = task.call {
            self.leave_dependencies(id, &call, was_open);
        }
    }

    /// Moves a task to another phase, and the indexes with it.
    pub(super) fn set_phase(&mut self, id: TaskId, phase: Phase) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let before = std::mem::replace(&mut task.phase, phase);
        self.moves.went(id, &before, &task.phase);
        *self.counts.of(&before) -= 1;
        *self.counts.of(&task.phase) += 1;
        let (turn, demand) = (task.turn(), task.demand().cloned());
        // Few have any, and this is done for each step of every task.
        let is_over = !task.phase.is_open() && task.conditions.is_some();
        let mut is_delayed = false;
        match before {
            Phase::Waiting { .. } => {
                self.doomed.remove(&id);
            }
            Phase::Ready => match &demand {
                Some(demand) => remove_from(&mut self.ready_with, demand, &turn),
                None => remove_from(&mut self.ready, &task.function, &turn),
            },
            Phase::Running { worker } => {
                task.conditions.iter_mut().for_each(|conditions| conditions.grants.clear());
                if let Some(session) = self.sessions.get_mut(&worker) {
                    session.running.remove(&id);
                }
                self.overdue.extend(self.attempt_sessions.get(&id).into_iter().flatten());
            }
            Phase::Stored(_) => drop(self.unneeded.remove(&id)),
            Phase::Lost => drop(self.wanted.remove(&id)),
            Phase::Delayed => is_delayed = true,
            Phase::Finished(_) | Phase::Failed(_) | Phase::Cancelled => {}
        }
        match &task.phase {
            Phase::Ready => {
                match demand {
                    Some(demand) => self.ready_with.entry(demand).or_default().insert(turn),
                    None => self.ready.entry(task.function.clone()).or_default().insert(turn),
                };
            }
            Phase::Running { worker } => {
                if let Some(session) = self.sessions.get_mut(worker) {
                    session.running.insert(id);
                }
            }
            Phase::Stored(_) => {
                self.change_holders(id, |_| {});
                self.sort_by_need(id);
            }
            Phase::Lost => self.sort_by_need(id),
            _ => {}
        }
        if is_delayed {
            self.end_moment(id, Moment::Retry);
        }
        if is_over {
            self.end_moment(id, Moment::Deadline);
        }
    }
}

/// Takes something out of the set under a key, which goes with the last of them.
fn remove_from<K: Ord, T: Ord>(sets: &mut BTreeMap<K, BTreeSet<T>>, key: &K, of: &T) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(of);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

impl super::Counts {
    /// The count that a phase belongs to.
    pub(super) fn of(&mut self, phase: &Phase) -> &mut u64 {
        match phase {
            Phase::Waiting { .. } | Phase::Ready | Phase::Delayed => &mut self.pending,
            Phase::Running { .. } => &mut self.running,
            Phase::Finished(_) | Phase::Stored(_) | Phase::Lost => &mut self.finished,
            Phase::Failed(_) | Phase::Cancelled => &mut self.failed,
        }
    }
}
