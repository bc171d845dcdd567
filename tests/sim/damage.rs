//! What the storm of a seed has left, with records that are lost: every start goes on from it with a state
//! that holds, and finds the same when it starts again.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use fastrand::Rng;
use headwater::log::{Log, Memory};
use headwater::protocol::batch::{Batch, Commit};
use headwater::protocol::event::Receipt;
use headwater::protocol::message::Hello;
use headwater::protocol::{Epoch, Seq, SessionId};
use headwater::scheduler::core::{Core, LogFacts};
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

#[test]
fn lost_records_leave_a_state_that_holds_and_that_goes_on() {
    let (mut all, mut named) = (0, 0);
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
}
