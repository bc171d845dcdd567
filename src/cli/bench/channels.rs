//! What idle channels cost: memory, and time at a start.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context;
use serde_json::json;

use super::figures::{Measured, Runs};
use super::options::Options;
use super::report::Report;
use super::scheduler::Scheduler;
use super::store::Store;
use crate::cli::progress::say;
use crate::client::Client;

/// Appends that are on their way at a time.
const AT_A_TIME: u64 = 512;

/// Measure what idle channels cost
///
/// Makes so many channels with a value on each, and measures how much more memory the scheduler takes for them; then
/// kills it with SIGKILL, starts it again on the same store, and measures the time from its start to the first answer
/// that a client gets, and the most memory that it took.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: a tenth of it
  headwater bench channels --channels 10000")]
pub struct Channels {
    /// How many channels
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=200_000))]
    channels: u64,

    #[command(flatten)]
    options: Options,
}

impl Channels {
    pub async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        let mut runs = Runs::default();
        for run in 1..=self.options.runs {
            let store = Store::make(self.options.data.clone())?;
            let scheduler = Scheduler::start(store.dir()).await?;
            self.make(&scheduler, &mut runs).await?;
            scheduler.kill().await?;
            let started = Instant::now();
            let scheduler = Scheduler::start(store.dir()).await?;
            let found = Client::connect(&scheduler.address).await?.overview().await?.channels;
            let seconds = started.elapsed().as_secs_f64();
            anyhow::ensure!(found == self.channels, "a start found {found} channels");
            runs.add("seconds", seconds, "s");
            runs.add_bytes("rss_bytes", scheduler.peak_rss_bytes());
            scheduler.kill().await?;
            say(format_args!("run {run}: a start took {seconds:.3} s"));
        }
        report.add(&Measured {
            variant: format!("{} idle channels", self.channels),
            params: BTreeMap::from([("channels", json!(self.channels))]),
            figures: runs.figures(),
            ..Measured::of("channels")
        })
    }

    async fn make(&self, scheduler: &Scheduler, runs: &mut Runs) -> anyhow::Result<()> {
        let bytes = || {
            let bytes = scheduler.process.memory_bytes("VmRSS");
            bytes.context("this system does not say how much memory a process takes")
        };
        let client = Client::connect(&scheduler.address).await?;
        client.channel::<u64>("idle-0").await?.append_value(&0).await?;
        let before = bytes()?;
        for first in (1..self.channels).step_by(AT_A_TIME as usize) {
            let names = first..self.channels.min(first + AT_A_TIME);
            let opened = names.map(|number| {
                let client = client.clone();
                async move { client.channel::<u64>(&format!("idle-{number}")).await }
            });
            let opened = futures_util::future::try_join_all(opened).await?;
            let appends: Vec<_> = opened.iter().map(|channel| channel.append_value(&0)).collect();
            futures_util::future::try_join_all(appends).await?;
        }
        client.close().await;
        let more = bytes()?.saturating_sub(before);
        runs.add("bytes_per_channel", more as f64 / self.channels as f64, "bytes");
        Ok(())
    }
}
