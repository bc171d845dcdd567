//! `headwater bench`: one file per scenario, and what they share.

mod append;
mod figures;
mod history;
mod limits;
mod options;
mod recovery;
mod scheduler;
mod store;

/// Measure this machine
///
/// Each scenario starts a scheduler of its own, as a process, on a fresh store, and removes the store
/// afterwards.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Append(append::Append),
    Recovery(recovery::Recovery),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Append(append) => append.run().await,
            Command::Recovery(recovery) => recovery.run().await,
        }
    }
}
