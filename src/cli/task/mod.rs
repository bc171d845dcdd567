//! `headwater task …`: see tasks, and why they do not run, wait for them, cancel them, try them again.

mod cancel;
mod explain;
mod list;
mod retry;
mod show;
mod standing;
mod wait;

/// See tasks, wait for them, cancel them, try them again
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(list::List),
    Show(show::Show),
    Explain(explain::Explain),
    Wait(wait::Wait),
    Cancel(cancel::Cancel),
    Retry(retry::Retry),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::List(list) => list.run().await,
            Command::Show(show) => show.run().await,
            Command::Explain(explain) => explain.run().await,
            Command::Wait(wait) => wait.run().await,
            Command::Cancel(cancel) => cancel.run().await,
            Command::Retry(retry) => retry.run().await,
        }
    }
}
