//! Each fault of `log::Faulty`, over each engine: what the writer hears, and what a new start finds.

use headwater::log::faulty::{Fault, Operation};
use headwater::log::{Error, Faulty, Log};
use headwater::protocol::{Epoch, LogId, Seq};

use crate::engines::{Engine, InMemory, OnSled, Writer, all_of, read_all};

/// Two commits on two logs, the second of which meets a fault; answers what was heard, and after a new
/// start what is there: 1 or 2 commits.
fn meet<E: Engine>(operation: Operation, fault: Fault, seed: u64) -> (Result<(), Error>, u64) {
    let mut engine = E::new();
    let log = Faulty::seeded(engine.open(), seed, 0);
    let mut writer = Writer::begin(&log);
    writer.write(&log, &[(1, &[true]), (2, &[true])]);
    log.inject(operation, fault);
    let heard = log.append(&writer.commit(&[(1, &[true]), (2, &[true])])).and_then(|()| log.flush());
    if matches!(heard, Err(Error::Unknown(_))) {
        for refused in [log.append(&writer.commit(&[(1, &[true])])), log.flush(), log.trim(LogId(1), 1)] {
            assert!(matches!(refused, Err(Error::Unknown(why)) if why.ends_with("open the store anew")));
        }
    }
    let log = engine.crash(log.into_inner());
    let commits = log.last().seq.0;
    for id in [1, 2] {
        assert_eq!(read_all(&log, id, 0), all_of(&vec![true; commits as usize], 0, id), "all or nothing");
    }
    Writer::begin(&log).write(&log, &[(1, &[true]), (2, &[true])]);
    assert_eq!(log.last().seq, Seq(commits + 1));
    (heard, commits)
}

fn every_fault_is_heard_and_done_as_it_says<E: Engine>() {
    for operation in [Operation::Append, Operation::Flush] {
        let (heard, commits) = meet::<E>(operation, Fault::DiskFull, 0);
        assert!(matches!(&heard, Err(Error::Refused(why)) if why.contains("the disk is full")), "{heard:?}");
        // What was appended outlives a process, and no more.
        let left = if operation == Operation::Flush && E::KEEPS_APPENDED { 2 } else { 1 };
        assert_eq!(commits, left);
        let (heard, commits) = meet::<E>(operation, Fault::NotDone, 0);
        assert!(matches!(heard, Err(Error::Unknown(_))) && commits == left);
        let (heard, commits) = meet::<E>(operation, Fault::Forgotten, 0);
        assert!(heard.is_ok() && commits == left, "the disk lies");
    }
    // What was appended and not flushed may be there after a crash; what was flushed must be.
    let (heard, _) = meet::<E>(Operation::Append, Fault::DoneUnreported, 0);
    assert!(matches!(heard, Err(Error::Unknown(_))));
    let (heard, commits) = meet::<E>(Operation::Flush, Fault::DoneUnreported, 0);
    assert!(matches!(heard, Err(Error::Unknown(_))) && commits == 2);
    let torn: Vec<u64> = (0..8).map(|seed| meet::<E>(Operation::Flush, Fault::Torn, seed).1).collect();
    assert!(torn.contains(&2) && torn.contains(&1) != E::KEEPS_APPENDED, "{torn:?}");
}

#[test]
fn every_fault_is_heard_and_done_as_it_says_in_memory() {
    every_fault_is_heard_and_done_as_it_says::<InMemory>();
}

#[test]
fn every_fault_is_heard_and_done_as_it_says_on_sled() {
    every_fault_is_heard_and_done_as_it_says::<OnSled>();
}

#[test]
fn after_a_refusal_the_same_commit_can_be_tried_again() {
    let log = Faulty::new(InMemory::new().open());
    let mut writer = Writer::begin(&log);
    let commit = writer.commit(&[(1, &[true])]);
    log.inject(Operation::Append, Fault::DiskFull);
    log.append(&commit).unwrap_err();
    log.append(&commit).unwrap();
    log.inject(Operation::Flush, Fault::DiskFull);
    log.flush().unwrap_err();
    assert_eq!(log.last().seq, Seq(0));
    log.flush().unwrap();
    assert_eq!(log.last().seq, Seq(1));
}

#[test]
fn a_commit_after_one_that_was_forgotten_is_deposed() {
    let log = Faulty::new(InMemory::new().open());
    let mut writer = Writer::begin(&log);
    log.inject(Operation::Append, Fault::Forgotten);
    log.append(&writer.commit(&[(1, &[true])])).unwrap();
    let error = log.append(&writer.commit(&[(1, &[true])])).unwrap_err();
    assert!(matches!(error, Error::Deposed { found: Seq(2), last: Seq(0), .. }), "{error}");
}

#[test]
fn an_epoch_that_nobody_heard_of_is_not_used_again() {
    let mut engine = InMemory::new();
    let log = Faulty::new(engine.open());
    log.inject(Operation::BeginEpoch, Fault::DoneUnreported);
    log.begin_epoch().unwrap_err();
    assert_eq!(engine.crash(log.into_inner()).begin_epoch().unwrap(), Epoch(2));
}

#[test]
fn the_same_seed_brings_the_same_faults() {
    let run = |seed: u64| {
        let mut engine = InMemory::new();
        let mut heard = Vec::new();
        for start in 0..50 {
            let log = Faulty::seeded(engine.open(), seed + start, 5);
            while let Ok(epoch) = log.begin_epoch() {
                heard.push(format!("{epoch}"));
            }
            heard.push(format!("{:?}", log.begin_epoch()));
            engine.crash(log.into_inner());
        }
        heard
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(1000));
}
