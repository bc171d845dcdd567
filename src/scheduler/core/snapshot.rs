//! The state as the items of a snapshot, and back.
//!
//! What is written is what cannot be told from the rest; [`super::index`] makes the rest anew. So a
//! snapshot and the records behind it give the state that all records give: the simulator compares the
//! two after every step.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::deaths::{Death, Deaths};
use super::group::{Group, Lease, Past};
use super::kept::Kept;
use super::moments::When;
use super::state::{Channel, Cursor, Produced, Remembered, Session, State};
use super::task::{Call, Conditions, Phase, Stored, Task};
use super::value::Value;
use crate::protocol::channel::Durability;
use crate::protocol::group::GroupId;
use crate::protocol::session::FunctionOffer;
use crate::protocol::snapshot::{
    CallItem, PRODUCERS_PER_ITEM_MAX, PhaseItem, SnapshotItem, TASKS_PER_ITEM_MAX, TaskItem,
};
use crate::protocol::{LogId, Seq, TaskId};

impl State {
    /// Begins to take a snapshot of the state as it is now; one that was being taken is given up.
    pub(super) fn begin_snapshot(&mut self) {
        let mut items = vec![SnapshotItem::Head {
            tasks_head: self.tasks_head,
            last_producer: self.last_producer,
            last_log: self.last_log,
        }];
        for (producer, session) in &self.sessions {
            let Session { id, kind, lease_ms, remembered, .. } = session;
            let (producer, session, kind, lease_ms) = (*producer, *id, kind.clone(), *lease_ms);
            items.push(SnapshotItem::Session { producer, session, kind, lease_ms });
            let (mut answers, mut appends, mut transactions) = (Vec::new(), Vec::new(), Vec::new());
            for (number, remembered) in remembered {
                let number = *number;
                match remembered {
                    Remembered::Done => answers.push((number, None)),
                    Remembered::Appended { first, count, seq } => {
                        appends.push((number, *first, *count, *seq))
                    }
                    Remembered::Transacted { seq, appended } => {
                        let (seq, appended) = (*seq, appended.to_vec());
                        transactions.push(SnapshotItem::Transacted { producer, number, seq, appended });
                    }
                }
            }
            items.push(SnapshotItem::Answered { producer, answers });
            if !appends.is_empty() {
                items.push(SnapshotItem::Acknowledged { producer, appends });
            }
            items.append(&mut transactions);
        }
        self.channels.iter().for_each(|(log, channel)| channel.add_items(*log, &mut items));
        self.groups.iter().for_each(|(id, group)| group.add_items(*id, &mut items));
        let retired: Vec<_> = self.retired.iter().collect();
        items.extend(retired.chunks(TASKS_PER_ITEM_MAX).map(|part| SnapshotItem::Retired(part.to_vec())));
        self.tasks.begin_walk(items);
    }

    /// Goes on with the snapshot that is being taken: comes to so many tasks more, or fewer. Answers the items that
    /// this and what changed meanwhile brought, nothing when all were given.
    pub(super) fn next_items(&mut self, tasks: usize) -> Option<Vec<SnapshotItem>> {
        self.tasks.step_walk(tasks)
    }

    /// Gives the snapshot up that is being taken, if one is.
    pub(super) fn end_snapshot(&mut self) {
        self.tasks.end_walk();
    }

    /// The state as the items of a snapshot.
    pub fn into_items(mut self) -> impl Iterator<Item = SnapshotItem> {
        self.begin_snapshot();
        std::iter::from_fn(move || self.next_items(TASKS_PER_ITEM_MAX)).flatten()
    }
}

impl Channel {
    fn add_items(&self, log: LogId, items: &mut Vec<SnapshotItem>) {
        let Channel {
            name,
            head,
            elements,
            digest,
            stopped,
            written_to,
            deleted,
            kept,
            cursors,
            producers,
            durability,
            ..
        } = self;
        let (name, head, elements, digest, stopped) = (name.clone(), *head, *elements, *digest, *stopped);
        items.push(SnapshotItem::Channel { log, name, head, elements, digest, stopped });
        let Kept { first, bytes, retention, runs, marks, futures } = kept;
        let (first, bytes, retention) = (*first, *bytes, *retention);
        let (written_to, deleted) = (*written_to, *deleted);
        let marks = marks.iter().copied().collect();
        items.push(SnapshotItem::Kept { log, first, bytes, retention, written_to, deleted, marks });
        if *durability != Durability::Fsynced {
            items.push(SnapshotItem::Durability(log, *durability));
        }
        items.extend(parts(runs).map(|part| SnapshotItem::Runs(log, part)));
        items.extend(parts(futures).map(|part| SnapshotItem::Futures(log, part)));
        items.extend(cursors.iter().map(|(name, Cursor { offset, pin_ms })| {
            let (name, offset, pin_ms) = (name.clone(), *offset, *pin_ms);
            SnapshotItem::Cursor { log, name, offset, pin_ms }
        }));
        let newest = producers.iter().map(|(name, Produced { number, first, count, seq })| {
            (name.clone(), *number, *first, *count, *seq)
        });
        let newest: Vec<_> = newest.collect();
        let parts = newest.chunks(PRODUCERS_PER_ITEM_MAX);
        items.extend(parts.map(|part| SnapshotItem::Producers(log, part.to_vec())));
    }
}

