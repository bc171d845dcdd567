//! What is said of a round and of a run.

use serde::Serialize;

use super::check::{Sums, Violation};
use super::plan::{Action, Strike, Victim};
use crate::client::millis::millis;
use crate::rows::counted;

/// How often each was struck.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Strikes {
    pub scheduler_kills: u64,
    pub scheduler_stops: u64,
    pub worker_kills: u64,
    pub worker_stops: u64,
    pub client_kills: u64,
    pub client_stops: u64,
}

impl Strikes {
    pub fn count(&mut self, strike: &Strike) {
        let counted = match (strike.victim, strike.action) {
            (Victim::Scheduler, Action::Kill) => &mut self.scheduler_kills,
            (Victim::Scheduler, Action::Stop) => &mut self.scheduler_stops,
            (Victim::Worker(_), Action::Kill) => &mut self.worker_kills,
            (Victim::Worker(_), Action::Stop) => &mut self.worker_stops,
            (Victim::Client(_), Action::Kill) => &mut self.client_kills,
            (Victim::Client(_), Action::Stop) => &mut self.client_stops,
        };
        *counted += 1;
    }
}

/// A strike, for `--json`.
#[derive(Debug, Serialize)]
pub struct StrikeRow {
    victim: String,
    action: Action,
    after_ms: u64,
    away_ms: u64,
}

impl From<&Strike> for StrikeRow {
    fn from(strike: &Strike) -> Self {
        let (victim, action) = (strike.victim.to_string(), strike.action);
        StrikeRow { victim, action, after_ms: millis(strike.after), away_ms: millis(strike.away) }
    }
}

/// A round that is over.
#[derive(Debug, Serialize)]
pub struct RoundRow {
    pub round: u64,
    pub strikes: Vec<StrikeRow>,
    /// From the last start of the scheduler to the first acknowledgement of a new client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_ms: Option<u64>,
    /// What was checked, in a round that ended with a check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<Sums>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that was promised held.
    Held,
    /// Something did not.
    Violated,
    /// There was no time for all rounds; what was seen held.
    Unfinished,
}

/// A run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub verdict: Verdict,
    pub seed: u64,
    /// Rounds that were begun.
    pub rounds: u64,
    pub rounds_wanted: u64,
    pub seconds: f64,
    pub strikes: Strikes,
    /// As of the last check.
    pub seen: Sums,
    /// Checks of the whole history.
    pub checks: u64,
    /// Sessions that the follower had to begin anew.
    pub follower_sessions_renewed: u64,
    /// The longest from a start of the scheduler after a kill to the first acknowledgement.
    pub served_ms_max: u64,
    /// Where everything still is, if it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    pub violations: Vec<ViolationRow>,
}

/// A violation, for `--json`.
#[derive(Debug, Serialize)]
pub struct ViolationRow {
    pub violation: String,
    pub what: String,
}

impl From<&Violation> for ViolationRow {
    fn from(violation: &Violation) -> Self {
        ViolationRow { violation: violation.kind.name(), what: violation.what.clone() }
    }
}

impl RoundRow {
    /// For people.
    pub fn text(&self, strikes: &[Strike], wanted: u64) -> String {
        let strikes: Vec<String> = strikes.iter().map(ToString::to_string).collect();
        let mut text = format!("round {} of {wanted}: {}", self.round, strikes.join("; "));
        if let Some(served_ms) = self.served_ms {
            text.push_str(&format!("; served again after {served_ms} ms"));
        }
        if let Some(sums) = self.checked {
            text.push_str(&format!(
                "; checked {}, {}",
                counted(sums.records, "record"),
                counted(sums.acks, "ack")
            ));
        }
        text
    }
}

impl Report {
    /// The report for people, a line for each thing.
    pub fn lines(&self) -> Vec<String> {
        let (strikes, seen) = (&self.strikes, &self.seen);
        let mut lines = vec![
            format!("seed      {}", self.seed),
            format!("rounds    {} of {} in {:.0} s", self.rounds, self.rounds_wanted, self.seconds),
            format!(
                "killed    scheduler {}, workers {}, clients {}",
                strikes.scheduler_kills, strikes.worker_kills, strikes.client_kills
            ),
            format!(
                "stopped   scheduler {}, workers {}, clients {}, each for longer than two leases",
                strikes.scheduler_stops, strikes.worker_stops, strikes.client_stops
            ),
            format!(
                "records   {}, of them {} elements, {} acknowledged",
                seen.records, seen.elements, seen.acks
            ),
            format!(
                "tasks     {}, with {} attempts and {} outcomes; {} results were lost and computed anew",
                seen.tasks, seen.attempts, seen.outcomes, seen.recomputed
            ),
            format!("starts    {} of the scheduler, {} leases ran out", seen.epochs, seen.sessions_expired),
            format!(
                "checks    {} of the whole history, by two readers and one that followed from the start",
                self.checks
            ),
            format!("served    again at most {} ms after a start", self.served_ms_max),
        ];
        for ViolationRow { violation, what } in &self.violations {
            lines.push(format!("VIOLATED  {}: {what}", violation.replace('_', " ")));
        }
        if let Some(data) = &self.data {
            lines.push(format!("data      {data}"));
        }
        lines.push(format!(
            "verdict   {}",
            match self.verdict {
                Verdict::Held => "everything that was promised held",
                Verdict::Violated => "a promise was broken",
                Verdict::Unfinished => "no time for all rounds; what was seen held",
            }
        ));
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_kind_of_strike_is_counted_for_itself() {
        let mut strikes = Strikes::default();
        let (after, away, renamed) = (Duration::ZERO, Duration::from_millis(7), false);
        for victim in [Victim::Scheduler, Victim::Worker(1), Victim::Client(0), Victim::Client(2)] {
            strikes.count(&Strike { victim, action: Action::Kill, after, away, renamed });
        }
        let strike = Strike { victim: Victim::Worker(0), action: Action::Stop, after, away, renamed };
        strikes.count(&strike);
        let counted = Strikes {
            scheduler_kills: 1,
            worker_kills: 1,
            worker_stops: 1,
            client_kills: 2,
            ..Strikes::default()
        };
        assert_eq!(strikes, counted);
        let row = RoundRow { round: 3, strikes: vec![(&strike).into()], served_ms: None, checked: None };
        assert_eq!(row.text(&[strike], 9), "round 3 of 9: stopped worker 1 for 7 ms");
        assert_eq!(
            serde_json::to_string(&row).unwrap(),
            r#"{"round":3,"strikes":[{"victim":"worker 1","action":"stop","after_ms":0,"away_ms":7}]}"#
        );
    }
}
