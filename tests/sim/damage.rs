//! What the storm of a seed has left, with records that are lost: every start goes on from it with a state
//! that holds, and finds the same when it starts again.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use fastrand::Rng;
use headwater::log::{Log, Memory};
use headwater::protocol::batch::{Batch, Commit};
use headwater::protocol::event::Receipt;
use headwater::protocol::group::{GroupId, indexes};
use headwater::protocol::message::Hello;
use headwater::protocol::{Epoch, LogId, Seq, SessionId, TaskEvent};
use headwater::scheduler::core::{Core, LogFacts, State};
use headwater::scheduler::snapshots::{self, History};
use headwater::scheduler::{ConnectionId, Pipeline, recovery};

use crate::scene::worker;
use crate::server::SETTINGS;
use crate::world;

const SEEDS: u64 = 150;

/// The log with some of its batches lost.
fn damaged(log: &Memory, rng: &mut Rng, one_in: u32) -> (Memory, usize) {
    let mut commits: BTreeMap<Seq, Vec<Batch>> = BTreeMap::new();
    let mut lost = 0;
    for id in log.logs() {
        for batch in log.read(id, 0, usize::MAX).unwrap() {
            let is_lost = rng.u32(..one_in) == 0;
            lost += usize::from(is_lost);
            let batch = if is_lost { Batch::lost(*batch.header(), "on purpose") } else { batch };
            commits.entry(batch.header().seq).or_default().push(batch);
        }
    }
    let damaged = Memory::new();
    let mut epoch = Epoch(0);
    for (seq, batches) in commits {
        while epoch < batches[0].header().epoch {
            epoch = damaged.begin_epoch().unwrap();
        }
        damaged.append(&Commit { seq, epoch, batches }).unwrap();
        damaged.flush().unwrap();
    }
    (damaged, lost)
}

/// A start on a log, which goes on for a while: a worker joins, leases end, upkeep does what is left.
fn start(log: &Memory) {
    let last = log.last();
    let recovered = recovery::recover(log, &mut |_| Ok(())).unwrap();
    recovered.state.check();
    let epoch = log.begin_epoch().unwrap();
    let facts = LogFacts {
        starts: log.starts(),
        seq: last.seq,
        receipt: Receipt { epoch, ..Receipt::default() },
        ..LogFacts::default()
    };
    let core = Core::new(recovered.state, SETTINGS, facts, 0);
    core.check();
    let mut pipeline = Pipeline::new(core, epoch, last.seq);
    pipeline.recovered();
    let session = SessionId((u128::from(epoch.0) + 1_000_000).to_be_bytes());
    let hello = Hello { token: None, session, resume: false, role: worker("new", 4, vec![]), seen: None };
    pipeline.connect(ConnectionId(1), &hello);
    pipeline.tick(1_000_000);
    while pipeline.core().has_more_upkeep() {
        pipeline.tick(1_000_000);
    }
    pipeline.core().check();
    let commit = pipeline.next_commit(1_000_000).unwrap();
    log.append(&commit).unwrap();
    log.flush().unwrap();
    let again = recovery::recover(log, &mut |_| Ok(())).unwrap();
    assert_eq!(&again.state, pipeline.core().state(), "the next start finds the same");
}

/// What a group is not done with is not done with behind lost records, and what is acknowledged in a record that is left
/// is. Answers how many elements it is known of that they are done with.
fn check_groups(damaged: &Memory, whole: &State, left: &State) -> usize {
    let is_done = |state: &State, id: GroupId, index: u64| {
        let group = &state.groups[&id];
        index < group.next && !group.leased.contains_key(&index) && !group.waiting.contains_key(&index)
    };
    let mut count = 0;
    for (id, group) in left.groups.iter().filter(|(id, _)| whole.groups.contains_key(id)) {
        let first = left.channels[&group.log].kept.first.index;
        for index in (first..group.next).filter(|index| is_done(left, *id, *index)) {
            assert!(is_done(whole, *id, index), "{index} of {id} is done with in a damaged store only");
            count += 1;
        }
    }
    for batch in damaged.read(LogId::TASKS, 0, usize::MAX).unwrap() {
        for record in batch.records::<TaskEvent>().map_while(Result::ok) {
            let TaskEvent::Acknowledged { of, .. } = record.1 else { continue };
            if left.groups.contains_key(&of.group) {
                let all = indexes(&of.elements).all(|index| is_done(left, of.group, index));
                assert!(all, "{of:?} is open behind lost records");
            }
        }
    }
    count
}

#[test]
fn lost_records_leave_a_state_that_holds_and_that_goes_on() {
    let (mut all, mut named, mut kept_done) = (0, 0, 0);
    for seed in 0..SEEDS {
        let log = world::log_of(seed);
        let mut rng = Rng::with_seed(seed);
        let one_in = [3, 10, 40][seed as usize % 3];
        let (damaged, lost) = damaged(&log, &mut rng, one_in);
        all += lost;
        eprintln!("seed {seed}, {lost} batches lost");
        let recovered = recovery::recover(&damaged, &mut |_| Ok(())).unwrap();
        assert_eq!(recovered.lost.ranges.len(), lost);
        assert_eq!(recovered.lost.in_words().is_some(), lost > 0);
        named += recovered.lost.tasks.len();
        let (whole, left) = (recovery::fold(&log).unwrap(), &recovered.state);
        assert!(left.last_producer >= whole.last_producer && left.last_log >= whole.last_log, "given twice");
        kept_done += check_groups(&damaged, &whole, left);
        for id in damaged.logs() {
            assert_eq!(recovered.state.head_of(id), {
                let bounds = damaged.bounds(id);
                (bounds.head, bounds.elements)
            });
        }
        start(&damaged);
        snapshots::write(&damaged, History::All, 0, &|| Ok(())).unwrap();
        start(&damaged);
    }
    assert!(all > 900 && named > 10, "{all} batches lost, {named} tasks named");
    assert!(kept_done > 50, "of {kept_done} elements it is known that they are done with");
}
