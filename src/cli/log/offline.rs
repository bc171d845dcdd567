//! A store that is read without a scheduler: on a copy, so that looking at it does not change it.

use std::path::{Path, PathBuf};

use crate::cli::signals::Signals;
use crate::log::copy::{self, StoreCopy};
use crate::log::{OpenError, Opened, Purpose, SledLog, SledOptions};

#[derive(Debug, clap::Args)]
pub struct Offline {
    /// The directory that a scheduler keeps its log in; no scheduler may have it
    #[arg(long, value_name = "DIR", default_value = "./headwater-data")]
    pub data: PathBuf,
}

/// What opening the copy gave. The words of an error are those of the original.
pub type Found = Result<(SledLog, Opened), OpenError>;

impl Offline {
    /// Copies the store, opens the copy, does the work with it on a thread of its own, and removes the
    /// copy: also after an error, and when a signal comes.
    pub async fn with_copy<T: Send + 'static>(
        &self,
        work: impl FnOnce(Found) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let mut signals = Signals::listen()?;
        let place = StoreCopy::beside(&self.data)?;
        let (from, to) = (self.data.clone(), place.dir().to_owned());
        let work = tokio::task::spawn_blocking(move || {
            copy::copy(&from, &to)?;
            let options = SledOptions { purpose: Purpose::Examine, ..SledOptions::default() };
            work(SledLog::open(&to, options).map_err(|error| of_original(error, &from)))
        });
        tokio::select! {
            done = work => done?,
            () = signals.next() => anyhow::bail!("interrupted: what was read so far is not all"),
        }
    }
}

pub fn of_original(error: OpenError, dir: &Path) -> OpenError {
    let dir = dir.to_owned();
    match error {
        OpenError::HeldByAnotherProcess { .. } => OpenError::HeldByAnotherProcess { dir },
        OpenError::Io { why, .. } => OpenError::Io { dir, why },
        OpenError::Full { .. } => OpenError::Full { dir },
        OpenError::Damaged { why, .. } => OpenError::Damaged { dir, why },
        newer @ OpenError::NewerFormat { .. } => newer,
    }
}
