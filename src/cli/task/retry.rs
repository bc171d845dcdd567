//! `headwater task retry`.

use anyhow::ensure;

use super::standing::Standing;
use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::{Output, note};
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
                let mut refused = 0;
                for key in &self.keys {
                    // Its whole key, and an error with the next step.
                    let tried = async {
                        let key = ask::task(client, key).await?.key;
                        client.retry(&key).await?;
                        ask::task(client, &key).await
                    };
                    match tried.await {
                        Ok(info) => {
                            Standing { key: &info.key, status: info.status }.print(&mut output, self.json)?;
                        }
                        Err(error) if self.keys.len() == 1 => return Err(error),
                        // The others are tried all the same.
                        Err(error) => {
                            refused += 1;
                            note(format_args!("{error}"));
                        }
                    }
                }
                ensure!(refused == 0, "{refused} of {} are not tried again, as said above", self.keys.len());
                anyhow::Ok(())
            })
            .await
    }
}
