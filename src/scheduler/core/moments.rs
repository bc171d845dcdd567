//! When something is to happen to tasks: an attempt may begin again, a deadline passes.
//!
//! A task that is to be dated is dated at the end of the commit that says so, by the time of that commit, which is in the
//! log: so all folds give the same moments, and none has to know what time it is.

use std::collections::BTreeSet;
use std::mem;

use super::deadlines::Deadlines;
use super::state::State;
use super::task::{Conditions, Phase};
use super::upkeep::STEPS_MAX;
use super::{Core, Event, Output, decide};
use crate::protocol::{TaskEvent, TaskId, TimeMs};

/// What is to happen to a task at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Its next attempt may begin.
    Retry,
    /// It fails, unless it is over.
    Deadline,
}

/// When that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// So many ms after the commit that is open.
    After(u64),
    /// Then.
    At(TimeMs),
}

impl When {
    /// The time, once the commit that said so is closed.
    pub fn time(self) -> Option<TimeMs> {
        match self {
            When::After(_) => None,
            When::At(time) => Some(time),
        }
    }
}

/// The moments of all tasks; an index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moments {
    due: Deadlines<(TaskId, Moment)>,
    /// Tasks with one that is to be dated at the end of the commit that is open.
    begun: BTreeSet<TaskId>,
}

impl Moments {
    /// The first of them.
    pub fn next(&self) -> Option<TimeMs> {
        self.due.next()
    }

    /// When something is to happen to a task.
    pub(super) fn of(&self, id: TaskId, moment: Moment) -> Option<TimeMs> {
        self.due.at(&(id, moment))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether nothing is to be dated.
    pub(super) fn are_dated(&self) -> bool {
        self.begun.is_empty()
    }
}

impl Moment {
    const ALL: [Moment; 2] = [Moment::Retry, Moment::Deadline];
}

impl Conditions {
    fn when(&mut self, moment: Moment) -> &mut Option<When> {
        match moment {
            Moment::Retry => &mut self.next_attempt,
            Moment::Deadline => &mut self.deadline,
        }
    }
}

impl State {
    /// From the end of this commit on, something is to happen to a task after so long.
    pub(super) fn begin_moment(&mut self, id: TaskId, moment: Moment, ms: u64) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        *task.conditions.get_or_insert_default().when(moment) = Some(When::After(ms));
        self.moments.begun.insert(id);
    }

    /// It is to happen no longer.
    pub(super) fn end_moment(&mut self, id: TaskId, moment: Moment) {
        let conditions = self.tasks.get_mut(&id).and_then(|task| task.conditions.as_mut());
        let Some(conditions) = conditions else { return };
        *conditions.when(moment) = None;
        self.moments.due.remove(&(id, moment));
    }

    /// The commit that was open is of this time.
    pub(super) fn date_moments(&mut self, time_ms: TimeMs) {
        for id in mem::take(&mut self.moments.begun) {
            let conditions = self.tasks.get_mut(&id).and_then(|task| task.conditions.as_mut());
            let Some(conditions) = conditions else { continue };
            for moment in Moment::ALL {
                let when = conditions.when(moment);
                if let Some(When::After(ms)) = *when {
                    let time = time_ms.saturating_add(ms);
                    *when = Some(When::At(time));
                    self.moments.due.set((id, moment), time);
                }
            }
        }
    }

    /// Makes the index anew. A task whose next attempt has its moment waits for that.
    pub(super) fn index_moments(&mut self) {
        let mut moments = Moments::default();
        let ids: Vec<TaskId> = self.tasks.with_conditions().collect();
        for id in ids {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            let is_pending = matches!(task.phase, Phase::Waiting { .. } | Phase::Ready | Phase::Delayed);
            let is_open = task.phase.is_open();
            let Some(conditions) = &mut task.conditions else { continue };
            for moment in Moment::ALL {
                let when = conditions.when(moment);
                let is_to_happen = match moment {
                    Moment::Retry => is_pending,
                    Moment::Deadline => is_open,
                };
                match *when {
                    Some(_) if !is_to_happen => *when = None,
                    Some(When::After(_)) => drop(moments.begun.insert(id)),
                    Some(When::At(time)) => moments.due.set((id, moment), time),
                    None => {}
                }
            }
            if is_pending && conditions.next_attempt.is_some() {
                task.phase = Phase::Delayed;
                self.doomed.remove(&id);
            }
        }
        self.moments = moments;
    }
}

impl Core {
    /// Lets happen to tasks what is due, so much at a time as fits one commit.
    pub(super) fn pass_moments(&mut self, now: TimeMs, out: &mut Output) {
        for _ in 0..STEPS_MAX {
            let Some((id, moment)) = self.state.moments.due.first(now).copied() else { return };
            let events = match moment {
                Moment::Retry => vec![Event::Task(TaskEvent::Awaited { task: id })],
                Moment::Deadline => decide::pass_deadline(&self.state, id),
            };
            self.emit_all(events, out);
        }
    }
}
