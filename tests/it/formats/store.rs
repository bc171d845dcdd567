//! The stored fixtures: stores that each version wrote, which must open and read the same for ever.

use std::fs;
use std::path::Path;

use headwater::log::{Bounds, Log, Purpose, SledLog, SledOptions};
use headwater::protocol::batch::{Batch, Commit, OpenBatch};
use headwater::protocol::{ChannelEvent, Epoch, LogId, Seq, TaskEvent};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::Lines;
use super::facts::{channel_events, task_events};
use crate::engines::copy_dir;

const CHANNEL: LogId = LogId(7);
const TRIMMED: LogId = LogId(8);

/// The records of a golden file whose names begin with `prefix`, in order.
fn golden<T: DeserializeOwned>(lines: &Lines, prefix: &str) -> Vec<T> {
    let of_prefix = lines.0.lines().filter(|line| line.starts_with(prefix));
    let hex = of_prefix.map(|line| line.split_once(' ').unwrap().1);
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    hex.map(|hex| postcard::from_bytes(&bytes(hex)).unwrap()).collect()
}

fn examples() -> (Vec<TaskEvent>, Vec<ChannelEvent>) {
    let mut lines = Lines::default();
    task_events(&mut lines);
    channel_events(&mut lines);
    (golden(&lines, "TaskEvent::"), golden(&lines, "ChannelEvent::"))
}

fn records<T: DeserializeOwned>(log: &SledLog, id: LogId) -> Vec<T> {
    let batches = log.read(id, 0, usize::MAX).unwrap();
    batches
        .iter()
        .flat_map(|batch| batch.records::<T>().map(|record| record.unwrap().1).collect::<Vec<_>>())
        .collect()
}

fn fixture(version: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = format!("migrations/{version}/store");
    copy_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join(store), dir.path());
    dir
}

/// What the fixtures hold: of the task log's and the channel's examples those that there were then.
fn check_fixture(log: &SledLog, (tasks, channel): (usize, usize), digest: &str) {
    let (task_events, channel_events) = examples();
    assert_eq!(records::<TaskEvent>(log, LogId::TASKS), task_events[..tasks]);
    assert_eq!(records::<ChannelEvent>(log, CHANNEL), channel_events[..channel]);
    assert_eq!(log.logs(), [LogId::TASKS, CHANNEL, TRIMMED]);
    assert_eq!(log.bounds(LogId::TASKS), Bounds { first: 0, head: tasks as u64, elements: 0 });
    let elements = channel_events[..channel].iter().filter(|event| event.is_element()).count() as u64;
    assert_eq!(log.bounds(CHANNEL), Bounds { first: 0, head: channel as u64, elements });
    assert_eq!(log.bounds(TRIMMED), Bounds { first: 4, head: 5, elements: 5 });
    assert_eq!((log.last().seq, log.last().epoch), (Seq(8), Epoch(2)));
    assert_eq!(log.last().digest.to_string(), digest);
    let batches = log.read(CHANNEL, 0, usize::MAX).unwrap();
    assert_eq!(batches.iter().map(|batch| batch.header().time_ms).collect::<Vec<_>>(), [1_800_000_000_002]);
}

const DIGEST_1: &str = "2aacf30b01d2907e";
const DIGEST_2: &str = "4cd911fcb48c1182";
const DIGEST_3: &str = "f157cd0c313f9cec";
const DIGEST_4: &str = "29b9961bdef07794";
const DIGEST_5: &str = "477429ce2b3273b6";
const DIGEST_6: &str = "dfd0689bd7143366";
const DIGEST_7: &str = "0b01da535cdccde6";

