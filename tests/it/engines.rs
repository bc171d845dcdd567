//! The engines under test, each with its way to be opened and to crash, and a writer of commits for them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use headwater::log::{Faulty, Log, Memory, SledLog, SledOptions};
use headwater::protocol::batch::{Batch, Commit, OpenBatch};
use headwater::protocol::limits::BATCH_BYTES_MAX;
use headwater::protocol::{Epoch, LogId, Seq};
use tempfile::TempDir;

/// A place where a log of one kind is kept.
pub trait Engine {
    type Log: Log;
    /// Whether what was appended and not flushed is there after a crash: it is that of a process alone.
    const KEEPS_APPENDED: bool;
    fn new() -> Self;
    /// Opens the store; the one opened before is dropped.
    fn open(&mut self) -> Self::Log;
    /// Opens what a crash at this moment leaves.
    fn crash(&mut self, log: Self::Log) -> Self::Log;
}

pub struct InMemory(Memory);

impl Engine for InMemory {
    type Log = Memory;
    const KEEPS_APPENDED: bool = false;
    fn new() -> Self {
        InMemory(Memory::new())
    }
    fn open(&mut self) -> Memory {
        self.0.crash();
        self.0.clone()
    }
    fn crash(&mut self, _: Memory) -> Memory {
        self.open()
    }
}

/// After how long without a write sled's threads are taken to be at rest.
const SLED_RESTS: Duration = Duration::from_millis(40);

pub struct OnSled(TempDir);

pub fn open_sled(dir: &Path) -> SledLog {
    let (log, opened) =
        SledLog::open(dir, SledOptions { cache_bytes: 8 << 20, ..SledOptions::default() }).unwrap();
    assert_eq!(opened.damage, None);
    log
}

pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Whether all files are the same in both.
fn is_copy(of: &Path, copy: &Path) -> bool {
    fs::read_dir(of).unwrap().all(|entry| {
        let entry = entry.unwrap();
        let there = copy.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            return is_copy(&entry.path(), &there);
        }
        fs::read(entry.path()).ok() == fs::read(there).ok()
    })
}

impl Engine for OnSled {
    type Log = SledLog;
    const KEEPS_APPENDED: bool = true;
    fn new() -> Self {
        OnSled(tempfile::tempdir().unwrap())
    }
    fn open(&mut self) -> SledLog {
        open_sled(self.0.path())
    }
    fn crash(&mut self, log: SledLog) -> SledLog {
        // The files as they are now, while the store is open: what a killed process leaves. sled writes with several
        // threads, in any order. With a hole before a later commit a start would rightly see damage, so they are given
        // time to come to rest.
        let left = (0..100).find_map(|_| {
            let left = tempfile::tempdir().unwrap();
            copy_dir(self.0.path(), left.path());
            std::thread::sleep(SLED_RESTS);
            is_copy(self.0.path(), left.path()).then_some(left)
        });
        let left = left.expect("sled comes to rest");
        drop(log);
        self.0 = left;
        self.open()
    }
}

pub struct Behind<E>(E);

impl<E: Engine> Engine for Behind<E> {
    type Log = Faulty<E::Log>;
    const KEEPS_APPENDED: bool = E::KEEPS_APPENDED;
    fn new() -> Self {
        Behind(E::new())
    }
    fn open(&mut self) -> Faulty<E::Log> {
        Faulty::new(self.0.open())
    }
    fn crash(&mut self, log: Faulty<E::Log>) -> Faulty<E::Log> {
        Faulty::new(self.0.crash(log.into_inner()))
    }
}

/// Makes commits that go on where a log ends. A record is the text `log/offset`, and `+` before it when
/// it is an element; a `size` pads it.
pub struct Writer {
    pub seq: Seq,
    pub epoch: Epoch,
    pub ends: BTreeMap<LogId, (u64, u64)>,
}

/// One batch to be made: its log, and for each record whether it is an element.
pub type Part<'a> = (u32, &'a [bool]);

impl Writer {
    /// Goes on after what is durable, in a new epoch.
    pub fn begin(log: &impl Log) -> Self {
        let ends = log.logs().into_iter().map(|id| (id, (log.bounds(id).head, log.bounds(id).elements)));
        Writer { seq: log.last().seq, epoch: log.begin_epoch().unwrap(), ends: ends.collect() }
    }

    pub fn batch(&mut self, (log, records): Part<'_>, pad: usize) -> Batch {
        let log = LogId(log);
        let (offset, index) = self.ends.get(&log).copied().unwrap_or_default();
        let mut open = OpenBatch::new(log, offset, index);
        for is_element in records {
            let text = format!("{}{log}/{}", if *is_element { "+" } else { "" }, open.next_offset());
            assert!(open.push(&format!("{text:<pad$}"), *is_element), "fits");
        }
        self.ends.insert(log, (open.next_offset(), open.next_index()));
        open.seal(self.seq.next(), self.epoch, 1_700_000_000_000 + self.seq.0)
    }

    pub fn commit(&mut self, parts: &[Part<'_>]) -> Commit {
        self.commit_padded(parts, 0)
    }

    pub fn commit_padded(&mut self, parts: &[Part<'_>], pad: usize) -> Commit {
        let batches: Vec<Batch> = parts.iter().map(|part| self.batch(*part, pad)).collect();
        self.seq = self.seq.next();
        Commit { seq: self.seq, epoch: self.epoch, batches }
    }

    /// Makes a commit, appends it and flushes.
    pub fn write(&mut self, log: &impl Log, parts: &[Part<'_>]) -> Commit {
        let commit = self.commit(parts);
        log.append(&commit).unwrap();
        log.flush().unwrap();
        commit
    }
}

/// Everything durable from an offset on, read in small steps: the texts with their offsets. Panics at a
/// gap.
pub fn read_all(log: &impl Log, id: u32, from: u64) -> Vec<(u64, String)> {
    let mut records = Vec::new();
    let mut next = from.max(log.bounds(LogId(id)).first);
    loop {
        let batches = log.read(LogId(id), next, 3000).unwrap();
        if batches.is_empty() {
            return records;
        }
        for batch in batches {
            assert!(batch.bytes().len() <= BATCH_BYTES_MAX && batch.header().base_offset <= next);
            for record in batch.records::<String>() {
                let (offset, text) = record.unwrap();
                if offset >= next {
                    records.push((offset, text));
                }
            }
            next = batch.header().end_offset();
        }
    }
}

/// What [`read_all`] gives when all is well.
pub fn all_of(elements: &[bool], from: u64, id: u32) -> Vec<(u64, String)> {
    let text = |at: u64| format!("{}{id}/{at}", if elements[at as usize] { "+" } else { "" });
    (from..elements.len() as u64).map(|at| (at, text(at))).collect()
}
