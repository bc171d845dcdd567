//! The scheduler's clock, as a client knows it: by its own, and by how far they differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::client::millis::now_ms;
use crate::protocol::TimeMs;

/// How far the clocks of a cluster may be apart: 1 s. So much later than its time a bound is taken to have come when
/// nothing is read.
pub const CLOCKS_APART_MS_MAX: u64 = 1_000;

/// The scheduler dates all records. What is said in its time and waited for here has to be told by its clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    /// How far this machine's clock is ahead of it, in ms.
    ahead_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The scheduler's clock shows this now, or showed it a moment ago.
    pub fn see(&self, shown_ms: TimeMs) {
        let ahead_ms = signed(now_ms()) - signed(shown_ms);
        let before = self.ahead_ms.swap(ahead_ms, Ordering::Relaxed);
        let is_far = |ahead_ms: i64| ahead_ms.unsigned_abs() > CLOCKS_APART_MS_MAX;
        if is_far(ahead_ms) && is_far(ahead_ms - before) {
            tracing::warn!(
                ahead_ms,
                "this machine's clock differs from the scheduler's, by which records are dated: what is read by time is \
                 in the scheduler's time; set both by the same clock (NTP)"
            );
        }
    }

    /// What it shows.
    pub fn now_ms(&self) -> TimeMs {
        let shown_ms = signed(now_ms()).saturating_sub(self.ahead_ms.load(Ordering::Relaxed));
        u64::try_from(shown_ms).unwrap_or_default()
    }

    /// How long it is until it has shown a time for so long that nothing more is dated before it.
    pub fn until(&self, time_ms: TimeMs) -> Duration {
        Duration::from_millis(time_ms.saturating_add(CLOCKS_APART_MS_MAX).saturating_sub(self.now_ms()))
    }
}

fn signed(time_ms: TimeMs) -> i64 {
    i64::try_from(time_ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_by_the_schedulers_clock() {
        let clock = Clock::default();
        assert!(now_ms() - clock.now_ms() < 1_000, "the same until it is known");
        for behind_ms in [3_600_000, 0] {
            let shown_ms = now_ms() - behind_ms;
            clock.see(shown_ms);
            assert!(clock.now_ms() - shown_ms < 1_000);
            let until = clock.until(shown_ms + 5_000).as_millis() as u64;
            assert!((4_900..=5_000 + CLOCKS_APART_MS_MAX).contains(&until), "{until}");
        }
        // One that is ahead of this one.
        let shown_ms = now_ms() + 3_600_000;
        clock.see(shown_ms);
        assert!(clock.now_ms() >= shown_ms);
        assert_eq!(clock.until(shown_ms - 2 * CLOCKS_APART_MS_MAX), Duration::ZERO);
        // A time that no clock will show is never due.
        assert!(clock.until(u64::MAX) > Duration::from_secs(1 << 40));
    }
}
