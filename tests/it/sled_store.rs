//! The sled store as files: who may open it, and what it says of damage.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use headwater::log::{Log, OpenError, Opened, SledLog, SledOptions};
use headwater::protocol::limits::BATCH_BYTES_MAX;
use headwater::protocol::version::STORE_VERSION;
use headwater::protocol::{Epoch, LogId, Seq};

use crate::engines::{Part, Writer, copy_dir, open_sled, read_all};

fn open(dir: &Path) -> Result<(SledLog, Opened), OpenError> {
    SledLog::open(dir, SledOptions { cache_bytes: 8 << 20, ..SledOptions::default() })
}

/// Adds commits of one element each on logs 1 and 2.
fn add(dir: &Path, commits: u64) {
    let log = open_sled(dir);
    let mut writer = Writer::begin(&log);
    for _ in 0..commits {
        writer.write(&log, &[(1, &[true]), (2, &[true])]);
    }
}

#[test]
fn a_store_is_fresh_until_the_first_commit() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made").join("with its parents");
    for _ in 0..2 {
        let (log, opened) = open(&dir).unwrap();
        assert_eq!(opened, Opened { fresh: true, damage: None });
        assert_eq!(log.describe(), format!("sled store in {}", dir.display()));
    }
    add(&dir, 1);
    assert_eq!(open(&dir).unwrap().1, Opened { fresh: false, damage: None });
}

#[test]
fn a_store_that_is_held_is_refused_until_it_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let holder = open_sled(dir.path());
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, OpenError::HeldByAnotherProcess { .. }), "{error}");
    let text = format!("the store {} is held by another process: stop that one", dir.path().display());
    assert!(error.to_string().starts_with(&text), "{error}");
    drop(holder);
    open_sled(dir.path());
}

#[test]
fn a_store_that_is_let_go_in_a_moment_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let holder = open_sled(dir.path());
    let (begun, has_begun) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn({
        let dir = dir.path().to_owned();
        move || {
            begun.send(()).unwrap();
            open_sled(&dir);
        }
    });
    has_begun.recv().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    drop(holder);
    waiting.join().unwrap();
}

#[test]
fn a_place_that_cannot_be_a_store_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "not a directory").unwrap();
    let error = open(&path).err().unwrap();
    assert!(matches!(error, OpenError::Io { .. }) && error.to_string().contains("file"), "{error}");
}

#[test]
fn a_head_file_of_a_newer_version_refuses_the_store() {
    let dir = tempfile::tempdir().unwrap();
    add(dir.path(), 1);
    let mut head = fs::read(dir.path().join("head")).unwrap();
    head[4] = 9;
    let checksum = crc32c::crc32c(&head[..32]);
    head[32..36].copy_from_slice(&checksum.to_le_bytes());
    fs::write(dir.path().join("head"), head).unwrap();
    let error = open(dir.path()).err().unwrap().to_string();
    let words = format!(
        "store version 9 is newer than {STORE_VERSION}: run a newer headwater, or restore a backup of version {STORE_VERSION}"
    );
    assert_eq!(error, words);
}

