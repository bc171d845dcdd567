//! A copy of a store's directory, for those who want to read a store and not change it.
//!
//! Opening a store can change it: sled 0.34.7 zeroes segments of its file that it cannot read
//! (`src/pagecache/segment.rs`), which may be just what is to be looked at. So a store is examined on a
//! copy: made beside it, on the same filesystem, while its lock is held, and removed afterwards. Of the
//! original only the file `lock` is touched. This module names no engine's crate.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{OpenError, directory, space};

/// A directory for a copy of a store. It is removed when this is dropped.
#[derive(Debug)]
pub struct StoreCopy {
    dir: PathBuf,
}

/// Why a store was not copied, by what one can do about it.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Somebody has it, or its lock cannot be opened.
    #[error(transparent)]
    NotHeld(#[from] OpenError),
    /// There is none.
    #[error("there is no store in {dir}: name the directory that the scheduler keeps its log in")]
    NoStore {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// There is no room for the copy.
    #[error(
        "the disk of {dir} is full: a copy of the store needs {bytes} bytes beside it; free some space, \
         or copy the store to a larger disk and look at it there"
    )]
    Full {
        /// The store's directory.
        dir: PathBuf,
        /// The bytes of the store's files.
        bytes: u64,
    },
    /// The system refused a file or directory.
    #[error("the store {dir} cannot be copied: {why}")]
    Io {
        /// The store's directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        why: io::Error,
    },
}

impl StoreCopy {
    /// Makes an empty directory beside the one of a store.
    ///
    /// # Errors
    /// [`CopyError`]; nothing was made then.
    pub fn beside(store: &Path) -> Result<StoreCopy, CopyError> {
        must_be_store(store)?;
        let refused = |why| refused(store, 0, why);
        let full = store.canonicalize().map_err(refused)?;
        let name = full.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for number in 0u32.. {
            let dir = full.with_file_name(format!("{name}.copy-{}-{number}", std::process::id()));
            match fs::create_dir(&dir) {
                Ok(()) => return Ok(StoreCopy { dir }),
                // Left by a process that had this number before, or in use by another thread.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(refused(error)),
            }
        }
        Err(refused(io::ErrorKind::AlreadyExists.into()))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for StoreCopy {
    fn drop(&mut self) {
        if let Err(error) = directory::remove(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "the copy of the store is left behind");
        }
    }
}

/// Whether there is a store in this directory.
///
/// # Errors
/// [`CopyError::NoStore`].
pub fn must_be_store(dir: &Path) -> Result<(), CopyError> {
    match ["store", "head"].iter().any(|part| dir.join(part).exists()) {
        true => Ok(()),
        false => Err(CopyError::NoStore { dir: dir.to_owned() }),
    }
}

/// Copies all that a store consists of to a directory, while nobody else can have the store.
///
/// # Errors
/// [`CopyError`]; the copy may then be there in part.
pub fn copy(store: &Path, to: &Path) -> Result<(), CopyError> {
    let _lock = match directory::hold(store) {
        // On a disk that cannot be written nobody writes.
        Err(OpenError::Io { why, .. }) if why.kind() == io::ErrorKind::ReadOnlyFilesystem => None,
        held => Some(held?),
    };
    if let Ok(data) = File::open(store.join("store/db")) {
        directory::await_unlock(store, &data)?;
    }
    let mut parts = directory::PARTS.into_iter();
    let needed = parts.clone().try_fold(0, |sum, part| Ok(sum + directory::bytes_of(&store.join(part))?));
    let needed = needed.map_err(|why| refused(store, 0, why))?;
    let copied = parts.try_for_each(|part| directory::copy_entry(&store.join(part), &to.join(part)));
    copied.map_err(|why| refused(store, needed, why))
}

fn refused(store: &Path, bytes: u64, why: io::Error) -> CopyError {
    let dir = store.to_owned();
    match space::is_want_of_room(&why) {
        true => CopyError::Full { dir, bytes },
        false => CopyError::Io { dir, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_with_what_is_needed() {
        let words = refused(Path::new("data"), 4096, io::ErrorKind::StorageFull.into()).to_string();
        assert!(
            words.starts_with("the disk of data is full: a copy of the store needs 4096 bytes"),
            "{words}"
        );
    }

    #[test]
    fn a_copy_is_beside_the_store_and_goes_when_it_is_dropped() {
        let parent = tempfile::tempdir().unwrap();
        let store = parent.path().join("data");
        fs::create_dir_all(store.join("store/blobs")).unwrap();
        fs::write(store.join("store/db"), "bytes").unwrap();
        fs::write(store.join("head"), "head").unwrap();
        let made = StoreCopy::beside(&store).unwrap();
        let other = StoreCopy::beside(&store).unwrap();
        assert_ne!(made.dir(), other.dir());
        copy(&store, made.dir()).unwrap();
        assert_eq!(fs::read_to_string(made.dir().join("store/db")).unwrap(), "bytes");
        assert_eq!(fs::read_to_string(made.dir().join("head")).unwrap(), "head");
        assert!(made.dir().join("store/blobs").is_dir());
        drop((made, other));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_place_without_a_store_is_named_and_left_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let error = StoreCopy::beside(parent.path()).unwrap_err();
        assert!(matches!(error, CopyError::NoStore { .. }), "{error}");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
