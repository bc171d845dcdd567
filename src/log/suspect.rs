//! The `suspect` file beside a store: damage was met, and the next start is to salvage what there is.
//!
//! It is made when a batch turns out to be damaged while the store is served, and when a salvage begins;
//! it is removed when a salvage is done. It holds one line of UTF-8: why. Its being there is what counts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::directory;

const NAME: &str = "suspect";

/// Most bytes of the reason that are read back.
const WHY_BYTES_MAX: usize = 1024;

/// Why the store is suspect, if it is.
pub(super) fn why(dir: &Path) -> io::Result<Option<String>> {
    match fs::read(dir.join(NAME)) {
        Ok(bytes) => {
            let bytes = &bytes[..bytes.len().min(WHY_BYTES_MAX)];
            let words = String::from_utf8_lossy(bytes).trim().replace('\n', " ");
            Ok(Some(if words.is_empty() { "damage was met before".to_owned() } else { words }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the store suspect, durably. The first reason stays.
pub(super) fn mark(dir: &Path, why: &str) -> io::Result<()> {
    match File::create_new(dir.join(NAME)) {
        Ok(mut file) => {
            writeln!(file, "{}", why.replace('\n', " "))?;
            file.sync_all()?;
            directory::sync(dir)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes the mark away, durably.
pub(super) fn clear(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => directory::sync(dir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays_until_it_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(why(dir).unwrap(), None);
        mark(dir, "log 1 is\ndamaged").unwrap();
        mark(dir, "another").unwrap();
        assert_eq!(why(dir).unwrap().unwrap(), "log 1 is damaged");
        clear(dir).unwrap();
        clear(dir).unwrap();
        assert_eq!(why(dir).unwrap(), None);
        fs::write(dir.join(NAME), "").unwrap();
        assert_eq!(why(dir).unwrap().unwrap(), "damage was met before");
    }
}