#[test]
fn a_store_behind_its_head_file_says_so_and_goes_on() {
    let (dir, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = dir.path();
    add(dir, 3);
    copy_dir(dir, old.path());
    add(dir, 2);
    let digest = open_sled(dir).last().digest;
    let head = dir.join("head");
    fs::remove_dir_all(dir.join("store")).unwrap();
    copy_dir(&old.path().join("store"), &dir.join("store"));
    let (log, opened) = open(dir).unwrap();
    let damage = opened.damage.unwrap();
    assert!(damage.contains("ends at commit 3, epoch 1, digest "), "{damage}");
    assert!(damage.contains(&format!("says commit 5, epoch 2, digest {digest}")), "{damage}");
    assert!(dir.join("store.damaged-1").exists());
    // No epoch is used twice, so that readers of the lost commits can tell these from those.
    let mut writer = Writer::begin(&log);
    assert_eq!((writer.epoch, writer.seq), (Epoch(3), Seq(3)));
    writer.write(&log, &[(1, &[true])]);
    writer.write(&log, &[(1, &[true])]);
    drop(log);
    let now = fs::read(&head).unwrap();
    assert_eq!(open(dir).unwrap().1.damage, None, "the head file is that of the new commits");
    // Another commit with the same number is another history.
    fs::copy(old.path().join("head"), &head).unwrap();
    let mut other = now;
    other[24] ^= 1;
    let checksum = crc32c::crc32c(&other[..32]);
    other[32..36].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(open(dir).unwrap().1.damage, None, "a head file that is behind is no damage");
    fs::write(&head, other).unwrap();
    let damage = open(dir).unwrap().1.damage.unwrap();
    assert!(damage.contains("another newest commit"), "{damage}");
}

#[test]
fn a_torn_or_missing_head_file_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    add(dir.path(), 3);
    for content in [&b""[..], b"HWHD", &[0xff; 36]] {
        fs::write(dir.path().join("head"), content).unwrap();
        assert_eq!(open_sled(dir.path()).last().seq, Seq(3));
    }
    fs::remove_file(dir.path().join("head")).unwrap();
    assert_eq!(open_sled(dir.path()).last().seq, Seq(3));
}

#[test]
fn batches_of_any_size_leave_no_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_sled(dir.path());
    let mut writer = Writer::begin(&log);
    for _ in 0..400 {
        let commit = writer.commit_padded(&[(1, &[true]), (2, &[false])], BATCH_BYTES_MAX - 1100);
        log.append(&commit).unwrap();
    }
    log.flush().unwrap();
    log.trim(LogId(1), 200).unwrap();
    drop(log);
    let log = open_sled(dir.path());
    assert_eq!((read_all(&log, 1, 0).len(), read_all(&log, 2, 0).len()), (200, 400));
    let blobs: Vec<_> = fs::read_dir(dir.path().join("store/blobs")).unwrap().collect();
    assert!(blobs.is_empty(), "{} blobs", blobs.len());
}

/// How many bytes of sled's file are in use: it is filled up with zeros.
fn used(dir: &Path) -> u64 {
    let bytes = fs::read(dir.join("store/db")).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

fn overwrite(dir: &Path, at: u64, change: impl Fn(&mut u8), length: u64) {
    let mut file = File::options().read(true).write(true).open(dir.join("store/db")).unwrap();
    let mut bytes = vec![0; length as usize];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut bytes).unwrap();
    bytes.iter_mut().for_each(change);
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&bytes).unwrap();
}

#[test]
fn a_commit_that_was_torn_is_there_whole_or_not_at_all() {
    let (dir, whole, head) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = open_sled(dir.path());
    let mut writer = Writer::begin(&log);
    for _ in 0..5 {
        writer.write(&log, &[(1, &[true]), (2, &[true])]);
    }
    fs::copy(dir.path().join("head"), head.path().join("head")).unwrap();
    let before = used(dir.path());
    // It is too large for the write-ahead log.
    let parts: Vec<Part> = (1..=20).map(|id| (id, &[true][..])).collect();
    log.append(&writer.commit_padded(&parts, 60_000)).unwrap();
    log.flush().unwrap();
    copy_dir(dir.path(), whole.path());
    fs::copy(head.path().join("head"), whole.path().join("head")).unwrap();
    let after = used(whole.path());
    assert!(after > before + 1_000_000, "the last commit is behind the others");
    let mut seen = [0, 0];
    for at in (before..after).step_by(50_021).chain([after]) {
        let torn = tempfile::tempdir().unwrap();
        copy_dir(whole.path(), torn.path());
        overwrite(torn.path(), at, |byte| *byte = 0, after - at);
        let log = open_sled(torn.path());
        let heads = [1, 2, 3, 20].map(|id| read_all(&log, id, 0).len());
        match log.last().seq {
            Seq(5) => assert_eq!(heads, [5, 5, 0, 0], "cut at {at}"),
            Seq(6) => assert_eq!(heads, [6, 6, 1, 1], "cut at {at}"),
            other => panic!("{other} commits"),
        }
        seen[log.last().seq.0 as usize - 5] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "cuts with either end: {seen:?}");
}
