//! How long a start takes after a crash, with how much live state and how much history.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use super::figures::{Measured, Runs};
use super::history;
use super::options::Options;
use super::report::Report;
use super::scheduler::Scheduler;
use super::store::Store;
use crate::cli::progress::say;
use crate::client::Client;

/// Measure how long a start takes after a crash
///
/// Writes a store with live tasks (half of them finished and kept, half of them waiting) and a history of
/// tasks that came and went, the longest tail behind the newest snapshot that there can be; then starts a
/// scheduler on it again and again, each killed with SIGKILL, and measures the time from its start to the
/// first answer that a client gets, and the most memory that it took.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: ten times the history at the same live state
  headwater bench recovery --records 1000000,10000000 --tasks 100000")]
pub struct Recovery {
    /// Live tasks
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    tasks: u64,

    /// Records of history; several numbers are measured one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "10000000")]
    records: Vec<u64>,

    #[command(flatten)]
    options: Options,
}

impl Recovery {
    pub async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        for records in &self.records {
            let store = Store::make(self.options.data.clone())?;
            say(format_args!("writing {} live tasks and {records} records", self.tasks));
            let (dir, tasks, records) = (store.dir().to_owned(), self.tasks, *records);
            tokio::task::spawn_blocking(move || history::write(&dir, tasks, records)).await??;
            report.add(&self.measure(&store, records).await?)?;
        }
        Ok(())
    }

    async fn measure(&self, store: &Store, records: u64) -> anyhow::Result<Measured> {
        let (mut runs, mut found) = (Runs::default(), 0);
        for run in 1..=self.options.runs {
            let started = Instant::now();
            let scheduler = Scheduler::start(store.dir()).await?;
            let client = Client::connect(&scheduler.address).await?;
            let overview = client.overview().await?;
            let seconds = started.elapsed().as_secs_f64();
            found = overview.records;
            anyhow::ensure!(
                overview.receipt.tasks_kept == self.tasks,
                "a start lost tasks: {:?}",
                overview.receipt
            );
            say(format_args!("run {run}: {seconds:.3} s"));
            runs.add("seconds", seconds, "s");
            runs.add_bytes("rss_bytes", scheduler.peak_rss_bytes());
            scheduler.kill().await?;
        }
        Ok(Measured {
            variant: format!("{} live tasks, {records} records", self.tasks),
            params: BTreeMap::from([("live_tasks", json!(self.tasks)), ("history_records", json!(found))]),
            figures: runs.figures(),
            ..Measured::of("recovery")
        })
    }
}
