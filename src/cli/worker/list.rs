//! `headwater worker list`.

use serde::Serialize;

use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::session::WorkerStatus;

/// List the workers, and how busy they are.
///
/// A worker that is `away` cannot be heard, and is waited for until its lease is over. One that is `retiring`
/// is given nothing more, and leaves when what it runs is done.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater worker list --json")]
pub struct List {
    #[command(flatten)]
    connect: Connect,

    /// Print one JSON object per worker and line, with what it runs (16 tasks at most)
    #[arg(long)]
    json: bool,
}

/// A worker as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    name: &'a str,
    session: u64,
    state: &'a str,
    slots: u32,
    running: u32,
    runs: Vec<RunLine>,
}

#[derive(Debug, Serialize)]
struct RunLine {
    key: String,
    attempt: u32,
    is_client: bool,
}

impl<'a> Line<'a> {
    /// A worker in a state.
    pub fn of(worker: &'a WorkerStatus, state: &'a str) -> Self {
        let runs = worker.runs.iter().map(|run| RunLine {
            key: run.key.to_string(),
            attempt: run.attempt.0,
            is_client: run.is_client,
        });
        let WorkerStatus { name, session, slots, running, .. } = worker;
        Line { name, session: session.0, state, slots: *slots, running: *running, runs: runs.collect() }
    }
}

impl List {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut output = Output::new();
        let workers = self.connect.with(async |client| Ok(client.workers().await?)).await?;
        if self.json {
            workers.iter().try_for_each(|worker| output.json(&Line::of(worker, state(worker))))?;
        } else {
            output.table(["NAME", "STATE", "SLOTS", "RUNNING"], workers.iter().map(cells))?;
        }
        output.flush()
    }
}

fn cells(worker: &WorkerStatus) -> [String; 4] {
    let WorkerStatus { name, slots, running, .. } = worker;
    [name.to_string(), state(worker).to_owned(), slots.to_string(), running.to_string()]
}

/// Where a worker stands, in a word.
pub fn state(worker: &WorkerStatus) -> &'static str {
    match (worker.connected, worker.retiring) {
        (_, true) => "retiring",
        (true, false) => "connected",
        (false, false) => "away",
    }
}
