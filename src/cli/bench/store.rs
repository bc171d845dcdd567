//! The store that a scenario runs on.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The directory of a store, which goes when this does.
pub struct Store(PathBuf);

impl Store {
    /// Makes it.
    pub fn make(dir: PathBuf) -> anyhow::Result<Store> {
        std::fs::create_dir(&dir).with_context(|| {
            format!("{} cannot be made: give --data a directory that is not there", dir.display())
        })?;
        Ok(Store(dir))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(dir = %self.0.display(), %error, "the store of the bench is left behind");
        }
    }
}