#[test]
fn the_store_that_version_1_wrote_is_upgraded_and_reads_the_same() {
    let dir = fixture("0001");
    let files = |of: &Path| fs::read(of.join("store/db")).unwrap();
    let before = files(dir.path());
    let (log, opened) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    assert_eq!((opened.fresh, opened.damage), (false, None));
    check_fixture(&log, (14, 3), DIGEST_1);
    assert_eq!(log.begin_epoch().unwrap(), Epoch(3));
    commit(&log, Epoch(3), CHANNEL, &["later"], |_| true);
    drop(log);
    let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    let versions = |batch: &Batch| batch.bytes()[4];
    let batches = log.read(CHANNEL, 0, usize::MAX).unwrap();
    assert_eq!(batches.iter().map(versions).collect::<Vec<_>>(), [1, 7], "both lie in one log");
    let backup = dir.path().join("backup-of-version-1");
    assert_eq!(files(&backup), before, "the backup is the store as it was");
    let (log, _) = SledLog::open(&backup, SledOptions::default()).unwrap();
    check_fixture(&log, (14, 3), DIGEST_1);
}

#[test]
fn the_store_that_version_2_wrote_is_upgraded_and_reads_the_same() {
    let dir = fixture("0002");
    let (log, opened) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    assert_eq!((opened.fresh, opened.damage), (false, None));
    // What came later in version 2 is not in it.
    check_fixture(&log, (15, 3), DIGEST_2);
    drop(log);
    let backup = dir.path().join("backup-of-version-2");
    assert_eq!(fs::read(backup.join("head")).unwrap()[4..6], [2, 0], "the backup is the store as it was");
    let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    check_fixture(&log, (15, 3), DIGEST_2);
    assert_eq!(log.begin_epoch().unwrap(), Epoch(3));
}

#[test]
fn the_store_that_version_3_wrote_is_upgraded_and_reads_the_same() {
    let dir = fixture("0003");
    // As it lies there when someone has gone back to the backup of it: of another history, in which commit 8 is another.
    fs::copy(fixture("0004").path().join("store/wal"), dir.path().join("store/wal")).unwrap();
    let (log, opened) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    assert_eq!((opened.fresh, opened.damage), (false, None));
    check_fixture(&log, (20, 3), DIGEST_3);
    drop(log);
    let backup = dir.path().join("backup-of-version-3");
    assert_eq!(fs::read(backup.join("head")).unwrap()[4..6], [3, 0], "the backup is the store as it was");
    let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    check_fixture(&log, (20, 3), DIGEST_3);
    assert_eq!(log.begin_epoch().unwrap(), Epoch(3));
}

#[test]
fn the_store_that_version_4_wrote_is_upgraded_and_goes_on_with_its_write_ahead_log() {
    let dir = fixture("0004");
    let (log, opened) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    assert_eq!((opened.fresh, opened.damage), (false, None));
    check_fixture(&log, (21, 3), DIGEST_4);
    assert_eq!(log.begin_epoch().unwrap(), Epoch(3));
    drop(log);
    let backup = dir.path().join("backup-of-version-4");
    assert_eq!(fs::read(backup.join("head")).unwrap()[4..6], [4, 0], "the backup is the store as it was");
    let (log, _) = SledLog::open(&backup, SledOptions::default()).unwrap();
    check_fixture(&log, (21, 3), DIGEST_4);
}

#[test]
fn the_store_that_version_5_wrote_is_upgraded_and_goes_on_with_its_write_ahead_log() {
    let dir = fixture("0005");
    let (log, opened) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    assert_eq!((opened.fresh, opened.damage), (false, None));
    check_fixture(&log, (23, 8), DIGEST_5);
    assert_eq!(log.begin_epoch().unwrap(), Epoch(3));
    drop(log);
    let backup = dir.path().join("backup-of-version-5");
    assert_eq!(fs::read(backup.join("head")).unwrap()[4..6], [5, 0], "the backup is the store as it was");
    let (log, _) = SledLog::open(&backup, SledOptions::default()).unwrap();
    check_fixture(&log, (23, 8), DIGEST_5);
}

