//! What only this engine does. What all do is in `tests/it/conformance.rs`.

use std::ops::Range;

use super::*;
use crate::protocol::batch::OpenBatch;
use crate::protocol::version::STORE_VERSION;

const LOG: LogId = LogId(1);

/// Appends a commit of one record of so many bytes.
fn append(log: &SledLog, bytes: usize) {
    let (last, end) = (log.heads().appended(), log.heads().last());
    let at = log.bounds(LOG).head + (last.seq.0 - end.seq.0);
    let (seq, epoch) = (last.seq.next(), log.heads().epoch());
    let mut open = OpenBatch::new(LOG, at, at);
    assert!(open.push(&"x".repeat(bytes), true));
    log.append(&Commit { seq, epoch, batches: vec![open.seal(seq, epoch, 0)] }).unwrap();
}

/// The offsets of what sled has of it.
fn in_sled(log: &SledLog) -> Vec<u64> {
    log.trees.offsets(LOG, 0..u64::MAX).collect::<Result<_, _>>().ok().unwrap()
}

/// The base offset of each batch from an offset on, and whether it is lost.
fn read_from(log: &SledLog, from: u64) -> Vec<(u64, bool)> {
    let (mut seen, mut next) = (Vec::new(), from);
    while let Some(batch) = log.read(LOG, next, 0).unwrap().first() {
        seen.push((batch.header().base_offset, batch.damage().is_some()));
        next = batch.header().end_offset();
    }
    seen
}

#[test]
fn what_sled_does_not_have_yet_is_read_once_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    log.begin_epoch().unwrap();
    let whole = |offsets: Range<u64>| offsets.map(|offset| (offset, false)).collect::<Vec<_>>();
    for round in 0..3 {
        let had = 4 * round;
        (0..3).for_each(|_| append(&log, 10));
        log.flush().unwrap();
        append(&log, 10);
        assert_eq!(in_sled(&log), (0..had).collect::<Vec<_>>());
        for from in 0..had + 3 {
            assert_eq!(read_from(&log, from), whole(from..had + 3));
        }
        assert_eq!(read_from(&log, had + 3), [], "it is not durable");
        let at_once = log.read(LOG, 0, usize::MAX).unwrap();
        assert_eq!(at_once.last().unwrap().header().base_offset, had + 2, "nor here");
        let found = log.find_element(LOG, had + 2).unwrap().unwrap();
        assert_eq!(found.header().base_offset, had + 2);
        log.stow().unwrap();
        assert_eq!(
            in_sled(&log),
            (0..had + 3).collect::<Vec<_>>(),
            "sled is never given what is not durable"
        );
        assert_eq!(read_from(&log, 0), whole(0..had + 3));
        log.flush().unwrap();
        assert_eq!(read_from(&log, 0), whole(0..had + 4));
        log.stow().unwrap();
    }
}

#[test]
fn what_is_lost_ends_where_sled_does_not_have_the_rest_yet() {
    for gone in [&[2][..], &[4], &[5], &[4, 5]] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
        log.begin_epoch().unwrap();
        (0..6).for_each(|_| append(&log, 10));
        log.flush().unwrap();
        log.stow().unwrap();
        (0..3).for_each(|_| append(&log, 10));
        log.flush().unwrap();
        log.trees.remove(LOG, gone).ok().unwrap();
        let expected: Vec<(u64, bool)> =
            (0..9).filter(|at| *at != 5 || gone.len() == 1).map(|at| (at, gone.contains(&at))).collect();
        assert_eq!(read_from(&log, 0), expected);
        let lost = log.read(LOG, gone[0], 0).unwrap()[0].damage().unwrap();
        assert_eq!((lost.from, lost.to), (gone[0], gone[0] + gone.len() as u64));
    }
}

/// Copies what there is of an open store, as a process that is killed leaves it.
fn killed(dir: &Path) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    for part in directory::PARTS {
        directory::copy_entry(&dir.join(part), &left.path().join(part)).unwrap();
    }
    left
}

#[test]
fn places_that_were_never_filled_are_gone_when_the_store_is_opened() {
    // Some of the places that the commits behind the first few have are filled, and one of a log that has nothing else is not.
    for (stowed, filled) in [(0, 0), (0, 3), (5, 0), (5, 2), (20, 9)] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
        log.begin_epoch().unwrap();
        (0..stowed).for_each(|_| append(&log, 20_000));
        log.flush().unwrap();
        log.stow().unwrap();
        (0..10).for_each(|_| append(&log, 20_000));
        log.flush().unwrap();
        let commits: Vec<Commit> = log.unstowed().commits().cloned().collect();
        let batches = || commits.iter().flat_map(|commit| &commit.batches);
        log.trees.make_places(batches()).ok().unwrap();
        log.trees.put(LogId(7), 0, &[]);
        commits[..filled].iter().for_each(|commit| log.trees.insert(&commit.batches).ok().unwrap());
        log.trees.flush().ok().unwrap();
        assert_eq!(in_sled(&log).len(), stowed + 10);
        let left = killed(dir.path());
        std::fs::remove_file(left.path().join("store/wal")).unwrap();
        std::fs::remove_file(left.path().join("head")).unwrap();
        let (alone, opened) = SledLog::open(left.path(), SledOptions::default()).unwrap();
        assert_eq!(
            (opened.damage, alone.logs()),
            (None, if stowed + filled > 0 { vec![LOG] } else { vec![] })
        );
        assert_eq!(in_sled(&alone), (0..(stowed + filled) as u64).collect::<Vec<_>>());
        let (with_wal, opened) = SledLog::open(killed(dir.path()).path(), SledOptions::default()).unwrap();
        assert_eq!((opened.damage, with_wal.last()), (None, log.last()));
        assert_eq!(read_from(&with_wal, 0), read_from(&log, 0));
        assert_eq!(in_sled(&with_wal), (0..stowed as u64 + 10).collect::<Vec<_>>());
    }
}

