//! `headwater bench`: one file per scenario, and what they share.
//!
//! ```text
//!   scenario ──▶ ground: process (scheduler, workers), store ──▶ figures, limits ──▶ report ──▶ compare
//! ```
//!
//! Scenarios are clients like any other: what they measure is what a program of a user's would see.

mod append;
mod catchup;
mod chain;
mod channels;
mod compare;
mod fanout;
mod figures;
mod graph;
mod ground;
mod history;
mod limits;
mod memory;
mod options;
mod process;
mod reader;
mod recovery;
mod replayers;
mod report;
mod roundtrip;
mod scheduler;
mod soak;
mod store;
mod tail;
mod tasks;
mod values;
mod workers;
mod writers;

use std::path::PathBuf;
use std::time::Duration;

use self::report::Report;
use super::progress::Progress;
use super::signals::Signals;

/// Measure this machine
///
/// Each scenario starts a scheduler of its own, as a process, on a fresh store, and removes the store
/// afterwards; most can measure one that is there instead, with --connect. After a warm-up come several runs:
/// of every figure the median, the least and the most are given, beside what the disk and the loopback of this
/// machine can do, measured in between. Ratios to those limits travel between machines, absolute figures do
/// not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater bench append
  headwater bench roundtrip --json > before     # and after a change:
  headwater bench roundtrip --compare before

With --json, each line is one object:
  {\"scenario\",\"variant\",\"params\",\"figures\":{NAME:{\"median\",\"min\",\"max\",\"unit\"}},\"limits\":{…},\"ratios\":{NAME:number},\"hardware\",\"commit\"}
  {\"comparison\":\"ratio\"|\"figure\"|\"params\"|\"variant\"|\"scenario\",\"scenario\",\"variant\",\"name\",\"before\",\"after\",\"change\",\"verdict\"}   with --compare, at the end")]
pub struct Bench {
    #[command(subcommand)]
    scenario: Scenario,

    /// Print an object per line
    #[arg(long, global = true)]
    json: bool,

    /// Compare with an earlier run: a file with what it printed with --json
    #[arg(long, value_name = "FILE", global = true)]
    compare: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Scenario {
    Append(append::Append),
    Catchup(catchup::Catchup),
    Tail(tail::Tail),
    Fanout(fanout::Fanout),
    Replayers(replayers::Replayers),
    Tasks(tasks::Tasks),
    Roundtrip(roundtrip::Roundtrip),
    Chain(chain::Chain),
    Recovery(recovery::Recovery),
    Memory(memory::Memory),
    Channels(channels::Channels),
    Soak(soak::Soak),
    #[command(hide = true)]
    Reader(reader::Reader),
}

impl Bench {
    pub async fn run(self) -> anyhow::Result<()> {
        if let Scenario::Reader(reader) = self.scenario {
            return reader.run().await;
        }
        let mut signals = Signals::listen()?;
        // Once a second: what is measured is not to feel it.
        let _progress = Progress::spin_every("measuring", Duration::from_secs(1));
        let mut report = Report::open(self.json, self.compare.as_deref())?;
        tokio::select! {
            ran = self.scenario.run(&mut report) => ran?,
            // The store and the processes go with what is dropped here.
            () = signals.next() => anyhow::bail!("interrupted: what was measured before is whole"),
        }
        report.finish()
    }
}

impl Scenario {
    async fn run(self, report: &mut Report) -> anyhow::Result<()> {
        match self {
            Scenario::Append(append) => append.run(report).await,
            Scenario::Catchup(catchup) => catchup.run(report).await,
            Scenario::Tail(tail) => tail.run(report).await,
            Scenario::Fanout(fanout) => fanout.run(report).await,
            Scenario::Replayers(replayers) => replayers.run(report).await,
            Scenario::Tasks(tasks) => tasks.run(report).await,
            Scenario::Roundtrip(roundtrip) => roundtrip.run(report).await,
            Scenario::Chain(chain) => chain.run(report).await,
            Scenario::Recovery(recovery) => recovery.run(report).await,
            Scenario::Memory(memory) => memory.run(report).await,
            Scenario::Channels(channels) => channels.run(report).await,
            Scenario::Soak(soak) => soak.run(report).await,
            Scenario::Reader(reader) => reader.run().await,
        }
    }
}
