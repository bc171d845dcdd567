//! `headwater trace …`: traces of what is in the log.

mod export;

/// Export traces of what is in the log
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Export(export::Export),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Export(export) => export.run().await,
        }
    }
}
