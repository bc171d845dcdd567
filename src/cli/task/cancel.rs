//! `headwater task cancel`.

use super::standing::Standing;
use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::TaskKey;

/// Cancel tasks.
///
/// Whoever submitted them. A task that waits never runs; the attempt of one that runs is aborted, and what comes of it is
/// dropped: an async function ends where it waits, one that is not goes on to its end unless it looks. A program (`headwater
/// submit`) gets SIGTERM, with all that it has started, and SIGKILL after its grace. What needs the result of a cancelled
/// task fails. A task that has ended stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater task cancel nightly-build
  headwater task cancel add-0193f1c2a4d87b3e9f00c1d2e3f40516 add-0193f1c2a4d87b3e9f00c1d2e3f40517 --json

With --json, each line is one object: {\"key\",\"status\"}, where it stands now.")]
pub struct Cancel {
    /// The tasks' keys, or the names that they were given
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<TaskKey>,

    #[command(flatten)]
    connect: Connect,

    /// Print one JSON object per task and line
    #[arg(long)]
    json: bool,
}

impl Cancel {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut output = Output::new();
        self.connect
            .with(async |client| {
                for key in &self.keys {
                    // Its whole key, and an error with the next step.
                    let key = ask::task(client, key).await?.key;
                    let status = client.cancel(&key).await?;
                    Standing { key: &key, status }.print(&mut output, self.json)?;
                }
                anyhow::Ok(())
            })
            .await
    }
}
