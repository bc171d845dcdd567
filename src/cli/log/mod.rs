//! `headwater log …`: see the log itself: `info` asks a scheduler, `backup` copies what one has or the store
//! that none has, the others read a store that none has.

mod backup;
mod copied;
mod dump;
mod info;
mod known;
mod live;
mod lost;
mod offline;
mod repair;
mod restore;
mod verify;
mod whole;

/// See the log and the cluster, back a store up, check and repair it
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Info(info::Info),
    Verify(verify::Verify),
    Dump(dump::Dump),
    Repair(repair::Repair),
    Backup(backup::Backup),
    Restore(restore::Restore),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Info(info) => info.run().await,
            Command::Verify(verify) => verify.run().await,
            Command::Dump(dump) => dump.run().await,
            Command::Repair(repair) => repair.run().await,
            Command::Backup(backup) => backup.run().await,
            Command::Restore(restore) => restore.run().await,
        }
    }
}
