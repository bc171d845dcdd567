//! `log::Reader`: the newest batches from memory, the others from the store, and never a gap.

use std::sync::Arc;

use headwater::log::reader::{RECENT_BATCH_OVERHEAD, RECENT_BYTES_MAX};
use headwater::log::{Bounds, Error, Last, Log, Memory, Reader};
use headwater::protocol::batch::{Batch, Commit};
use headwater::protocol::{Epoch, LogId, Seq};

use crate::engines::Writer;

const ONE: LogId = LogId(1);
const TWO: LogId = LogId(2);

fn publish(log: &Memory, reader: &Reader, commit: &Commit) {
    log.append(commit).unwrap();
    log.flush().unwrap();
    reader.publish(commit);
}

/// A store whose batches cannot be read: what is read all the same comes from memory.
struct Unreadable(Memory);

impl Log for Unreadable {
    fn describe(&self) -> String {
        "unreadable".to_owned()
    }
    fn begin_epoch(&self) -> Result<Epoch, Error> {
        self.0.begin_epoch()
    }
    fn append(&self, commit: &Commit) -> Result<(), Error> {
        self.0.append(commit)
    }
    fn flush(&self) -> Result<(), Error> {
        self.0.flush()
    }
    fn trim(&self, log: LogId, before: u64) -> Result<(), Error> {
        self.0.trim(log, before)
    }
    fn last(&self) -> Last {
        self.0.last()
    }
    fn logs(&self) -> Vec<LogId> {
        self.0.logs()
    }
    fn bounds(&self, log: LogId) -> Bounds {
        self.0.bounds(log)
    }
    fn read(&self, _: LogId, _: u64, _: usize) -> Result<Vec<Batch>, Error> {
        Err(Error::Unknown("read from the store".to_owned()))
    }
    fn find_element(&self, _: LogId, _: u64) -> Result<Option<Batch>, Error> {
        Err(Error::Unknown("searched in the store".to_owned()))
    }
}

#[test]
fn the_tail_is_read_from_memory_and_the_rest_from_the_store() {
    let log = Memory::new();
    let mut writer = Writer::begin(&log);
    let old = writer.write(&log, &[(1, &[true, true])]);
    let (reader, tail) = (Reader::new(Arc::new(log.clone())), Reader::new(Arc::new(Unreadable(log.clone()))));
    let new = writer.commit(&[(1, &[true]), (1, &[true]), (2, &[true])]);
    publish(&log, &reader, &new);
    tail.publish(&new);
    assert_eq!(tail.read(ONE, 2, usize::MAX).unwrap(), new.batches[..2]);
    assert_eq!(tail.read(ONE, 3, usize::MAX).unwrap(), new.batches[1..2]);
    assert_eq!(tail.read(ONE, 2, 0).unwrap(), new.batches[..1], "one at least");
    assert_eq!(tail.read(TWO, 0, 0).unwrap(), new.batches[2..]);
    assert!(tail.read(ONE, 1, usize::MAX).is_err(), "what is older is in the store");
    let all = [&old.batches[..], &new.batches[..2]].concat();
    assert_eq!(reader.read(ONE, 0, usize::MAX).unwrap(), all);
    assert_eq!(reader.read(ONE, 4, usize::MAX).unwrap(), []);
    assert_eq!(reader.find_element(ONE, 2).unwrap().as_ref(), Some(&new.batches[0]));
    assert_eq!(reader.bounds(ONE), Bounds { first: 0, head: 4, elements: 4 });
}

#[test]
fn what_is_kept_in_memory_is_bounded_over_all_logs() {
    for pad in [60_000, 100] {
        kept_is_bounded(pad);
    }
}

fn kept_is_bounded(pad: usize) {
    let log = Memory::new();
    let tail = Reader::new(Arc::new(Unreadable(log.clone())));
    let mut writer = Writer::begin(&log);
    let first = writer.commit_padded(&[(1, &[true])], pad);
    let batch_bytes = first.batches[0].bytes().len() + RECENT_BATCH_OVERHEAD;
    tail.publish(&first);
    let fits = (RECENT_BYTES_MAX / batch_bytes) as u64;
    for _ in 1..fits {
        tail.publish(&writer.commit_padded(&[(2, &[true])], pad));
    }
    assert!(tail.read(ONE, 0, 0).is_ok(), "all of them fit");
    for _ in 0..5 {
        tail.publish(&writer.commit_padded(&[(2, &[true])], pad));
    }
    assert!(tail.read(ONE, 0, 0).is_err(), "the oldest went first");
    let kept: usize = (0..fits + 5).filter_map(|from| tail.read(TWO, from, 0).ok()).map(|b| b.len()).sum();
    assert_eq!(kept as u64, fits, "as many as fit");
}

