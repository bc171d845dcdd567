//! Every task that someone keeps: found by id, and in the order of submission.
//!
//! There may be millions, so they lie close together: one after the other in slots, and what finds them has the
//! numbers of slots, not ids. A slot that is left is taken by a task that comes later.
//!
//! A snapshot is taken from here while the scheduler goes on, a few slots at a time: see [`Walk`]. Whoever changes a
//! task does it through this, so that the task is put down as it was before, if the walk has yet to come to it.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, RandomState};
use std::ops::Index;
use std::sync::Arc;

use hashbrown::{Equivalent, HashSet, HashTable};
use slab::Slab;

use super::demand::Demand;
use super::task::Task;
use super::walk::Walk;
use crate::protocol::TaskId;
use crate::protocol::session::FunctionOffer;
use crate::protocol::snapshot::SnapshotItem;
use crate::protocol::task_map::TaskHasher;
use crate::protocol::terms::Terms;

/// All tasks.
#[derive(Clone, Default)]
pub struct Tasks {
    slots: Slab<Entry>,
    /// The slots by their tasks' ids.
    by_id: HashTable<Slot>,
    /// The slots by the offsets of their tasks' submissions.
    by_submission: BTreeMap<u64, Slot>,
    /// What the tasks call, each once.
    functions: HashSet<Arc<FunctionOffer>, RandomState>,
    /// What they ask of workers beside that, each once.
    demands: HashSet<Arc<Demand>, RandomState>,
    walk: Option<Walk>,
    /// How many walks there were.
    walks: u32,
}

/// The number of a slot: four bytes, as there are two for each task. 2^32 tasks would take a terabyte.
type Slot = u32;

#[derive(Clone)]
struct Entry {
    id: TaskId,
    /// The newest walk that need not come here: it has been here, or began before the task came.
    walked: u32,
    task: Task,
}

/// A [`FunctionOffer`] as it is looked for. It hashes like one.
#[derive(Hash)]
struct Called<'a> {
    name: &'a str,
    version: u32,
}

impl Equivalent<Arc<FunctionOffer>> for Called<'_> {
    fn equivalent(&self, function: &Arc<FunctionOffer>) -> bool {
        self.name == &*function.name && self.version == function.version
    }
}

fn hash(id: &TaskId) -> u64 {
    BuildHasherDefault::<TaskHasher>::default().hash_one(id)
}

impl Tasks {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A task.
    pub fn get(&self, id: &TaskId) -> Option<&Task> {
        self.slot(id).map(|slot| &self.slots[slot as usize].task)
    }

    /// Whether a task is known.
    pub fn contains_key(&self, id: &TaskId) -> bool {
        self.slot(id).is_some()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&TaskId, &Task)> {
        self.slots.iter().map(|(_, entry)| (&entry.id, &entry.task))
    }

    /// Those that were submitted at this offset of the task log or later, in that order.
    pub fn submitted_from(&self, offset: u64) -> impl Iterator<Item = (TaskId, &Task)> {
        self.by_submission.range(offset..).map(|(_, slot)| {
            let entry = &self.slots[*slot as usize];
            (entry.id, &entry.task)
        })
    }

    /// The task that was submitted at this offset of the task log.
    pub fn submitted_at(&self, offset: u64) -> Option<TaskId> {
        self.by_submission.get(&offset).map(|slot| self.slots[*slot as usize].id)
    }

    fn slot(&self, id: &TaskId) -> Option<Slot> {
        self.by_id.find(hash(id), |slot| self.slots[*slot as usize].id == *id).copied()
    }

