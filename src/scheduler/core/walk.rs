//! A walk over all tasks, for a snapshot: some slots at a time, while the scheduler goes on.
//!
//! What it brings are the tasks as they were when it began. Those that change, or go, before it has come to them are
//! put down first; those that come later are none of its business. So nothing has to stand still, and nothing is there
//! twice but what waits to be written.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use super::task::Task;
use crate::protocol::session::FunctionOffer;
use crate::protocol::snapshot::{SnapshotItem, TASKS_PER_ITEM_MAX};
use crate::protocol::{Producer, TaskId};

/// A walk that is under way.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    number: u32,
    /// The slots that it has yet to come to.
    slots: Range<usize>,
    /// What it has brought, and nobody has taken yet.
    items: Vec<SnapshotItem>,
    /// How many were taken.
    taken: u64,
    /// The functions it has met, and their places among the items.
    functions: HashMap<Arc<FunctionOffer>, u32>,
    /// The tasks that sessions hold, as far as no item says so yet.
    held: BTreeMap<Producer, Vec<TaskId>>,
}

impl Walk {
    /// The walk of this number over so many slots; `items` come before what it brings.
    pub fn new(number: u32, slots: usize, items: Vec<SnapshotItem>) -> Walk {
        let (taken, functions, held) = Default::default();
        Walk { number, slots: 0..slots, items, taken, functions, held }
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    /// The next slots, so many at most. They are to be put down now.
    pub fn advance(&mut self, slots: usize) -> Range<usize> {
        let next = self.slots.end.min(self.slots.start + slots);
        let passed = self.slots.start..next;
        self.slots.start = next;
        passed
    }

    /// Takes down a task as it is now.
    pub fn put_down(&mut self, id: TaskId, task: &Task) {
        let function = match self.functions.get(&task.function) {
            Some(number) => *number,
            None => {
                let number = self.functions.len() as u32;
                self.functions.insert(task.function.clone(), number);
                self.items.push(SnapshotItem::Function((*task.function).clone()));
                number
            }
        };
        self.items.push(SnapshotItem::Task(Box::new(task.to_item(id, function))));
        if let Some(conditions) = &task.conditions {
            self.items.push(conditions.to_item(id));
            self.items.extend(conditions.granted(id));
        }
        for producer in task.keepers.sessions.iter() {
            let tasks = self.held.entry(producer).or_default();
            tasks.push(id);
            if tasks.len() == TASKS_PER_ITEM_MAX {
                let tasks = mem::take(tasks);
                self.items.push(SnapshotItem::Held { producer, tasks });
            }
        }
    }

    /// Takes what it has brought, and says whether that was the last of it.
    pub fn take(&mut self) -> (Vec<SnapshotItem>, bool) {
        let is_over = self.slots.is_empty();
        if is_over {
            let held = mem::take(&mut self.held).into_iter().filter(|(_, tasks)| !tasks.is_empty());
            self.items.extend(held.map(|(producer, tasks)| SnapshotItem::Held { producer, tasks }));
            self.items.push(SnapshotItem::End { items: self.taken + self.items.len() as u64 });
        }
        self.taken += self.items.len() as u64;
        (mem::take(&mut self.items), is_over)
    }
}