#[test]
fn the_store_that_version_6_wrote_is_upgraded_and_goes_on_with_its_write_ahead_log() {
    let dir = fixture("0006");
    let (log, opened) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    assert_eq!((opened.fresh, opened.damage), (false, None));
    check_fixture(&log, (32, 11), DIGEST_6);
    assert_eq!(log.begin_epoch().unwrap(), Epoch(3));
    drop(log);
    let backup = dir.path().join("backup-of-version-6");
    assert_eq!(fs::read(backup.join("head")).unwrap()[4..6], [6, 0], "the backup is the store as it was");
    let (log, _) = SledLog::open(&backup, SledOptions::default()).unwrap();
    check_fixture(&log, (32, 11), DIGEST_6);
}

#[test]
fn the_store_that_version_7_wrote_opens_and_goes_on_with_its_write_ahead_log() {
    let dir = fixture("0007");
    let (log, opened) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    assert_eq!((opened.fresh, opened.damage), (false, None));
    check_fixture(&log, (39, 11), DIGEST_7);
    assert_eq!(log.begin_epoch().unwrap(), Epoch(3));
    drop(log);
    let without = fixture("0007");
    fs::remove_file(without.path().join("store/wal")).unwrap();
    let (log, opened) = SledLog::open(without.path(), SledOptions::default()).unwrap();
    let told = opened.damage.unwrap();
    assert!(told.contains("ends at commit 7") && told.contains("says commit 8"), "{told}");
    assert_eq!(log.last().seq, Seq(7), "the last commit was in the write-ahead log alone");
}

#[test]
fn the_store_that_version_1_wrote_is_read_without_an_upgrade() {
    let dir = fixture("0001");
    let options = SledOptions { purpose: Purpose::Examine, ..SledOptions::default() };
    for _ in 0..2 {
        let (log, _) = SledLog::open(dir.path(), options).unwrap();
        check_fixture(&log, (14, 3), DIGEST_1);
    }
    assert!(!dir.path().join("backup-of-version-1").exists());
}

fn commit<R: Serialize>(
    log: &SledLog,
    epoch: Epoch,
    id: LogId,
    records: &[R],
    is_element: impl Fn(&R) -> bool,
) {
    let (bounds, seq) = (log.bounds(id), log.last().seq.next());
    let mut open = OpenBatch::new(id, bounds.head, bounds.elements);
    records.iter().for_each(|record| assert!(open.push(record, is_element(record))));
    let batch = open.seal(seq, epoch, 1_800_000_000_000 + seq.0);
    log.append(&Commit { seq, epoch, batches: vec![batch] }).unwrap();
    log.flush().unwrap();
}

#[test]
#[ignore = "writes the fixture of this build's version to a new directory, HEADWATER_FIXTURE"]
fn make_the_fixture() {
    let made = std::env::var("HEADWATER_FIXTURE").expect("HEADWATER_FIXTURE names a new directory");
    let made = Path::new(&made);
    let (written, (tasks, channel)) = (tempfile::tempdir().unwrap(), examples());
    let dir = written.path();
    {
        let (log, _) = SledLog::open(dir, SledOptions::default()).unwrap();
        let epoch = log.begin_epoch().unwrap();
        commit(&log, epoch, LogId::TASKS, &tasks[..7], |_| false);
        commit(&log, epoch, CHANNEL, &channel, ChannelEvent::is_element);
        (0..4).for_each(|_| commit(&log, epoch, TRIMMED, &["element"], |_| true));
    }
    let (log, _) = SledLog::open(dir, SledOptions::default()).unwrap();
    let epoch = log.begin_epoch().unwrap();
    commit(&log, epoch, TRIMMED, &["element"], |_| true);
    log.trim(TRIMMED, 4).unwrap();
    commit(&log, epoch, LogId::TASKS, &tasks[7..], |_| false);
    // As a process that is killed leaves it: the last commit is in the write-ahead log alone.
    fs::create_dir(made).unwrap();
    copy_dir(dir, made);
    // sled fills its file up with zeros, and so does the write-ahead log; both add them again by themselves.
    for name in ["db", "wal"] {
        let data = made.join("store").join(name);
        let bytes = fs::read(&data).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        fs::write(data, &bytes[..used]).unwrap();
    }
    fs::remove_file(made.join("lock")).unwrap();
}
