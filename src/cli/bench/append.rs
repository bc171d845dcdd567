//! How fast values are appended, each acknowledged once it is durable.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::task::JoinSet;

use super::figures::{Figure, Measured, quantile};
use super::limits::Limits;
use super::options::Options;
use super::scheduler::Scheduler;
use super::store::Store;
use crate::cli::output::{Output, note};
use crate::cli::time::duration;
use crate::client::{Channel, Client};

/// 128 bytes as they are stored: MessagePack has two before a text of this length.
const TEXT_BYTES: usize = 126;
const VALUE_BYTES: usize = 128;

/// How many commands a client has in flight at a time: as many as a session may have.
const IN_FLIGHT: usize = crate::protocol::limits::IN_FLIGHT_MAX as usize;

/// Measure how fast values are appended
///
/// Appends values of 128 bytes, each acknowledged once it is durable: one client with as many in flight as a
/// session may have, with one value a command and with 100; 16 clients; 1,000 channels in turn; and one append
/// at a time. Beside each run the disk's and loopback's limits are measured, and the figures are given by them,
/// too: these ratios travel between machines.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: a short look, for a program to read
  headwater bench append --seconds 1s --json")]
pub struct Append {
    /// How long each run takes
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    seconds: Duration,

    #[command(flatten)]
    options: Options,
}

/// A way to append.
#[derive(Debug, Clone, Copy)]
struct Variant {
    name: &'static str,
    clients: usize,
    channels: usize,
    in_flight: usize,
    values: usize,
}

const VARIANTS: [Variant; 5] = [
    Variant { name: "one client", clients: 1, channels: 1, in_flight: IN_FLIGHT, values: 1 },
    Variant { name: "100 values a command", clients: 1, channels: 1, in_flight: IN_FLIGHT, values: 100 },
    Variant { name: "16 clients", clients: 16, channels: 1, in_flight: IN_FLIGHT, values: 1 },
    Variant { name: "1000 channels", clients: 1, channels: 1000, in_flight: IN_FLIGHT, values: 1 },
    Variant { name: "one in flight", clients: 1, channels: 1, in_flight: 1, values: 1 },
];

impl Append {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut output = Output::new();
        for variant in VARIANTS {
            let store = Store::make(self.options.data.clone())?;
            let scheduler = Scheduler::start(store.dir()).await?;
            let measured = self.measure(variant, &scheduler, &store).await?;
            scheduler.kill().await?;
            measured.print(&mut output, self.options.json)?;
        }
        Ok(())
    }

    async fn measure(
        &self,
        variant: Variant,
        scheduler: &Scheduler,
        store: &Store,
    ) -> anyhow::Result<Measured> {
        let mut writers = Vec::new();
        for _ in 0..variant.clients {
            writers.push(Writer::connect(&scheduler.address, variant).await?);
        }
        let asks = Client::connect(&scheduler.address).await?;
        // The caches and the first segments.
        append_all(&mut writers, self.seconds / 3).await?;
        let (mut rates, mut p50, mut p99, mut limits) =
            (Vec::new(), Vec::new(), Vec::new(), Limits::default());
        let (mut commits, mut all) = (0, 0);
        for run in 1..=self.options.runs {
            let before = asks.overview().await?.seq.0;
            let started = Instant::now();
            let mut times = append_all(&mut writers, self.seconds).await?;
            let seconds = started.elapsed().as_secs_f64();
            let records = (times.len() * variant.values) as u64;
            (commits, all) = (commits + asks.overview().await?.seq.0 - before, all + records);
            rates.push(records as f64 / seconds);
            times.sort_unstable_by(f64::total_cmp);
            p50.push(quantile(&times, 0.5));
            p99.push(quantile(&times, 0.99));
            note(format_args!("{}, run {run}: {:.0} records/s", variant.name, rates[rates.len() - 1]));
            let (dir, a_commit) = (store.dir().to_owned(), (all / commits.max(1)).max(1));
            limits = tokio::task::spawn_blocking(move || {
                limits.measure(&dir, a_commit, VALUE_BYTES).map(|()| limits)
            })
            .await??;
        }
        let figures = BTreeMap::from([
            ("records_per_s", Figure::of(rates, "1/s")),
            ("p50_us", Figure::of(p50, "us")),
            ("p99_us", Figure::of(p99, "us")),
        ]);
        let limits = limits.figures();
        Ok(Measured {
            variant: variant.name.to_owned(),
            params: BTreeMap::from([
                ("clients", json!(variant.clients)),
                ("channels", json!(variant.channels)),
                ("in_flight", json!(variant.in_flight)),
                ("values_per_command", json!(variant.values)),
                ("value_bytes", json!(VALUE_BYTES)),
                ("records_per_commit", json!(all / commits.max(1))),
                ("durability", json!("fsynced")),
            ]),
            ratios: ratios(variant, &figures, &limits),
            figures,
            limits,
            ..Measured::of("append")
        })
    }
}

