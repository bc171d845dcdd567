//! A mixed load for a long time: whether memory, files, disk and latencies stay as they are.

mod load;
mod sample;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::{Instant as TokioInstant, sleep_until};

use self::load::Load;
use self::sample::Sample;
use super::figures::{Measured, Runs};
use super::ground::Ground;
use super::options::Target;
use super::report::Report;
use super::workers::Workers;
use crate::protocol::channel::Retention;
use crate::rows::time::duration;

/// Run a mixed load for a long time
///
/// One client appends values of 128 bytes at a steady rate, one submits tasks that do nothing at another and
/// waits for their results, which two worker processes of one slot each bring; and monitors join, read from a
/// random offset or from the start, follow for a while, and leave. Every few seconds are given: the memory and
/// the open files of the scheduler, the memory of the workers, the disk that the store takes, and how long
/// appends and tasks took since the last time. In the end: each of these over all samples, and its median in the
/// last third of the time by that in the first, which is 1 where nothing drifts.
///
/// The channel keeps its newest values, and the task log its newest records beside those that a start needs (the
/// latter only where the scheduler is its own). So the disk grows until that many are there, and then no more.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: a minute, with a sample each second
  headwater bench soak --time 1m --every 1s --json

With --json, each sample is an object: {\"sample\",\"seconds\",\"rss_bytes\",\"open_files\",…}")]
pub struct Soak {
    /// How long it takes
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    time: Duration,

    /// How often a sample is taken
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    every: Duration,

    /// Values appended a second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    append_rate: u32,

    /// Values that the channel keeps, and records of the task log; 0 keeps all
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    keep: u64,

    /// Tasks submitted a second
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    task_rate: u32,

    /// Monitors at a time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    monitors: u32,

    /// How long a monitor follows, at most
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    stay: Duration,

    #[command(flatten)]
    target: Target,
}

impl Soak {
    /// What the channel keeps.
    fn retention(&self) -> Retention {
        if self.keep == 0 { Retention::ALL } else { Retention::ALL.with_elements(self.keep) }
    }

    pub async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.every.is_zero() && self.every * 3 <= self.time,
            "the first and the last third of --time need a sample each: give a shorter --every"
        );
        let task_log = match self.keep {
            0 => vec!["--keep-task-log".to_owned()],
            records => vec!["--task-log-records".to_owned(), records.to_string()],
        };
        let ground = Ground::prepare_with(&self.target, &task_log).await?;
        let workers = Workers::start(&ground).await?;
        let mut load = Load::start(&self, &ground).await?;
        let (started, mut samples) = (Instant::now(), Vec::new());
        let mut next = TokioInstant::now();
        while started.elapsed() < self.time {
            next += self.every;
            tokio::select! {
                () = sleep_until(next) => {}
                failed = load.failed() => return Err(failed),
            }
            let sample = Sample::take(started.elapsed(), &ground, &workers, load.times());
            report.sample(&sample)?;
            samples.push(sample);
        }
        load.stop().await;
        report.add(&self.measured(&samples))?;
        workers.end().await?;
        ground.end().await
    }

    fn measured(&self, samples: &[Sample]) -> Measured {
        let (mut runs, third) = (Runs::default(), samples.len() / 3);
        samples.iter().for_each(|sample| sample.add_to(&mut runs));
        let of = |samples: &[Sample]| {
            let mut runs = Runs::default();
            samples.iter().for_each(|sample| sample.add_to(&mut runs));
            runs.figures()
        };
        let (first, last) = (of(&samples[..third]), of(&samples[samples.len() - third..]));
        let drift = first.iter().filter_map(|(name, figure)| {
            let last = last.get(name)?.median;
            (figure.median > 0.0).then(|| (*name, last / figure.median))
        });
        Measured {
            variant: "mixed load".to_owned(),
            params: BTreeMap::from([
                ("seconds", json!(self.time.as_secs_f64())),
                ("samples", json!(samples.len())),
                ("append_rate", json!(self.append_rate)),
                ("task_rate", json!(self.task_rate)),
                ("monitors", json!(self.monitors)),
                ("keep", json!(self.keep)),
            ]),
            ratios: drift.collect(),
            figures: runs.figures(),
            ..Measured::of("soak")
        }
    }
}
