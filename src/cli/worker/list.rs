//! `headwater worker list`.

use serde::Serialize;

use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::session::WorkerStatus;
use crate::protocol::size::Bytes;

/// List the workers, and how busy they are.
///
/// A worker that is `away` cannot be heard, and is waited for until its lease is over. One that is `retiring`
/// is given nothing more, and leaves when what it runs is done and others keep the results that it kept. RUNNING
/// counts what it was given ahead, too: tasks that take no time wait there for a slot. RESULTS are those too large
/// for the log, which it keeps.
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
    results: u64,
    result_bytes: u64,
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
        let WorkerStatus { name, session, slots, running, results, result_bytes, .. } = worker;
        Line {
            name,
            session: session.0,
            state,
            slots: *slots,
            running: *running,
            results: *results,
            result_bytes: *result_bytes,
            runs: runs.collect(),
        }
    }
}

impl List {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut output = Output::new();
        let workers = self.connect.with(async |client| Ok(client.workers().await?)).await?;
        if self.json {
            workers.iter().try_for_each(|worker| output.json(&Line::of(worker, state(worker))))?;
        } else {
            output
                .table(["NAME", "STATE", "SLOTS", "RUNNING", "RESULTS", "SIZE"], workers.iter().map(cells))?;
        }
        output.flush()
    }
}

fn cells(worker: &WorkerStatus) -> [String; 6] {
    let WorkerStatus { name, slots, running, results, result_bytes, .. } = worker;
    let (state, size) = (state(worker).to_owned(), Bytes(*result_bytes).to_string());
    [name.to_string(), state, slots.to_string(), running.to_string(), results.to_string(), size]
}

/// Where a worker stands, in a word.
pub fn state(worker: &WorkerStatus) -> &'static str {
    match (worker.connected, worker.retiring) {
        (_, true) => "retiring",
        (true, false) => "connected",
        (false, false) => "away",
    }
}
