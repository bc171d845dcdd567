//! How long tasks take of which each needs the result of the one before.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use super::figures::{Measured, Runs};
use super::ground::Ground;
use super::limits::Limits;
use super::options::Target;
use super::report::Report;
use super::roundtrip::least_us;
use super::tasks::commits_since;
use super::workers::{Workers, argument, noop};
use crate::cli::progress::say;
use crate::client::{Client, Result};

/// Measure how long a chain of tasks takes
///
/// One client submits tasks that do nothing, each with the future of the one before as its argument, and awaits
/// the last result. Two worker processes of one slot each run them. The ratio is that of a lone task's round
/// trip, for each link: `headwater bench roundtrip`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: a longer chain
  headwater bench chain --tasks 10000")]
pub struct Chain {
    /// Tasks of each run
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    tasks: u64,

    #[command(flatten)]
    target: Target,
}

impl Chain {
    pub async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        let ground = Ground::prepare(&self.target).await?;
        let (workers, client) = (Workers::start(&ground).await?, ground.client().await?);
        link_by_link(&client, self.tasks.div_ceil(10)).await?;
        let (mut runs, mut limits) = (Runs::default(), Limits::default());
        for run in 1..=self.target.options.runs {
            let (before, started) = (client.overview().await?, Instant::now());
            link_by_link(&client, self.tasks).await?;
            let seconds = started.elapsed().as_secs_f64();
            runs.add("seconds", seconds, "s");
            runs.add("tasks_per_s", self.tasks as f64 / seconds, "1/s");
            runs.add("us_per_task", seconds * 1e6 / self.tasks as f64, "us");
            say(format_args!("run {run}: {seconds:.3} s"));
            let (_, commits) = commits_since(&client, &before).await?;
            limits = ground.measure(limits, commits).await?;
        }
        let (figures, limits) = (runs.figures(), limits.figures());
        report.add(&Measured {
            variant: format!("{} tasks", self.tasks),
            params: BTreeMap::from([("tasks", json!(self.tasks))]),
            ratios: BTreeMap::from([("us_per_task", figures["us_per_task"].median / least_us(&limits))]),
            figures,
            limits,
            ..Measured::of("chain")
        })?;
        workers.end().await?;
        ground.end().await
    }
}

/// Submits so many tasks, each with the one before as its argument, and waits for the last result.
async fn link_by_link(client: &Client, tasks: u64) -> Result<()> {
    let mut last = client.submit(noop, (argument(0),)).await?;
    // An argument must be a future, and that is there once its submission is acknowledged.
    for _ in 1..tasks {
        last = client.submit(noop, (&last,)).await?;
    }
    last.await.map(drop)
}
