//! `headwater scheduler`.

use super::serve::Serve;

/// Run a scheduler.
///
/// It keeps the log, gives tasks to workers, and serves clients. On start it recovers from the log in its
/// directory and says what it found. SIGINT (Ctrl-C) and SIGTERM stop it in order; after SIGKILL or a
/// crash, start it again: workers and clients come back by themselves, and nothing acknowledged is lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater scheduler
  headwater scheduler --listen 0.0.0.0:8786 --token-file token --data /var/lib/headwater")]
pub struct Scheduler {
    #[command(flatten)]
    serve: Serve,
}

impl Scheduler {
    pub async fn run(self) -> anyhow::Result<()> {
        self.serve.run(self.serve.options()?).await
    }
}
