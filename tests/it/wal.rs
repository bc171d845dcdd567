//! The write-ahead log of a store on disk: what it carries over a crash, and what is seen when it does not.

use std::fs;
use std::path::Path;

use headwater::log::{Log, Purpose, SledLog, SledOptions};
use headwater::protocol::{LogId, Seq};
use tempfile::TempDir;

use crate::engines::{Part, Writer, copy_dir, open_sled, read_all};

/// Where an entry's batches begin.
const ENTRY_HEADER: usize = 32;

const SMALL: [Part<'static>; 2] = [(1, &[true]), (2, &[true, false])];

/// What a process that is killed now leaves of an open store.
fn left(dir: &Path) -> TempDir {
    let left = tempfile::tempdir().unwrap();
    copy_dir(dir, left.path());
    left
}

fn wal(dir: &TempDir) -> Vec<u8> {
    fs::read(dir.path().join("store/wal")).unwrap()
}

fn set_wal(dir: &TempDir, bytes: &[u8]) {
    fs::write(dir.path().join("store/wal"), bytes).unwrap();
}

/// Where the entry of a commit begins.
pub fn entry_of(bytes: &[u8], seq: u64) -> usize {
    let seq = seq.to_le_bytes();
    (0..bytes.len()).find(|at| bytes[*at..].starts_with(b"HWWL") && bytes[at + 8..at + 16] == seq).unwrap()
}

/// Opens what is left, and says what is wrong with it.
fn opened(dir: &TempDir) -> (SledLog, Option<String>) {
    let (log, opened) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    (log, opened.damage)
}

#[test]
fn what_only_the_write_ahead_log_has_is_there_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    // The second time sled has an index of its file, and nothing behind it.
    for round in 1..3 {
        let log = open_sled(dir.path());
        let mut writer = Writer::begin(&log);
        (0..50).for_each(|_| drop(writer.write(&log, &SMALL)));
        let (left, without) = (left(dir.path()), left(dir.path()));
        let after = open_sled(left.path());
        assert_eq!((after.last(), after.last().seq), (log.last(), Seq(50 * round)));
        for id in [1, 2] {
            assert_eq!(read_all(&after, id, 0), read_all(&log, id, 0));
        }
        set_wal(&without, &[]);
        let (after, damage) = opened(&without);
        assert!(damage.unwrap().contains(&format!("says commit {}", 50 * round)));
        assert_eq!(after.last().seq, Seq(50 * (round - 1)), "sled had not written them");
    }
}

#[test]
fn it_begins_anew_when_it_is_full_and_a_large_commit_goes_past_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_sled(dir.path());
    let mut writer = Writer::begin(&log);
    let crash = |commits: u64| {
        let left = left(dir.path());
        assert!(wal(&left).len() <= 2 << 20);
        let after = open_sled(left.path());
        assert_eq!((after.last(), after.last().seq), (log.last(), Seq(commits)));
        assert_eq!(read_all(&after, 1, 0), read_all(&log, 1, 0));
    };
    for at in 1..=180u64 {
        // 60 KiB each, and now and then 3 MB in one commit of many batches.
        let parts = if at % 60 == 0 { 50 } else { 1 };
        let logs: Vec<Part> = (1..=parts).map(|id| (id, &[true][..])).collect();
        log.append(&writer.commit_padded(&logs, 60_000)).unwrap();
        log.flush().unwrap();
        if at % 20 < 2 {
            crash(at);
        }
    }
}

#[test]
fn an_entry_that_was_not_written_to_its_end_is_of_a_commit_that_was_never_durable() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_sled(dir.path());
    let mut writer = Writer::begin(&log);
    (0..5).for_each(|_| drop(writer.write(&log, &SMALL)));
    let (before, head) = (log.last(), fs::read(dir.path().join("head")).unwrap());
    let commit = writer.write(&log, &SMALL);
    let bytes: usize = commit.batches.iter().map(|batch| batch.bytes().len()).sum();
    let begin = entry_of(&wal(&left(dir.path())), 6);
    for torn in [begin, begin + 1, begin + ENTRY_HEADER, begin + ENTRY_HEADER + bytes - 1] {
        let left = left(dir.path());
        fs::write(left.path().join("head"), &head).unwrap();
        let mut written = wal(&left);
        written[torn..].fill(0);
        set_wal(&left, &written);
        assert_eq!(open_sled(left.path()).last(), before, "torn at byte {torn}");
    }
    let acknowledged = left(dir.path());
    let mut torn = wal(&acknowledged);
    torn[begin..].fill(0);
    set_wal(&acknowledged, &torn);
    let (_, damage) = opened(&acknowledged);
    assert!(damage.unwrap().contains("says commit 6"), "the head file knows that it was");
}

#[test]
fn damage_to_it_is_seen_and_what_is_whole_behind_it_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_sled(dir.path());
    let mut writer = Writer::begin(&log);
    (0..9).for_each(|_| drop(writer.write(&log, &SMALL)));
    let left = left(dir.path());
    let mut damaged = wal(&left);
    let at = entry_of(&damaged, 5);
    damaged[at + ENTRY_HEADER + 70] ^= 1;
    set_wal(&left, &damaged);
    let options = SledOptions { purpose: Purpose::ServeWhole, ..SledOptions::default() };
    let refused = SledLog::open(left.path(), options).err().unwrap().to_string();
    assert!(refused.contains("is damaged") && refused.contains("headwater log repair"), "{refused}");
    let (after, damage) = opened(&left);
    let told = damage.unwrap();
    assert!(told.contains("lost is 1 record: 4 to 5 of log 1"), "{told}");
    assert_eq!(after.last(), log.last());
}

