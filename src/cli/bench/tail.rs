//! How long a value takes from its append to a reader that waits for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::figures::{Measured, Runs};
use super::ground::{Commits, Ground, newest};
use super::limits::{self, Limits};
use super::options::Target;
use super::report::Report;
use super::values::{VALUE_BYTES, text};
use crate::cli::progress::say;
use crate::client::{Channel, Values};
use crate::rows::time::duration;

/// Measure how long a value takes to a reader that follows
///
/// One client appends values of 128 bytes at a steady rate, whether or not the ones before are acknowledged;
/// another follows the channel. The time is from the call of the append to the record in the reader's hands.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: at a tenth of the rate
  headwater bench tail --rate 100")]
pub struct Tail {
    /// Values appended a second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,

    /// How long each run takes
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    seconds: Duration,

    #[command(flatten)]
    target: Target,
}

impl Tail {
    pub async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        let ground = Ground::prepare(&self.target).await?;
        let (appends, follows) = (ground.client().await?, ground.client().await?);
        let channel = appends.channel::<String>(&ground.name("values")).await?;
        let mut values = follows.existing_channel::<String>(channel.name()).await?.values();
        let count = (self.seconds.as_secs_f64() * f64::from(self.rate)).ceil() as usize;
        self.follow(&channel, &mut values, count.div_ceil(5)).await?;
        let (mut runs, mut limits, mut commits) =
            (Runs::default(), Limits::default(), Commits::of(VALUE_BYTES));
        for run in 1..=self.target.options.runs {
            let (before, started) = (newest(&appends).await?, Instant::now());
            let times = self.follow(&channel, &mut values, count).await?;
            runs.add("records_per_s", count as f64 / started.elapsed().as_secs_f64(), "1/s");
            commits = commits.and(count as u64, before, &appends).await?;
            runs.add_times(times);
            say(format_args!("run {run}: done"));
            limits = ground.measure(limits, commits).await?;
        }
        let (figures, limits) = (runs.figures(), limits.figures());
        let least = limits::sum(&limits, ["fdatasync_128_p50_us", "pingpong_p50_us"]);
        report.add(&Measured {
            variant: format!("{} records/s, one subscriber", self.rate),
            params: BTreeMap::from([
                ("rate", json!(self.rate)),
                ("records", json!(count)),
                ("value_bytes", json!(VALUE_BYTES)),
                ("records_per_commit", json!(commits.records())),
            ]),
            ratios: BTreeMap::from([
                ("p50_us", figures["p50_us"].median / least),
                ("p50_us_paced", figures["p50_us"].median / limits["paced_p50_us"].median),
            ]),
            figures,
            limits,
            ..Measured::of("tail")
        })?;
        ground.end().await
    }

    /// Appends so many values and waits until they are read. Answers how long each was on its way, in
    /// microseconds.
    async fn follow(
        &self,
        channel: &Channel<String>,
        values: &mut Values<String>,
        count: usize,
    ) -> anyhow::Result<Vec<f64>> {
        let append = async {
            let mut ticks = interval(Duration::from_secs(1) / self.rate);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let (text, mut called, mut last) = (text(), Vec::with_capacity(count), None);
            for _ in 0..count {
                ticks.tick().await;
                called.push(Instant::now());
                // Its place is taken; that it becomes durable is seen by who reads it.
                last = Some(channel.append_value(&text));
            }
            match last {
                Some(last) => last.await.map(|_| called),
                None => Ok(called),
            }
        };
        let read = async {
            let mut read = Vec::with_capacity(count);
            while read.len() < count {
                values.next().await.transpose()?;
                read.push(Instant::now());
            }
            Ok(read)
        };
        let (called, read) = tokio::try_join!(append, read)?;
        Ok(called.iter().zip(read).map(|(called, read)| (read - *called).as_secs_f64() * 1e6).collect())
    }
}
