//! A store that is known record by record, and what must hold of it after damage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use headwater::log::{Log, Opened, Purpose, SledLog, SledOptions};
use headwater::protocol::{LogId, Seq};
use tempfile::TempDir;

use crate::engines::{Writer, copy_dir, open_sled};

/// A whole store, and all that was written to it.
pub struct Original {
    dir: TempDir,
    logs: BTreeMap<LogId, Vec<String>>,
    last: Seq,
    batches: u64,
}

/// What a start served.
#[derive(Debug, PartialEq, Eq)]
pub struct Served {
    pub whole_batches: u64,
    pub lost_records: u64,
    /// Records at the ends of logs that are not there any more.
    pub short: u64,
}

impl Original {
    /// Writes a store in so many runs of so many commits, each on one or two of three logs, with records that
    /// are padded to this length.
    pub fn write(runs: u64, commits: u64, pad: usize) -> Original {
        let dir = tempfile::tempdir().unwrap();
        let mut original = Original { dir, logs: BTreeMap::new(), last: Seq(0), batches: 0 };
        for _ in 0..runs {
            let log = open_sled(original.dir.path());
            let mut writer = Writer::begin(&log);
            for at in 0..commits {
                let parts: &[(u32, &[bool])] = match at % 3 {
                    0 => &[(0, &[false]), (1, &[true, false])],
                    1 => &[(1, &[true])],
                    _ => &[(2, &[true, true, true])],
                };
                let commit = writer.commit_padded(parts, pad);
                original.batches += commit.batches.len() as u64;
                log.append(&commit).unwrap();
                // As a scheduler does it, but less often: it takes long.
                if at % 16 == 15 || at + 1 == commits {
                    log.flush().unwrap();
                }
            }
            original.last = log.last().seq;
            for id in log.logs() {
                let records = crate::engines::read_all(&log, id.0, 0);
                original.logs.insert(id, records.into_iter().map(|(_, text)| text).collect());
            }
        }
        original
    }

    /// How many batches it has.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Its newest commit.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// A copy of it to be damaged.
    pub fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(self.dir.path(), copy.path());
        copy
    }

    /// Reads all of a store, from the first record on: whatever is served must have been written, in its
    /// place; the rest is lost, in its place, or at the end of a log.
    pub fn compare(&self, log: &SledLog) -> Served {
        let mut served = Served { whole_batches: 0, lost_records: 0, short: 0 };
        for (id, texts) in &self.logs {
            let (mut next, mut index) = (0, 0);
            loop {
                let batches = log.read(*id, next, 100_000).unwrap();
                if batches.is_empty() {
                    break;
                }
                for batch in batches {
                    let header = batch.header();
                    assert_eq!((header.base_offset, header.base_index), (next, index), "log {id} is dense");
                    if let Some(damage) = batch.damage() {
                        assert_eq!((damage.from, damage.to), (header.base_offset, header.end_offset()));
                        served.lost_records += damage.to - damage.from;
                    } else {
                        served.whole_batches += 1;
                        for record in batch.records::<String>() {
                            let (offset, text) = record.unwrap();
                            assert_eq!(Some(&text), texts.get(offset as usize), "log {id}, offset {offset}");
                        }
                    }
                    let elements = |upto: u64| {
                        texts[..upto as usize].iter().filter(|text| text.starts_with('+')).count()
                    };
                    (next, index) = (header.end_offset(), header.end_index());
                    assert_eq!(index, elements(next) as u64, "elements of log {id} up to {next}");
                }
            }
            assert_eq!(next, log.bounds(*id).head);
            served.short += texts.len() as u64 - next;
        }
        assert!(log.logs().iter().all(|id| self.logs.contains_key(id)), "no log was made up");
        assert!(log.last().seq <= self.last);
        served
    }

    /// Starts on a damaged copy, again and again until nothing is new, and checks each time that what is
    /// served was written, that what is not is told, and that the damaged store is kept. Answers what is
    /// served in the end.
    pub fn check(&self, dir: &Path) -> Served {
        let damaged = fs::read(dir.join("store/db")).ok();
        let mut before: Option<Served> = None;
        for start in 1..=4 {
            let was_suspect = dir.join("suspect").exists();
            let (log, opened) = open(dir, Purpose::Serve);
            let served = self.compare(&log);
            drop(log);
            let is_suspect = dir.join("suspect").exists();
            let is_told = opened.damage.is_some();
            if start == 1 {
                let is_less = served.lost_records > 0 || served.short > 0;
                assert!(!is_less || is_told || is_suspect, "{served:?} in silence");
                assert!(served.short == 0 || is_told, "{served:?} in silence");
                assert!(!opened.fresh, "it is no new store");
            }
            let kept = kept(dir);
            if let (Some(kept), Some(damaged)) = (kept.first(), &damaged) {
                // A start before may have let sled fill it up with zeros.
                let now = fs::read(kept.join("db")).unwrap();
                let is_kept = now.starts_with(damaged) && now[damaged.len()..].iter().all(|byte| *byte == 0);
                assert!(
                    is_kept && (start > 1 || now == *damaged),
                    "{} is as it was: start {start}, {} bytes and not {}, {:?} {:?}",
                    kept.display(),
                    now.len(),
                    damaged.len(),
                    now.iter().zip(damaged).position(|(a, b)| a != b),
                    opened.damage
                );
            }
            if let Some(before) = before {
                assert!(was_suspect == is_told, "{:?}", opened.damage);
                assert!(served.whole_batches >= before.whole_batches, "{served:?} after {before:?}");
                if !was_suspect {
                    assert_eq!(served, before, "nothing changes by itself");
                    assert!(!is_suspect);
                    return served;
                }
            }
            before = Some(served);
        }
        panic!("it is never whole");
    }
}

/// Opens a store, and answers what was said of it.
pub fn open(dir: &Path, purpose: Purpose) -> (SledLog, Opened) {
    SledLog::open(dir, SledOptions { purpose, cache_bytes: 8 << 20 }).unwrap()
}

/// The damaged stores that are kept.
pub fn kept(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_damaged =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("store.damaged-");
    let mut kept: Vec<PathBuf> = entries.filter(is_damaged).collect();
    kept.sort();
    kept
}
