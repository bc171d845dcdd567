//! Durations and moments, as the protocol has them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::protocol::TimeMs;

/// A duration in whole ms; of one that is too long, the largest number.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What this machine's clock shows.
pub(crate) fn now_ms() -> TimeMs {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
