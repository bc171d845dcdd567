//! `headwater task list`.

use serde::Serialize;

use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::client::Client;
use crate::protocol::task::TaskInfo;

/// List the tasks that are kept, in the order of their submission.
///
/// A task is kept as long as a program holds its future, a channel has it, another task needs it, or it was
/// detached. Of a pending task, the last column says what it waits for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater task list --json")]
pub struct List {
    #[command(flatten)]
    connect: Connect,

    /// Print one JSON object per task and line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    key: String,
    status: String,
    function: &'a str,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<&'a str>,
    kept_by: &'a str,
    submitted_at: u64,
}

impl List {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut output = Output::new();
        self.connect.with(async |client| list(client, self.json, &mut output).await).await
    }
}

async fn list(client: &Client, json: bool, output: &mut Output) -> anyhow::Result<()> {
    let mut from = 0;
    loop {
        let page = ask::tasks(client, from).await?;
        if json {
            page.iter().try_for_each(|info| output.json(&line(info)))?;
        } else if from == 0 || !page.is_empty() {
            let header = ["TASK", "STATUS", "ATTEMPT", "FUNCTION", "WORKER OR WHAT IT WAITS FOR"];
            output.table(header, page.iter().map(cells))?;
        }
        output.flush()?;
        match page.last() {
            Some(last) => from = last.submitted_at + 1,
            None => return Ok(()),
        }
    }
}

fn line(info: &TaskInfo) -> Line<'_> {
    Line {
        key: info.key.to_string(),
        status: info.status.to_string(),
        function: &info.function,
        attempt: info.attempt.0,
        worker: info.worker.as_deref(),
        waits_for: info.waits_for.as_deref(),
        kept_by: &info.kept_by,
        submitted_at: info.submitted_at,
    }
}

fn cells(info: &TaskInfo) -> [String; 5] {
    let last = match (&info.worker, &info.waits_for) {
        (Some(worker), _) => worker.to_string(),
        (None, Some(waits_for)) => waits_for.clone(),
        (None, None) => String::new(),
    };
    [info.key.to_string(), info.status.to_string(), info.attempt.to_string(), info.function.to_string(), last]
}
