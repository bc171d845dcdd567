//! `headwater bench`: one file per scenario, and what they share.

mod figures;
mod history;
mod recovery;
mod scheduler;

/// Measure this machine
///
/// Each scenario starts a scheduler of its own, as a process, on a fresh store, and removes the store
/// afterwards.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Recovery(recovery::Recovery),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Recovery(recovery) => recovery.run().await,
        }
    }
}
