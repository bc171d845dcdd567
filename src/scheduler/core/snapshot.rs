//! The state as the items of a snapshot, and back.
//!
//! What is written is what cannot be told from the rest; [`super::index`] makes the rest anew. So a
//! snapshot and the records behind it give the state that all records give: the simulator compares the
//! two after every step.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use super::deaths::{Death, Deaths};
use super::state::{Call, Channel, Keepers, Phase, Remembered, Session, State, Stored, Task};
use crate::protocol::session::FunctionOffer;
use crate::protocol::snapshot::{CallItem, PhaseItem, SnapshotItem, TASKS_PER_ITEM_MAX, TaskItem};
use crate::protocol::{Submission, TaskId, TaskKey};

impl State {
    /// The state as the items of a snapshot. Equal states give equal items.
    pub fn into_items(mut self) -> impl Iterator<Item = SnapshotItem> {
        let head = SnapshotItem::Head {
            tasks_head: self.tasks_head,
            last_producer: self.last_producer,
            last_log: self.last_log,
        };
        let mut sessions = Vec::new();
        let mut held = Vec::new();
        for (producer, session) in mem::take(&mut self.sessions) {
            let Session { id: session, kind, lease_ms, holds, remembered, .. } = session;
            sessions.push(SnapshotItem::Session { producer, session, kind, lease_ms });
            let answers = remembered.into_iter().map(|(number, answer)| (number, answer.appended()));
            sessions.push(SnapshotItem::Answered { producer, answers: answers.collect() });
            let mut tasks: Vec<TaskId> = holds.into_iter().collect();
            tasks.sort_unstable();
            let parts = tasks.chunks(TASKS_PER_ITEM_MAX);
            held.extend(parts.map(|part| SnapshotItem::Held { producer, tasks: part.to_vec() }));
        }
        let channels = mem::take(&mut self.channels).into_iter().map(|(log, channel)| {
            let Channel { name, head, elements, digest, stopped } = channel;
            SnapshotItem::Channel { log, name, head, elements, digest, stopped }
        });
        let (functions, numbers) = functions(self.order.values().map(|id| &self.tasks[id]));
        let functions = functions.into_iter().map(|function| SnapshotItem::Function((*function).clone()));
        let (order, mut tasks) = (mem::take(&mut self.order), mem::take(&mut self.tasks));
        let tasks = order.into_values().filter_map(move |id| {
            let task = tasks.remove(&id)?;
            let function = numbers[&task.function];
            Some(SnapshotItem::Task(Box::new(task.into_item(id, function))))
        });
        let retired: Vec<_> = self.retired.iter().collect();
        let retired = retired.chunks(TASKS_PER_ITEM_MAX).map(|part| SnapshotItem::Retired(part.to_vec()));
        let retired: Vec<SnapshotItem> = retired.collect();
        let before = std::iter::once(head).chain(sessions).chain(channels).chain(functions);
        let mut count = 0;
        let items = before.chain(tasks).chain(held).chain(retired).map(Some).chain([None]);
        items.map(move |item| {
            count += 1;
            item.unwrap_or(SnapshotItem::End { items: count - 1 })
        })
    }
}

/// The functions of tasks, each once, and their numbers.
fn functions<'a>(
    tasks: impl Iterator<Item = &'a Task>,
) -> (Vec<Arc<FunctionOffer>>, HashMap<Arc<FunctionOffer>, u32>) {
    let (mut functions, mut numbers) = (Vec::new(), HashMap::new());
    for task in tasks {
        numbers.entry(task.function.clone()).or_insert_with(|| {
            functions.push(task.function.clone());
            functions.len() as u32 - 1
        });
    }
    (functions, numbers)
}

impl Task {
    fn into_item(self, id: TaskId, function: u32) -> TaskItem {
        let call = self.call.map(|call| CallItem {
            arguments: call.arguments,
            options: call.options,
            failures: call.failures,
            deaths: call.deaths.count,
            newest_deaths: call.deaths.newest.into_iter().map(|d| (d.attempt, d.worker, d.reason)).collect(),
        });
        let call = || call.expect("a task without a result in the log has its call");
        TaskItem {
            key: TaskKey { id, label: self.label },
            function,
            submitted_at: self.submitted_at,
            attempt: self.attempt,
            phase: match self.phase {
                Phase::Waiting { .. } | Phase::Ready => PhaseItem::Pending(call()),
                Phase::Running { worker } => PhaseItem::Running(call(), worker),
                Phase::Finished(result) => PhaseItem::Finished(result),
                Phase::Failed(error) => PhaseItem::Failed(error),
                Phase::Cancelled => PhaseItem::Cancelled,
                Phase::Stored(stored) => PhaseItem::Stored(call(), stored.result, stored.holders),
                Phase::Lost => PhaseItem::Lost(call()),
            },
            channels: self.keepers.channels,
            detached: self.keepers.detached,
        }
    }
}

