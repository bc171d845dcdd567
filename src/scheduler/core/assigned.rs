//! In which order workers were given the attempts that they have: a worker begins them in that order, as many at a
//! time as it has slots. So those that wait there are not to blame when it dies. Volatile, like all that is known of
//! who is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::{Producer, TaskId, TaskMap};

/// The order of what workers were given.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    count: u64,
    workers: BTreeMap<Producer, Order>,
}

#[derive(Debug, Default)]
struct Order {
    slots: u32,
    places: TaskMap<u64>,
    tasks: BTreeMap<u64, TaskId>,
}

impl Assigned {
    /// A worker says how many slots it has; one that retires has none to offer, and those that it had.
    pub fn join(&mut self, worker: Producer, slots: u32) {
        let order = self.workers.entry(worker).or_default();
        order.slots = order.slots.max(slots);
    }

    /// A worker's session is over.
    pub fn forget(&mut self, worker: Producer) {
        self.workers.remove(&worker);
    }

    /// It is given an attempt at a task.
    pub fn add(&mut self, worker: Producer, task: TaskId) {
        self.count += 1;
        let order = self.workers.entry(worker).or_default();
        order.places.insert(task, self.count);
        order.tasks.insert(self.count, task);
    }

    /// That is over.
    pub fn remove(&mut self, worker: Producer, task: TaskId) {
        let Some(order) = self.workers.get_mut(&worker) else { return };
        if let Some(place) = order.places.remove(&task) {
            order.tasks.remove(&place);
        }
    }

    /// Of what a worker has, what it may run now. What was given by a scheduler that is gone comes first, in no
    /// order: all of it may.
    pub fn suspects(
        &self,
        worker: Producer,
        running: &BTreeSet<TaskId>,
        is_client: impl Fn(TaskId) -> bool,
    ) -> BTreeSet<TaskId> {
        let Some(order) = self.workers.get(&worker) else { return running.clone() };
        let (known, mut suspects): (BTreeSet<TaskId>, BTreeSet<TaskId>) =
            running.iter().partition(|task| order.places.contains_key(task));
        suspects.extend(known.into_iter().filter(|task| is_client(*task)));
        let waiting = order.tasks.values().filter(|task| !is_client(**task));
        suspects.extend(waiting.take(order.slots as usize));
        suspects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: Producer = Producer(7);

    fn task(n: u8) -> TaskId {
        TaskId([n; 16])
    }

    fn suspects(assigned: &Assigned, running: &[u8], clients: &[u8]) -> Vec<u8> {
        let running = running.iter().map(|n| task(*n)).collect();
        let is_client = |id: TaskId| clients.iter().any(|n| task(*n) == id);
        assigned.suspects(WORKER, &running, is_client).into_iter().map(|id| id.0[0]).collect()
    }

    #[test]
    fn as_many_as_there_are_slots_may_run_the_oldest() {
        let mut assigned = Assigned::default();
        assigned.join(WORKER, 2);
        [9, 3, 5, 1].iter().for_each(|n| assigned.add(WORKER, task(*n)));
        assert_eq!(suspects(&assigned, &[1, 3, 5, 9], &[]), [3, 9]);
        assigned.remove(WORKER, task(9));
        assert_eq!(suspects(&assigned, &[1, 3, 5], &[]), [3, 5]);
        // Clients take no slot, and run.
        assert_eq!(suspects(&assigned, &[1, 3, 5], &[3]), [1, 3, 5]);
        assigned.join(WORKER, 0);
        assert_eq!(suspects(&assigned, &[1, 3, 5], &[]), [3, 5], "it retires, and runs on");
    }

    #[test]
    fn what_another_scheduler_gave_may_all_run() {
        let mut assigned = Assigned::default();
        assert_eq!(suspects(&assigned, &[1, 2], &[]), [1, 2]);
        assigned.join(WORKER, 1);
        [3, 4].iter().for_each(|n| assigned.add(WORKER, task(*n)));
        assert_eq!(suspects(&assigned, &[1, 2, 3, 4], &[]), [1, 2, 3]);
        assigned.forget(WORKER);
        assert_eq!(suspects(&assigned, &[3, 4], &[]), [3, 4]);
    }
}
