//! A salvage that is cut off, one that is not wanted, and one that is asked for.

use std::fs;

use headwater::log::step::Doing;
use headwater::log::{Log, OpenError, Purpose, SledLog, SledOptions, Step};
use headwater::protocol::{LogId, Seq};

use super::damage::{cut, length_and_used, zero};
use super::store::{Original, Served, kept, open};
use crate::engines::{Part, Writer, copy_dir, open_sled, read_all};

/// A store with zeros where its batches are.
fn damaged() -> (Original, tempfile::TempDir) {
    let original = Original::write(1, 90, 100);
    let copy = original.copy();
    let (_, used) = length_and_used(copy.path());
    zero(copy.path(), used - 30_000, 20_000);
    (original, copy)
}

/// What a salvage of it brings when nothing cuts it off.
fn served(original: &Original, damaged: &tempfile::TempDir) -> Served {
    let copy = tempfile::tempdir().unwrap();
    copy_dir(damaged.path(), copy.path());
    let served = original.check(copy.path());
    assert!(served.lost_records > 0);
    served
}

#[test]
fn a_salvage_that_was_cut_off_begins_again_with_the_damaged_store() {
    let (original, damaged) = damaged();
    let expected = served(&original, &damaged);
    let bytes = fs::read(damaged.path().join("store/db")).unwrap();
    let half = original.copy();
    fs::write(half.path().join("store/db"), "half").unwrap();
    for step in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        copy_dir(damaged.path(), dir);
        fs::write(dir.join("suspect"), "its file is damaged\n").unwrap();
        if step == 1 {
            copy_dir(&half.path().join("store"), &dir.join("store.asked"));
        }
        if step >= 2 {
            copy_dir(&half.path().join("store"), &dir.join("store.salvaged"));
        }
        if step == 3 {
            fs::rename(dir.join("store"), dir.join("store.damaged-1")).unwrap();
        }
        if step == 4 {
            // An earlier salvage has left its own.
            copy_dir(&half.path().join("store"), &dir.join("store.damaged-1"));
            fs::rename(dir.join("store"), dir.join("store.damaged-2")).unwrap();
        }
        let (log, opened) = open(dir, Purpose::Serve);
        assert!(opened.damage.unwrap().contains("its file is damaged"), "step {step}");
        assert_eq!(original.compare(&log), expected, "step {step}");
        drop(log);
        assert!(fs::read(kept(dir).last().unwrap().join("db")).unwrap() == bytes, "step {step}");
        for left in ["store.asked", "store.salvaged", "suspect"] {
            assert!(!dir.join(left).exists(), "step {step}: {left}");
        }
        open_sled(dir);
    }
}

#[test]
fn a_start_that_must_not_repair_stops_and_changes_nothing() {
    let (original, damaged) = damaged();
    let dir = damaged.path();
    let files = || {
        let read = |name: &str| fs::read(dir.join(name)).unwrap();
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.filter(|name| name != "lock").collect();
        names.sort();
        (names, read("store/db"), read("store/conf"), read("head"))
    };
    let before = files();
    let whole = SledOptions { purpose: Purpose::ServeWhole, ..SledOptions::default() };
    for _ in 0..2 {
        let error = SledLog::open(dir, whole).err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }));
        let words = error.to_string();
        assert!(words.contains("damaged before the end") && words.contains("without --no-repair"), "{words}");
        assert!(files() == before);
    }
    // A salvage that was cut off is not gone on with, either.
    fs::rename(dir.join("store"), dir.join("store.damaged-1")).unwrap();
    fs::create_dir(dir.join("store.salvaged")).unwrap();
    let words = SledLog::open(dir, whole).err().unwrap().to_string();
    assert!(words.contains("cut off"), "{words}");
    fs::remove_dir(dir.join("store.salvaged")).unwrap();
    fs::rename(dir.join("store.damaged-1"), dir.join("store")).unwrap();
    assert!(files() == before);
    original.check(dir);
    SledLog::open(dir, whole).unwrap();
}

#[test]
fn a_repair_that_is_asked_for_repairs_what_is_damaged() {
    let (original, damaged) = damaged();
    let dir = damaged.path();
    let repair = SledLog::repair(dir, false, &mut |_| {}).unwrap().unwrap();
    assert!(repair.has_lost() && repair.records_lost() > 0 && repair.end_lost().is_none());
    assert_eq!(repair.kept.as_deref(), Some(&*dir.join("store.damaged-1")));
    assert!(SledLog::repair(dir, false, &mut |_| {}).unwrap().is_none(), "it is whole now");
    let again = SledLog::repair(dir, true, &mut |_| {}).unwrap().unwrap();
    assert_eq!((again.batches, again.lost), (repair.batches, repair.lost), "what was lost is told again");
    let served = original.compare(&open_sled(dir));
    assert_eq!(served.whole_batches, repair.batches);
}

