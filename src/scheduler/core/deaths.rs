//! Attempts that were lost with their worker, and the error of a task that lost too many: poison.
//!
//! An attempt dies when its worker's session ends other than by goodbye. Who is to blame cannot be seen from
//! here: a neighbour of the task that kills counts as well, and so do a machine that fails and a network
//! that is cut for longer than the lease. So only deaths in a row count: an attempt that got something done
//! as a client before it died does not, and the row begins anew behind it. A daemon that submits and appends
//! for months outlives any number of its workers.

use crate::protocol::limits::ERROR_CAUSES_MAX;
use crate::protocol::session::EndReason;
use crate::protocol::task::ErrorKind;
use crate::protocol::{AttemptNumber, TaskError};

/// The deaths of a task's attempts in a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deaths {
    /// How many.
    pub count: u32,
    /// The newest of them, oldest first: as many as an error names causes.
    pub newest: Vec<Death>,
}

/// An attempt that was lost with its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The attempt.
    pub attempt: AttemptNumber,
    /// The worker's name.
    pub worker: Box<str>,
    /// Why the worker's session ended.
    pub reason: EndReason,
}

impl Deaths {
    /// Counts one more.
    pub(super) fn add(&mut self, death: Death) {
        if self.newest.len() == ERROR_CAUSES_MAX {
            self.newest.remove(0);
        }
        self.newest.push(death);
        self.count = self.count.saturating_add(1);
    }

    /// The error of the task, if these are too many: `max` or more, unless that is 0.
    pub(super) fn poison(&self, max: u32) -> Option<TaskError> {
        let last = self.newest.last().filter(|_| max > 0 && self.count >= max)?;
        let message = format!(
            "it ran on workers that died {} times in a row, and {max} are too many (--deaths-max): find out why in their logs before it is submitted again",
            self.count
        );
        let cause = |death: &Death| {
            format!("attempt {} was lost with worker {}: {}", death.attempt, death.worker, death.reason)
        };
        let error = TaskError::new(ErrorKind::Poison, &message, self.newest.iter().map(cause).collect());
        Some(TaskError { worker: last.worker.clone(), attempt: last.attempt, ..error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deaths(count: u32) -> Deaths {
        let mut deaths = Deaths::default();
        for attempt in 1..=count {
            let (attempt, worker) = (AttemptNumber(attempt), format!("w{attempt}").into());
            deaths.add(Death { attempt, worker, reason: EndReason::LeaseExpired });
        }
        deaths
    }

    #[test]
    fn as_many_as_the_limit_are_too_many_and_no_limit_is_never_reached() {
        assert_eq!(deaths(2).poison(3), None);
        assert_eq!(deaths(3).poison(3).map(|error| error.causes.len()), Some(3));
        assert_eq!(deaths(1).poison(1).map(|error| error.causes.len()), Some(1));
        assert_eq!(deaths(0).poison(1), None);
        assert_eq!(deaths(100).poison(0), None);
    }

    #[test]
    fn all_are_counted_and_the_newest_are_named() {
        let error = deaths(100).poison(100).unwrap();
        assert!(error.message.contains("died 100 times"), "{error}");
        assert_eq!(error.causes.len(), ERROR_CAUSES_MAX);
        assert_eq!(error.causes[0], "attempt 85 was lost with worker w85: it was not heard of for its lease");
        assert_eq!((error.attempt, &*error.worker), (AttemptNumber(100), "w100"));
    }
}
