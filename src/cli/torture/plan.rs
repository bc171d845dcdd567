//! What is done to whom, and when: all of it from the seed. Pure.
//!
//! Each round has a generator of its own, so a round strikes the same in a run of ten rounds and in one
//! of a thousand. What the seed does not fix is how far everybody is at that moment: processes and disks
//! have their own time. A violation's seed repeats the strikes, not the interleaving.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

use crate::protocol::Digest;

/// Who is struck. Workers and clients are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Scheduler,
    Worker(usize),
    Client(usize),
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// SIGKILL. It is started again after its absence.
    Kill,
    /// SIGSTOP for longer than two leases, then SIGCONT.
    Stop,
}

/// One blow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    pub victim: Victim,
    pub action: Action,
    /// How long after the round began, or after the victim before was back.
    pub after: Duration,
    /// How long it is away.
    pub away: Duration,
    /// A worker that is killed comes back under another name: nobody takes its place, and what it ran
    /// waits for its lease.
    pub renamed: bool,
}

/// What the strikes of all rounds follow from.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub workers: usize,
    pub clients: usize,
    /// The lease of clients and workers.
    pub lease: Duration,
}

/// A round has a second strike as often as one in so many. It comes soon, so that a scheduler is also
/// struck while it recovers.
const SECOND_STRIKE_ONE_IN: u32 = 4;

/// Moments are up to so many milliseconds away.
const AFTER_MS_MAX: u64 = 600;
const SECOND_AFTER_MS_MAX: u64 = 150;
const KILLED_MS_MAX: u64 = 300;
/// A stopped process is away for so many leases and up to so many milliseconds: its connection stays open,
/// so that a lease passes until the scheduler takes it for gone, and another until its session is over.
const LEASES_STOPPED: u32 = 2;
const BEYOND_LEASES_MS: std::ops::Range<u64> = 200..900;

impl Plan {
    /// A generator for one purpose.
    pub fn rng(&self, purpose: &str, number: u64) -> Rng {
        Rng::with_seed(Digest(self.seed).with(purpose.as_bytes()).with(&number.to_le_bytes()).0)
    }

    /// The strikes of a round, in order.
    pub fn strikes(&self, round: u64) -> Vec<Strike> {
        let mut rng = self.rng("round", round);
        let mut strikes = vec![self.strike(&mut rng, AFTER_MS_MAX)];
        if rng.u32(..SECOND_STRIKE_ONE_IN) == 0 {
            strikes.push(self.strike(&mut rng, SECOND_AFTER_MS_MAX));
        }
        strikes
    }

    fn strike(&self, rng: &mut Rng, after_ms_max: u64) -> Strike {
        let victim = match rng.u32(..4) {
            0 => Victim::Worker(rng.usize(..self.workers)),
            1 => Victim::Client(rng.usize(..self.clients)),
            _ => Victim::Scheduler,
        };
        let action = if rng.u32(..3) == 0 { Action::Stop } else { Action::Kill };
        let after = Duration::from_millis(rng.u64(..after_ms_max));
        let away = match action {
            Action::Kill => Duration::from_millis(rng.u64(..KILLED_MS_MAX)),
            Action::Stop => self.lease * LEASES_STOPPED + Duration::from_millis(rng.u64(BEYOND_LEASES_MS)),
        };
        Strike { victim, action, after, away, renamed: rng.bool() }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Victim::Scheduler => f.write_str("scheduler"),
            Victim::Worker(at) => write!(f, "worker {}", at + 1),
            Victim::Client(at) => write!(f, "client {}", at + 1),
        }
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (victim, away) = (self.victim, self.away.as_millis());
        match self.action {
            Action::Kill => write!(f, "killed {victim}, back after {away} ms"),
            Action::Stop => write!(f, "stopped {victim} for {away} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { seed: 7, workers: 2, clients: 3, lease: Duration::from_millis(1000) };

    #[test]
    fn a_round_is_the_same_whenever_it_is_asked_for() {
        let all: Vec<Vec<Strike>> = (1..=50).map(|round| PLAN.strikes(round)).collect();
        assert_eq!(PLAN.strikes(50), all[49]);
        assert_ne!(all[0], Plan { seed: 8, ..PLAN }.strikes(1));
    }

    #[test]
    fn everyone_is_killed_and_stopped_for_longer_than_two_leases() {
        let strikes: Vec<Strike> = (1..=200).flat_map(|round| PLAN.strikes(round)).collect();
        assert!(strikes.len() > 220 && strikes.len() < 300, "{}", strikes.len());
        for victim in [Victim::Scheduler, Victim::Worker(1), Victim::Client(2)] {
            for action in [Action::Kill, Action::Stop] {
                let same = |strike: &&Strike| (strike.victim, strike.action) == (victim, action);
                assert!(strikes.iter().filter(same).count() > 2, "{victim} {action:?}");
            }
        }
        let stopped = strikes.iter().filter(|strike| strike.action == Action::Stop);
        assert!(stopped.clone().all(|strike| strike.away > PLAN.lease * 2));
    }
}
