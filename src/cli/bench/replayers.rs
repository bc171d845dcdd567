//! What appends lose while others read all that there is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use super::figures::{Figures, Measured, Runs};
use super::ground::{Commits, Ground, newest};
use super::limits::Limits;
use super::options::Target;
use super::process::Process;
use super::reader::{READ, READING};
use super::report::Report;
use super::values::{VALUE_BYTES, fill};
use super::writers::{ONE_CLIENT, Writers};
use crate::cli::progress::say;
use crate::rows::time::duration;

/// Measure what appends lose to readers of history
///
/// One client appends values of 128 bytes with as many in flight as a session may have: first alone, then while
/// readers, each with a connection of its own and all in one other process, read the channel from offset 0 to
/// its end again and again. The ratio of the rates is given as it is, and with the readers' own share of the
/// cores set aside: by what is left of the machine beside them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: one reader
  headwater bench replayers --readers 1")]
pub struct Replayers {
    /// How many readers
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    readers: u32,

    /// How many values there are before anything is measured
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    records: u64,

    /// How long each run takes, with readers and without
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    seconds: Duration,

    #[command(flatten)]
    target: Target,
}

/// What was measured without readers, or with them.
#[derive(Default)]
struct Side {
    runs: Runs,
    limits: Limits,
}

impl Replayers {
    pub async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        let ground = Ground::prepare(&self.target).await?;
        let mut writers = Writers::connect(&ground, ONE_CLIENT, &ground.name("values")).await?;
        fill(&ground.client().await?, writers.channel(), self.records).await?;
        writers.append(self.seconds / 3).await?;
        let (mut alone, mut beside) = (Side::default(), Side::default());
        for run in 1..=self.target.options.runs {
            let commits = self.append(&ground, &mut writers, &mut alone.runs).await?;
            alone.limits = ground.measure(alone.limits, commits).await?;
            let commits = self.append_beside_readers(&ground, &mut writers, &mut beside.runs).await?;
            beside.limits = ground.measure(beside.limits, commits).await?;
            say(format_args!("run {run}: done"));
        }
        let (limits, alone) = (alone.limits.figures(), alone.runs.figures());
        let ratio = alone["records_per_s"].median / limits["bare_file_records_per_s"].median;
        let ratios = BTreeMap::from([("records_per_s", ratio)]);
        report.add(&self.measured(0, alone.clone(), limits, ratios))?;
        let (limits, beside) = (beside.limits.figures(), beside.runs.figures());
        let ratios = ratios_to(&alone, &beside);
        report.add(&self.measured(self.readers, beside, limits, ratios))?;
        ground.end().await
    }

    async fn append(
        &self,
        ground: &Ground,
        writers: &mut Writers,
        runs: &mut Runs,
    ) -> anyhow::Result<Commits> {
        let asks = ground.client().await?;
        let (before, cpu) = (newest(&asks).await?, scheduler_cpu_seconds(ground));
        let started = Instant::now();
        let appended = writers.append(self.seconds).await?;
        let seconds = started.elapsed().as_secs_f64();
        if let Some((after, before)) = scheduler_cpu_seconds(ground).zip(cpu) {
            runs.add("scheduler_cores", (after - before) / seconds, "cores");
        }
        runs.add("records_per_s", appended.records_per_s, "1/s");
        runs.add_times(appended.times);
        Commits::of(VALUE_BYTES).and(appended.records, before, &asks).await
    }

    async fn append_beside_readers(
        &self,
        ground: &Ground,
        writers: &mut Writers,
        runs: &mut Runs,
    ) -> anyhow::Result<Commits> {
        let (channel, readers) = (writers.channel().name().to_owned(), self.readers.to_string());
        let mut arguments = vec!["bench", "reader", "--connect", &ground.address, "--channel", &channel];
        arguments.extend(["--readers", &readers]);
        arguments.extend(ground.token_file().into_iter().flat_map(|file| ["--token-file", file]));
        let (process, _) = Process::start(&arguments, READING).await?;
        let (started, before) = (Instant::now(), process.cpu_seconds().unwrap_or_default());
        let commits = self.append(ground, writers, runs).await?;
        let (seconds, after) = (started.elapsed().as_secs_f64(), process.cpu_seconds().unwrap_or_default());
        let said = process.end().await?;
        let read: u64 = said.strip_prefix(READ).and_then(|count| count.parse().ok()).context(said)?;
        runs.add("deliveries_per_s", read as f64 / seconds, "1/s");
        runs.add("reader_cores", (after - before) / seconds, "cores");
        Ok(commits)
    }

    fn measured(
        &self,
        readers: u32,
        figures: Figures,
        limits: Figures,
        ratios: BTreeMap<&'static str, f64>,
    ) -> Measured {
        Measured {
            variant: if readers == 0 { "alone".to_owned() } else { format!("{readers} readers") },
            params: BTreeMap::from([
                ("readers", json!(readers)),
                ("records_before", json!(self.records)),
                ("value_bytes", json!(VALUE_BYTES)),
            ]),
            figures,
            limits,
            ratios,
            ..Measured::of("replayers")
        }
    }
}

/// The rate beside readers by the rate without them; and by the part of it that the cores allow which the
/// readers' process leaves.
fn ratios_to(alone: &Figures, beside: &Figures) -> BTreeMap<&'static str, f64> {
    let kept = beside["records_per_s"].median / alone["records_per_s"].median;
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let left = 1.0 - beside["reader_cores"].median / cores;
    BTreeMap::from([("records_per_s", kept), ("records_per_s_cpu_aside", kept / left)])
}

fn scheduler_cpu_seconds(ground: &Ground) -> Option<f64> {
    ground.scheduler()?.process.cpu_seconds()
}
