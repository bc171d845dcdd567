//! How long until a worker that died is started again.

use std::time::Duration;

/// After the first death: long enough that a worker that dies at once does not take a core, and shorter than any lease.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// After many in a row: whoever has mended what was wrong does not wait long.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Who has lived for so long died of something else than the ones before.
const STEADY: Duration = Duration::from_secs(30);

/// The pauses: each twice the one before, until a worker has lived for a while.
#[derive(Debug)]
pub struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Pauses { next: PAUSE_MIN }
    }
}

impl Pauses {
    /// The pause behind a worker that lived for so long.
    pub fn after(&mut self, lived: Duration) -> Duration {
        let pause = if lived >= STEADY { PAUSE_MIN } else { self.next };
        self.next = (2 * pause).min(PAUSE_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_some_seconds_and_begin_anew_behind_one_that_lived() {
        let mut pauses = Pauses::default();
        let taken: Vec<u128> = (0..8).map(|_| pauses.after(Duration::ZERO).as_millis()).collect();
        assert_eq!(taken, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pauses.after(STEADY), PAUSE_MIN);
        assert_eq!(pauses.after(STEADY - Duration::from_millis(1)), 2 * PAUSE_MIN);
    }
}