    /// A task, to be changed.
    pub(super) fn get_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        let slot = self.slot(id)?;
        let entry = &mut self.slots[slot as usize];
        if let Some(walk) = &mut self.walk {
            entry.put_down(walk);
        }
        Some(&mut entry.task)
    }

    /// Those that are run under conditions, in no order.
    pub(super) fn with_conditions(&self) -> impl Iterator<Item = TaskId> {
        self.iter().filter(|(_, task)| task.conditions.is_some()).map(|(id, _)| *id)
    }

    /// All of them, to be changed: not while a snapshot is taken.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Task> {
        assert!(self.walk.is_none(), "all tasks change while a snapshot is taken");
        self.slots.iter_mut().map(|(_, entry)| &mut entry.task)
    }

    /// Adds a task.
    ///
    /// # Panics
    /// When it is there already.
    pub fn insert(&mut self, id: TaskId, task: Task) {
        assert!(!self.contains_key(&id), "{id} is there already");
        let submitted_at = task.submitted_at;
        let slot = self.slots.insert(Entry { id, walked: self.walks, task });
        let slot = Slot::try_from(slot).expect("fewer than 2^32 tasks");
        let slots = &self.slots;
        self.by_id.insert_unique(hash(&id), slot, |slot| hash(&slots[*slot as usize].id));
        self.by_submission.insert(submitted_at, slot);
    }

    /// Takes a task out.
    pub(super) fn remove(&mut self, id: &TaskId) -> Option<Task> {
        let slots = &self.slots;
        let found = self.by_id.find_entry(hash(id), |slot| slots[*slot as usize].id == *id).ok()?;
        let (slot, _) = found.remove();
        let mut entry = self.slots.remove(slot as usize);
        if let Some(walk) = &mut self.walk {
            entry.put_down(walk);
        }
        let Entry { mut task, .. } = entry;
        self.by_submission.remove(&task.submitted_at);
        // First what names the function, too.
        if let Some(demand) = task.conditions.as_mut().and_then(|conditions| conditions.demand.take()) {
            forget_last(&mut self.demands, &demand);
        }
        forget_last(&mut self.functions, &task.function);
        Some(task)
    }

    /// One allocation for all tasks of a function.
    pub(super) fn share(&mut self, name: &str, version: u32) -> Arc<FunctionOffer> {
        if let Some(shared) = self.functions.get(&Called { name, version }) {
            return shared.clone();
        }
        let function = Arc::new(FunctionOffer { name: name.into(), version });
        self.functions.insert(function.clone());
        function
    }

    /// What a task asks of its worker under these terms, if it is anything beside the function: one allocation for all that ask
    /// for the same.
    pub(super) fn demand(&mut self, id: TaskId, terms: &Terms) -> Option<Arc<Demand>> {
        let demand = Demand::of(&self.get(&id)?.function, terms)?;
        if let Some(shared) = self.demands.get(&demand) {
            return Some(shared.clone());
        }
        let demand = Arc::new(demand);
        self.demands.insert(demand.clone());
        Some(demand)
    }

    /// Begins a walk over the tasks as they are now; one that was under way is given up.
    pub(super) fn begin_walk(&mut self, before: Vec<SnapshotItem>) {
        self.walks += 1;
        self.walk = Some(Walk::new(self.walks, self.slots.capacity(), before));
    }

    /// Goes on with the walk that is under way: over so many slots. Answers what it brought since the last time, and
    /// nothing when it is over.
    pub(super) fn step_walk(&mut self, slots: usize) -> Option<Vec<SnapshotItem>> {
        let walk = self.walk.as_mut()?;
        for slot in walk.advance(slots) {
            if let Some(entry) = self.slots.get_mut(slot) {
                entry.put_down(walk);
            }
        }
        let (items, is_over) = walk.take();
        if is_over {
            self.end_walk();
        }
        Some(items)
    }

    /// The walk is over, or nobody wants what it brings.
    pub(super) fn end_walk(&mut self) {
        self.walk = None;
        // It may have been the last to name one.
        self.functions.retain(|function| Arc::strong_count(function) > 1);
    }
}

/// Takes something out of its table, if that and whoever lets go of it are the last to have it.
fn forget_last<T: Eq + Hash>(table: &mut HashSet<Arc<T>, RandomState>, of: &Arc<T>) {
    if Arc::strong_count(of) == 2 {
        table.remove(of);
    }
}

impl Entry {
    /// Puts the task down as it is, if a walk has yet to come here.
    fn put_down(&mut self, walk: &mut Walk) {
        if self.walked != walk.number() {
            self.walked = walk.number();
            walk.put_down(self.id, &self.task);
        }
    }
}

impl Index<&TaskId> for Tasks {
    type Output = Task;

    fn index(&self, id: &TaskId) -> &Task {
        self.get(id).expect("a task that is known")
    }
}

impl PartialEq for Tasks {
    /// Whether they are the same tasks, whatever slots they have.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(id, task)| other.get(id) == Some(task))
    }
}

