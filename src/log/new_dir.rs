//! A store's directory that is being made beside its place: it gets its name when all of it is durable.
//!
//! Whatever cuts the making off, nothing that looks whole is left: `DIR.unfinished` is removed, or lies
//! there until the next try, which begins it anew. While it is made, a lock keeps others from it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::head::{Found, HeadFile};
use super::{Last, OpenError, directory, space};

/// What is behind the name while it is made.
const UNFINISHED: &str = "unfinished";

/// The file in it that is locked for as long as it is made.
const LOCK: &str = "making";

/// A directory that is being made. Dropped before it is finished, it is removed.
#[derive(Debug)]
pub struct NewDir {
    target: PathBuf,
    dir: PathBuf,
    lock: Option<File>,
}

/// Why a directory was not made, by what one can do about it. Nothing that looks whole is left.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// There is a store in its place.
    #[error("{dir} holds a store already: name another directory, or move that one away first")]
    HoldsStore {
        /// Where it was to be made.
        dir: PathBuf,
    },
    /// There is something else in its place.
    #[error("{dir} exists and is not an empty directory: name one that is empty, or not there yet")]
    NotEmpty {
        /// Where it was to be made.
        dir: PathBuf,
    },
    /// A file system is mounted in its place.
    #[error(
        "{dir} is where a file system is mounted, and cannot be replaced: name a directory in it that is not there yet"
    )]
    MountPoint {
        /// Where it was to be made.
        dir: PathBuf,
    },
    /// Somebody else makes it.
    #[error("{dir} is being made by another process: wait for that one, or name another directory")]
    Busy {
        /// Where it was to be made.
        dir: PathBuf,
    },
    /// There is no room for it.
    #[error(
        "the disk of {dir} is full: free some space, or name a directory on a larger disk, and begin again"
    )]
    Full {
        /// Where it was to be made.
        dir: PathBuf,
    },
    /// The system refused a file or directory.
    #[error("{dir} cannot be written: {why}")]
    Io {
        /// Where it was to be made.
        dir: PathBuf,
        /// What the system said.
        #[source]
        why: io::Error,
    },
    /// What was put into it does not make up the store that it should.
    #[error("{dir} was not made: {why}")]
    Wrong {
        /// Where it was to be made.
        dir: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl MakeError {
    /// What the system said about something in a directory.
    pub fn io(dir: &Path, why: io::Error) -> MakeError {
        let dir = dir.to_owned();
        // The largest file that is allowed is a disk's end, too, for whoever meets it.
        match space::is_want_of_room(&why) || why.kind() == io::ErrorKind::FileTooLarge {
            true => MakeError::Full { dir },
            false => MakeError::Io { dir, why },
        }
    }
}

impl NewDir {
    /// Makes an empty directory `target.unfinished`, anew if one was left behind.
    ///
    /// # Errors
    /// [`MakeError`].
    pub fn begin(target: &Path) -> Result<NewDir, MakeError> {
        // Without the slash that may stand behind it; and where it is, not by what other name.
        let target = target.canonicalize().unwrap_or_else(|_| target.components().collect());
        let Some(name) = target.file_name() else { return Err(MakeError::NotEmpty { dir: target }) };
        if ["store", "head"].iter().any(|part| target.join(part).exists()) {
            return Err(MakeError::HoldsStore { dir: target });
        }
        let mut name = name.to_owned();
        name.push(".");
        name.push(UNFINISHED);
        let dir = target.with_file_name(name);
        let failed = |why| MakeError::io(&target, why);
        if !is_free(&target).map_err(failed)? {
            return Err(MakeError::NotEmpty { dir: target });
        }
        // Before anything is copied to the disk that it lies on, which is another one.
        if is_mount_point(&target).map_err(failed)? {
            return Err(MakeError::MountPoint { dir: target });
        }
        fs::create_dir_all(&dir).map_err(failed)?;
        let lock = File::options().write(true).create(true).truncate(false).open(dir.join(LOCK));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(MakeError::Busy { dir: target }),
            Err(fs::TryLockError::Error(why)) => return Err(failed(why)),
        }
        let new = NewDir { target, dir, lock: Some(lock) };
        new.clear()?;
        Ok(new)
    }

    /// Where it is while it is made.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it will be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Removes all that is in it, to begin anew.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn clear(&self) -> Result<(), MakeError> {
        let clear = || {
            for entry in fs::read_dir(&self.dir)? {
                let path = entry?.path();
                if path.is_dir() {
                    directory::remove(&path)?;
                } else if path != self.dir.join(LOCK) {
                    fs::remove_file(path)?;
                }
            }
            Ok(())
        };
        clear().map_err(|why| self.failed(why))
    }

    /// Makes all of it durable and gives it its name. In it is a store that nobody has open any more, whose
    /// newest commit this is.
    ///
    /// # Errors
    /// [`MakeError`]; it is removed then.
    pub fn finish(mut self, last: Last) -> Result<(), MakeError> {
        if let Ok(data) = File::open(self.dir.join("store/db")) {
            directory::await_unlock(&self.dir, &data).map_err(|error| match error {
                OpenError::Io { why, .. } => self.failed(why),
                other => MakeError::Wrong { dir: self.target.clone(), why: other.to_string() },
            })?;
        }
        self.place(last).map_err(|why| match why.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
                MakeError::NotEmpty { dir: self.target.clone() }
            }
            // A part of the same file system that is mounted there is found only now.
            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => {
                MakeError::MountPoint { dir: self.target.clone() }
            }
            _ => self.failed(why),
        })
    }

    fn place(&mut self, last: Last) -> io::Result<()> {
        let (mut head, found) = HeadFile::open(&self.dir.join("head"))?;
        if !matches!(found, Found::Last(known, _) if known == last) {
            head.write(last)?;
        }
        drop(head);
        directory::sync_tree(&self.dir)?;
        // An empty directory gives way. The lock goes only behind it: others would clear what is here.
        fs::rename(&self.dir, &self.target)?;
        self.lock = None;
        fs::remove_file(self.target.join(LOCK))?;
        directory::sync(&self.target)?;
        match self.target.canonicalize()?.parent() {
            Some(parent) => directory::sync(parent),
            None => Ok(()),
        }
    }

    fn failed(&self, why: io::Error) -> MakeError {
        MakeError::io(&self.target, why)
    }
}

