//! How much room a disk has. The only file that asks the system for it.

use std::io;
use std::path::Path;

/// With less than this free, 8 MiB, a disk is taken to be full: one of sled's segments, the most that it
/// writes at a time. A write that found no room may leave what is less.
const FULL_BYTES: u64 = 8 * 1024 * 1024;

/// How many bytes are free for us on the file system that holds this path; `None` where the system has no
/// way to ask. What a quota of the user's leaves may be less.
#[cfg(unix)]
pub(super) fn free_bytes(path: &Path) -> io::Result<Option<u64>> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
}

/// How many bytes are free: not known here.
#[cfg(not(unix))]
pub(super) fn free_bytes(_: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

/// Whether the system refused for want of room.
pub(super) fn is_want_of_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether there is so little room that whatever else went wrong may have done so for that.
pub(super) fn is_full(path: &Path) -> bool {
    matches!(free_bytes(path), Ok(Some(free)) if free < FULL_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_system_says_how_much_is_free() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(dir.path()).unwrap().unwrap() > 0);
        assert!(free_bytes(&dir.path().join("nothing")).is_err());
    }
}