impl Eq for Tasks {}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.submitted_from(0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::protocol::task::TaskOptions;
    use crate::protocol::{AttemptNumber, Producer};
    use crate::scheduler::core::Call;

    const SESSION: Producer = Producer(7);

    /// Tasks, some of which come and go at random.
    struct Changing {
        tasks: Tasks,
        dice: u64,
        submitted: u64,
    }

    impl Changing {
        /// A number below this, of a sequence without a pattern (Knuth's MMIX): this module knows no chance.
        fn throw(&mut self, below: usize) -> usize {
            self.dice =
                self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.dice >> 33) as usize % below
        }

        fn change(&mut self) {
            let ids: Vec<TaskId> = self.tasks.iter().map(|(id, _)| *id).collect();
            let which = self.throw(ids.len().max(1));
            match (self.throw(3), ids.get(which).copied()) {
                (0, Some(id)) => drop(self.tasks.remove(&id)),
                (1, Some(id)) => {
                    let task = self.tasks.get_mut(&id).unwrap();
                    task.attempt.0 += 1;
                    task.keepers.sessions.insert(SESSION);
                }
                _ => {
                    let name = format!("f{}", self.throw(3));
                    let function = self.tasks.share(&name, 1);
                    let call = Call::new(&[], TaskOptions::default());
                    self.submitted += 1;
                    let task = Task::new("x", function, self.submitted, AttemptNumber(0), Some(call));
                    self.tasks.insert(TaskId(u128::from(self.submitted).to_be_bytes()), task);
                }
            }
        }

        /// Each task's attempt, function, and whether it is held.
        fn seen(&self) -> BTreeMap<TaskId, (u32, Box<str>, bool)> {
            let seen =
                |task: &Task| (task.attempt.0, task.function.name.clone(), !task.keepers.sessions.is_empty());
            self.tasks.iter().map(|(id, task)| (*id, seen(task))).collect()
        }
    }

    #[test]
    fn a_walk_brings_all_tasks_as_they_were_when_it_began_and_each_once() {
        for seed in 0..200 {
            let mut changing = Changing { tasks: Tasks::default(), dice: seed, submitted: 0 };
            for _ in 0..3 {
                (0..changing.throw(60)).for_each(|_| changing.change());
                let expected = changing.seen();
                changing.tasks.begin_walk(Vec::new());
                let mut items = Vec::new();
                while let Some(more) = changing.tasks.step_walk(2) {
                    items.extend(more);
                    (0..changing.throw(4)).for_each(|_| changing.change());
                }
                assert_eq!(brought(&items), expected, "seed {seed}");
            }
            let listed: Vec<u64> =
                changing.tasks.submitted_from(0).map(|(_, task)| task.submitted_at).collect();
            assert!(listed.is_sorted() && listed.len() == changing.tasks.len());
        }
    }

    fn brought(items: &[SnapshotItem]) -> BTreeMap<TaskId, (u32, Box<str>, bool)> {
        let (mut functions, mut found) = (Vec::new(), BTreeMap::new());
        for item in items {
            match item {
                SnapshotItem::Function(function) => functions.push(function.name.clone()),
                SnapshotItem::Task(task) => {
                    let function = functions[task.function as usize].clone();
                    assert_eq!(found.insert(task.key.id, (task.attempt.0, function, false)), None, "twice");
                }
                SnapshotItem::Held { producer: SESSION, tasks } => {
                    tasks.iter().for_each(|id| found.get_mut(id).unwrap().2 = true);
                }
                SnapshotItem::End { items: count } => assert_eq!(*count, items.len() as u64 - 1),
                other => panic!("{other:?}"),
            }
        }
        found
    }

    #[test]
    fn a_function_is_there_once_and_goes_with_its_last_task() {
        let mut tasks = Tasks::default();
        let call = || Some(Call::new(&[], TaskOptions::default()));
        for n in [1, 2] {
            let function = tasks.share("f", 1);
            tasks.insert(TaskId([n; 16]), Task::new("f", function, n.into(), AttemptNumber(0), call()));
        }
        assert!(Arc::ptr_eq(&tasks[&TaskId([1; 16])].function, &tasks[&TaskId([2; 16])].function));
        for n in [1, 2] {
            assert_eq!(tasks.functions.len(), 1);
            tasks.remove(&TaskId([n; 16])).unwrap();
        }
        assert!(tasks.functions.is_empty());
        let function = tasks.share("f", 1);
        tasks.insert(TaskId([1; 16]), Task::new("f", function, 1, AttemptNumber(0), call()));
        tasks.begin_walk(Vec::new());
        tasks.step_walk(0);
        tasks.remove(&TaskId([1; 16])).unwrap();
        while tasks.step_walk(1).is_some() {}
        assert!(tasks.functions.is_empty() && tasks.by_id.is_empty() && tasks.by_submission.is_empty());
    }

    #[test]
    fn a_function_that_is_named_by_a_demand_goes_with_its_last_task_too() {
        use crate::protocol::terms::Term;
        use crate::scheduler::core::Conditions;
        let mut tasks = Tasks::default();
        let terms = Terms(vec![Term::Needs("cpus=1".parse().unwrap())]);
        for n in [1, 2] {
            let (id, function) = (TaskId([n; 16]), tasks.share("f", 1));
            tasks.insert(id, Task::new("x", function, n.into(), AttemptNumber(0), None));
            let demand = tasks.demand(id, &terms);
            let conditions = Conditions { terms: terms.clone(), demand, ..Conditions::default() };
            tasks.get_mut(&id).unwrap().conditions = Some(Box::new(conditions));
        }
        let demand = |n| tasks[&TaskId([n; 16])].demand().unwrap();
        assert!(Arc::ptr_eq(demand(1), demand(2)));
        for n in [1, 2] {
            assert_eq!((tasks.functions.len(), tasks.demands.len()), (1, 1));
            drop(tasks.remove(&TaskId([n; 16])));
        }
        assert!(tasks.functions.is_empty() && tasks.demands.is_empty());
    }
}
