//! `headwater log …`: see the log itself.

mod info;

/// See the log and the cluster
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Info(info::Info),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Info(info) => info.run().await,
        }
    }
}