impl Group {
    fn add_items(&self, id: GroupId, items: &mut Vec<SnapshotItem>) {
        let Group { log, name, options, next, leased, waiting } = self;
        let (log, name, options, next) = (*log, name.clone(), options.clone(), *next);
        items.push(SnapshotItem::Group { id, log, name, options, next });
        let leases = leased.iter().map(|(index, lease)| (*index, lease.member, lease.leases())).collect();
        items.extend(parts(&leases).map(|part| SnapshotItem::Leased(id, part)));
        let waits = waiting.iter().map(|(index, past)| (*index, past.leases)).collect();
        items.extend(parts(&waits).map(|part| SnapshotItem::Waiting(id, part)));
        let of_leased = leased.iter().filter(|(_, lease)| !lease.is_tried || lease.before.is_untried());
        let of_leased = of_leased.map(|(index, lease)| (*index, lease.before.tries, lease.is_tried));
        let of_waiting = waiting.iter().filter(|(_, past)| past.is_untried());
        let of_waiting = of_waiting.map(|(index, past)| (*index, past.tries, false));
        let tries = of_leased.chain(of_waiting).collect();
        items.extend(parts(&tries).map(|part| SnapshotItem::Tries(id, part)));
    }
}

/// All of them, so many at a time as one item takes.
fn parts<T: Copy>(all: &VecDeque<T>) -> impl Iterator<Item = Vec<T>> {
    let starts = (0..all.len()).step_by(TASKS_PER_ITEM_MAX);
    starts.map(|start| all.range(start..all.len().min(start + TASKS_PER_ITEM_MAX)).copied().collect())
}

impl Task {
    /// The task as an item of a snapshot; its function has this place among the items.
    pub(super) fn to_item(&self, id: TaskId, function: u32) -> TaskItem {
        let call = || self.call.as_ref().expect("a task without a result in the log has its call").to_item();
        TaskItem {
            key: self.key(id),
            function,
            submitted_at: self.submitted_at,
            attempt: self.attempt,
            phase: match &self.phase {
                Phase::Waiting { .. } | Phase::Ready | Phase::Delayed => PhaseItem::Pending(call()),
                Phase::Running { worker } => PhaseItem::Running(call(), *worker),
                Phase::Finished(result) => PhaseItem::Finished(result.to_payload()),
                Phase::Failed(error) => match &self.call {
                    Some(call) => PhaseItem::FailedOf(call.to_item(), error.clone()),
                    None => PhaseItem::Failed(error.clone()),
                },
                Phase::Cancelled => self
                    .call
                    .as_ref()
                    .map_or(PhaseItem::Cancelled, |call| PhaseItem::CancelledOf(call.to_item())),
                Phase::Stored(stored) => PhaseItem::Stored(call(), stored.result, stored.holders.clone()),
                Phase::Lost => PhaseItem::Lost(call()),
            },
            channels: Vec::new(),
            detached: self.keepers.detached,
        }
    }
}

impl Conditions {
    /// The conditions of this task as an item of a snapshot.
    pub(super) fn to_item(&self, task: TaskId) -> SnapshotItem {
        let time = |when: Option<When>| when.and_then(When::time);
        let (deadline_at, next_attempt_at) = (time(self.deadline), time(self.next_attempt));
        SnapshotItem::Conditions { task, terms: self.terms.clone(), deadline_at, next_attempt_at }
    }

    /// What the running attempt at this task has, as an item of a snapshot, if it has anything.
    pub(super) fn granted(&self, task: TaskId) -> Option<SnapshotItem> {
        let grants = self.grants.clone();
        (!grants.is_empty()).then_some(SnapshotItem::Granted { task, grants })
    }
}

impl Call {
    fn to_item(&self) -> CallItem {
        let newest = self.deaths.iter().flat_map(|deaths| &deaths.newest);
        CallItem {
            arguments: self.arguments(),
            options: self.options,
            failures: self.failures,
            deaths: self.deaths.as_ref().map_or(0, |deaths| deaths.count),
            newest_deaths: newest.map(|d| (d.attempt, d.worker.clone(), d.reason)).collect(),
        }
    }
}

