//! `headwater worker list`.

use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::equipment::{Amount, Resource};
use crate::protocol::session::WorkerStatus;
use crate::protocol::size::Bytes;
use crate::rows::worker::{Listed, state};

/// List the workers, and how busy they are.
///
/// A worker that is `away` cannot be heard, and is waited for until its lease is over. One that is `retiring`
/// is given nothing more, and leaves when what it runs is done and others keep the results that it kept. RUNNING
/// counts what it was given ahead, too: tasks that take no time wait there for a slot. RESULTS are those too large
/// for the log, which it keeps. FREE is what is left of the resources that tasks may need, and what there is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater worker list --json")]
pub struct List {
    #[command(flatten)]
    connect: Connect,

    /// Print one JSON object per worker and line, with what it runs (16 tasks at most)
    #[arg(long)]
    json: bool,
}

impl List {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut output = Output::new();
        let workers = self.connect.with(async |client| Ok(client.workers().await?)).await?;
        if self.json {
            workers.iter().try_for_each(|worker| output.json(&Listed::of(worker, state(worker))))?;
        } else {
            output.table(
                ["NAME", "STATE", "SLOTS", "RUNNING", "RESULTS", "SIZE", "FREE"],
                workers.iter().map(cells),
            )?;
        }
        output.flush()
    }
}

fn cells(worker: &WorkerStatus) -> [String; 7] {
    let WorkerStatus { name, slots, running, results, result_bytes, .. } = worker;
    let (state, size) = (state(worker).to_owned(), Bytes(*result_bytes).to_string());
    let [slots, running, results] = [slots.to_string(), running.to_string(), results.to_string()];
    [name.to_string(), state, slots, running, results, size, free(worker)]
}

/// How much is free of each of its resources: `cpus 2/4  gpus 0.5/2`.
pub fn free(worker: &WorkerStatus) -> String {
    let of = |(resource, free): (&Resource, &Amount)| {
        let total = resource.supply.total();
        match resource.name.as_str() {
            "memory" => format!("memory {}/{}", bytes(*free), bytes(total)),
            name => format!("{name} {free}/{total}"),
        }
    };
    worker.equipment.resources.iter().zip(&worker.free).map(of).collect::<Vec<_>>().join("  ")
}

fn bytes(amount: Amount) -> Bytes {
    Bytes(amount.split().0)
}
