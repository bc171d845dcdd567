//! How far attempts have come, as they say themselves: the newest of each, told now and then.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::protocol::session::HeldAttempt;
use crate::protocol::task::Advance;

/// How often it is told of an attempt at most: once a second, so that one that says it in each round of a loop writes
/// no more than that to the log. The newest wins.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What is said, and what was told of it.
#[derive(Debug, Default)]
pub(super) struct Advances {
    /// What is yet to be told.
    news: HashMap<HeldAttempt, Advance>,
    /// When it was told last.
    told: HashMap<HeldAttempt, Instant>,
}

impl Advances {
    /// An attempt says how far it has come.
    pub fn say(&mut self, attempt: HeldAttempt, advance: Advance) {
        self.news.insert(attempt, advance);
    }

    /// It is over: its outcome says more.
    pub fn end(&mut self, attempt: &HeldAttempt) {
        self.news.remove(attempt);
        self.told.remove(attempt);
    }

    /// None is of any interest.
    pub fn clear(&mut self) {
        (self.news, self.told) = Default::default();
    }

    /// Takes what is to be told now.
    pub fn take(&mut self, now: Instant) -> Vec<(HeldAttempt, Advance)> {
        let is_due = |attempt: &HeldAttempt| {
            self.told.get(attempt).is_none_or(|told| now.saturating_duration_since(*told) >= TELL_EVERY)
        };
        let due: Vec<_> = self.news.extract_if(|attempt, _| is_due(attempt)).collect();
        self.told.extend(due.iter().map(|(attempt, _)| (*attempt, now)));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{AttemptNumber, TaskId};

    #[test]
    fn the_first_is_told_at_once_and_then_the_newest_of_each_second() {
        let attempt = |n| HeldAttempt { task: TaskId([n; 16]), attempt: AttemptNumber(1) };
        let advance = |done| Advance::new(done, 10, "");
        let (mut advances, began) = (Advances::default(), Instant::now());
        let after = |ms| began + Duration::from_millis(ms);
        advances.say(attempt(1), advance(1));
        assert_eq!(advances.take(began), [(attempt(1), advance(1))]);
        assert_eq!(advances.take(after(5_000)), [], "it is told once");
        advances.say(attempt(1), advance(2));
        assert_eq!(advances.take(after(5_000)), [(attempt(1), advance(2))]);
        for done in 3..6 {
            advances.say(attempt(1), advance(done));
            advances.say(attempt(2), advance(done));
            assert!(advances.take(after(5_500)).iter().all(|(which, _)| *which == attempt(2)));
        }
        assert_eq!(advances.take(after(5_999)), []);
        assert_eq!(advances.take(after(6_000)), [(attempt(1), advance(5))]);
        advances.say(attempt(1), advance(6));
        advances.say(attempt(2), advance(6));
        advances.end(&attempt(1));
        assert_eq!(advances.take(after(9_000)), [(attempt(2), advance(6))]);
    }
}
