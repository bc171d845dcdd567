//! The contract of `log::Log`, as one suite that every engine passes.

use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater::log::{Bounds, Error, Last, Log, Memory};
use headwater::protocol::batch::{Commit, OpenBatch};
use headwater::protocol::start::Starts;
use headwater::protocol::{Epoch, LogId, Seq};

use crate::engines::{Behind, Engine, InMemory, OnSled, Part, Writer, all_of, read_all};

macro_rules! suite {
    ($($test:ident)*) => {
        suite!(memory, InMemory, $($test)*);
        suite!(sled, OnSled, $($test)*);
        suite!(faulty_memory, Behind<InMemory>, $($test)*);
        suite!(faulty_sled, Behind<OnSled>, $($test)*);
    };
    ($engine:ident, $type:ty, $($test:ident)*) => {
        mod $engine {
            use super::*;
            $(#[test] fn $test() { super::$test(<$type>::new()) })*
        }
    };
}

suite! {
    what_is_written_is_read_back
    readers_see_only_what_is_durable
    a_crash_keeps_what_was_flushed_and_no_half_of_the_rest
    what_was_appended_is_flushed_later_in_order_whatever_comes_between
    a_commit_that_is_not_the_next_one_deposes
    a_commit_that_makes_no_sense_is_refused_and_changes_nothing
    epochs_count_every_start
    starts_are_remembered_with_what_they_found
    trimming_drops_whole_batches_and_keeps_the_head
    elements_are_found_by_their_index
    batches_are_found_by_their_time
    where_the_clock_was_set_back_what_is_found_has_earlier_ones_before_it
    the_newest_commit_is_known_after_a_new_start
    readers_go_on_while_it_is_written_and_trimmed
    it_does_what_the_reference_does
    snapshots_are_there_whole_after_a_crash_until_they_are_dropped
}

const ELEMENT: bool = true;
const PROGRESS: bool = false;

fn what_is_written_is_read_back(mut engine: impl Engine) {
    let log = engine.open();
    assert_eq!((log.last(), log.logs(), log.bounds(LogId(3))), (Last::default(), vec![], Bounds::default()));
    assert_eq!(log.read(LogId(3), 0, 1000).unwrap(), []);
    let mut writer = Writer::begin(&log);
    let first = writer.write(&log, &[(0, &[PROGRESS]), (3, &[ELEMENT, PROGRESS]), (3, &[ELEMENT])]);
    let second = writer.write(&log, &[(3, &[PROGRESS, ELEMENT])]);
    assert_eq!(log.logs(), [LogId(0), LogId(3)]);
    assert_eq!(log.bounds(LogId(3)), Bounds { first: 0, head: 5, elements: 3 });
    assert_eq!(
        read_all(&log, 3, 1),
        all_of(&[ELEMENT, PROGRESS, ELEMENT, PROGRESS, ELEMENT], 1, 3),
        "from the middle of a batch"
    );
    // Bytes as they were written; as many batches as fit, but at least one.
    let (a, b, c) = (&first.batches[1], &first.batches[2], &second.batches[0]);
    let read = |from, bytes_max| log.read(LogId(3), from, bytes_max).unwrap();
    assert_eq!(read(0, usize::MAX), [a.clone(), b.clone(), c.clone()]);
    assert_eq!(&read(0, 0)[..], slice::from_ref(a));
    assert_eq!(read(1, a.bytes().len() + b.bytes().len()), [a.clone(), b.clone()]);
    assert_eq!(&read(2, b.bytes().len() + c.bytes().len() - 1)[..], slice::from_ref(b));
    assert_eq!((read(5, 1000), read(6, 1000)), (vec![], vec![]));
    assert_eq!(log.read(LogId(2), 0, 1000).unwrap(), []);
    drop(log);
    let log = engine.open();
    assert_eq!(log.read(LogId(3), 0, usize::MAX).unwrap(), [a.clone(), b.clone(), c.clone()]);
}

fn readers_see_only_what_is_durable(mut engine: impl Engine) {
    let log = engine.open();
    let mut writer = Writer::begin(&log);
    writer.write(&log, &[(1, &[ELEMENT])]);
    let before = log.last();
    log.append(&writer.commit(&[(1, &[ELEMENT]), (2, &[ELEMENT])])).unwrap();
    log.append(&writer.commit(&[(1, &[ELEMENT])])).unwrap();
    assert_eq!((log.last(), log.logs()), (before, vec![LogId(1)]));
    assert_eq!(log.bounds(LogId(1)), Bounds { first: 0, head: 1, elements: 1 });
    assert_eq!(read_all(&log, 1, 0), all_of(&[ELEMENT], 0, 1));
    assert_eq!(log.read(LogId(2), 0, 1000).unwrap(), []);
    assert_eq!(log.find_element(LogId(1), 1).unwrap(), None);
    log.flush().unwrap();
    assert_eq!(log.last().seq, Seq(3));
    assert_eq!(read_all(&log, 1, 0), all_of(&[ELEMENT; 3], 0, 1));
    assert_eq!(read_all(&log, 2, 0), all_of(&[ELEMENT], 0, 2));
    log.flush().unwrap();
}

fn a_crash_keeps_what_was_flushed_and_no_half_of_the_rest(mut engine: impl Engine) {
    let log = engine.open();
    let mut writer = Writer::begin(&log);
    for _ in 0..5 {
        writer.write(&log, &[(1, &[ELEMENT, ELEMENT]), (2, &[ELEMENT])]);
    }
    for _ in 0..5 {
        log.append(&writer.commit(&[(1, &[ELEMENT, ELEMENT]), (2, &[ELEMENT])])).unwrap();
    }
    let log = engine.crash(log);
    let kept = log.last().seq.0;
    assert!((5..=10).contains(&kept), "{kept} commits");
    let everywhere = |log: &dyn Log, commits| {
        assert_eq!((log.bounds(LogId(1)).head, log.bounds(LogId(2)).head), (2 * commits, commits));
    };
    everywhere(&log, kept);
    // And it goes on.
    let mut writer = Writer::begin(&log);
    writer.write(&log, &[(1, &[ELEMENT, ELEMENT]), (2, &[ELEMENT])]);
    let log = engine.crash(log);
    everywhere(&log, kept + 1);
    assert_eq!(read_all(&log, 1, 0), all_of(&vec![ELEMENT; 2 * kept as usize + 2], 0, 1));
}

fn what_was_appended_is_flushed_later_in_order_whatever_comes_between(mut engine: impl Engine) {
    fn keeps_appended<E: Engine>(_: &E) -> bool {
        E::KEEPS_APPENDED
    }
    let log = engine.open();
    let mut writer = Writer::begin(&log);
    writer.write(&log, &[(1, &[ELEMENT]), (2, &[ELEMENT])]);
    writer.write(&log, &[(1, &[ELEMENT]), (2, &[ELEMENT])]);
    // Small and large ones, so that some do not fit where small ones lie, and all together do not either.
    let mut appended = 2;
    for round in 0..60 {
        let parts: Vec<Part<'_>> =
            (1..=if round % 20 == 7 { 12 } else { 1 }).map(|id| (id, &[ELEMENT][..])).collect();
        log.append(&writer.commit_padded(&parts, 60_000)).unwrap();
        appended += 1;
        if round % 25 == 3 {
            log.trim(LogId(1), 1).unwrap();
        }
        assert_eq!((log.last().seq, log.bounds(LogId(1)).head), (Seq(2), 2), "none of it is durable");
    }
    assert_eq!(read_all(&log, 1, 1).len(), 1);
    let keeps = keeps_appended(&engine);
    let log = engine.crash(log);
    let kept = log.last().seq.0;
    assert_eq!(kept, if keeps { appended } else { 2 }, "what outlives a process");
    assert_eq!(log.bounds(LogId(1)).head, kept);
    let mut writer = Writer::begin(&log);
    (0..3).for_each(|_| log.append(&writer.commit(&[(1, &[ELEMENT])])).unwrap());
    log.flush().unwrap();
    assert_eq!((log.last().seq, log.bounds(LogId(1)).head), (Seq(kept + 3), kept + 3));
    let log = engine.crash(log);
    assert_eq!(log.last().seq, Seq(kept + 3));
}

fn a_commit_that_is_not_the_next_one_deposes(mut engine: impl Engine) {
    let too_late = |writer: &mut Writer| writer.seq = Seq(0);
    let too_early = |writer: &mut Writer| writer.seq = Seq(2);
    let of_another_epoch = |writer: &mut Writer| writer.epoch = Epoch(writer.epoch.0 - 1);
    let before = engine.open();
    Writer::begin(&before).write(&before, &[(1, &[ELEMENT])]);
    drop(before);
    for change in [too_late, too_early, of_another_epoch] {
        let log = engine.open();
        let mut writer = Writer::begin(&log);
        let next = Writer { seq: writer.seq, epoch: writer.epoch, ends: writer.ends.clone() };
        change(&mut writer);
        let error = log.append(&writer.commit(&[(1, &[ELEMENT])])).unwrap_err();
        assert!(matches!(error, Error::Deposed { last: Seq(1), .. }), "{error}");
        // It is not for this writer to go on, not even with the right one.
        let mut next = next;
        let error = log.append(&next.commit(&[(1, &[ELEMENT])])).unwrap_err();
        assert!(error.to_string().contains("open the store anew"), "{error}");
        assert!(matches!((log.flush(), log.begin_epoch()), (Err(Error::Unknown(_)), Err(Error::Unknown(_)))));
        assert_eq!(read_all(&log, 1, 0), all_of(&[ELEMENT], 0, 1), "it can still be read");
    }
}

fn a_commit_that_makes_no_sense_is_refused_and_changes_nothing(mut engine: impl Engine) {
    let log = engine.open();
    let mut writer = Writer::begin(&log);
    writer.write(&log, &[(1, &[ELEMENT, PROGRESS])]);
    let batch = |log, offset, index, seq, epoch| {
        let mut open = OpenBatch::new(LogId(log), offset, index);
        open.push(&"record", ELEMENT);
        open.seal(Seq(seq), Epoch(epoch), 0)
    };
    let empty = OpenBatch::new(LogId(1), 2, 1).seal(Seq(2), Epoch(1), 0);
    for (what, batches) in [
        ("no batches", vec![]),
        ("no records", vec![empty]),
        ("after a gap", vec![batch(1, 3, 1, 2, 1)]),
        ("over what is there", vec![batch(1, 1, 1, 2, 1)]),
        ("a new log that does not begin", vec![batch(2, 1, 0, 2, 1)]),
        ("wrong count of elements", vec![batch(1, 2, 2, 2, 1)]),
        ("of another commit", vec![batch(1, 2, 1, 3, 1)]),
        ("of another epoch", vec![batch(1, 2, 1, 2, 2)]),
        ("logs out of order", vec![batch(2, 0, 0, 2, 1), batch(1, 2, 1, 2, 1)]),
        ("twice the same", vec![batch(1, 2, 1, 2, 1), batch(1, 2, 1, 2, 1)]),
    ] {
        let error = log.append(&Commit { seq: Seq(2), epoch: Epoch(1), batches }).unwrap_err();
        assert!(matches!(&error, Error::Refused(why) if why.starts_with("commit 2: ")), "{what}: {error}");
    }
    writer.write(&log, &[(1, &[ELEMENT])]);
    drop(log);
    assert_eq!(read_all(&engine.open(), 1, 0), all_of(&[ELEMENT, PROGRESS, ELEMENT], 0, 1));
}

fn epochs_count_every_start(mut engine: impl Engine) {
    let log = engine.open();
    assert_eq!((log.begin_epoch().unwrap(), log.begin_epoch().unwrap()), (Epoch(1), Epoch(2)));
    drop(log);
    let log = engine.open();
    assert_eq!(log.begin_epoch().unwrap(), Epoch(3));
    let log = engine.crash(log);
    assert_eq!(log.begin_epoch().unwrap(), Epoch(4));
    let mut writer = Writer::begin(&log);
    writer.write(&log, &[(0, &[PROGRESS])]);
    assert_eq!((writer.epoch, log.last().epoch), (Epoch(5), Epoch(5)));
}

fn starts_are_remembered_with_what_they_found(mut engine: impl Engine) {
    let log = engine.open();
    assert_eq!(log.starts(), Starts::default());
    let mut writer = Writer::begin(&log);
    writer.write(&log, &[(1, &[ELEMENT])]);
    writer.write(&log, &[(1, &[ELEMENT])]);
    // Appended and not flushed, so not found.
    log.append(&writer.commit(&[(1, &[ELEMENT])])).unwrap();
    let log = engine.crash(log);
    let found = log.last().seq;
    log.begin_epoch().unwrap();
    let starts = log.starts();
    let told: Vec<_> = starts.iter().map(|start| (start.epoch, start.after)).collect();
    assert_eq!(told, [(Epoch(1), Seq(0)), (Epoch(2), found)]);
    assert_ne!(starts.iter().next().unwrap().id, starts.newest().id);
    drop(log);
    assert_eq!(engine.open().starts(), starts, "after a new start, too");
}

fn trimming_drops_whole_batches_and_keeps_the_head(mut engine: impl Engine) {
    let log = engine.open();
    let mut writer = Writer::begin(&log);
    for _ in 0..4 {
        writer.write(&log, &[(1, &[ELEMENT; 3]), (2, &[ELEMENT])]);
    }
    let newest = writer.write(&log, &[(1, &[ELEMENT; 3]), (1, &[ELEMENT; 3])]);
    log.trim(LogId(1), 2).unwrap();
    assert_eq!(log.bounds(LogId(1)), Bounds { first: 0, head: 18, elements: 18 }, "no half batches");
    log.trim(LogId(1), 7).unwrap();
    assert_eq!(log.bounds(LogId(1)), Bounds { first: 6, head: 18, elements: 18 });
    assert_eq!(read_all(&log, 1, 0), all_of(&[ELEMENT; 18], 6, 1));
    assert_eq!(log.find_element(LogId(1), 2).unwrap().unwrap().header().base_offset, 6, "the first there is");
    log.trim(LogId(1), 3).unwrap();
    assert_eq!(log.bounds(LogId(1)).first, 6, "never back");
    // Not even what is not durable yet lets the newest durable commit go.
    log.append(&writer.commit(&[(1, &[ELEMENT])])).unwrap();
    log.trim(LogId(1), u64::MAX).unwrap();
    log.trim(LogId(7), u64::MAX).unwrap();
    assert_eq!(log.bounds(LogId(1)), Bounds { first: 12, head: 18, elements: 18 });
    assert_eq!(log.bounds(LogId(2)), Bounds { first: 0, head: 4, elements: 4 }, "another log");
    let log = engine.crash(log);
    assert_eq!(log.bounds(LogId(1)).first, 12);
    if log.last().seq == newest.seq {
        assert_eq!(log.last().digest, Commit::digest(&newest.batches));
    }
    let kept = log.bounds(LogId(1)).head as usize;
    Writer::begin(&log).write(&log, &[(1, &[ELEMENT])]);
    assert_eq!(read_all(&log, 1, 0), all_of(&vec![ELEMENT; kept + 1], 12, 1), "offsets go on");
}

fn elements_are_found_by_their_index(mut engine: impl Engine) {
    let log = engine.open();
    let mut writer = Writer::begin(&log);
    let mut random = fastrand::Rng::with_seed(7);
    let mut elements = Vec::new();
    for _ in 0..60 {
        let records: Vec<bool> = (0..random.usize(1..6)).map(|_| random.u8(0..3) == 0).collect();
        log.append(&writer.commit(&[(0, &[PROGRESS]), (5, &records), (6, &[ELEMENT])])).unwrap();
        elements.extend(records);
    }
    log.flush().unwrap();
    let offsets: Vec<u64> = (0u64..).zip(&elements).filter(|(_, is)| **is).map(|(at, _)| at).collect();
    assert_eq!(log.bounds(LogId(5)).elements, offsets.len() as u64);
    for (index, offset) in (0u64..).zip(&offsets) {
        let found = *log.find_element(LogId(5), index).unwrap().unwrap().header();
        assert!((found.base_index..found.end_index()).contains(&index), "element {index}");
        assert!((found.base_offset..found.end_offset()).contains(offset), "element {index}");
    }
    assert_eq!(log.find_element(LogId(5), offsets.len() as u64).unwrap(), None);
    assert_eq!(log.find_element(LogId(0), 0).unwrap(), None, "a log without elements");
    assert_eq!(log.find_element(LogId(9), 0).unwrap(), None, "no log");
}

/// Where a batch of this time or later is found.
fn found_at(log: &impl Log, id: u32, time_ms: u64) -> Option<u64> {
    log.find_time(LogId(id), time_ms).unwrap().map(|batch| batch.header().base_offset)
}

fn batches_are_found_by_their_time(mut engine: impl Engine) {
    let log = engine.open();
    assert_eq!(found_at(&log, 1, 0), None, "an empty log");
    let mut writer = Writer::begin(&log);
    // One millisecond a commit; the log is in every other of them, with two batches.
    for _ in 0..20 {
        writer.write(&log, &[(1, &[ELEMENT, PROGRESS]), (1, &[PROGRESS]), (2, &[ELEMENT])]);
        writer.write(&log, &[(2, &[ELEMENT])]);
    }
    let begin = log.read(LogId(1), 0, 0).unwrap()[0].header().time_ms;
    for at in 0..20 {
        assert_eq!(found_at(&log, 1, begin + 2 * at), Some(3 * at), "the first of its time");
        let next = (at < 19).then_some(3 * at + 3);
        assert_eq!(found_at(&log, 1, begin + 2 * at + 1), next, "the next one when there is none");
    }
    assert_eq!((found_at(&log, 1, 0), found_at(&log, 1, u64::MAX)), (Some(0), None));
    log.append(&writer.commit(&[(1, &[ELEMENT])])).unwrap();
    assert_eq!(found_at(&log, 1, begin + 40), None, "what is not durable is not there");
    log.flush().unwrap();
    assert_eq!(found_at(&log, 1, begin + 40), Some(60));
    log.trim(LogId(1), 31).unwrap();
    let first = log.bounds(LogId(1)).first;
    assert_eq!((first, found_at(&log, 1, begin)), (30, Some(30)), "the first there is");
    assert_eq!(found_at(&log, 1, begin + 38), Some(57));
}

fn where_the_clock_was_set_back_what_is_found_has_earlier_ones_before_it(mut engine: impl Engine) {
    let log = engine.open();
    let mut writer = Writer::begin(&log);
    let times = [10, 20, 30, 40, 15, 16, 17, 35, 50, 60];
    for time_ms in times {
        let (offset, index) = writer.ends.get(&LogId(1)).copied().unwrap_or_default();
        let mut open = OpenBatch::new(LogId(1), offset, index);
        assert!(open.push(&"record", ELEMENT));
        writer.seq = writer.seq.next();
        writer.ends.insert(LogId(1), (offset + 1, index + 1));
        let batches = vec![open.seal(writer.seq, writer.epoch, time_ms)];
        log.append(&Commit { seq: writer.seq, epoch: writer.epoch, batches }).unwrap();
    }
    log.flush().unwrap();
    for time_ms in 0..70 {
        let found = found_at(&log, 1, time_ms).unwrap_or(10) as usize;
        assert!(found == 0 || times[found - 1] < time_ms, "{time_ms} at {found}");
        assert!(found == 10 || times[found] >= time_ms, "{time_ms} at {found}");
    }
}

fn the_newest_commit_is_known_after_a_new_start(mut engine: impl Engine) {
    let log = engine.open();
    let mut writer = Writer::begin(&log);
    writer.write(&log, &[(9, &[ELEMENT])]);
    let newest = writer.write(&log, &[(0, &[PROGRESS]), (4, &[ELEMENT]), (4, &[ELEMENT]), (9, &[ELEMENT])]);
    let last = Last { seq: Seq(2), epoch: Epoch(1), digest: Commit::digest(&newest.batches) };
    assert_eq!(log.last(), last);
    let log = engine.crash(log);
    assert_eq!(log.last(), last);
    drop(log);
    assert_eq!(engine.open().last(), last);
}

fn readers_go_on_while_it_is_written_and_trimmed(mut engine: impl Engine) {
    const COMMITS: u64 = 300;
    let log = engine.open();
    let mut writer = Writer::begin(&log);
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut next = 0;
                    while next < 2 * COMMITS && !failed.load(Ordering::Relaxed) {
                        let batches = log.read(LogId(1), next, 500).unwrap();
                        let Some(first) = batches.first() else { continue };
                        let from = first.header().base_offset;
                        assert!(from <= next || from <= log.bounds(LogId(1)).first, "gap at {next}");
                        assert!(batches.is_sorted_by_key(|batch| batch.header().base_offset));
                        next = batches.last().unwrap().header().end_offset();
                        if let Some(index) = log.bounds(LogId(1)).elements.checked_sub(50) {
                            assert!(log.find_element(LogId(1), index).unwrap().is_some());
                        }
                    }
                })
            })
            .collect();
        for at in 0..COMMITS {
            let written = log.append(&writer.commit(&[(1, &[ELEMENT, PROGRESS])])).and_then(|()| log.flush());
            let trimmed = if at % 16 == 15 { log.trim(LogId(1), 2 * at - 8) } else { Ok(()) };
            failed.store(written.is_err() || trimmed.is_err(), Ordering::Relaxed);
            written.and(trimmed).unwrap();
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

fn it_does_what_the_reference_does(mut engine: impl Engine) {
    let seed =
        std::env::var("HEADWATER_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("HEADWATER_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let reference = Memory::new();
    let mut log = engine.open();
    let mut writer = begin_both(&log, &reference);
    for step in 0..150 {
        match random.u32(0..30) {
            0..18 => {
                let commit = random_commit(&mut random, &mut writer);
                reference.append(&commit).unwrap();
                log.append(&commit).unwrap();
            }
            18..26 => {
                reference.flush().unwrap();
                log.flush().unwrap();
            }
            26..29 => {
                let id = LogId(random.u32(0..4));
                let before = random.u64(0..=reference.bounds(id).head + 3);
                reference.trim(id, before).unwrap();
                log.trim(id, before).unwrap();
            }
            _ => {
                log = engine.crash(log);
                let kept = log.last().seq.0.checked_sub(reference.last().seq.0);
                reference.crash_keeping(kept.expect("nothing durable is lost"));
                writer = begin_both(&log, &reference);
            }
        }
        assert_same(&log, &reference, &mut random, step);
    }
}

fn begin_both(log: &impl Log, reference: &Memory) -> Writer {
    let writer = Writer::begin(reference);
    assert_eq!(log.begin_epoch().unwrap(), writer.epoch);
    writer
}

fn random_commit(random: &mut fastrand::Rng, writer: &mut Writer) -> Commit {
    let mut logs: Vec<u32> = (0..random.usize(1..4)).map(|_| random.u32(0..4)).collect();
    logs.sort_unstable();
    let records: Vec<Vec<bool>> =
        logs.iter().map(|_| (0..random.usize(1..9)).map(|_| random.bool()).collect()).collect();
    let parts: Vec<Part<'_>> = logs.iter().zip(&records).map(|(log, records)| (*log, &records[..])).collect();
    writer.commit_padded(&parts, random.usize(0..400))
}

fn assert_same(log: &impl Log, reference: &Memory, random: &mut fastrand::Rng, step: u32) {
    assert_eq!((log.last(), log.logs()), (reference.last(), reference.logs()), "step {step}");
    for id in (0..5).map(LogId) {
        let bounds = reference.bounds(id);
        assert_eq!(log.bounds(id), bounds, "step {step}, log {id}");
        let (from, bytes_max) = (random.u64(0..=bounds.head + 1), random.usize(0..5000));
        let (read, expected) = (log.read(id, from, bytes_max), reference.read(id, from, bytes_max));
        assert_eq!(read.unwrap(), expected.unwrap(), "step {step}, log {id} from {from}");
        let index = random.u64(0..=bounds.elements);
        let (found, expected) = (log.find_element(id, index), reference.find_element(id, index));
        assert_eq!(found.unwrap(), expected.unwrap(), "step {step}, log {id} element {index}");
        let time_ms = log.read(id, from, 0).unwrap().first().map_or(0, |batch| batch.header().time_ms);
        let (found, expected) = (log.find_time(id, time_ms), reference.find_time(id, time_ms));
        assert_eq!(found.unwrap(), expected.unwrap(), "step {step}, log {id} at {time_ms}");
    }
}

fn snapshots_are_there_whole_after_a_crash_until_they_are_dropped(mut engine: impl Engine) {
    let log = engine.open();
    assert_eq!(log.snapshots().unwrap(), []);
    let mut writer = Writer::begin(&log);
    writer.write(&log, &[(1, &[ELEMENT])]);
    let pieces = [b"one".to_vec(), Vec::new(), vec![7; 100_000]];
    let read = |log: &dyn Log, at| {
        let mut read = Vec::new();
        log.read_snapshot(Seq(at), &mut |piece| read.push(piece.to_vec())).map(|()| read)
    };
    for at in [1, 3] {
        log.write_snapshot(Seq(at), &mut pieces.clone().into_iter()).unwrap();
        writer.write(&log, &[(1, &[ELEMENT])]);
    }
    log.write_snapshot(Seq(2), &mut std::iter::empty()).unwrap();
    let log = engine.crash(log);
    assert_eq!(log.snapshots().unwrap(), [Seq(3), Seq(2), Seq(1)]);
    assert_eq!(read(&log, 3).unwrap(), [pieces[0].clone(), pieces[2].clone()], "no empty pieces");
    assert_eq!(read(&log, 2).unwrap(), Vec::<Vec<u8>>::new());
    assert!(matches!(read(&log, 4), Err(Error::BadSnapshot { at: Seq(4), .. })));
    let sizes = [3, 2].map(|at| log.snapshot_bytes(Seq(at)).unwrap());
    assert!(sizes[0] > 100_000 && sizes[1] < 1000, "{sizes:?}");
    assert!(matches!(log.snapshot_bytes(Seq(4)), Err(Error::BadSnapshot { at: Seq(4), .. })));
    assert!(log.logs_bytes().unwrap().is_none_or(|bytes| bytes > 0));
    for _ in 0..2 {
        log.drop_snapshot(Seq(2)).unwrap();
        assert_eq!(log.snapshots().unwrap(), [Seq(3), Seq(1)]);
    }
    // One of the same commit takes the place of the one before.
    log.write_snapshot(Seq(1), &mut [b"anew".to_vec()].into_iter()).unwrap();
    assert_eq!(read(&log, 1).unwrap(), [b"anew".to_vec()]);
    assert_eq!(log.bounds(LogId(1)).head, 3, "the logs are as they were");
}