/// Throughput by the bare file's; a lone append's times by those of a disk and a loopback that do nothing else.
fn ratios(
    variant: Variant,
    figures: &BTreeMap<&'static str, Figure>,
    limits: &BTreeMap<&'static str, Figure>,
) -> BTreeMap<&'static str, f64> {
    let sum = |names: [&str; 2]| names.iter().map(|name| limits[name].median).sum::<f64>();
    if variant.in_flight > 1 {
        let rate = figures["records_per_s"].median / limits["bare_file_records_per_s"].median;
        return BTreeMap::from([("records_per_s", rate)]);
    }
    BTreeMap::from([
        ("p50_us", figures["p50_us"].median / sum(["fdatasync_128_p50_us", "pingpong_p50_us"])),
        ("p99_us", figures["p99_us"].median / sum(["fdatasync_128_p99_us", "pingpong_p99_us"])),
    ])
}

/// A client and its channels.
struct Writer {
    variant: Variant,
    channels: Vec<Channel<String>>,
    text: String,
}

impl Writer {
    async fn connect(address: &str, variant: Variant) -> anyhow::Result<Writer> {
        let client = Client::connect(address).await?;
        let mut channels = Vec::with_capacity(variant.channels);
        for channel in 0..variant.channels {
            channels.push(client.channel(&format!("values-{channel}")).await?);
        }
        Ok(Writer { variant, channels, text: "x".repeat(TEXT_BYTES) })
    }

    /// Appends for so long, and waits for what is in flight then. Answers how long each command took, in
    /// microseconds.
    async fn append(self, time: Duration) -> anyhow::Result<(Writer, Vec<f64>)> {
        let values = vec![self.text.clone(); self.variant.values];
        let mut turn = self.channels.iter().cycle();
        let (started, mut times) = (Instant::now(), Vec::new());
        let mut in_flight = FuturesUnordered::new();
        loop {
            while in_flight.len() < self.variant.in_flight && started.elapsed() < time {
                let channel = turn.next().ok_or_else(|| anyhow::anyhow!("there is no channel"))?;
                let (sent, append) = (Instant::now(), channel.append_values(&values));
                in_flight.push(async move { append.await.map(|_| sent.elapsed().as_secs_f64() * 1e6) });
            }
            let Some(time) = in_flight.next().await else { break };
            times.push(time?);
        }
        drop(in_flight);
        Ok((self, times))
    }
}

/// Lets all of them append at the same time.
async fn append_all(writers: &mut Vec<Writer>, time: Duration) -> anyhow::Result<Vec<f64>> {
    let mut running: JoinSet<_> = writers.drain(..).map(|writer| writer.append(time)).collect();
    let mut all = Vec::new();
    while let Some(done) = running.join_next().await {
        let (writer, times) = done??;
        writers.push(writer);
        all.extend(times);
    }
    anyhow::ensure!(!all.is_empty(), "nothing was appended in {time:?}: give it more --seconds");
    Ok(all)
}
