//! How fast a reader that comes late reads all that is there.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use super::figures::{Measured, Runs};
use super::ground::{Commits, Ground};
use super::limits::Limits;
use super::options::Target;
use super::report::Report;
use super::values::{TEXT_BYTES, VALUE_BYTES, fill};
use crate::cli::progress::say;

/// Measure how fast a late reader catches up
///
/// Fills a channel with values of 128 bytes; then a new client reads all of them from offset 0, each decoded.
/// Cold: right after a start of the scheduler, with nothing of the store in the system's memory. Warm: again,
/// when all was read before. A scheduler that was given with --connect is not restarted, and measured warm only.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: a tenth of the records
  headwater bench catchup --records 1000000")]
pub struct Catchup {
    /// How many values there are to read
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,

    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Cold,
    Warm,
}

impl Catchup {
    pub async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        let mut ground = Ground::prepare(&self.target).await?;
        let name = ground.name("values");
        say(format_args!("writing {} values", self.records));
        let client = ground.client().await?;
        let commits = fill(&client, &client.channel(&name).await?, self.records).await?;
        client.close().await;
        if self.target.connect.is_none() {
            report.add(&self.measure(Variant::Cold, &mut ground, &name, commits).await?)?;
        }
        self.read_all(&ground, &name).await?;
        report.add(&self.measure(Variant::Warm, &mut ground, &name, commits).await?)?;
        ground.end().await
    }

    async fn measure(
        &self,
        variant: Variant,
        ground: &mut Ground,
        channel: &str,
        commits: Commits,
    ) -> anyhow::Result<Measured> {
        let (mut runs, mut limits) = (Runs::default(), Limits::default());
        for run in 1..=self.target.options.runs {
            if variant == Variant::Cold {
                ground.restart_cold().await?;
            }
            let seconds = self.read_all(ground, channel).await?;
            let rate = self.records as f64 / seconds;
            say(format_args!("{}, run {run}: {rate:.0} records/s", variant.name()));
            runs.add("records_per_s", rate, "1/s");
            runs.add("seconds", seconds, "s");
            limits = ground.measure(limits, commits).await?;
        }
        let (figures, limits) = (runs.figures(), limits.figures());
        let bytes_per_s = figures["records_per_s"].median * VALUE_BYTES as f64;
        Ok(Measured {
            variant: variant.name().to_owned(),
            params: BTreeMap::from([
                ("records", json!(self.records)),
                ("value_bytes", json!(VALUE_BYTES)),
                ("records_per_commit", json!(commits.records())),
            ]),
            // The values' bytes alone by what loopback can carry.
            ratios: BTreeMap::from([("records_per_s", bytes_per_s / limits["loopback_bytes_per_s"].median)]),
            figures,
            limits,
            ..Measured::of("catchup")
        })
    }

    /// Reads all with a client of its own, and answers how many seconds it took.
    async fn read_all(&self, ground: &Ground, channel: &str) -> anyhow::Result<f64> {
        let client = ground.client().await?;
        let channel = client.existing_channel::<String>(channel).await?;
        let started = Instant::now();
        let mut values = channel.values();
        for at in 0..self.records {
            let value = values.next().await.transpose()?;
            anyhow::ensure!(value.is_some_and(|text| text.len() == TEXT_BYTES), "value {at} is not whole");
        }
        let seconds = started.elapsed().as_secs_f64();
        drop(values);
        client.close().await;
        Ok(seconds)
    }
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Variant::Cold => "cold",
            Variant::Warm => "warm",
        }
    }
}