impl Drop for NewDir {
    fn drop(&mut self) {
        if self.lock.is_some()
            && let Err(error) = directory::remove(&self.dir)
        {
            tracing::warn!(dir = %self.dir.display(), %error, "an unfinished directory is left behind");
        }
    }
}

/// Whether nothing is there, or an empty directory.
fn is_free(target: &Path) -> io::Result<bool> {
    match fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && target.exists() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether it is there, and on another file system than the directory that it lies in.
#[cfg(unix)]
fn is_mount_point(target: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    match (target.exists(), target.parent()) {
        (true, Some(parent)) => Ok(fs::metadata(target)?.dev() != fs::metadata(parent)?.dev()),
        _ => Ok(false),
    }
}

#[cfg(not(unix))]
fn is_mount_point(_: &Path) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Digest, Epoch, Seq};

    const LAST: Last = Last { seq: Seq(7), epoch: Epoch(2), digest: Digest(5) };

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn it_gets_its_name_when_it_is_whole() {
        let parent = tempfile::tempdir().unwrap();
        for target in ["new", "empty/"] {
            let target = parent.path().join(target);
            if target.to_string_lossy().ends_with('/') {
                fs::create_dir(&target).unwrap();
            }
            let new = NewDir::begin(&target).unwrap();
            fs::create_dir(new.dir().join("store")).unwrap();
            assert!(!target.join("store").exists());
            new.finish(LAST).unwrap();
            assert_eq!(names(&target), ["head", "store"]);
            let found = HeadFile::open(&target.join("head")).unwrap().1;
            assert!(matches!(found, Found::Last(LAST, _)), "{found:?}");
        }
        assert_eq!(names(parent.path()), ["empty", "new"]);
    }

    #[test]
    fn what_is_given_up_is_removed_and_what_was_cut_off_is_begun_anew() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("new");
        let cut_off = parent.path().join("new.unfinished");
        fs::create_dir_all(cut_off.join("store")).unwrap();
        fs::write(cut_off.join("head"), "half").unwrap();
        let new = NewDir::begin(&target).unwrap();
        assert_eq!((new.dir(), names(new.dir())), (&*cut_off, vec![LOCK.to_owned()]));
        let error = NewDir::begin(&target).unwrap_err();
        assert!(matches!(error, MakeError::Busy { .. }), "{error}");
        drop(new);
        assert_eq!(names(parent.path()), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_put_over_what_is_there() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("new");
        for (name, is_store) in [("file", false), ("head", true), ("store", true)] {
            fs::create_dir(&target).unwrap();
            fs::write(target.join(name), "x").unwrap();
            let error = NewDir::begin(&target).unwrap_err();
            assert_eq!(matches!(error, MakeError::HoldsStore { .. }), is_store, "{error}");
            assert_eq!(matches!(error, MakeError::NotEmpty { .. }), !is_store, "{error}");
            fs::remove_dir_all(&target).unwrap();
        }
        fs::write(&target, "a file").unwrap();
        assert!(matches!(NewDir::begin(&target), Err(MakeError::NotEmpty { .. })));
        assert!(matches!(NewDir::begin(Path::new("/")), Err(MakeError::NotEmpty { .. })));
        fs::remove_file(&target).unwrap();
        // Also what came meanwhile.
        let new = NewDir::begin(&target).unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(target.join("file"), "x").unwrap();
        assert!(matches!(new.finish(LAST), Err(MakeError::NotEmpty { .. })));
        assert_eq!((names(parent.path()), names(&target)), (vec!["new".to_owned()], vec!["file".to_owned()]));
    }

    #[cfg(unix)]
    #[test]
    fn an_empty_directory_may_be_named_in_any_way() {
        let parent = tempfile::tempdir().unwrap();
        let (target, link) = (parent.path().join("empty"), parent.path().join("link"));
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for name in [link.clone(), target.join(".")] {
            NewDir::begin(&name).unwrap().finish(LAST).unwrap();
            assert_eq!(names(&target), ["head"]);
            fs::remove_file(target.join("head")).unwrap();
        }
        assert_eq!(names(parent.path()), ["empty", "link"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_mounted_file_system_is_seen_to_be_one() {
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        assert!(!is_mount_point(Path::new("/")).unwrap());
        assert!(!is_mount_point(tempfile::tempdir().unwrap().path()).unwrap());
    }

    #[test]
    fn a_full_disk_is_named() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
            let words = MakeError::io(Path::new("there"), kind.into()).to_string();
            assert!(words.starts_with("the disk of there is full: free some space"), "{words}");
        }
    }
}
