//! `headwater log restore`.

use std::path::PathBuf;

use super::copied::Made;
use super::whole::copy_whole;

/// Put a backup into the place of a store, checked from its first byte to its last.
///
/// All of the backup is copied, and the copy is read through as by `headwater log verify`, and folded as by a
/// start, before it gets its name: so what is there then is whole. A directory that holds a store already is
/// left alone. A backup that is damaged is refused; `headwater log repair` makes one of all that is whole in
/// it. Records that were lost when the backup was made stay lost, and are named.
///
/// Start a scheduler on it as ever. Clients and workers of the store that it was made from see that their log
/// went back: they have read, or were acknowledged, what is not there any more.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater log restore /backups/monday
  headwater log restore /backups/monday --data /var/lib/headwater --json

With --json, it prints one object, as `headwater log backup` does:
  {\"restored\":DIR,\"seq\",\"epoch\",\"digest\",\"logs\",\"records\",\"bytes\",\"snapshots\":[SEQ],\"lost\":[…],\"seconds\"}")]
pub struct Restore {
    /// The directory of the backup
    backup: PathBuf,

    /// The directory that a scheduler is to keep its log in; it must not be there, or be empty
    #[arg(long, value_name = "DIR", default_value = "./headwater-data")]
    data: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub async fn run(self) -> anyhow::Result<()> {
        let copied = copy_whole(&self.backup, &self.data).await?;
        copied.print(self.json, Made::Restored, &self.data)
    }
}
