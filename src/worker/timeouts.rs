//! When attempts have taken too long.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::log::TaskLog;
use crate::protocol::message::Assignment;
use crate::protocol::session::HeldAttempt;
use crate::protocol::task::{ErrorKind, TaskError};

/// The attempts that may take no longer than their task's timeout, while they run.
#[derive(Debug, Default)]
pub(super) struct Timeouts {
    of: HashMap<HeldAttempt, Timed>,
    due: BTreeSet<(Instant, HeldAttempt)>,
}

#[derive(Debug)]
struct Timed {
    until: Instant,
    timeout: Duration,
    log: Option<TaskLog>,
}

impl Timeouts {
    /// An attempt begins. Answers whether it has a timeout.
    pub fn begin(&mut self, assignment: &Assignment, now: Instant) -> bool {
        let Some(ms) = assignment.timeout_ms else { return false };
        let (attempt, timeout) = (super::turns::held(assignment), Duration::from_millis(ms));
        let until = now + timeout;
        self.of.insert(attempt, Timed { until, timeout, log: None });
        self.due.insert((until, attempt));
        true
    }

    /// Where the log of one is kept, for the error that tells of it.
    pub fn keep_log(&mut self, attempt: &HeldAttempt, log: TaskLog) {
        if let Some(timed) = self.of.get_mut(attempt) {
            timed.log = Some(log);
        }
    }

    /// It is over.
    pub fn end(&mut self, attempt: &HeldAttempt) {
        self.take(attempt);
    }

    fn take(&mut self, attempt: &HeldAttempt) -> Option<Timed> {
        let timed = self.of.remove(attempt)?;
        self.due.remove(&(timed.until, *attempt));
        Some(timed)
    }

    /// None is of any interest.
    pub fn clear(&mut self) {
        (self.of, self.due) = Default::default();
    }

    /// When the next one has taken too long.
    pub fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes out the first that has, with what is to be told of it.
    pub fn pop(&mut self, now: Instant) -> Option<(HeldAttempt, TaskError)> {
        let (_, attempt) = *self.due.first().filter(|(at, _)| *at <= now)?;
        let Timed { timeout, log, .. } = self.take(&attempt)?;
        let message = format!("it took longer than its timeout of {} ms", timeout.as_millis());
        let error = TaskError::new(ErrorKind::TimedOut, &message, Vec::new());
        Some((attempt, log.unwrap_or_default().cited_by(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fixture;
    use crate::protocol::TaskKey;

    #[test]
    fn those_that_take_too_long_come_out_once_and_those_that_end_do_not() {
        let assignment =
            |name: &str, timeout_ms| Assignment { timeout_ms, ..fixture::assignment(TaskKey::named(name)) };
        let held = |name| super::super::turns::held(&assignment(name, None));
        let (mut timeouts, began) = (Timeouts::default(), Instant::now());
        let after = |ms| began + Duration::from_millis(ms);
        assert!(!timeouts.begin(&assignment("patient", None), began));
        for (name, ms) in [("slow", 30), ("quick", 10), ("ended", 5)] {
            assert!(timeouts.begin(&assignment(name, Some(ms)), began));
        }
        timeouts.end(&held("ended"));
        timeouts.end(&held("patient"));
        assert_eq!(timeouts.next(), Some(after(10)));
        assert!(timeouts.pop(after(9)).is_none());
        let (attempt, error) = timeouts.pop(after(10)).unwrap();
        assert_eq!((attempt, error.kind), (held("quick"), ErrorKind::TimedOut));
        assert_eq!(error.to_string(), "it took longer than its timeout of 10 ms");
        assert!(timeouts.pop(after(29)).is_none());
        assert_eq!(timeouts.pop(after(99)).unwrap().0, held("slow"));
        assert_eq!((timeouts.pop(after(99)).is_none(), timeouts.next()), (true, None));
    }
}
