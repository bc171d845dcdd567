//! The store that a scenario runs on.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The directory of a store, which goes when this does.
#[derive(Debug)]
pub struct Store(PathBuf);

impl Store {
    /// Makes it.
    pub fn make(dir: PathBuf) -> anyhow::Result<Store> {
        fs::create_dir(&dir).with_context(|| {
            format!("{} cannot be made: give --data a directory that is not there", dir.display())
        })?;
        Ok(Store(dir))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// How many bytes of the disk it takes.
    pub fn disk_bytes(dir: &Path) -> u64 {
        let sizes = files(dir).into_iter().flatten().filter_map(|file| Some(file.metadata().ok()?.len()));
        sizes.sum()
    }

    /// Lets the system forget what it keeps in memory of the files, so that they are read from the disk.
    pub fn forget_pages(&self) -> anyhow::Result<()> {
        for path in files(&self.0)? {
            let file = File::open(path)?;
            // What is not written yet cannot be forgotten.
            file.sync_all()?;
            #[cfg(target_os = "linux")]
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(dir = %self.0.display(), %error, "the store of the bench is left behind");
        }
    }
}

/// All files below a folder.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_all_that_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::make(dir.path().join("store")).unwrap();
        fs::create_dir(store.dir().join("inner")).unwrap();
        fs::write(store.dir().join("inner/file"), [0; 10]).unwrap();
        assert_eq!(Store::disk_bytes(store.dir()), 10);
        store.forget_pages().unwrap();
        assert!(Store::make(store.dir().to_owned()).is_err(), "it is there");
        drop(store);
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }
}
