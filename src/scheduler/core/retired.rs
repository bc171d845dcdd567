//! The attempts of tasks that were forgotten.
//!
//! A task that is submitted again under its key is another task with the same identity. Were its
//! attempts counted from 1 again, what an attempt at the former one still says or does would be taken
//! for the new one's: a report on its way, or a client that it opens. So they are counted on, for as
//! many forgotten tasks as are remembered here. Like all of the state it is a fold, of the task log
//! alone.

use std::collections::BTreeMap;

use crate::protocol::limits::RETIRED_TASKS_MAX;
use crate::protocol::{AttemptNumber, TaskId, TaskMap};

/// The newest attempts of the tasks that were forgotten last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retired {
    /// When each task was forgotten: the offset of that in the task log.
    forgotten_at: TaskMap<u64>,
    /// Each with its newest attempt, in the order of their forgetting.
    order: BTreeMap<u64, (TaskId, AttemptNumber)>,
}

impl Retired {
    /// Remembers a task that is forgotten at this offset of the task log, if it was ever tried.
    pub(super) fn put(&mut self, task: TaskId, attempt: AttemptNumber, offset: u64) {
        if attempt.0 == 0 {
            return;
        }
        self.forgotten_at.insert(task, offset);
        self.order.insert(offset, (task, attempt));
        if self.order.len() > RETIRED_TASKS_MAX
            && let Some((_, (oldest, _))) = self.order.pop_first()
        {
            self.forgotten_at.remove(&oldest);
        }
    }

    /// The newest attempt at a task that is submitted again, 0 if none is remembered.
    pub(super) fn take(&mut self, task: TaskId) -> AttemptNumber {
        let offset = self.forgotten_at.remove(&task);
        offset.and_then(|offset| self.order.remove(&offset)).map_or(AttemptNumber(0), |(_, attempt)| attempt)
    }

    /// All that is remembered, in the order of forgetting, with its offset.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskId, AttemptNumber, u64)> {
        self.order.iter().map(|(offset, (task, attempt))| (*task, *attempt, *offset))
    }

    /// Panics unless what is remembered is bounded, and none of it known otherwise.
    pub(super) fn check(&self, is_known: impl Fn(&TaskId) -> bool) {
        assert_eq!(self.forgotten_at.len(), self.order.len());
        assert!(self.order.len() <= RETIRED_TASKS_MAX, "too many retired tasks");
        for (offset, (task, attempt)) in &self.order {
            assert!(attempt.0 > 0 && self.forgotten_at.get(task) == Some(offset));
            assert!(!is_known(task), "{task} is retired and known");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered() {
        let task = |n: usize| TaskId((n as u128).to_be_bytes());
        let mut retired = Retired::default();
        retired.put(task(0), AttemptNumber(0), 0);
        assert_eq!(retired, Retired::default(), "what was never tried is not remembered");
        for n in 0..=RETIRED_TASKS_MAX {
            retired.put(task(n), AttemptNumber(2), n as u64);
        }
        retired.check(|_| false);
        assert_eq!(retired.take(task(0)), AttemptNumber(0));
        assert_eq!(retired.take(task(1)), AttemptNumber(2));
        assert_eq!(retired.take(task(1)), AttemptNumber(0));
        retired.check(|other| *other == task(1));
    }
}