#[test]
fn a_store_that_says_it_is_newer_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let open = || SledLog::open(dir.path(), SledOptions::default());
    open().unwrap().0.trees.set_number(b"version", &9u16.to_le_bytes()).ok().unwrap();
    for _ in 0..2 {
        let error = open().err().unwrap().to_string();
        let expected = format!("store version 9 is newer than {STORE_VERSION}: run a newer headwater");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn a_store_that_says_it_is_older_is_upgraded_once_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let open = || SledLog::open(dir.path(), SledOptions::default()).unwrap().0;
    open().trees.set_number(b"version", &2u16.to_le_bytes()).ok().unwrap();
    let version = || open().trees.number(b"version").ok().unwrap();
    assert_eq!(version(), Some(u64::from(STORE_VERSION)));
    let backup = dir.path().join("backup-of-version-2");
    assert!(backup.join("store/db").exists());
    std::fs::remove_dir_all(&backup).unwrap();
    assert_eq!((version(), backup.exists()), (Some(u64::from(STORE_VERSION)), false));
}

#[test]
fn what_cannot_be_read_after_a_write_has_failed_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    let epoch = log.begin_epoch().unwrap();
    let mut open = OpenBatch::new(LogId(1), 0, 0);
    assert!(open.push(&"record", true));
    log.append(&Commit { seq: Seq(1), epoch, batches: vec![open.seal(Seq(1), epoch, 0)] }).unwrap();
    log.flush().unwrap();
    log.stow().unwrap();
    log.write::<()>(|_| Err(Error::Unknown("the disk is full".to_owned()))).unwrap_err();
    assert_eq!(log.read(LogId(1), 0, 0).unwrap().len(), 1, "what can be read is");
    log.trees.remove(LogId(1), &[0]).ok().unwrap();
    let error = log.read(LogId(1), 0, 0).unwrap_err();
    assert_eq!(error.to_string(), "the store failed: the disk is full; open the store anew");
    assert!(!dir.path().join("suspect").exists(), "no salvage for that");
}

#[test]
fn batches_that_are_gone_or_others_are_lost_in_their_place_and_the_rest_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    let epoch = log.begin_epoch().unwrap();
    for at in 0..6 {
        let mut open = OpenBatch::new(LogId(1), at, at);
        assert!(open.push(&"record", true));
        let batches = vec![open.seal(Seq(at + 1), epoch, 0)];
        log.append(&Commit { seq: Seq(at + 1), epoch, batches }).unwrap();
    }
    log.flush().unwrap();
    log.stow().unwrap();
    let first = log.read(LogId(1), 0, 0).unwrap().swap_remove(0);
    log.trees.remove(LogId(1), &[0, 3]).ok().unwrap();
    log.trees.put(LogId(1), 5, first.bytes());
    // Base offset, whether it is lost, and elements of each batch from there on.
    let read = |from: u64| {
        let (mut seen, mut next) = (Vec::new(), from);
        while let Some(batch) = log.read(LogId(1), next, 0).unwrap().first() {
            let header = *batch.header();
            seen.push((header.base_offset, batch.damage().is_some(), header.base_index, header.elements));
            next = header.end_offset();
        }
        seen
    };
    let whole = |offset: u64| (offset, false, offset, 1);
    let lost = |offset: u64| (offset, true, offset, 1);
    let all = [lost(0), whole(1), whole(2), lost(3), whole(4), lost(5)];
    for from in 0..6 {
        assert_eq!(read(from), all[from as usize..]);
        let found = log.find_element(LogId(1), from).unwrap().unwrap();
        assert_eq!(found.header().base_offset, from);
    }
    let words = |at: u64| log.read(LogId(1), at, 0).unwrap()[0].damage().unwrap().to_string();
    assert_eq!(words(3), "records 3 to 4 are lost: they are gone from the store");
    assert!(words(5).starts_with("records 5 to 6 are lost: these "), "{}", words(5));
    let suspect = std::fs::read_to_string(dir.path().join("suspect")).unwrap();
    assert_eq!(suspect, "records 0 to 1 of log 1: they are gone from the store\n");
}

#[test]
fn a_commit_that_sled_has_in_part_is_put_in_again() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    let epoch = log.begin_epoch().unwrap();
    for at in 0..2 {
        let seq = Seq(at + 1);
        let batches = [1, 2].map(|id| {
            let mut open = OpenBatch::new(LogId(id), at, at);
            assert!(open.push(&"record", true));
            open.seal(seq, epoch, 0)
        });
        log.append(&Commit { seq, epoch, batches: batches.to_vec() }).unwrap();
        log.flush().unwrap();
    }
    // As a crash in the middle of a checkpoint leaves it.
    log.stow().unwrap();
    log.trees.remove(LogId(2), &[1]).ok().unwrap();
    log.trees.flush().ok().unwrap();
    let left = killed(dir.path());
    let (after, opened) = SledLog::open(left.path(), SledOptions::default()).unwrap();
    assert_eq!((opened.damage, after.last()), (None, log.last()));
    let read = after.read(LogId(2), 0, usize::MAX).unwrap();
    let offsets: Vec<u64> = read.iter().map(|batch| batch.header().base_offset).collect();
    assert_eq!((offsets, read.iter().any(|batch| batch.damage().is_some())), (vec![0, 1], false));
}