#[test]
fn commits_that_were_left_out_leave_no_gap() {
    let log = Memory::new();
    let tail = Reader::new(Arc::new(Unreadable(log.clone())));
    let mut writer = Writer::begin(&log);
    tail.publish(&writer.commit(&[(1, &[true]), (2, &[true])]));
    writer.commit(&[(1, &[true])]);
    let after = writer.commit(&[(1, &[true])]);
    tail.publish(&after);
    assert!(tail.read(ONE, 0, usize::MAX).is_err() && tail.read(ONE, 1, usize::MAX).is_err());
    assert_eq!(tail.read(ONE, 2, usize::MAX).unwrap(), after.batches);
    assert_eq!(tail.read(TWO, 0, usize::MAX).unwrap().len(), 1, "another log keeps its own");
}

#[test]
fn a_head_is_told_now_and_once_for_each_commit_that_moves_it() {
    let log = Memory::new();
    let reader = Reader::new(Arc::new(log.clone()));
    let mut writer = Writer::begin(&log);
    publish(&log, &reader, &writer.commit(&[(1, &[true])]));
    let (mut head, other) = (reader.head(ONE), reader.head(TWO));
    assert_eq!((*head.borrow_and_update(), *other.borrow()), (1, 0));
    publish(&log, &reader, &writer.commit(&[(1, &[true]), (1, &[true])]));
    assert!(head.has_changed().unwrap() && !other.has_changed().unwrap());
    assert_eq!(*head.borrow_and_update(), 3);
    // Watched after they were durable and before they were published: it is ahead, and does not go back.
    let late = [writer.commit(&[(2, &[true]), (3, &[true])]), writer.commit(&[(3, &[true])])];
    late.iter().for_each(|commit| log.append(commit).unwrap());
    log.flush().unwrap();
    let mut three = reader.head(LogId(3));
    assert_eq!(*three.borrow_and_update(), 2);
    for commit in &late {
        reader.publish(commit);
        assert_eq!((three.has_changed().unwrap(), *three.borrow()), (false, 2));
    }
    assert!(other.has_changed().unwrap());
    // Those that nobody watches are let go; those that are watched stay.
    for id in 10..10_000 {
        assert_eq!(*reader.head(LogId(id)).borrow(), 0);
    }
    publish(&log, &reader, &writer.commit(&[(1, &[true])]));
    assert_eq!(*head.borrow_and_update(), 4);
    assert_eq!(writer.seq, Seq(5));
}

/// Follows log 1 from offset 0 to `end` and checks that nothing is left out or comes twice.
async fn follow(reader: Reader, end: u64, bytes_max: usize) {
    let mut head = reader.head(ONE);
    let mut next = 0;
    while next < end {
        head.wait_for(|head| *head > next).await.unwrap();
        let batches = reader.read(ONE, next, bytes_max).unwrap();
        assert!(!batches.is_empty(), "the head is past {next}");
        for batch in batches {
            assert_eq!(batch.header().base_offset, next, "a gap or a repeat");
            next = batch.header().end_offset();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn readers_cross_from_store_to_memory_without_a_gap_while_it_is_written() {
    const COMMITS: u64 = 2000;
    let log = Memory::new();
    let reader = Reader::new(Arc::new(log.clone()));
    let mut writer = Writer::begin(&log);
    // More than fits in memory, so that readers who begin at 0 begin in the store.
    for _ in 0..COMMITS / 2 {
        publish(&log, &reader, &writer.commit_padded(&[(1, &[true]), (2, &[true])], 12_000));
    }
    let readers: Vec<_> =
        (0..4).map(|at| tokio::spawn(follow(reader.clone(), COMMITS, 5_000 << (2 * at)))).collect();
    let writing = std::thread::spawn(move || {
        for _ in COMMITS / 2..COMMITS {
            publish(&log, &reader, &writer.commit_padded(&[(1, &[true]), (2, &[true])], 12_000));
        }
    });
    for reader in readers {
        reader.await.unwrap();
    }
    writing.join().unwrap();
}