impl Remembered {
    fn appended(self) -> Option<(u64, u32)> {
        match self {
            Remembered::Done => None,
            Remembered::Appended { first, count } => Some((first, count)),
        }
    }
}

/// A state that is being put together from items.
#[derive(Debug, Default)]
pub struct Restoring {
    state: State,
    functions: Vec<Arc<FunctionOffer>>,
    items: u64,
    /// Whether the first and the last item were there.
    ends: (bool, bool),
}

/// Items that are not a state's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot makes no sense: {0}")]
pub struct BadSnapshot(&'static str);

impl Restoring {
    /// Adds the next item.
    ///
    /// # Errors
    /// When it speaks of what has not come before it.
    pub fn add(&mut self, item: SnapshotItem) -> Result<(), BadSnapshot> {
        let state = &mut self.state;
        match item {
            SnapshotItem::Head { tasks_head, last_producer, last_log } => {
                (state.tasks_head, state.last_producer, state.last_log) =
                    (tasks_head, last_producer, last_log);
                self.ends.0 = true;
            }
            SnapshotItem::Session { producer, session: id, kind, lease_ms } => {
                state.sessions.insert(producer, Session::new(id, kind, lease_ms));
            }
            SnapshotItem::Answered { producer, answers } => {
                let session = state.sessions.get_mut(&producer).ok_or(BadSnapshot("answers of nobody"))?;
                session.remembered.extend(answers.into_iter().map(|(number, appended)| {
                    let done = Remembered::Done;
                    (number, appended.map_or(done, |(first, count)| Remembered::Appended { first, count }))
                }));
            }
            SnapshotItem::Channel { log, name, head, elements, digest, stopped } => {
                state.channels.insert(log, Channel { name, head, elements, digest, stopped });
            }
            SnapshotItem::Function(function) => self.functions.push(Arc::new(function)),
            SnapshotItem::Task(item) => {
                let function = self.functions.get(item.function as usize);
                let function = function.ok_or(BadSnapshot("a task without its function"))?.clone();
                let (id, task) = Task::of_item(*item, function);
                state.tasks.insert(id, task);
            }
            SnapshotItem::Held { producer, tasks } => {
                let session = state.sessions.get_mut(&producer).ok_or(BadSnapshot("tasks held by nobody"))?;
                session.holds.extend(tasks);
            }
            SnapshotItem::Retired(tasks) => {
                tasks.into_iter().for_each(|(task, attempt, at)| state.retired.put(task, attempt, at));
            }
            SnapshotItem::End { items } => self.ends.1 = items == self.items,
        }
        self.items += 1;
        Ok(())
    }

    /// The state, once all items are there.
    ///
    /// # Errors
    /// When the first or the last one was not there.
    pub fn finish(mut self) -> Result<State, BadSnapshot> {
        if self.ends != (true, true) {
            return Err(BadSnapshot("it has no beginning or no end"));
        }
        self.state.index();
        Ok(self.state)
    }
}

impl Task {
    fn of_item(item: TaskItem, function: Arc<FunctionOffer>) -> (TaskId, Task) {
        let TaskItem { key, submitted_at, attempt, phase, channels, detached, .. } = item;
        let (phase, call) = match phase {
            // Whether it waits or is ready follows from its dependencies.
            PhaseItem::Pending(call) => (Phase::Ready, Some(call)),
            PhaseItem::Running(call, worker) => (Phase::Running { worker }, Some(call)),
            PhaseItem::Finished(result) => (Phase::Finished(result), None),
            PhaseItem::Failed(error) => (Phase::Failed(error), None),
            PhaseItem::Cancelled => (Phase::Cancelled, None),
            PhaseItem::Stored(call, result, holders) => {
                (Phase::Stored(Box::new(Stored { result, holders })), Some(call))
            }
            PhaseItem::Lost(call) => (Phase::Lost, Some(call)),
        };
        let keepers = Keepers { channels, detached, ..Keepers::default() };
        let call = call.map(|call| Box::new(Call::of_item(call)));
        (key.id, Task { label: key.label, function, submitted_at, attempt, phase, call, keepers })
    }
}

impl Call {
    fn of_item(item: CallItem) -> Call {
        let death = |(attempt, worker, reason)| Death { attempt, worker, reason };
        Call {
            dependencies: Submission::dependencies_of(&item.arguments),
            arguments: item.arguments,
            waiting: Default::default(),
            options: item.options,
            failures: item.failures,
            deaths: Deaths {
                count: item.deaths,
                newest: item.newest_deaths.into_iter().map(death).collect(),
            },
        }
    }
}
