//! What is shown while tasks are waited for: how many have ended, in one line on stderr.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// What a wait shows.
#[derive(Debug, Clone, Copy)]
pub struct Shows {
    /// What the programs write.
    pub output: bool,
    /// How many have ended.
    pub progress: bool,
    /// As JSON.
    pub json: bool,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    Waiting,
    Running,
    Finished,
    Failed,
    Cancelled,
}

impl Stands {
    pub fn has_ended(self) -> bool {
        !matches!(self, Stands::Waiting | Stands::Running)
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Stands::Waiting => "waiting",
            Stands::Running => "running",
            Stands::Finished => "finished",
            Stands::Failed => "failed",
            Stands::Cancelled => "cancelled",
        }
    }
}

/// How many tasks stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    counts: [usize; 5],
}

impl Counts {
    /// So many that wait.
    pub fn waiting(count: usize) -> Self {
        let mut counts = Counts::default();
        counts.counts[Stands::Waiting as usize] = count;
        counts
    }

    pub fn of(&self, stands: Stands) -> usize {
        self.counts[stands as usize]
    }

    pub fn move_one(&mut self, from: Stands, to: Stands) {
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
    }

    /// How many have no end yet.
    pub fn open(&self) -> usize {
        self.of(Stands::Waiting) + self.of(Stands::Running)
    }

    pub fn all(&self) -> usize {
        self.counts.iter().sum()
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = [Stands::Finished, Stands::Failed, Stands::Cancelled, Stands::Running, Stands::Waiting];
        // Those that are rare only where there are any.
        let is_rare = |stands: &Stands| matches!(stands, Stands::Failed | Stands::Cancelled);
        let shown = shown.into_iter().filter(|stands| !is_rare(stands) || self.of(*stands) > 0);
        let shown: Vec<String> =
            shown.map(|stands| format!("{} {}", self.of(stands), stands.word())).collect();
        write!(f, "{} of {} tasks", shown.join(", "), self.all())
    }
}

/// The line that says it: written over on a terminal; elsewhere a new one when it has changed, now and then.
#[derive(Debug)]
pub struct ProgressLine {
    is_on: bool,
    is_terminal: bool,
    shown: Option<Counts>,
    /// The terminal's line is in use.
    is_drawn: bool,
    ticks: Interval,
}

/// How often it is written over on a terminal: 100 ms.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// How often there is another one elsewhere: 1 s.
const LINE_EVERY: Duration = Duration::from_secs(1);

impl ProgressLine {
    pub fn new(is_on: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let mut ticks = interval(if is_terminal { DRAW_EVERY } else { LINE_EVERY });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ProgressLine { is_on, is_terminal, shown: None, is_drawn: false, ticks }
    }

    /// Waits until it may be shown again; for ever if it is not wanted. May be dropped without a loss.
    pub async fn is_due(&mut self) {
        match self.is_on {
            true => _ = self.ticks.tick().await,
            false => std::future::pending().await,
        }
    }

    /// Shows it, if it has changed.
    pub fn show(&mut self, counts: Counts) {
        if !self.is_on || self.shown == Some(counts) && (self.is_drawn || !self.is_terminal) {
            return;
        }
        self.shown = Some(counts);
        self.is_drawn = self.is_terminal;
        let line = if self.is_terminal { format!("\r\x1b[K{counts}") } else { format!("{counts}\n") };
        // Nobody has to read it.
        let _ = io::stderr().write_all(line.as_bytes());
    }

    /// Makes room for something else on the terminal.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }

    /// Shows it for the last time.
    pub fn end(&mut self, counts: Counts) {
        self.show(counts);
        if std::mem::take(&mut self.is_drawn) {
            let _ = io::stderr().write_all(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_said_in_one_line() {
        let mut counts = Counts::waiting(4);
        assert_eq!(counts.to_string(), "0 finished, 0 running, 4 waiting of 4 tasks");
        counts.move_one(Stands::Waiting, Stands::Running);
        counts.move_one(Stands::Running, Stands::Failed);
        counts.move_one(Stands::Waiting, Stands::Finished);
        assert_eq!(counts.to_string(), "1 finished, 1 failed, 0 running, 2 waiting of 4 tasks");
        assert_eq!((counts.open(), counts.all()), (2, 4));
    }
}
