//! How fast values reach many readers that follow.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::task::JoinSet;

use super::figures::{Measured, Runs};
use super::ground::{Commits, Ground};
use super::limits::Limits;
use super::options::Target;
use super::report::Report;
use super::values::{VALUE_BYTES, fill};
use crate::cli::progress::say;
use crate::client::{Client, Item, Records};

/// How many clients connect at a time.
const CONNECTING: usize = 32;

/// Measure how fast values reach many readers
///
/// Subscribers, each a client with a connection of its own, follow one channel; then values of 128 bytes are
/// appended as fast as it goes, until every subscriber has every one. Before that, all are idle: how much more
/// memory the scheduler takes than without them is given for each.
///
/// With --stuck, so many more follow and take nothing of what comes. Compare with a run without them: the values
/// are appended, and reach the others, as fast.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: a few subscribers, and many records
  headwater bench fanout --subscribers 10 --records 1000000

What subscribers that take nothing cost the others, and the scheduler
  headwater bench fanout --subscribers 900 --stuck 100")]
pub struct Fanout {
    /// Subscribers; several numbers are measured one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "100,1000")]
    subscribers: Vec<u32>,

    /// How many more follow, and take nothing that comes once they have caught up
    #[arg(long, value_name = "N", default_value_t = 0)]
    stuck: u32,

    /// How many values are appended
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,

    #[command(flatten)]
    target: Target,
}

impl Fanout {
    pub async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        for subscribers in &self.subscribers {
            let (mut runs, mut limits) = (Runs::default(), Limits::default());
            let mut commits = Commits::of(VALUE_BYTES);
            for run in 1..=self.target.options.runs {
                // Each on a ground of its own: only once is the memory of subscribers new.
                let ground = Ground::prepare(&self.target).await?;
                commits = self.measure(*subscribers, &ground, &mut runs).await?;
                say(format_args!("{subscribers} subscribers, run {run}: done"));
                limits = ground.measure(limits, commits).await?;
                ground.end().await?;
            }
            let (figures, limits) = (runs.figures(), limits.figures());
            let bytes_per_s = figures["deliveries_per_s"].median * VALUE_BYTES as f64;
            report.add(&Measured {
                variant: match self.stuck {
                    0 => format!("{subscribers} subscribers"),
                    stuck => format!("{subscribers} subscribers, {stuck} stuck"),
                },
                params: BTreeMap::from([
                    ("subscribers", json!(subscribers)),
                    ("stuck", json!(self.stuck)),
                    ("records", json!(self.records)),
                    ("value_bytes", json!(VALUE_BYTES)),
                    ("records_per_commit", json!(commits.records())),
                ]),
                ratios: BTreeMap::from([(
                    "deliveries_per_s",
                    bytes_per_s / limits["loopback_bytes_per_s"].median,
                )]),
                figures,
                limits,
                ..Measured::of("fanout")
            })?;
        }
        Ok(())
    }

    async fn measure(&self, subscribers: u32, ground: &Ground, runs: &mut Runs) -> anyhow::Result<Commits> {
        let client = ground.client().await?;
        let channel = client.channel(&ground.name("values")).await?;
        let before = ground.rss_bytes();
        let all = u64::from(subscribers) + u64::from(self.stuck);
        let connecting = stream::iter(0..all).map(|_| Subscriber::connect(ground, channel.name()));
        let mut followers: Vec<Subscriber> = connecting.buffer_unordered(CONNECTING).try_collect().await?;
        let idle = ground.rss_bytes().zip(before).map(|(after, before)| after.saturating_sub(before));
        runs.add_bytes("bytes_per_subscriber", idle.map(|bytes| bytes / all.max(1)));
        // They stay to the end, and nobody reads them.
        let _stuck = followers.split_off(subscribers as usize);
        // The warm-up, and what is measured.
        let mut commits = Commits::of(VALUE_BYTES);
        for (records, is_measured) in [(self.records.div_ceil(10), false), (self.records, true)] {
            let started = Instant::now();
            let mut reading: JoinSet<_> =
                followers.drain(..).map(|subscriber| subscriber.read(records)).collect();
            commits = fill(&client, &channel, records).await?;
            let appended = started.elapsed().as_secs_f64();
            while let Some(read) = reading.join_next().await {
                followers.push(read??);
            }
            if is_measured {
                let seconds = started.elapsed().as_secs_f64();
                runs.add("deliveries_per_s", records as f64 * f64::from(subscribers) / seconds, "1/s");
                runs.add("records_per_s", records as f64 / appended, "1/s");
                runs.add("seconds", seconds, "s");
                runs.add_bytes("rss_bytes", ground.rss_bytes());
            }
        }
        Ok(commits)
    }
}

/// A client that follows.
struct Subscriber {
    _client: Client,
    records: Records,
}

impl Subscriber {
    /// Follows a channel on which nothing is yet.
    async fn connect(ground: &Ground, channel: &str) -> anyhow::Result<Subscriber> {
        let client = ground.client().await?;
        let mut records = client.existing_channel::<String>(channel).await?.records();
        let caught_up = records.next().await.transpose()?;
        anyhow::ensure!(matches!(caught_up, Some(Item::CaughtUp { head: 0 })), "there is something to read");
        Ok(Subscriber { _client: client, records })
    }

    /// Reads so many records.
    async fn read(mut self, count: u64) -> anyhow::Result<Subscriber> {
        for at in 0..count {
            let item = self.records.next().await.transpose()?;
            anyhow::ensure!(
                matches!(item, Some(Item::Record(_))),
                "in the place of record {at} came {item:?}"
            );
        }
        Ok(self)
    }
}
