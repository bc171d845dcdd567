//! How long one task takes when nothing else is to be done.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use super::figures::{Figures, Measured, Runs};
use super::ground::Ground;
use super::limits::{self, Limits};
use super::options::Target;
use super::report::Report;
use super::tasks::commits_since;
use super::workers::{Workers, argument, noop};
use super::writers::micros;
use crate::cli::progress::say;
use crate::client::{Client, Result};

/// Measure how long one task takes
///
/// One client submits a task that does nothing, awaits the acknowledgement and then the result, and submits the
/// next. The time is from the call to the result. Two worker processes of one slot each are there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: a short look
  headwater bench roundtrip --tasks 100")]
pub struct Roundtrip {
    /// Tasks of each run, one after the other
    #[arg(long, value_name = "N", default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..))]
    tasks: u64,

    #[command(flatten)]
    target: Target,
}

impl Roundtrip {
    pub async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        let ground = Ground::prepare(&self.target).await?;
        let (workers, client) = (Workers::start(&ground).await?, ground.client().await?);
        one_by_one(&client, self.tasks.div_ceil(10)).await?;
        let (mut runs, mut limits) = (Runs::default(), Limits::default());
        for run in 1..=self.target.options.runs {
            let (before, started) = (client.overview().await?, Instant::now());
            let times = one_by_one(&client, self.tasks).await?;
            runs.add("tasks_per_s", self.tasks as f64 / started.elapsed().as_secs_f64(), "1/s");
            runs.add_times(times);
            say(format_args!("run {run}: done"));
            let (_, commits) = commits_since(&client, &before).await?;
            limits = ground.measure(limits, commits).await?;
        }
        let (figures, limits) = (runs.figures(), limits.figures());
        report.add(&Measured {
            variant: "one at a time".to_owned(),
            params: BTreeMap::from([("tasks", json!(self.tasks))]),
            ratios: BTreeMap::from([("p50_us", figures["p50_us"].median / least_us(&limits))]),
            figures,
            limits,
            ..Measured::of("roundtrip")
        })?;
        workers.end().await?;
        ground.end().await
    }
}

/// What a lone task takes at least, in microseconds: its submission and its outcome each have to be durable, and
/// it goes over the network to the scheduler and back, and from there to a worker and back.
pub fn least_us(limits: &Figures) -> f64 {
    2.0 * limits::sum(limits, ["fdatasync_128_p50_us", "pingpong_p50_us"])
}

/// Runs so many tasks, each when the one before is done. Answers how long each took, in microseconds.
async fn one_by_one(client: &Client, tasks: u64) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for number in 0..tasks {
        let called = Instant::now();
        client.submit(noop, (argument(number),)).await?.await?;
        times.push(micros(called));
    }
    Ok(times)
}
