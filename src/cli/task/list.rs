//! `headwater task list`.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::client::Client;
use crate::protocol::task::{TaskInfo, TaskStatus};
use crate::protocol::terms::Tag;
use crate::rows::task::Listed;

/// List the tasks that are kept, in the order of their submission.
///
/// A task is kept as long as a program holds its future, a channel has it, another task needs it, or it was
/// detached. Of a pending task, the last column says what it waits for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater task list --json
  headwater task list --status running --status pending    those that have not ended
  headwater task list --tag nightly --status error         those that have this tag, and failed")]
pub struct List {
    #[command(flatten)]
    connect: Connect,

    /// Only tasks that stand so; given several times, in one of these ways
    #[arg(long, value_parser = status())]
    status: Vec<TaskStatus>,

    /// Only tasks that have this tag; given several times, that have each of them
    #[arg(long)]
    tag: Vec<Tag>,

    /// Print one JSON object per task and line
    #[arg(long)]
    json: bool,
}

/// Reads a status by its word.
fn status() -> impl TypedValueParser<Value = TaskStatus> {
    let named = |word: &str| TaskStatus::ALL.into_iter().find(|status| status.word() == word);
    PossibleValuesParser::new(TaskStatus::ALL.map(TaskStatus::word))
        .map(move |word| named(&word).expect("it is one of them"))
}

impl List {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut output = Output::new();
        self.connect.with(async |client| self.list(client, &mut output).await).await
    }

    fn is_wanted(&self, info: &TaskInfo) -> bool {
        (self.status.is_empty() || self.status.contains(&info.status))
            && self.tag.iter().all(|tag| info.tags.contains(tag))
    }

    async fn list(&self, client: &Client, output: &mut Output) -> anyhow::Result<()> {
        const HEADER: [&str; 5] = ["TASK", "STATUS", "ATTEMPT", "FUNCTION", "WORKER OR WHAT IT WAITS FOR"];
        let (mut from, mut is_any) = (0, false);
        loop {
            let page = ask::tasks(client, from).await?;
            let last = page.last().map(|info| info.submitted_at);
            let wanted = || page.iter().filter(|info| self.is_wanted(info));
            if self.json {
                wanted().try_for_each(|info| output.json(&Listed::of(info)))?;
            } else if wanted().next().is_some() || (last.is_none() && !is_any) {
                output.table(HEADER, wanted().map(cells))?;
                is_any = true;
            }
            output.flush()?;
            match last {
                Some(last) => from = last + 1,
                None => return Ok(()),
            }
        }
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
