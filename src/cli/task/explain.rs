//! `headwater task explain`.

use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::TaskKey;
use crate::protocol::task::Explanation;
use crate::rows::task::Explained;
use crate::rows::time;

/// Say why a task is where it is, or why it does not run.
///
/// By the rules that the scheduler goes by, as of now: what a task waits for, and what keeps each worker from running it; for
/// one that runs, why it is where it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  headwater task explain nightly-build

With --json: {\"key\",\"status\",\"because\",\"not_before\"?,\"points\":[{\"of\",\"words\"}],\"more\"}")]
pub struct Explain {
    /// The task's key, or the name that it was given
    key: TaskKey,

    #[command(flatten)]
    connect: Connect,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub async fn run(self) -> anyhow::Result<()> {
        let explanation = self
            .connect
            .with(async |client| {
                // Its whole key, and an error with the next step.
                let key = ask::task(client, &self.key).await?.key;
                anyhow::Ok(client.explain(&key).await?)
            })
            .await?;
        let mut output = Output::new();
        if self.json {
            output.json(&Explained::of(&explanation))?;
        } else {
            lines(&explanation).iter().try_for_each(|line| output.line(line))?;
        }
        output.flush()
    }
}

fn lines(explanation: &Explanation) -> Vec<String> {
    let Explanation { key, status, because, not_before, points, more } = explanation;
    let mut lines = vec![format!("{key} is {status}: {because}")];
    lines.extend(not_before.map(|at| format!("  not before {}", time::local(at))));
    let width = points.iter().map(|point| point.of.chars().count()).max().unwrap_or_default();
    lines.extend(points.iter().map(|point| format!("  {:<width$}  {}", point.of, point.words)));
    lines.extend((*more > 0).then(|| format!("  and {more} more")));
    lines
}
