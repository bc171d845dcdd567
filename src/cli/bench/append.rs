//! How fast values are appended, each acknowledged once it is durable.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::figures::{Figures, Measured, Runs};
use super::ground::{Commits, Ground, newest};
use super::limits::{self, Limits};
use super::options::Target;
use super::report::Report;
use super::values::VALUE_BYTES;
use super::writers::{ONE_CLIENT, Way, Writers};
use crate::cli::progress::say;
use crate::rows::time::duration;

/// Measure how fast values are appended
///
/// Appends values of 128 bytes, each acknowledged once it is durable: one client with 8,192 appends in flight, of one
/// value each, and with 1,024 of 100 values; 16 clients with 1,024 each; one with 16,384 over 1,000 channels in turn;
/// and one append at a time, once so and once buffered (flushed within 100 ms). Beside each run the disk's and loopback's limits are measured, and the figures are given by
/// them, too: these ratios travel between machines.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: a short look, for a program to read
  headwater bench append --seconds 1s --json")]
pub struct Append {
    /// How long each run takes
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    seconds: Duration,

    #[command(flatten)]
    target: Target,
}

const VARIANTS: [(&str, Way); 6] = [
    ("one client", ONE_CLIENT),
    ("100 values a command", Way { values: 100, in_flight: 1_024, ..ONE_CLIENT }),
    ("16 clients", Way { clients: 16, in_flight: 1_024, ..ONE_CLIENT }),
    ("1000 channels", Way { channels: 1000, in_flight: 16_384, ..ONE_CLIENT }),
    ("one in flight", Way { in_flight: 1, ..ONE_CLIENT }),
    ("one in flight, buffered", Way { in_flight: 1, is_buffered: true, ..ONE_CLIENT }),
];

impl Append {
    pub async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        for (name, way) in VARIANTS {
            let ground = Ground::prepare(&self.target).await?;
            let measured = self.measure(name, way, &ground).await?;
            ground.end().await?;
            report.add(&measured)?;
        }
        Ok(())
    }

    async fn measure(&self, name: &str, way: Way, ground: &Ground) -> anyhow::Result<Measured> {
        let mut writers = Writers::connect(ground, way, &ground.name("values")).await?;
        let asks = ground.client().await?;
        // The caches and the first segments.
        writers.append(self.seconds / 3).await?;
        let (mut runs, mut limits, mut commits) =
            (Runs::default(), Limits::default(), Commits::of(VALUE_BYTES));
        for run in 1..=self.target.options.runs {
            let before = newest(&asks).await?;
            let appended = writers.append(self.seconds).await?;
            commits = commits.and(appended.records, before, &asks).await?;
            say(format_args!("{name}, run {run}: {:.0} records/s", appended.records_per_s));
            runs.add("records_per_s", appended.records_per_s, "1/s");
            runs.add_times(appended.times);
            limits = ground.measure(limits, commits).await?;
        }
        let (figures, limits) = (runs.figures(), limits.figures());
        Ok(Measured {
            variant: name.to_owned(),
            params: BTreeMap::from([
                ("clients", json!(way.clients)),
                ("channels", json!(way.channels)),
                ("in_flight", json!(way.in_flight)),
                ("values_per_command", json!(way.values)),
                ("value_bytes", json!(VALUE_BYTES)),
                ("buffered", json!(way.is_buffered)),
                ("records_per_commit", json!(commits.records())),
            ]),
            ratios: ratios(way, &figures, &limits),
            figures,
            limits,
            ..Measured::of("append")
        })
    }
}

/// Throughput by the bare file's; a lone append's times by those of a disk and a loopback that do nothing else, or, if it
/// waits for no disk, of the loopback alone.
fn ratios(way: Way, figures: &Figures, limits: &Figures) -> BTreeMap<&'static str, f64> {
    if way.in_flight > 1 {
        let rate = figures["records_per_s"].median / limits["bare_file_records_per_s"].median;
        return BTreeMap::from([("records_per_s", rate)]);
    }
    if way.is_buffered {
        return BTreeMap::from([
            ("p50_us", figures["p50_us"].median / limits["pingpong_p50_us"].median),
            ("p99_us", figures["p99_us"].median / limits["pingpong_p99_us"].median),
        ]);
    }
    BTreeMap::from([
        (
            "p50_us",
            figures["p50_us"].median / limits::sum(limits, ["fdatasync_128_p50_us", "pingpong_p50_us"]),
        ),
        (
            "p99_us",
            figures["p99_us"].median / limits::sum(limits, ["fdatasync_128_p99_us", "pingpong_p99_us"]),
        ),
    ])
}
