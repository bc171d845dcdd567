//! `headwater log …`: see the log itself: `info` asks a scheduler, the others read a store that none has.

mod dump;
mod info;
mod offline;
mod repair;
mod verify;

/// See the log and the cluster, check a store and repair it
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Info(info::Info),
    Verify(verify::Verify),
    Dump(dump::Dump),
    Repair(repair::Repair),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Info(info) => info.run().await,
            Command::Verify(verify) => verify.run().await,
            Command::Dump(dump) => dump.run().await,
            Command::Repair(repair) => repair.run().await,
        }
    }
}
