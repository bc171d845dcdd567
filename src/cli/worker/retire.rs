//! `headwater worker retire`.

use std::time::Duration;

use anyhow::anyhow;
use tokio::time::sleep;

use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::client::{Client, Retirement};
use crate::protocol::session::{self, EndReason, RunningAttempt, WorkerStatus};
use crate::protocol::size::Bytes;
use crate::rows::counted;
use crate::rows::worker::{Listed, state};

/// How often it looks what a worker still runs.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Retire a worker: it takes nothing more, finishes what it runs, and ends.
///
/// Says what the worker still runs and keeps, and waits until it has left in order; its process then ends with
/// exit code 0. Large results that it keeps are copied to other workers first; with none there, or with
/// `--hand-over`, those that are still needed are computed again. Tasks that are clients themselves may run for ever: they are named, and `--hand-over` moves them.
/// Interrupting this command stops the waiting, not the retirement. A worker that joins under the same name
/// later is a new one, and takes tasks.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater worker retire rack-7
  headwater worker retire rack-7 --hand-over    # what it runs is started again on other workers, at once
  headwater worker retire rack-7 --no-wait --json")]
pub struct Retire {
    #[command(flatten)]
    connect: Connect,

    /// The worker's name; `headwater worker list` shows those there are
    name: String,

    /// Do not finish what it runs: start all of it again on other workers, at once
    #[arg(long)]
    hand_over: bool,

    /// Do not wait until it has left
    #[arg(long)]
    no_wait: bool,

    /// Print one JSON object per line, whenever something has changed
    #[arg(long)]
    json: bool,
}

impl Retire {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut output = Output::new();
        self.connect.with(async |client| self.retire(client, &mut output).await).await
    }

    async fn retire(&self, client: &Client, output: &mut Output) -> anyhow::Result<()> {
        let retire = if self.hand_over { session::Retire::HandOver } else { session::Retire::Finish };
        let retirement = client.retire_worker(&self.name, retire).await?;
        let reason = match self.no_wait {
            true => return self.tell(retirement.status().await?.as_ref(), output),
            false => tokio::select! {
                reason = retirement.left() => reason?,
                error = self.tell_on(&retirement, output) => return Err(error),
            },
        };
        match reason {
            EndReason::Left if self.json => output.json(&Listed::of(&gone(&retirement), "left"))?,
            EndReason::Left => output.line(format_args!("{} has left", self.name))?,
            other => {
                return Err(anyhow!(
                    "worker `{}` did not leave in order ({other}): what it still ran is started again elsewhere",
                    self.name
                ));
            }
        }
        output.flush()
    }

    /// Says what the worker still runs, whenever that has changed.
    async fn tell_on(&self, retirement: &Retirement, output: &mut Output) -> anyhow::Error {
        let mut told = None;
        loop {
            match retirement.status().await {
                // Its end is in the log, and on its way.
                Ok(None) => {}
                Ok(Some(now)) if told.as_ref() == Some(&now) => {}
                Ok(Some(now)) => {
                    if let Err(error) = self.tell(Some(&now), output) {
                        return error;
                    }
                    told = Some(now);
                }
                Err(error) => return error.into(),
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn tell(&self, worker: Option<&WorkerStatus>, output: &mut Output) -> anyhow::Result<()> {
        match worker {
            None => output.line(format_args!("{} has left", self.name))?,
            Some(worker) if self.json => output.json(&Listed::of(worker, state(worker)))?,
            Some(worker) => {
                in_words(worker, self.hand_over).into_iter().try_for_each(|line| output.line(line))?
            }
        }
        output.flush()
    }
}

/// The worker after its end.
fn gone(retirement: &Retirement) -> WorkerStatus {
    WorkerStatus {
        slots: 0,
        running: 0,
        runs: vec![],
        connected: false,
        results: 0,
        result_bytes: 0,
        ..retirement.worker().clone()
    }
}

fn in_words(worker: &WorkerStatus, hand_over: bool) -> Vec<String> {
    let WorkerStatus { name, running, runs, .. } = worker;
    let verb = if hand_over { "hands over" } else { "finishes" };
    let mut lines = vec![match (worker.connected, running) {
        (false, _) => format!("{name} is away: it hears that it is to retire when it comes back"),
        (true, 0) => format!("{name} retires: it runs nothing"),
        (true, _) => format!("{name} retires: it {verb} {}", counted(u64::from(*running), "task")),
    }];
    if worker.results > 0 && worker.connected && !hand_over {
        let (results, size) = (worker.results, Bytes(worker.result_bytes));
        let plural = if results == 1 { "" } else { "s" };
        lines.push(format!("  and keeps {results} result{plural} ({size}) until other workers do"));
    }
    lines.extend(runs.iter().map(|run| line_of(run, hand_over)));
    let others = (*running as usize).saturating_sub(runs.len());
    if others > 0 {
        lines.push(format!("  and {others} more"));
    }
    lines
}

fn line_of(run: &RunningAttempt, hand_over: bool) -> String {
    let note = match run.is_client && !hand_over {
        true => ", a client itself, which may run for ever: --hand-over moves it",
        false => "",
    };
    format!("  {}  attempt {}{note}", run.key, run.attempt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::equipment::Equipment;
    use crate::protocol::{AttemptNumber, Producer, TaskKey};

    fn worker(running: u32) -> WorkerStatus {
        let run = |n: u8, is_client| RunningAttempt {
            key: TaskKey::unique("add", [n; 16]),
            attempt: AttemptNumber(1),
            is_client,
            has_paused: false,
        };
        WorkerStatus {
            session: Producer(3),
            name: "w".into(),
            slots: 0,
            running,
            connected: true,
            retiring: true,
            results: 0,
            result_bytes: 0,
            runs: vec![run(1, true), run(2, false)].into_iter().take(running as usize).collect(),
            equipment: Equipment::default(),
            free: vec![],
        }
    }

    #[test]
    fn what_it_waits_for_is_named() {
        let client = "  add-01010101010101010101010101010101  attempt 1, a client itself, which may run for ever: --hand-over moves it";
        let other = "  add-02020202020202020202020202020202  attempt 1";
        assert_eq!(in_words(&worker(0), false), ["w retires: it runs nothing"]);
        assert_eq!(in_words(&worker(1), false), ["w retires: it finishes 1 task", client]);
        assert_eq!(
            in_words(&worker(5), false),
            ["w retires: it finishes 5 tasks", client, other, "  and 3 more"]
        );
        let moved = "  add-01010101010101010101010101010101  attempt 1";
        assert_eq!(in_words(&worker(2), true), ["w retires: it hands over 2 tasks", moved, other]);
        let keeps = WorkerStatus { results: 2, result_bytes: 5 << 20, ..worker(0) };
        let line = "  and keeps 2 results (5 MiB) until other workers do";
        assert_eq!(in_words(&keeps, false), ["w retires: it runs nothing", line]);
        assert_eq!(in_words(&keeps, true), ["w retires: it runs nothing"]);
        let away = WorkerStatus { connected: false, ..worker(0) };
        assert!(in_words(&away, false)[0].starts_with("w is away: "));
    }
}