#[test]
fn a_salvaged_store_goes_on_with_new_epochs_and_keeps_what_was_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let log = open_sled(dir);
    let mut writer = Writer::begin(&log);
    (0..60).for_each(|_| drop(writer.write(&log, &[(1, &[true; 3]), (2, &[true])])));
    log.trim(LogId(1), 90).unwrap();
    let starts = log.starts();
    drop(log);
    fs::remove_file(dir.join("store/conf")).unwrap();
    let (log, opened) = open(dir, Purpose::Serve);
    assert!(opened.damage.is_some());
    assert_eq!(log.starts(), starts, "so that nobody is told that the store went back, which did not");
    assert_eq!((log.bounds(LogId(1)).first, log.bounds(LogId(1)).head), (90, 180));
    assert_eq!(read_all(&log, 1, 0).len(), 90);
    let epoch = writer.epoch;
    let mut writer = Writer::begin(&log);
    assert_eq!((writer.epoch.0, writer.seq.0), (epoch.0 + 1, 60));
    writer.write(&log, &[(1, &[true])]);
    assert_eq!(read_all(&log, 1, 0).len(), 91);
    drop(log);
    assert_eq!(open_sled(dir).last().seq.0, 61);
}

#[test]
fn a_snapshot_of_a_commit_that_is_lost_is_set_aside() {
    let original = Original::write(1, 90, 100);
    let dir = original.copy();
    let dir = dir.path();
    let (log, _) = open(dir, Purpose::Serve);
    for seq in [30, 90] {
        log.write_snapshot(Seq(seq), &mut std::iter::once(vec![1; 10])).unwrap();
    }
    drop(log);
    let (_, used) = length_and_used(dir);
    cut(dir, used - 15_000);
    let (log, opened) = open(dir, Purpose::Serve);
    let last = log.last().seq;
    assert!(opened.damage.is_some() && last < Seq(90) && last > Seq(30), "{last}: {:?}", opened.damage);
    assert_eq!(log.snapshots().unwrap(), [Seq(30)], "the other one's commit will be another");
    assert!(dir.join("snapshots/00000000000000000090.ahead").exists());
}

#[test]
fn what_is_whole_of_a_torn_commit_that_was_acknowledged_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let log = open_sled(dir);
    let mut writer = Writer::begin(&log);
    (0..5).for_each(|_| drop(writer.write(&log, &[(1, &[true]), (2, &[true])])));
    // It is too large for the write-ahead log: sled writes it as messages that count only together.
    let parts: Vec<Part> = (1..=20).map(|id| (id, &[true][..])).collect();
    log.append(&writer.commit_padded(&parts, 60_000)).unwrap();
    log.flush().unwrap();
    let killed = tempfile::tempdir().unwrap();
    copy_dir(dir, killed.path());
    drop(log);
    let dir = killed.path();
    let (_, used) = length_and_used(dir);
    zero(dir, used - 20, 20);
    let (log, opened) = open(dir, Purpose::Serve);
    let damage = opened.damage.unwrap();
    assert!(damage.contains("behind it lies commit 6"), "{damage}");
    assert!(damage.contains("another newest commit than it should"), "{damage}");
    // Which of them is torn depends on the order in which sled writes them.
    let records: usize = (1..=20).map(|id| read_all(&log, id, 0).len()).sum();
    assert_eq!(records, 5 + 5 + 19);
}

/// What is done to a store, and how much of it: each time it begins with nothing, rises, and comes to the whole.
fn told(steps: &[Step]) -> Vec<(Doing, u64)> {
    let mut told: Vec<(Doing, u64)> = Vec::new();
    for part in steps.chunk_by(|before, next| before.doing == next.doing) {
        let done: Vec<u64> = part.iter().map(|step| step.done).collect();
        assert!(done.is_sorted() && part.iter().all(|step| step.of == part[0].of), "{part:?}");
        assert_eq!((done[0], done.last()), (0, Some(&part[0].of)), "{part:?}");
        told.push((part[0].doing, part[0].of));
    }
    told
}

#[test]
fn a_repair_tells_how_far_it_is_up_to_the_whole_of_each_step() {
    let (original, damaged) = damaged();
    let dir = damaged.path();
    let bytes: u64 =
        ["db", "conf"].map(|file| fs::metadata(dir.join("store").join(file)).unwrap().len()).iter().sum();
    let mut steps = Vec::new();
    let repair = SledLog::repair(dir, false, &mut |step| steps.push(step)).unwrap().unwrap();
    assert!(repair.bytes >= bytes);
    let batches = repair.batches + repair.lost.len() as u64;
    let all = [(Doing::Copying, repair.bytes), (Doing::Scanning, repair.bytes), (Doing::Writing, batches)];
    assert_eq!(told(&steps), all);
    assert!(steps.iter().filter(|step| step.doing == Doing::Writing).count() > 50, "batch by batch");
    // One that is whole is read, what is lost of it included.
    steps.clear();
    assert!(SledLog::repair(dir, false, &mut |step| steps.push(step)).unwrap().is_none());
    let (log, _) = open(dir, Purpose::Serve);
    let records = log.logs().into_iter().map(|id| log.bounds(id).head).sum::<u64>();
    assert!(records > original.compare(&log).whole_batches);
    drop(log);
    assert_eq!(told(&steps), [(Doing::Checking, records)]);
    // A start does the same.
    let copy = original.copy();
    fs::write(copy.path().join("suspect"), "somebody says so\n").unwrap();
    steps.clear();
    drop(SledLog::open_telling(copy.path(), SledOptions::default(), &mut |step| steps.push(step)).unwrap());
    let doing: Vec<Doing> = told(&steps).into_iter().map(|(doing, _)| doing).collect();
    assert_eq!(doing, [Doing::Copying, Doing::Scanning, Doing::Writing]);
}
