//! A store's directory: who holds it, and that its files and their names are durable.
//!
//! It knows which files there are, and not what is in them; it names no engine's crate.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::OpenError;

/// How long sled is waited for to let its file go, 5 s in all: longer than any write of its takes.
const UNLOCK_TRIES_MAX: u32 = 500;
const UNLOCK_PAUSE: Duration = Duration::from_millis(10);

/// Makes the directory if need be, and holds its lock: nobody else has the store then.
pub(super) fn hold(dir: &Path) -> Result<File, OpenError> {
    let refused = |why: io::Error| OpenError::Io { dir: dir.to_owned(), why };
    fs::create_dir_all(dir).map_err(refused)?;
    let lock =
        File::options().write(true).create(true).truncate(false).open(dir.join("lock")).map_err(refused)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::HeldByAnotherProcess { dir: dir.to_owned() }),
        Err(fs::TryLockError::Error(why)) => Err(refused(why)),
    }
}

/// Waits until sled's own lock on its file is free.
pub(super) fn await_unlock(dir: &Path, data: &File) -> Result<(), OpenError> {
    for _ in 0..UNLOCK_TRIES_MAX {
        match data.try_lock() {
            Ok(()) => return data.unlock().map_err(|why| OpenError::Io { dir: dir.to_owned(), why }),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(UNLOCK_PAUSE),
            Err(fs::TryLockError::Error(why)) => return Err(OpenError::Io { dir: dir.to_owned(), why }),
        }
    }
    Err(OpenError::HeldByAnotherProcess { dir: dir.to_owned() })
}

/// Makes sled's files and the names of all files durable; answers sled's file.
pub(super) fn sync_files(dir: &Path, store: &Path) -> io::Result<File> {
    let data = File::options().write(true).open(store.join("db"))?;
    data.sync_all()?;
    File::open(store.join("conf"))?.sync_all()?;
    File::open(store)?.sync_all()?;
    File::open(dir)?.sync_all()?;
    if let Some(parent) = dir.canonicalize()?.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(data)
}
