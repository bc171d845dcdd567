//! How much memory the scheduler takes for values and for tasks.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::json;

use super::figures::{Measured, Runs};
use super::graph::{Graph, Shape};
use super::ground::Ground;
use super::options::{Options, Target};
use super::report::Report;
use super::tasks::submit_all;
use super::values::{VALUE_BYTES, fill};
use super::workers::Workers;
use crate::cli::progress::say;
use crate::client::Client;

/// Values that are appended before tasks are counted: enough for the caches, which are no task's, to be full.
const WARM_UP_VALUES: u64 = 500_000;

/// Measure the scheduler's memory
///
/// Each on a fresh store: what a scheduler takes after so many values of 128 bytes on one channel; how much more
/// it takes for so many tasks that have not run, as there is no worker; and for as many that have finished, each
/// with a result of eight bytes. The client holds all futures. Before tasks are counted, values are appended
/// until the caches are full.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: a tenth of it
  headwater bench memory --values 100000 --tasks 100000")]
pub struct Memory {
    /// How many values
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    values: u64,

    /// How many tasks of either kind
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    tasks: u64,

    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Values,
    Unfinished,
    Finished,
}

impl Memory {
    pub async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        let (values, tasks, runs) = (self.values, self.tasks, self.options.runs);
        let target = Target { options: self.options, connect: None, token_file: None };
        for variant in [Variant::Values, Variant::Unfinished, Variant::Finished] {
            let count = if variant == Variant::Values { values } else { tasks };
            let mut figures = Runs::default();
            for run in 1..=runs {
                let ground = Ground::prepare(&target).await?;
                variant.measure(count, &ground, &mut figures).await?;
                ground.end().await?;
                say(format_args!("{}, run {run}: done", variant.name(count)));
            }
            report.add(&Measured {
                variant: variant.name(count),
                params: BTreeMap::from([("count", json!(count)), ("value_bytes", json!(VALUE_BYTES))]),
                figures: figures.figures(),
                ..Measured::of("memory")
            })?;
        }
        Ok(())
    }
}

impl Variant {
    fn name(self, count: u64) -> String {
        match self {
            Variant::Values => format!("{count} values"),
            Variant::Unfinished => format!("{count} unfinished tasks"),
            Variant::Finished => format!("{count} finished tasks, held"),
        }
    }

    async fn measure(self, count: u64, ground: &Ground, runs: &mut Runs) -> anyhow::Result<()> {
        let client = ground.client().await?;
        let bytes = || ground.rss_bytes().context("this system does not say how much memory a process takes");
        let channel = client.channel(&ground.name("values")).await?;
        if self == Variant::Values {
            fill(&client, &channel, count).await?;
            runs.add_bytes("rss_bytes", Some(bytes()?));
            return Ok(());
        }
        fill(&client, &channel, WARM_UP_VALUES.min(count)).await?;
        let before = bytes()?;
        let held = match self {
            Variant::Finished => {
                let workers = Workers::start(ground).await?;
                let held = Graph::of(Shape::Independent, count, None).run(&client).await?;
                workers.end().await?;
                held
            }
            _ => submit_all(&client, count).await?,
        };
        let after = bytes()?;
        ensure_held(&client, count).await?;
        drop(held);
        runs.add_bytes("rss_bytes", Some(after));
        runs.add("bytes_per_task", after.saturating_sub(before) as f64 / count as f64, "bytes");
        Ok(())
    }
}

async fn ensure_held(client: &Client, count: u64) -> anyhow::Result<()> {
    let overview = client.overview().await?;
    let held = overview.pending + overview.finished;
    anyhow::ensure!(held == count, "{held} tasks are held, not {count}");
    Ok(())
}