#[test]
fn one_that_does_not_go_on_where_sled_ends_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let older = {
        let log = open_sled(dir.path());
        let mut writer = Writer::begin(&log);
        (0..10).for_each(|_| drop(writer.write(&log, &SMALL)));
        drop(log);
        left(dir.path())
    };
    let log = open_sled(dir.path());
    let mut writer = Writer::begin(&log);
    (0..10).for_each(|_| drop(writer.write(&log, &SMALL)));
    log.trim(LogId(1), 2).unwrap();
    (0..10).for_each(|_| drop(writer.write(&log, &SMALL)));
    // An old store with a newer write-ahead log: commits 11 to 20 are nowhere.
    fs::copy(dir.path().join("store/wal"), older.path().join("store/wal")).unwrap();
    fs::remove_file(older.path().join("head")).unwrap();
    let (after, damage) = opened(&older);
    let told = damage.unwrap();
    assert!(told.contains("its newest commit is 10, and its write-ahead log goes on with 21"), "{told}");
    assert!(told.contains("nothing is left of commits 11 to 20"), "{told}");
    assert_eq!(after.last(), log.last());
}

#[test]
fn a_store_that_was_closed_leaves_it_empty() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_sled(dir.path());
    let mut writer = Writer::begin(&log);
    writer.write(&log, &SMALL);
    assert!(!wal(&left(dir.path())).is_empty());
    log.close().unwrap();
    assert!(wal(&left(dir.path())).is_empty());
    assert_eq!(open_sled(left(dir.path()).path()).last(), log.last());
}

/// What a power failure may leave of what was appended and not flushed: any part of it.
#[test]
fn of_what_was_not_flushed_a_power_failure_leaves_the_first_commits_and_no_damage() {
    // With none before them, what others take the places of lies exactly behind those.
    for flushed in [0, 3] {
        let dir = tempfile::tempdir().unwrap();
        let log = open_sled(dir.path());
        let mut writer = Writer::begin(&log);
        (0..flushed).for_each(|_| drop(writer.write(&log, &SMALL)));
        (0..4).for_each(|_| log.append(&writer.commit(&SMALL)).unwrap());
        let bytes = wal(&left(dir.path()));
        let entries: Vec<usize> = (1..=4).map(|at| entry_of(&bytes, flushed + at)).collect();
        for (whole, from) in (flushed..).zip(&entries) {
            for to in entries.iter().filter(|to| *to > from).chain([&bytes.len()]) {
                let left = left(dir.path());
                let mut torn = bytes.clone();
                torn[*from..*to].fill(0);
                set_wal(&left, &torn);
                goes_on(&left, whole);
            }
        }
    }
}

/// It opens with so many commits and no damage. Others go on behind them, and what is behind the hole is never taken for
/// what follows those.
fn goes_on(dir: &TempDir, whole: u64) {
    let (after, damage) = opened(dir);
    assert_eq!((after.last().seq, damage), (Seq(whole), None));
    assert_eq!(read_all(&after, 1, 0).len() as u64, whole);
    let mut writer = Writer::begin(&after);
    for commits in 1..=2 {
        after.append(&writer.commit(&SMALL)).unwrap();
        let (next, damage) = opened(&left(dir.path()));
        assert_eq!((next.last().seq, damage), (Seq(whole + commits), None));
        assert_eq!(next.read(LogId(1), whole, 0).unwrap()[0].header().epoch, writer.epoch);
    }
}

/// A power failure left a hole in what was not flushed. What is behind it is no more, and the offsets are given to others.
#[test]
fn what_was_undone_is_not_found_again_by_a_repair() {
    // Of one log, or of another one each.
    for logs in [[1, 1, 1], [1, 2, 3]] {
        let dir = tempfile::tempdir().unwrap();
        let log = open_sled(dir.path());
        let mut writer = Writer::begin(&log);
        (0..5).for_each(|_| drop(writer.write(&log, &[(1, &[true])])));
        // Larger than what comes in their place.
        logs.iter().for_each(|id| log.append(&writer.commit_padded(&[(*id, &[true])], 200)).unwrap());
        let left_behind = left(dir.path());
        let mut torn = wal(&left_behind);
        let (from, to) = (entry_of(&torn, 6), entry_of(&torn, 7));
        torn[from + ENTRY_HEADER..to].fill(0);
        set_wal(&left_behind, &torn);
        let (log, damage) = opened(&left_behind);
        assert_eq!((log.last().seq, damage), (Seq(5), None), "6 to 8 are undone");
        let mut writer = Writer::begin(&log);
        writer.write(&log, &[(1, &[true])]);
        let killed = left(left_behind.path());
        let repair = SledLog::repair(killed.path(), true, &mut |_| {}).unwrap().expect("it is asked for");
        let (repaired, _) = opened(&killed);
        assert_eq!(repaired.last(), log.last(), "{repair}");
        for id in 1..=3 {
            assert_eq!(read_all(&repaired, id, 0), read_all(&log, id, 0), "log {id}: {repair}");
        }
    }
}
