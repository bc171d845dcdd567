//! A store's directory: who holds it, and that its files and their names are durable.
//!
//! It knows which files there are, and not what is in them; it names no engine's crate.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use super::OpenError;

/// How long sled is waited for to let its file go, 5 s in all: longer than any write of its takes.
const UNLOCK_TRIES_MAX: u32 = 500;
const UNLOCK_PAUSE: Duration = Duration::from_millis(10);

/// How often a lock that somebody holds is tried, for 1 s in all: a process that was killed lets go of it only when
/// the system has put it away, and a child that is being started holds what its parent has.
const HOLD_TRIES_MAX: u32 = 100;
const HOLD_PAUSE: Duration = Duration::from_millis(10);

/// Makes the directory if need be, and holds its lock: nobody else has the store then.
pub(super) fn hold(dir: &Path) -> Result<File, OpenError> {
    let refused = |why: io::Error| OpenError::io(dir, why);
    fs::create_dir_all(dir).map_err(refused)?;
    let lock =
        File::options().write(true).create(true).truncate(false).open(dir.join("lock")).map_err(refused)?;
    for _ in 0..HOLD_TRIES_MAX {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(HOLD_PAUSE),
            Err(fs::TryLockError::Error(why)) => return Err(refused(why)),
        }
    }
    Err(OpenError::HeldByAnotherProcess { dir: dir.to_owned() })
}

/// Waits until sled's own lock on its file is free.
pub(super) fn await_unlock(dir: &Path, data: &File) -> Result<(), OpenError> {
    for _ in 0..UNLOCK_TRIES_MAX {
        match data.try_lock() {
            Ok(()) => return data.unlock().map_err(|why| OpenError::io(dir, why)),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(UNLOCK_PAUSE),
            Err(fs::TryLockError::Error(why)) => return Err(OpenError::io(dir, why)),
        }
    }
    Err(OpenError::HeldByAnotherProcess { dir: dir.to_owned() })
}

/// How many bytes are copied before it is told, 64 MiB: some tenths of a second of a disk.
const COPY_BYTES: u64 = 64 * 1024 * 1024;

/// What a store consists of, beside its lock.
pub(super) const PARTS: [&str; 3] = ["store", "head", "snapshots"];

/// Copies a file, or a directory with all that is in it, if there is one.
pub(super) fn copy_entry(from: &Path, to: &Path) -> io::Result<()> {
    copy_telling(from, to, &mut |_| {})
}

/// As [`copy_entry`], and tells of each part how many bytes it had.
pub(super) fn copy_telling(from: &Path, to: &Path, copied: &mut dyn FnMut(u64)) -> io::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    if !from.is_dir() {
        return copy_file(from, to, copied);
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        copy_telling(&from.join(&name), &to.join(&name), copied)?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, copied: &mut dyn FnMut(u64)) -> io::Result<()> {
    let (from, mut to) = (File::open(from)?, File::create(to)?);
    loop {
        // The system copies by itself from file to file, where it can.
        match io::copy(&mut (&from).take(COPY_BYTES), &mut to)? {
            0 => return to.set_permissions(from.metadata()?.permissions()),
            bytes => copied(bytes),
        }
    }
}

/// The bytes of a file, or of all files in a directory. What is not there has none, nor what goes meanwhile.
pub(super) fn bytes_of(path: &Path) -> io::Result<u64> {
    let bytes = |path: &Path| -> io::Result<u64> {
        match fs::metadata(path)? {
            found if !found.is_dir() => Ok(found.len()),
            _ => fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + bytes_of(&entry?.path())?)),
        }
    };
    match bytes(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        found => found,
    }
}

/// How often a removal is tried: an engine's threads may still put a file there while they end.
const REMOVE_TRIES_MAX: u32 = 20;

/// Removes a directory with all that is in it, if there is one.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries < REMOVE_TRIES_MAX => {}
            done => return done,
        }
    }
}

/// Makes a file, or the names in a directory, durable.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a directory and all that is in it durable.
pub(super) fn sync_tree(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        fs::read_dir(path)?.try_for_each(|entry| sync_tree(&entry?.path()))?;
    }
    sync(path)
}

/// Makes sled's files and the names of all files durable; answers sled's file.
pub(super) fn sync_files(dir: &Path, store: &Path) -> io::Result<File> {
    let data = File::options().write(true).open(store.join("db"))?;
    data.sync_all()?;
    sync(&store.join("conf"))?;
    sync(store)?;
    sync(dir)?;
    if let Some(parent) = dir.canonicalize()?.parent() {
        sync(parent)?;
    }
    Ok(data)
}
