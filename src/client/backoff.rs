//! How long a task waits between attempts, as a user says it.

use std::time::Duration;

use super::millis::millis;
use crate::protocol::terms::Backoff;

/// What [`Backoff::exponential`] waits at most, unless it is [capped](Backoff::capped) otherwise: 5 minutes, as long as
/// Kubernetes lets a container that crashes wait.
const CAP: Duration = Duration::from_mins(5);

impl Backoff {
    /// The same each time.
    pub fn fixed(wait: Duration) -> Self {
        let ms = millis(wait);
        Backoff { first_ms: ms, factor: 1, max_ms: ms, is_jittered: false }
    }

    /// Twice as long each time, up to 5 minutes (and no less than the first).
    pub fn exponential(first: Duration) -> Self {
        Backoff { first_ms: millis(first), factor: 2, max_ms: millis(first.max(CAP)), is_jittered: false }
    }

    /// So many times as long each time; 2 unless told.
    #[must_use]
    pub fn factor(self, factor: u32) -> Self {
        Backoff { factor, ..self }
    }

    /// No longer than this.
    #[must_use]
    pub fn capped(self, max: Duration) -> Self {
        Backoff { max_ms: millis(max), ..self }
    }

    /// Each is shortened by up to a half, at random, so that tasks which failed together do not come back together.
    #[must_use]
    pub fn jittered(self) -> Self {
        Backoff { is_jittered: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{AttemptNumber, TaskId};

    fn waits(backoff: Backoff) -> Vec<u64> {
        [1, 2, 3, 8, u32::MAX]
            .map(|failures| backoff.wait_ms(failures, TaskId([7; 16]), AttemptNumber(failures)))
            .into()
    }

    #[test]
    fn waits_are_fixed_or_grow_up_to_a_cap() {
        let ms = Duration::from_millis;
        assert_eq!(waits(Backoff::fixed(ms(50))), [50; 5]);
        assert_eq!(waits(Backoff::exponential(ms(100))), [100, 200, 400, 12_800, 300_000]);
        let capped = Backoff::exponential(ms(10)).factor(10).capped(ms(5_000));
        assert_eq!(waits(capped), [10, 100, 1_000, 5_000, 5_000]);
        assert_eq!(waits(Backoff::fixed(Duration::ZERO)), [0; 5]);
        assert_eq!(waits(Backoff::exponential(Duration::from_hours(1))), [3_600_000; 5]);
    }
}
