//! `headwater task wait`.

use std::time::Duration;

use anyhow::anyhow;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::standing::Standing;
use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::client::Client;
use crate::protocol::TaskKey;
use crate::protocol::task::{Outcome, TaskStatus};
use crate::rows::time;

/// Wait until tasks have ended.
///
/// Prints one line per task, when it ends. The exit code is 0 when all of them have finished, and 1 when one has failed, was
/// cancelled, or did not end in time: the last line on stderr says how many.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater task wait nightly-build && echo built
  headwater task wait add-0193f1c2a4d87b3e9f00c1d2e3f40516 nightly-build --first
  headwater task wait nightly-build --timeout 10m --json

With --json, each line is one object: {\"key\",\"status\"}")]
pub struct Wait {
    /// The tasks' keys, or the names that they were given
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<TaskKey>,

    /// Wait for the first that ends, and no longer
    #[arg(long)]
    first: bool,

    /// Wait no longer than this
    #[arg(long, value_name = "D", value_parser = time::duration)]
    timeout: Option<Duration>,

    #[command(flatten)]
    connect: Connect,

    /// Print one JSON object per task and line
    #[arg(long)]
    json: bool,
}

impl Wait {
    pub async fn run(self) -> anyhow::Result<()> {
        let (mut output, mut counts) = (Output::new(), Counts::default());
        self.connect
            .with(async |client| {
                let wait = self.wait(client, &mut output, &mut counts);
                match self.timeout {
                    Some(timeout) => tokio::time::timeout(timeout, wait).await.unwrap_or(Ok(())),
                    None => wait.await,
                }
            })
            .await?;
        let wanted = if self.first { 1 } else { self.keys.len() };
        match (wanted - counts.ended, counts.ended - counts.finished) {
            (0, 0) => Ok(()),
            (0, failed) => {
                Err(anyhow!("{failed} of {wanted} did not finish: `headwater task show KEY` says why"))
            }
            (open, _) => Err(anyhow!(
                "{open} of {wanted} did not end within {:?}: they go on, wait again or for longer",
                self.timeout.unwrap_or_default()
            )),
        }
    }

    async fn wait(&self, client: &Client, output: &mut Output, counts: &mut Counts) -> anyhow::Result<()> {
        let mut waiting = FuturesUnordered::new();
        for key in &self.keys {
            // Its whole key, and an error with the next step.
            let key = ask::task(client, key).await?.key;
            let watch = client.connection().watch(key.id);
            waiting.push(async move { (key, watch.await) });
        }
        let all = waiting.len();
        let mut progress = Progress::begin("tasks");
        progress.draw(0, Some(all), format_args!("0 of {all} have ended"));
        while let Some((key, outcome)) = waiting.next().await {
            let status = match outcome? {
                Outcome::Finished(_) | Outcome::Stored(_) => TaskStatus::Finished,
                Outcome::Failed(_) => TaskStatus::Error,
                Outcome::Cancelled => TaskStatus::Cancelled,
            };
            Standing { key: &key, status }.print(output, self.json)?;
            counts.ended += 1;
            counts.finished += usize::from(status == TaskStatus::Finished);
            progress.draw(counts.ended, Some(all), format_args!("{} of {all} have ended", counts.ended));
            if self.first {
                break;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Counts {
    ended: usize,
    finished: usize,
}
