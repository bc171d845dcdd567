//! The version of a store's format, and the way from an older one to this build's.
//!
//! Version 1 is the first, so there is no step yet. The step from version n to n + 1 belongs in here,
//! beside its story in `migrations/`: it runs on a copy of the whole directory that is kept as the
//! backup, before anything else reads the store. This module names no engine.

use std::path::Path;

use super::OpenError;
use crate::protocol::version::STORE_VERSION;

/// Whether a store of this version can be used as it is.
///
/// # Errors
/// [`OpenError::NewerFormat`]; [`OpenError::Damaged`] for a version that never was.
pub(super) fn check(dir: &Path, found: u16) -> Result<(), OpenError> {
    match found {
        STORE_VERSION => Ok(()),
        0 => {
            let why = "it says that its version is 0, which never was".to_owned();
            Err(OpenError::Damaged { dir: dir.to_owned(), why })
        }
        _ => Err(OpenError::NewerFormat { found, ours: STORE_VERSION }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_version_is_used_as_it_is() {
        let dir = Path::new("store");
        assert!(check(dir, STORE_VERSION).is_ok());
        let newer = check(dir, 3).unwrap_err().to_string();
        assert!(newer.starts_with("store version 3 is newer than 1: run a newer headwater"), "{newer}");
        assert!(matches!(check(dir, 0), Err(OpenError::Damaged { .. })));
    }
}
