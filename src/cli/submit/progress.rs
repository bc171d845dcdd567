//! What is shown while tasks are waited for: how many have ended.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::cli::output::note;
use crate::cli::progress::{LINE_EVERY, Progress, is_quiet};
use crate::protocol::task::TaskStatus;
use crate::rows::counted;

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

    /// The word for it among those of `task list` and `task wait`, for programs.
    pub fn status(self) -> &'static str {
        let status = match self {
            Stands::Waiting => TaskStatus::Pending,
            Stands::Running => TaskStatus::Running,
            Stands::Finished => TaskStatus::Finished,
            Stands::Failed => TaskStatus::Error,
            Stands::Cancelled => TaskStatus::Cancelled,
        };
        status.word()
    }

    /// The word for it, for people.
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

    /// How many have one.
    pub fn ended(&self) -> usize {
        self.all() - self.open()
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
        write!(f, "{} of {}", shown.join(", "), counted(self.all() as u64, "task"))
    }
}

/// What says it: a bar on a terminal; elsewhere a line when it has changed, now and then.
#[derive(Debug)]
pub struct ProgressLine {
    /// Nothing when it is not wanted.
    progress: Option<Progress>,
    shown: Option<Counts>,
    ticks: Interval,
}

/// How often it is looked on a terminal whether something has changed: 100 ms.
const DRAW_EVERY: Duration = Duration::from_millis(100);

impl ProgressLine {
    /// For so many tasks. Where only their output is wanted, a bar stands beneath it, if they are several.
    pub fn new(shows: Shows, tasks: usize) -> Self {
        let progress = Progress::begin("tasks");
        let is_on_terminal = progress.is_on_terminal();
        let is_wanted = shows.progress || shows.output && is_on_terminal && tasks > 1;
        let mut ticks = interval(if is_on_terminal { DRAW_EVERY } else { LINE_EVERY });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ProgressLine { progress: (is_wanted && !is_quiet()).then_some(progress), shown: None, ticks }
    }

    /// Waits until it may be shown again; for ever if it is not wanted. May be dropped without a loss.
    pub async fn is_due(&mut self) {
        match self.progress {
            Some(_) => _ = self.ticks.tick().await,
            None => std::future::pending().await,
        }
    }

    /// Shows it, if it has changed.
    pub fn show(&mut self, counts: Counts) {
        if let Some(progress) = self.progress.as_mut().filter(|_| self.shown != Some(counts)) {
            self.shown = Some(counts);
            match progress.is_on_terminal() {
                true => progress.show(counts.ended() as u64, Some(counts.all() as u64), counts),
                false => note(counts),
            }
        }
    }

    /// Shows it for the last time.
    pub fn end(&mut self, counts: Counts) {
        let Some(progress) = self.progress.take() else { return };
        // The bar goes, and a line stays.
        if progress.is_on_terminal() || self.shown != Some(counts) {
            drop(progress);
            note(counts);
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