/// A state that is being put together from items.
#[derive(Debug)]
pub struct Restoring {
    at: Seq,
    state: State,
    functions: Vec<Arc<FunctionOffer>>,
    items: u64,
    /// Whether the first and the last item were there.
    ends: (bool, bool),
    /// Channels of which it is not said what they keep: the snapshot is of an older version.
    without_kept: BTreeSet<LogId>,
}

/// Items that are not a state's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot makes no sense: {0}")]
pub struct BadSnapshot(&'static str);

impl Restoring {
    /// That of a snapshot of this commit.
    pub fn new(at: Seq) -> Self {
        let (state, functions, items, ends, without_kept) = Default::default();
        Restoring { at, state, functions, items, ends, without_kept }
    }

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
                let appended = |(first, count)| Remembered::Appended { first, count, seq: self.at };
                session.remembered.extend(
                    answers
                        .into_iter()
                        .map(|(number, answer)| (number, answer.map_or(Remembered::Done, appended))),
                );
            }
            SnapshotItem::Acknowledged { producer, appends } => {
                let session = state.sessions.get_mut(&producer).ok_or(BadSnapshot("answers of nobody"))?;
                session.remembered.extend(
                    appends.into_iter().map(|(number, first, count, seq)| {
                        (number, Remembered::Appended { first, count, seq })
                    }),
                );
            }
            SnapshotItem::Transacted { producer, number, seq, appended } => {
                let session = state.sessions.get_mut(&producer).ok_or(BadSnapshot("answers of nobody"))?;
                let appended = appended.into();
                session.remembered.insert(number, Remembered::Transacted { seq, appended });
            }
            SnapshotItem::Channel { log, name, head, elements, digest, stopped } => {
                let channel =
                    Channel { head, elements, digest, stopped, written_to: head, ..Channel::new(name) };
                state.channels.insert(log, channel);
                self.without_kept.insert(log);
            }
            SnapshotItem::Kept { log, first, bytes, retention, written_to, deleted, marks } => {
                let channel =
                    state.channels.get_mut(&log).ok_or(BadSnapshot("what an unknown channel keeps"))?;
                (channel.written_to, channel.deleted) = (written_to, deleted);
                let marks = marks.into();
                channel.kept = Kept { first, bytes, retention, marks, ..Kept::default() };
                self.without_kept.remove(&log);
            }
            SnapshotItem::Cursor { log, name, offset, pin_ms } => {
                let channel =
                    state.channels.get_mut(&log).ok_or(BadSnapshot("a cursor of an unknown channel"))?;
                channel.cursors.insert(name, Cursor { offset, pin_ms });
            }
            SnapshotItem::Producers(log, producers) => {
                let channel =
                    state.channels.get_mut(&log).ok_or(BadSnapshot("producers of an unknown channel"))?;
                channel.producers.extend(
                    producers.into_iter().map(|(name, number, first, count, seq)| {
                        (name, Produced { number, first, count, seq })
                    }),
                );
            }
            SnapshotItem::Durability(log, durability) => {
                let channel =
                    state.channels.get_mut(&log).ok_or(BadSnapshot("durability of an unknown channel"))?;
                channel.durability = durability;
            }
            SnapshotItem::Runs(log, runs) => {
                let channel =
                    state.channels.get_mut(&log).ok_or(BadSnapshot("runs of an unknown channel"))?;
                channel.kept.runs.extend(runs);
            }
            SnapshotItem::Futures(log, futures) => {
                let channel =
                    state.channels.get_mut(&log).ok_or(BadSnapshot("futures of an unknown channel"))?;
                channel.kept.futures.extend(futures);
            }
            SnapshotItem::Group { id, log, name, options, next } => {
                if !state.channels.contains_key(&log) {
                    return Err(BadSnapshot("a group of an unknown channel"));
                }
                state.groups.insert(id, Group::new(log, name, options, next));
            }
            SnapshotItem::Leased(id, leased) => {
                let group = state.groups.get_mut(&id).ok_or(BadSnapshot("leases of an unknown group"))?;
                let lease = |(index, member, leases): (u64, _, u32)| {
                    let before = leases.checked_sub(1).ok_or(BadSnapshot("a lease that is none"))?;
                    Ok((index, Lease { member, before: Past::tried(before), is_tried: true }))
                };
                let leased = leased.into_iter().map(lease).collect::<Result<Vec<_>, BadSnapshot>>()?;
                group.leased.extend(leased);
            }
            SnapshotItem::Waiting(id, waiting) => {
                let group = state.groups.get_mut(&id).ok_or(BadSnapshot("elements of an unknown group"))?;
                group.waiting.extend(waiting.into_iter().map(|(index, leases)| (index, Past::tried(leases))));
            }
            SnapshotItem::Tries(id, tries) => {
                let group = state.groups.get_mut(&id).ok_or(BadSnapshot("tries of an unknown group"))?;
                for (index, tries, is_tried) in tries {
                    if let Some(lease) = group.leased.get_mut(&index) {
                        (lease.before.tries, lease.is_tried) = (tries, is_tried);
                    } else if let Some(past) = group.waiting.get_mut(&index) {
                        past.tries = tries;
                    } else {
                        return Err(BadSnapshot("tries of an element that is not open"));
                    }
                }
            }
            SnapshotItem::Function(function) => {
                self.functions.push(state.tasks.share(&function.name, function.version));
            }
            SnapshotItem::Task(item) => {
                let function = self.functions.get(item.function as usize);
                let function = function.ok_or(BadSnapshot("a task without its function"))?.clone();
                let (id, task) = Task::of_item(*item, function);
                if state.tasks.contains_key(&id) {
                    return Err(BadSnapshot("a task twice"));
                }
                state.tasks.insert(id, task);
            }
            SnapshotItem::Conditions { task, terms, deadline_at, next_attempt_at } => {
                let demand = state.tasks.demand(task, &terms);
                let task = state.tasks.get_mut(&task).ok_or(BadSnapshot("conditions of an unknown task"))?;
                let (deadline, next_attempt) = (deadline_at.map(When::At), next_attempt_at.map(When::At));
                let conditions = Conditions { terms, deadline, next_attempt, demand, grants: Vec::new() };
                task.conditions = Some(Box::new(conditions));
            }
            SnapshotItem::Granted { task, grants } => {
                let task = state.tasks.get_mut(&task).ok_or(BadSnapshot("grants of an unknown task"))?;
                task.conditions.get_or_insert_default().grants = grants;
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

    /// The state, once all items are there, and of which channels it has yet to be told from their records what they
    /// keep: by [`State::recount_kept`].
    ///
    /// # Errors
    /// When the first or the last one was not there.
    pub fn finish(mut self) -> Result<(State, BTreeSet<LogId>), BadSnapshot> {
        if self.ends != (true, true) {
            return Err(BadSnapshot("it has no beginning or no end"));
        }
        self.state.index();
        Ok((self.state, self.without_kept))
    }
}

impl State {
    /// Tells what channels keep, of which a snapshot of an older version does not say it, from states in which each of
    /// them was folded up to its head from its first record.
    pub fn recount_kept(&mut self, folded: State) {
        for (log, from) in folded.channels {
            if let Some(channel) = self.channels.get_mut(&log) {
                (channel.kept, channel.written_to) = (from.kept, from.written_to);
            }
        }
        self.index();
    }
}

impl Task {
    fn of_item(item: TaskItem, function: Arc<FunctionOffer>) -> (TaskId, Task) {
        let TaskItem { key, submitted_at, attempt, phase, detached, .. } = item;
        let (phase, call) = match phase {
            // Whether it waits or is ready follows from its dependencies.
            PhaseItem::Pending(call) => (Phase::Ready, Some(call)),
            PhaseItem::Running(call, worker) => (Phase::Running { worker }, Some(call)),
            PhaseItem::Finished(result) => (Phase::Finished(Value::from(&result)), None),
            PhaseItem::Failed(error) => (Phase::Failed(error), None),
            PhaseItem::Cancelled => (Phase::Cancelled, None),
            PhaseItem::FailedOf(call, error) => (Phase::Failed(error), Some(call)),
            PhaseItem::CancelledOf(call) => (Phase::Cancelled, Some(call)),
            PhaseItem::Stored(call, result, holders) => {
                (Phase::Stored(Box::new(Stored { result, holders })), Some(call))
            }
            PhaseItem::Lost(call) => (Phase::Lost, Some(call)),
        };
        let call = call.map(Call::of_item);
        let mut task = Task::new(&key.label, function, submitted_at, attempt, call);
        task.phase = phase;
        task.keepers.detached = detached;
        (key.id, task)
    }
}

impl Call {
    fn of_item(item: CallItem) -> Call {
        let death = |(attempt, worker, reason)| Death { attempt, worker, reason };
        let newest = item.newest_deaths.into_iter().map(death).collect();
        let mut call = Call::new(&item.arguments, item.options);
        call.failures = item.failures;
        call.deaths = (item.deaths > 0).then(|| Box::new(Deaths { count: item.deaths, newest }));
        call
    }
}
