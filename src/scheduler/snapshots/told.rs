//! Histories from seeds, with snapshots wherever they fell, for tests of those who look back.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;

use super::rig::Rig;
use crate::log::{Log, Memory};
use crate::protocol::channel::Retention;
use crate::protocol::command::Command;
use crate::protocol::{ChannelName, Element, LogId, Payload, Seq, TaskKey};
use crate::scheduler::core::State;

/// The channel that each history has from its first commit on.
pub const CHANNEL: LogId = LogId(1);

/// A history, and what the core had behind each commit.
pub struct Told {
    pub rig: Rig,
    pub states: BTreeMap<Seq, State>,
    rng: Rng,
    /// Tasks that the client holds, and those of them that were cancelled.
    held: Vec<TaskKey>,
    cancelled: Vec<TaskKey>,
}

impl Told {
    /// That of a seed, in memory.
    pub fn new(seed: u64, retention: Retention) -> Told {
        Told::on(Arc::new(Memory::new()), seed, retention)
    }

    /// That of a seed, on an empty store.
    pub fn on(log: Arc<dyn Log>, seed: u64, retention: Retention) -> Told {
        let mut rng = Rng::with_seed(seed);
        let mut rig = Rig::on(log, rng.u64(20..100));
        let states = BTreeMap::from([(Seq(0), State::default())]);
        let name = ChannelName::new("a").unwrap();
        rig.ask(Command::CreateChannel { name, options: retention.into() });
        let mut told = Told { rig, states, rng, held: Vec::new(), cancelled: Vec::new() };
        let commits = told.rng.u64(50..200);
        told.go_on(commits);
        told
    }

    /// Another start, on what a store has of it, with a snapshot whenever so many records are behind the last.
    pub fn restarted(self, log: Arc<dyn Log>, every_records: u64) -> Told {
        let Told { mut states, rng, .. } = self;
        let rig = Rig::on(log, every_records);
        states.retain(|seq, _| *seq < rig.log.last().seq);
        states.insert(rig.log.last().seq, rig.recovered.0.clone());
        Told { rig, states, rng, held: Vec::new(), cancelled: Vec::new() }
    }

    /// Its scheduler stops; what comes next is of another seed.
    pub fn parted(self, seed: u64) -> Told {
        let rng = Rng::with_seed(!seed);
        Told { rig: Rig::new(u64::MAX), rng, ..self }
    }

    /// So many commits more, and with the last one the snapshot that is being taken.
    pub fn go_on(&mut self, commits: u64) {
        for _ in 0..commits {
            let is_finished = self.rng.bool();
            self.commit(is_finished);
            let Told { rig, rng, held, cancelled, .. } = self;
            match rng.u8(0..13) {
                0..4 => rig.come_and_go(rng.u64(1..30)),
                4..6 => {
                    held.push(TaskKey::named(&rig.commands.to_string()));
                    rig.submit(1);
                }
                6 if !held.is_empty() => {
                    let task = held.swap_remove(rng.usize(..held.len()));
                    rig.ask(Command::Release { tasks: vec![task.id] });
                }
                7 if !held.is_empty() => {
                    let future = Element::Future(held[rng.usize(..held.len())].clone());
                    rig.ask(Command::append(CHANNEL, vec![future].into()));
                }
                8 if !held.is_empty() => {
                    let task = held.swap_remove(rng.usize(..held.len()));
                    rig.ask(Command::Cancel { task: task.id });
                    cancelled.push(task);
                }
                9 if !cancelled.is_empty() => {
                    let task = cancelled.swap_remove(rng.usize(..cancelled.len()));
                    rig.ask(Command::Release { tasks: vec![task.id] });
                }
                10 => {
                    let name = ChannelName::new(&format!("channel-{}", rig.commands)).unwrap();
                    rig.ask(Command::CreateChannel { name, options: Retention::ALL.into() });
                    let log = rig.pipeline.core().state().last_log;
                    rig.ask(Command::append(log, vec![Element::Value(Payload::raw(vec![7]))].into()));
                }
                _ => {
                    let value = |_| Element::Value(Payload::raw(vec![7; 100]));
                    let values: Vec<_> = (0..rng.u64(1..8)).map(value).collect();
                    rig.ask(Command::append(CHANNEL, values.into()));
                }
            }
        }
        self.commit(true);
    }

    fn commit(&mut self, is_finished: bool) {
        self.rig.commit(true);
        self.states.insert(self.rig.log.last().seq, self.rig.pipeline.core().state().clone());
        match is_finished {
            true => self.rig.finish(),
            false => self.rig.snapshots.step(&mut self.rig.pipeline),
        }
    }

    /// Below, at and above each snapshot, and anywhere.
    pub fn offsets(&self, rng: &mut Rng) -> Vec<u64> {
        let head = self.rig.log.bounds(LogId::TASKS).head;
        let snapshots = self.rig.log.snapshots().unwrap();
        let at = snapshots.iter().filter_map(|seq| Some(self.states.get(seq)?.tasks_head));
        let near = at.flat_map(|at| [at - 1, at, at + 1]);
        let mut offsets: Vec<_> = near.filter(|offset| *offset <= head).chain([0, head]).collect();
        offsets.extend((0..20).map(|_| rng.u64(..=head)));
        rng.shuffle(&mut offsets);
        offsets
    }
}
