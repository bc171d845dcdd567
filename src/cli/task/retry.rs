//! `headwater task retry`.

use super::standing::Standing;
use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::TaskKey;

/// Try tasks again that have failed or were cancelled.
///
/// And with each those that it needs, near or far, and that have: as if none of their attempts had failed. Whoever
/// submitted them. What else had failed since it needed them stays as it is. What comes of it is on the channels that
/// have the task, and `headwater task wait` waits for it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater task retry nightly-build
  headwater task list --status error --json | jq -r .key | xargs headwater task retry

With --json, each line is one object: {\"key\",\"status\"}, where it stands now.")]
pub struct Retry {
    /// The tasks' keys, or the names that they were given
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<TaskKey>,

    #[command(flatten)]
    connect: Connect,

    /// Print one JSON object per task and line
    #[arg(long)]
    json: bool,
}

impl Retry {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut output = Output::new();
        self.connect
            .with(async |client| {
                for key in &self.keys {
                    // Its whole key, and an error with the next step.
                    let key = ask::task(client, key).await?.key;
                    client.retry(&key).await?;
                    let status = ask::task(client, &key).await?.status;
                    Standing { key: &key, status }.print(&mut output, self.json)?;
                }
                anyhow::Ok(())
            })
            .await
    }
}
