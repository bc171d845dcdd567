//! Durations, as the protocol has them.

use std::time::Duration;

/// A duration in whole ms; of one that is too long, the largest number.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
