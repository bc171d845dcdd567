//! The directories of a salvage, and the steps that put the new store in the place of the damaged one.
//!
//! | in the store's directory | |
//! |---|---|
//! | `store` | the damaged store, until the last two steps |
//! | `store.asked` | a copy of it that the engine may open, for as long as it is asked |
//! | `store.salvaged` | the new store while it is made |
//! | `store.damaged-N` | the damaged store, kept for good |
//!
//! The last steps are: `store.salvaged` is made durable, `store` becomes `store.damaged-N`, `store.salvaged`
//! becomes `store`. Whoever is cut off before them has touched nothing; whoever is cut off between the last
//! two leaves no `store`, and gets the damaged one back. Then the salvage begins again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::log::directory;
use crate::log::step::{Doing, Steps, Tell};

const STORE: &str = "store";
const ASKED: &str = "store.asked";
const SALVAGED: &str = "store.salvaged";
const DAMAGED: &str = "store.damaged-";

/// Whether a salvage was cut off, so that there is no store until it is begun again.
pub(in crate::log) fn unfinished(dir: &Path) -> bool {
    !dir.join(STORE).exists() && dir.join(SALVAGED).exists()
}

/// Brings the damaged store back into its place, and removes what else a salvage that was cut off left.
pub(in crate::log) fn begin_again(dir: &Path) -> io::Result<()> {
    if unfinished(dir)
        && let Some(number) = newest_damaged(dir)?
    {
        fs::rename(dir.join(format!("{DAMAGED}{number}")), dir.join(STORE))?;
        directory::sync(dir)?;
    }
    directory::remove(&dir.join(ASKED))?;
    directory::remove(&dir.join(SALVAGED))
}

/// Lets an engine open a copy of the damaged store: it may change that as it likes.
pub(in crate::log) fn with_asked<T>(
    dir: &Path,
    tell: Tell<'_>,
    ask: impl FnOnce(&Path) -> T,
) -> io::Result<T> {
    let (store, asked) = (dir.join(STORE), dir.join(ASKED));
    directory::remove(&asked)?;
    let mut steps = Steps::begin(Doing::Copying, directory::bytes_of(&store)?, tell);
    directory::copy_telling(&store, &asked, &mut |bytes| steps.add(bytes))?;
    let answer = ask(&asked);
    directory::remove(&asked)?;
    Ok(answer)
}

/// Where the new store is to be made; there is nothing yet.
pub(in crate::log) fn salvaged(dir: &Path) -> io::Result<PathBuf> {
    let salvaged = dir.join(SALVAGED);
    directory::remove(&salvaged)?;
    Ok(salvaged)
}

/// Puts the new store, which is closed, in the place of the damaged one; answers where that is now, if
/// there was one.
pub(in crate::log) fn finish(dir: &Path) -> io::Result<Option<PathBuf>> {
    let (store, salvaged) = (dir.join(STORE), dir.join(SALVAGED));
    directory::sync_tree(&salvaged)?;
    directory::sync(dir)?;
    let mut kept = None;
    if store.exists() {
        let number = newest_damaged(dir)?.unwrap_or(0) + 1;
        let damaged = dir.join(format!("{DAMAGED}{number}"));
        fs::rename(&store, &damaged)?;
        directory::sync(dir)?;
        kept = Some(damaged);
    }
    fs::rename(&salvaged, &store)?;
    directory::sync(dir)?;
    Ok(kept)
}

fn newest_damaged(dir: &Path) -> io::Result<Option<u32>> {
    let mut newest = None;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(DAMAGED)?.parse::<u32>().ok());
        newest = newest.max(number);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these directories in it, each with a file `db` that holds its first name.
    fn with(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("db"), name).unwrap();
        }
        dir
    }

    /// The directories, each with what it was first.
    fn are(dir: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<String> = entries
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                format!("{name}: {}", fs::read_to_string(path.join("db")).unwrap())
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_damaged_store_is_kept_and_the_new_one_takes_its_place() {
        let dir = with(&["store", "store.salvaged", "store.damaged-2"]);
        assert!(!unfinished(dir.path()));
        assert_eq!(finish(dir.path()).unwrap(), Some(dir.path().join("store.damaged-3")));
        assert_eq!(
            are(&dir),
            ["store.damaged-2: store.damaged-2", "store.damaged-3: store", "store: store.salvaged"]
        );
        let without = with(&["store.salvaged"]);
        assert_eq!(finish(without.path()).unwrap(), None);
        assert_eq!(are(&without), ["store: store.salvaged"]);
    }

    #[test]
    fn whoever_is_cut_off_begins_again_with_the_damaged_store() {
        let early = with(&["store", "store.asked", "store.salvaged", "store.damaged-1"]);
        begin_again(early.path()).unwrap();
        assert_eq!(are(&early), ["store.damaged-1: store.damaged-1", "store: store"]);
        let late = with(&["store.salvaged", "store.damaged-1", "store.damaged-2"]);
        assert!(unfinished(late.path()));
        begin_again(late.path()).unwrap();
        assert_eq!(are(&late), ["store.damaged-1: store.damaged-1", "store: store.damaged-2"]);
        let gone = with(&["store.damaged-1"]);
        begin_again(gone.path()).unwrap();
        assert_eq!(are(&gone), ["store.damaged-1: store.damaged-1"], "that one's salvage was done");
    }

    #[test]
    fn what_asks_gets_a_copy() {
        let dir = with(&["store"]);
        let asked = with_asked(dir.path(), &mut |_| {}, |copy| {
            fs::write(copy.join("db"), "changed").unwrap();
            fs::read_to_string(copy.join("db")).unwrap()
        });
        assert_eq!((asked.unwrap().as_str(), are(&dir)), ("changed", vec!["store: store".to_owned()]));
    }
}
