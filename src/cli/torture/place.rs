//! The directory that a run has: whose it is, and what lies where.
//!
//! ```text
//!   DIR/torture   says that the directory is torture's own; locked while a run goes on
//!   DIR/verdict   the report of a run that found something: what lies beside it is the evidence
//!   DIR/store/    the scheduler's
//!   DIR/acks/     what clients were told: see `life`
//!   DIR/logs/     stderr of the processes
//! ```
//!
//! Nothing but these is ever removed, and only in a directory that has the mark.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The channels that all clients share.
pub const VALUES: [&str; 2] = ["values/1", "values/2"];

/// The channels of the tasks that count.
pub const COUNTS: [&str; 2] = ["count/1", "count/2"];

const MARK: &str = "torture";
const MARK_TEXT: &str = "This directory belongs to `headwater torture`, which removes what is in it.\n";
const VERDICT: &str = "verdict";
const FOLDERS: [&str; 3] = ["store", "acks", "logs"];

/// A run's directory, held until it is dropped.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes the directory, makes it if need be, and removes what an earlier run left there.
    ///
    /// # Errors
    /// When it holds something else, or what must not be lost, or another run has it.
    pub fn take(dir: &Path) -> anyhow::Result<Self> {
        let shown = dir.display();
        fs::create_dir_all(dir).with_context(|| format!("cannot make {shown}: give another --data"))?;
        // Absolute: processes are told of it.
        let dir = dir.canonicalize().with_context(|| format!("cannot find {shown}"))?;
        let mark = dir.join(MARK);
        if fs::read_dir(&dir)?.next().is_some() {
            let is_ours = fs::read_to_string(&mark).is_ok_and(|text| text == MARK_TEXT);
            anyhow::ensure!(
                is_ours,
                "{shown} holds something that is not torture's own: give an empty or a new directory with --data"
            );
        }
        let mut lock = File::options().append(true).create(true).open(&mark)?;
        if lock.try_lock().is_err() {
            anyhow::bail!("another torture runs in {shown}: wait for its end, or give another --data");
        }
        anyhow::ensure!(
            !dir.join(VERDICT).exists(),
            "{shown} holds what a run left that found a violation: keep it elsewhere or remove it, or give \
             another --data"
        );
        if lock.metadata()?.len() == 0 {
            lock.write_all(MARK_TEXT.as_bytes())?;
        }
        let place = Place { dir, _lock: lock };
        place.clear().with_context(|| format!("cannot clear {shown}"))?;
        for folder in FOLDERS {
            fs::create_dir(place.dir.join(folder))?;
        }
        Ok(place)
    }

    fn clear(&self) -> std::io::Result<()> {
        for folder in FOLDERS.map(|folder| self.dir.join(folder)) {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
        }
        Ok(())
    }

    /// Removes all that is ours, and the directory if nothing else is in it.
    pub fn remove(self) -> anyhow::Result<()> {
        self.clear()?;
        fs::remove_file(self.dir.join(MARK))?;
        // What others have put there stays, and the directory with it.
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }

    /// Leaves all as it is, for whoever looks into it.
    pub fn keep_as_evidence(&self, report: &str) -> anyhow::Result<()> {
        Ok(fs::write(self.dir.join(VERDICT), format!("{report}\n"))?)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub fn acks(&self) -> PathBuf {
        self.dir.join("acks")
    }

    /// The file that a process's stderr goes to; all its incarnations have the same.
    pub fn log_file(&self, name: &str) -> std::io::Result<File> {
        File::options().append(true).create(true).open(self.dir.join("logs").join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_its_own_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        fs::write(dir.path().join("store/db"), "precious").unwrap();
        let error = Place::take(dir.path()).unwrap_err().to_string();
        assert!(error.contains("not torture's own: give an empty"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(dir.path().join("store/db")).unwrap(), "precious");
    }

    #[test]
    fn a_run_begins_anew_where_another_was_and_leaves_nothing() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("new");
        let place = Place::take(&dir).unwrap();
        fs::write(place.acks().join("client-1-00000"), "").unwrap();
        let error = Place::take(&dir).unwrap_err().to_string();
        assert!(error.contains("another torture runs"), "{error}");
        drop(place);
        let place = Place::take(&dir).unwrap();
        assert_eq!(fs::read_dir(place.acks()).unwrap().count(), 0);
        place.remove().unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn evidence_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        Place::take(dir.path()).unwrap().keep_as_evidence("lost").unwrap();
        let error = Place::take(dir.path()).unwrap_err().to_string();
        assert!(error.contains("found a violation: keep it elsewhere"), "{error}");
    }
}
