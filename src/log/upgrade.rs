//! The version of a store's format, and the way from an older one to this build's.
//!
//! Before an older store is changed, all of it is copied to `backup-of-version-N` in its own directory,
//! and the copy is whole and durable: it gets its name last. Then the steps from version to version run, and
//! the new version is put down with the last of them. A start that was cut off anywhere finds an older
//! store and begins again, with the backup that is there. This module names no engine.
//!
//! | from | to | the step |
//! |---|---|---|
//! | 1 | 2 | nothing is rewritten: batches of version 1 are read as they are |
//! | 2 | 3 | nothing is rewritten: what version 3 adds, version 2 does not have |
//! | 3 | 4 | nothing is rewritten: the write-ahead log of version 4 begins empty |
//! | 4 | 5 | nothing is rewritten: what snapshots of version 4 do not say of what channels keep is told from their records |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{OpenError, directory};
use crate::protocol::version::STORE_VERSION;

/// How a store's version compares with this build's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// It is the same.
    Ours,
    /// The store is older, and can be upgraded.
    Older(u16),
}

/// Whether a store of this version can be used as it is, or once it is upgraded.
///
/// # Errors
/// [`OpenError::NewerFormat`]; [`OpenError::Damaged`] for a version that never was.
pub(super) fn check(dir: &Path, found: u64) -> Result<Age, OpenError> {
    match u16::try_from(found).unwrap_or(u16::MAX) {
        STORE_VERSION => Ok(Age::Ours),
        0 => {
            let why = "it says that its version is 0, which never was".to_owned();
            Err(OpenError::Damaged { dir: dir.to_owned(), why })
        }
        older @ ..STORE_VERSION => Ok(Age::Older(older)),
        found => Err(OpenError::NewerFormat { found, ours: STORE_VERSION }),
    }
}

/// Keeps a copy of the whole store of an older version in its own directory, and answers where. Nobody
/// may have the store open.
///
/// # Errors
/// When there is no room, or the system refuses; the store is as it was.
pub(super) fn back_up(dir: &Path, version: u16) -> io::Result<PathBuf> {
    let backup = dir.join(format!("backup-of-version-{version}"));
    if backup.exists() {
        return Ok(backup);
    }
    let unfinished = dir.join(format!("backup-of-version-{version}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir(&unfinished)?;
    for part in directory::PARTS {
        directory::copy_entry(&dir.join(part), &unfinished.join(part))?;
    }
    directory::sync_tree(&unfinished)?;
    fs::rename(&unfinished, &backup)?;
    directory::sync(dir)?;
    Ok(backup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_version_is_used_as_it_is() {
        let dir = Path::new("store");
        assert_eq!(check(dir, u64::from(STORE_VERSION)).unwrap(), Age::Ours);
        for older in 1..STORE_VERSION {
            assert_eq!(check(dir, u64::from(older)).unwrap(), Age::Older(older));
        }
        for newer in [u64::from(STORE_VERSION) + 1, 70_000] {
            let error = check(dir, newer).unwrap_err().to_string();
            let newer = newer.min(65_535);
            let words = format!("store version {newer} is newer than {STORE_VERSION}: run a newer");
            assert!(error.starts_with(&words), "{error}");
        }
        assert!(matches!(check(dir, 0), Err(OpenError::Damaged { .. })));
    }

    #[test]
    fn a_backup_that_was_cut_off_is_made_anew_and_one_that_is_whole_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        fs::create_dir_all(dir.join("store")).unwrap();
        fs::write(dir.join("store/db"), "old").unwrap();
        fs::create_dir_all(dir.join("backup-of-version-1.unfinished/store/left")).unwrap();
        let backup = back_up(dir, 1).unwrap();
        assert_eq!(fs::read_to_string(backup.join("store/db")).unwrap(), "old");
        assert!(!dir.join("backup-of-version-1.unfinished").exists() && !backup.join("store/left").exists());
        fs::write(dir.join("store/db"), "half upgraded").unwrap();
        back_up(dir, 1).unwrap();
        assert_eq!(fs::read_to_string(backup.join("store/db")).unwrap(), "old");
    }
}
