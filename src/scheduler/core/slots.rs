//! Which connected workers have free slots, kept up to date step by step, so that finding a place for a
//! task costs nothing that grows with the number of workers or of what they run.
//!
//! Workers that offer the same functions are of one *kind*: all workers of one program are, so there
//! are few kinds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::Producer;
use crate::protocol::limits::WINDOW_MAX;
use crate::protocol::session::FunctionOffer;

/// A connected worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// How many attempts it runs at a time, not counting those that are clients themselves; 0: it retires.
    pub slots: u32,
    /// How many attempts it is given at a time, those included that wait for a slot there.
    pub window: u32,
    /// How many it has; more than that when attempts cease to be clients.
    pub taken: u32,
    kind: u64,
}

impl Worker {
    /// Whether it is given nothing more.
    pub fn retires(&self) -> bool {
        self.slots == 0
    }

    /// How much room it has: slots that are free, and places in all. First come those who would begin at once.
    fn room(&self) -> Room {
        (self.slots.saturating_sub(self.taken), self.window.saturating_sub(self.taken))
    }
}

/// Free slots, and free places in all.
pub type Room = (u32, u32);

/// The connected workers and their slots.
#[derive(Debug, Default)]
pub struct Slots {
    workers: BTreeMap<Producer, Worker>,
    kinds: BTreeMap<u64, Kind>,
    last_kind: u64,
}

#[derive(Debug, Default)]
struct Kind {
    functions: BTreeSet<FunctionOffer>,
    workers: usize,
    /// Those with room, the one to be given the next task last: the one with most free slots, then with most
    /// room, and of these the oldest session.
    free: BTreeSet<(Room, Reverse<Producer>)>,
}

impl Slots {
    /// The connected workers.
    pub fn workers(&self) -> &BTreeMap<Producer, Worker> {
        &self.workers
    }

    /// How many workers are given tasks.
    pub fn taking(&self) -> usize {
        self.workers.values().filter(|worker| !worker.retires()).count()
    }

    /// How many workers have a function.
    pub fn offering(&self, function: &FunctionOffer) -> usize {
        self.kinds_with(function).map(|kind| kind.workers).sum()
    }

    /// All functions that some worker has; one of several kinds of workers comes several times.
    pub fn functions(&self) -> impl Iterator<Item = &FunctionOffer> {
        self.kinds.values().flat_map(|kind| &kind.functions)
    }

    /// Whether any worker has room.
    pub fn any_free(&self) -> bool {
        self.kinds.values().any(|kind| !kind.free.is_empty())
    }

    /// The worker that is to be given the next task of a function: the one with the most free slots, then the one
    /// with the most room.
    pub fn place_for(&self, function: &FunctionOffer) -> Option<Producer> {
        let best = self.kinds_with(function).filter_map(|kind| kind.free.last()).max();
        best.map(|(_, Reverse(producer))| *producer)
    }

    /// The workers that have a function and room, and how much: free slots, and free places in all.
    pub fn with_room(&self, function: &FunctionOffer) -> impl Iterator<Item = (Producer, Room)> {
        let free = self.kinds_with(function).flat_map(|kind| &kind.free);
        free.map(|(room, Reverse(producer))| (*producer, *room))
    }

    /// The workers that have a function.
    pub fn with_function(&self, function: &FunctionOffer) -> impl Iterator<Item = Producer> {
        self.workers.keys().copied().filter(|worker| self.has(*worker, function))
    }

    /// Whether a worker has a function.
    pub fn has(&self, worker: Producer, function: &FunctionOffer) -> bool {
        let kind = self.workers.get(&worker).and_then(|worker| self.kinds.get(&worker.kind));
        kind.is_some_and(|kind| kind.functions.contains(function))
    }

    /// The version of a function that a worker has, if any: the newest.
    pub fn version_of(&self, worker: Producer, name: &str) -> Option<u32> {
        let kind = self.kinds.get(&self.workers.get(&worker)?.kind)?;
        kind.functions.iter().filter(|offer| &*offer.name == name).map(|offer| offer.version).max()
    }

    fn kinds_with(&self, function: &FunctionOffer) -> impl Iterator<Item = &Kind> {
        self.kinds.values().filter(|kind| kind.functions.contains(function))
    }

    /// A worker is there, or there again.
    pub(super) fn join(
        &mut self,
        producer: Producer,
        slots: u32,
        functions: BTreeSet<FunctionOffer>,
        taken: u32,
    ) {
        self.leave(producer);
        let known = self.kinds.iter().find(|(_, kind)| kind.functions == functions).map(|(kind, _)| *kind);
        let kind = known.unwrap_or_else(|| {
            self.last_kind += 1;
            self.kinds.insert(self.last_kind, Kind { functions, ..Kind::default() });
            self.last_kind
        });
        if let Some(kind) = self.kinds.get_mut(&kind) {
            kind.workers += 1;
        }
        self.workers.insert(producer, Worker { slots, window: slots, taken, kind });
        self.change(producer, |_| {});
    }

    /// A worker is given so many attempts at a time.
    pub(super) fn set_window(&mut self, producer: Producer, attempts: u32) {
        self.change(producer, |worker| {
            if !worker.retires() {
                worker.window = attempts.clamp(worker.slots, worker.slots + WINDOW_MAX);
            }
        });
    }

    /// A worker is given nothing more: it has no slots, and its functions are not on offer.
    pub(super) fn retire(&mut self, producer: Producer) {
        if let Some(Worker { taken, .. }) = self.workers.get(&producer) {
            self.join(producer, 0, BTreeSet::new(), *taken);
        }
    }

    /// A worker is gone.
    pub(super) fn leave(&mut self, producer: Producer) {
        let Some(worker) = self.workers.remove(&producer) else { return };
        let Some(kind) = self.kinds.get_mut(&worker.kind) else { return };
        kind.free.remove(&(worker.room(), Reverse(producer)));
        kind.workers -= 1;
        if kind.workers == 0 {
            self.kinds.remove(&worker.kind);
        }
    }

    /// A slot of a worker is taken.
    pub(super) fn take(&mut self, producer: Producer) {
        self.change(producer, |worker| worker.taken += 1);
    }

    /// A slot of a worker is given back.
    pub(super) fn give_back(&mut self, producer: Producer) {
        self.change(producer, |worker| worker.taken -= 1);
    }

    fn change(&mut self, producer: Producer, change: impl FnOnce(&mut Worker)) {
        let Some(worker) = self.workers.get_mut(&producer) else { return };
        let Some(kind) = self.kinds.get_mut(&worker.kind) else { return };
        kind.free.remove(&(worker.room(), Reverse(producer)));
        change(worker);
        if worker.room() > (0, 0) {
            kind.free.insert((worker.room(), Reverse(producer)));
        }
    }

    /// Panics unless the sets follow from the workers.
    pub(super) fn check(&self) {
        for (producer, worker) in &self.workers {
            assert!(!worker.retires() || worker.window == 0, "{producer} retires and is given more");
        }
        for (id, kind) in &self.kinds {
            let workers = || self.workers.iter().filter(|(_, worker)| worker.kind == *id);
            assert!(kind.workers > 0 && kind.workers == workers().count(), "workers of kind {id}");
            let free = workers().filter(|(_, worker)| worker.room() > (0, 0));
            let free: BTreeSet<_> =
                free.map(|(producer, worker)| (worker.room(), Reverse(*producer))).collect();
            assert_eq!(kind.free, free, "workers of kind {id} with room");
        }
    }
}
