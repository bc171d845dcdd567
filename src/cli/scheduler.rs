//! `headwater scheduler`.

use std::time::Duration;

use super::serve::Serve;
use super::signals::Signals;

/// Run a scheduler.
///
/// It keeps the log, gives tasks to workers, and serves clients. On start it recovers from the log in its
/// directory and says what it found. After SIGKILL or a crash, start it again: workers and clients come back by
/// themselves, and nothing acknowledged is lost.
///
/// SIGINT (Ctrl-C) and SIGTERM stop it in order: what it has accepted becomes durable and is acknowledged,
/// everyone is told that it will be back, and it ends with exit code 0; a peer that takes nothing is waited
/// for 5 s. A second signal ends it at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater scheduler
  headwater scheduler --listen 0.0.0.0:8786 --token-file token --data /var/lib/headwater")]
pub struct Scheduler {
    #[command(flatten)]
    serve: Serve,

    /// Stop when stdin is closed: whoever holds its other end may die in any way
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

impl Scheduler {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        if self.until_stdin_closes {
            signals.or_stdin_asks();
        }
        self.serve.run(self.serve.options()?, signals, Duration::ZERO, |_| Vec::new()).await
    }
}
