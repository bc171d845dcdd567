//! `headwater log backup`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::copied::{Copied, Made};
use super::live::Live;
use super::whole::copy_whole;
use crate::cli::connect::{ADDRESS, Connect};
use crate::cli::signals::Signals;
use crate::log::copy::CopyError;
use crate::log::{NewDir, OpenError};
use crate::rows::time::duration;

/// Copy all that a scheduler has stored to a new directory, while it runs.
///
/// The copy holds all logs up to one commit, byte for byte: the newest that was durable when the copy began.
/// All that was acknowledged before is in it. The scheduler does not stand still for it; it is read as by
/// every reader. With --data, the store of a scheduler that does not run is copied and checked.
///
/// The copy is a store like every other: `headwater log verify --data DEST` reads it, `headwater log restore`
/// puts it back, and `headwater scheduler --data DEST` would serve it (and then it is no backup any more). It
/// is made as `DEST.unfinished`, and gets its name when all of it is on the disk. What a backup that was cut
/// off has left is no store, and the next one to the same place replaces it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater log backup /backups/monday
  headwater log backup /backups/monday --connect 10.0.0.5:8786 --token-file token --json
  headwater log backup /backups/monday --data /var/lib/headwater

With --json, it prints one object:
  {\"backup\":DEST,\"seq\",\"epoch\",\"digest\",\"logs\",\"records\",\"bytes\",\"snapshots\":[SEQ],
   \"lost\":[{\"log\",\"from\",\"to\",\"why\"}],\"seconds\"}    lost is what was lost before, and is lost in the copy")]
pub struct Backup {
    /// The directory to make; it must not be there, or be empty
    dest: PathBuf,

    /// Where the scheduler listens [default: 127.0.0.1:8786]
    #[arg(long, value_name = "HOST:PORT", env = "HEADWATER_CONNECT", conflicts_with = "data")]
    connect: Option<String>,

    /// The directory of a store that no scheduler has, instead
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// A file that holds the cluster's token
    #[arg(long, value_name = "FILE", env = "HEADWATER_TOKEN_FILE")]
    token_file: Option<PathBuf>,

    /// How long to wait for the scheduler, at first and whenever nothing comes from it
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    connect_timeout: Duration,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub async fn run(self) -> anyhow::Result<()> {
        let copied = match &self.data {
            Some(data) => copy_whole(data, &self.dest).await.map_err(|error| or_connect(error, data))?,
            None => self.of_running().await?,
        };
        copied.print(self.json, Made::Backup, &self.dest)
    }

    async fn of_running(&self) -> anyhow::Result<Copied> {
        let mut signals = Signals::listen()?;
        let connect = Connect {
            connect: self.connect.clone().unwrap_or_else(|| ADDRESS.to_owned()),
            token_file: self.token_file.clone(),
            connect_timeout: self.connect_timeout,
        };
        let new = NewDir::begin(&self.dest)?;
        let copy = connect.with(async |client| {
            let (address, patience) = (connect.connect.as_str(), self.connect_timeout);
            Live { client, address, patience, new: &new }.copy().await
        });
        let copied = tokio::select! {
            copied = copy => copied?,
            () = signals.next() => anyhow::bail!("interrupted: no backup was made"),
        };
        let last = copied.last;
        tokio::task::spawn_blocking(move || new.finish(last)).await.context("the copy's end")??;
        Ok(copied)
    }
}

/// A store that somebody has is copied another way.
fn or_connect(error: anyhow::Error, data: &Path) -> anyhow::Error {
    match error.downcast_ref::<CopyError>() {
        Some(CopyError::NotHeld(OpenError::HeldByAnotherProcess { .. })) => anyhow::anyhow!(
            "the store {} is in use: for a backup while its scheduler runs, say where that listens, with --connect, \
             instead of --data",
            data.display()
        ),
        _ => error,
    }
}
