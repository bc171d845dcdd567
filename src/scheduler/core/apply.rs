//! What each fact does to the state. Infallible, and the only mutator: live and replay are the same.
//!
//! Events of different channels, and of a channel and the task log, touch different things, or things
//! that add up; so each log may be folded on its own, the task log first.

use super::Event;
use super::deaths::Death;
use super::group::Group;
use super::state::{Channel, Cursor, Produced, Remembered, Session, State};
use super::task::{Call, Keepers, Phase, Stored, Task};
use super::value::Value;
use crate::protocol::channel::{Durability, Retention, TrimCause};
use crate::protocol::event::{Origin, TaskResult};
use crate::protocol::group::{GroupId, indexes};
use crate::protocol::limits::IN_FLIGHT_MAX;
use crate::protocol::session::SessionKind;
use crate::protocol::task::{SCATTER, SCATTER_VERSION};
use crate::protocol::terms::Terms;
use crate::protocol::{
    ChannelEvent, Digest, Element, Elements, LogId, Producer, Seq, SessionId, Submission, TaskEvent, TaskId,
    TaskKey, TimeMs,
};

impl State {
    /// Applies a fact of this commit.
    pub fn apply(&mut self, seq: Seq, event: &Event) {
        match event {
            Event::Task(event) => self.apply_task_event(seq, event),
            Event::Channel(log, event) => self.apply_channel_event(seq, *log, event),
            Event::Values { log, origin, values } => self.append_values(seq, *log, *origin, values),
        }
    }

    /// Says that a channel's log now begins at this place, since what was before it is trimmed, or lost.
    pub fn begin_channel_at(&mut self, log: LogId, offset: u64, index: u64) {
        if let Some(channel) = self.channels.get_mut(&log) {
            if index > channel.elements {
                channel.reopen();
            }
            (channel.head, channel.elements, channel.written_to) = (offset, index, offset);
            self.trim_channel(log, offset, index);
        }
    }

    /// Says that here a commit ends for these logs.
    pub fn end_commit(&mut self, logs: impl IntoIterator<Item = LogId>, time_ms: TimeMs) {
        for log in logs {
            if log == LogId::TASKS {
                self.date_moments(time_ms);
            } else if let Some(channel) = self.channels.get_mut(&log) {
                channel.kept.mark(channel.head, channel.elements, time_ms);
            }
        }
    }

    fn apply_task_event(&mut self, seq: Seq, event: &TaskEvent) {
        let offset = self.tasks_head;
        self.tasks_head += 1;
        match event {
            TaskEvent::Recovered(_) => {}
            TaskEvent::SessionOpened { producer, session, kind, lease_ms } => {
                self.open_session(*producer, *session, kind, *lease_ms);
            }
            TaskEvent::SessionEnded { producer, .. } => self.end_session(*producer),
            TaskEvent::ChannelCreated { origin, log, name } => {
                self.remember(*origin, |_| Remembered::Done);
                self.last_log = *log;
                self.names.insert(name.clone(), *log);
                self.channels.insert(*log, Channel::new(name.clone()));
            }
            TaskEvent::Submitted { origin, submission } => self.submit(offset, *origin, submission, None),
            TaskEvent::SubmittedUnder { origin, submission, terms } => {
                self.submit(offset, *origin, submission, Some(terms));
            }
            TaskEvent::Scattered { origin, key, value, detach } => {
                self.remember(*origin, |_| Remembered::Done);
                self.scatter(offset, key, Value::from(value));
                self.detach(key.id, *detach);
                self.hold(origin.producer, key.id);
            }
            TaskEvent::Held { origin, task, detached } => {
                self.remember(*origin, |_| Remembered::Done);
                self.detach(*task, *detached);
                self.hold(origin.producer, *task);
            }
            TaskEvent::Released { origin, tasks } => {
                self.remember(*origin, |_| Remembered::Done);
                for task in tasks {
                    self.release(origin.producer, *task);
                }
            }
            TaskEvent::Started { task, attempt, worker } => self.start(*task, *attempt, *worker, &[]),
            TaskEvent::StartedWith { task, attempt, worker, grants } => {
                self.start(*task, *attempt, *worker, grants);
            }
            TaskEvent::Finished { task, result: TaskResult::Inline(result), .. } => {
                self.settle(*task, Phase::Finished(Value::from(result)));
            }
            TaskEvent::Finished { task, result: TaskResult::Stored(result), .. } => {
                let holders = self.worker_of(*task).into_iter().collect();
                self.settle(*task, Phase::Stored(Box::new(Stored { result: *result, holders })));
            }
            TaskEvent::Failed { task, error } => self.settle(*task, Phase::Failed(error.clone())),
            TaskEvent::Cancelled { task } => self.settle(*task, Phase::Cancelled),
            TaskEvent::CancelledBy { origin, task } => {
                self.remember(*origin, |_| Remembered::Done);
                self.settle(*task, Phase::Cancelled);
            }
            TaskEvent::Retried { task, .. } => {
                self.count_failure(*task);
                self.await_turn(*task);
            }
            TaskEvent::RetriedAfter { task, wait_ms, .. } => {
                self.count_failure(*task);
                self.delay(*task, *wait_ms);
            }
            TaskEvent::Renewed { origin, tasks } => {
                self.remember(*origin, |_| Remembered::Done);
                tasks.iter().for_each(|task| self.renew(*task));
            }
            // Who is there remembers it: see `Presence`.
            TaskEvent::Advanced { .. } => {}
            TaskEvent::Awaited { task } => {
                if self.tasks.get(task).is_some_and(|task| task.phase == Phase::Delayed) {
                    self.await_turn(*task);
                }
            }
            TaskEvent::Requeued { task, .. }
            | TaskEvent::Deferred { task, .. }
            | TaskEvent::Returned { task, .. } => self.await_turn(*task),
            TaskEvent::Forgotten { task } => self.forget(offset, *task),
            TaskEvent::Died { task, attempt, worker, reason, counts } => {
                if let Some(call) = self.tasks.get_mut(task).and_then(|task| task.call.as_mut()) {
                    let death = Death { attempt: *attempt, worker: worker.clone(), reason: *reason };
                    if *counts { call.deaths.get_or_insert_default().add(death) } else { call.deaths = None }
                }
            }
            TaskEvent::Copied { task, worker } => self.change_holders(*task, |holders| {
                holders.retain(|holder| holder != worker);
                holders.push(*worker);
            }),
            TaskEvent::Dropped { task, worker } => {
                self.change_holders(*task, |holders| holders.retain(|holder| holder != worker));
            }
            TaskEvent::Lost { task, .. } => self.lose(*task),
            TaskEvent::Reopened { task } => self.reopen(*task),
            TaskEvent::CursorSet { origin, log, name, offset, pin_ms } => {
                self.remember(*origin, |_| Remembered::Done);
                if let Some(channel) = self.channels.get_mut(log) {
                    let cursor = Cursor { offset: *offset, pin_ms: *pin_ms };
                    channel.cursors.insert(name.clone(), cursor);
                }
            }
            TaskEvent::Transacted { origin, appended } => {
                let appended = appended.clone().into();
                self.remember(*origin, |_| Remembered::Transacted { seq, appended });
            }
            TaskEvent::GroupCreated { origin, log, name, options, next } => {
                self.remember(*origin, |_| Remembered::Done);
                let group = Group::new(*log, name.clone(), options.clone(), *next);
                self.create_group(GroupId(offset), group);
            }
            TaskEvent::GroupChanged { origin, group, options } => {
                self.remember(*origin, |_| Remembered::Done);
                if let Some(group) = self.groups.get_mut(group) {
                    group.options = options.clone();
                }
            }
            TaskEvent::GroupDeleted { origin, group } => {
                self.remember(*origin, |_| Remembered::Done);
                self.delete_group(*group);
            }
            TaskEvent::Leased { group, member, elements } => self.lease(*group, *member, elements),
            TaskEvent::Tried { origin, of } => {
                self.remember(*origin, |_| Remembered::Done);
                self.try_elements(of);
            }
            TaskEvent::Acknowledged { origin, of } => {
                self.remember(*origin, |_| Remembered::Done);
                self.acknowledge(of);
            }
            TaskEvent::LeaseEnded { origin, of, why } => {
                origin.iter().for_each(|origin| self.remember(*origin, |_| Remembered::Done));
                self.end_leases(of.group, indexes(&of.elements), Some(*why));
            }
            TaskEvent::CursorDeleted { origin, log, name } => {
                self.remember(*origin, |_| Remembered::Done);
                if let Some(channel) = self.channels.get_mut(log) {
                    channel.cursors.remove(name);
                }
            }
        }
    }

    fn apply_channel_event(&mut self, seq: Seq, log: LogId, event: &ChannelEvent) {
        let Some(channel) = self.channels.get_mut(&log) else { return };
        let offset = channel.head;
        channel.head += 1;
        if let Some(appended) = event.appended() {
            channel.reopen();
            let index = channel.elements;
            channel.elements += 1;
            channel.written_to = channel.head;
            channel.digest = channel.digest.with_appended(&appended);
            if let ChannelEvent::Produced { producer, number, count, .. } = event {
                let newest = Produced { number: *number, first: offset, count: *count, seq };
                channel.producers.insert(producer.clone(), newest);
            }
            match appended.element {
                Element::Future(key) => {
                    channel.kept.add(index, offset, 0);
                    channel.kept.add_future(index, key.id);
                    self.change_keepers(key.id, |keepers| keepers.add_element(log));
                }
                Element::Value(payload) => channel.kept.add(index, offset, payload.bytes.len() as u64),
            }
            return self.remember_appended(appended.origin, seq, offset, 1);
        }
        match event {
            ChannelEvent::Appended { .. }
            | ChannelEvent::AppendedWith { .. }
            | ChannelEvent::Produced { .. }
            | ChannelEvent::Progress { .. } => {}
            ChannelEvent::Stopped { origin, .. } => {
                (channel.stopped, channel.written_to) = (true, channel.head);
                self.remember(*origin, |_| Remembered::Done);
            }
            ChannelEvent::Resumed { origin } => {
                channel.reopen();
                self.remember(*origin, |_| Remembered::Done);
            }
            ChannelEvent::Trimmed { cause, before, index } => {
                self.trim_channel(log, *before, *index);
                if let TrimCause::Asked(origin) = cause {
                    self.remember(*origin, |_| Remembered::Done);
                }
            }
            ChannelEvent::Changed { origin, retention } => {
                channel.kept.retention = *retention;
                self.remember(*origin, |_| Remembered::Done);
            }
            ChannelEvent::DurabilityChanged { origin, durability } => {
                channel.durability = *durability;
                self.remember(*origin, |_| Remembered::Done);
            }
            ChannelEvent::Deleted { origin, .. } => {
                (channel.stopped, channel.deleted, channel.written_to) = (true, true, channel.head);
                (channel.kept.retention, channel.durability) = (Retention::ALL, Durability::Fsynced);
                channel.producers.clear();
                let elements = channel.elements;
                self.trim_channel(log, offset, elements);
                self.remember(*origin, |_| Remembered::Done);
            }
            ChannelEvent::ProducerForgotten { origin, producer } => {
                channel.producers.remove(producer);
                self.remember(*origin, |_| Remembered::Done);
            }
        }
    }

    /// A channel keeps no longer what is before a place, and its futures there are released.
    fn trim_channel(&mut self, log: LogId, offset: u64, index: u64) {
        let Some(channel) = self.channels.get_mut(&log) else { return };
        for group in channel.groups.values() {
            self.groups.get_mut(group).into_iter().for_each(|group| group.trim(index));
        }
        for task in channel.kept.trim(offset, index, channel.elements) {
            self.change_keepers(task, |keepers| keepers.remove_element(log));
        }
    }

    /// The same as the event of each of them, one after the other.
    fn append_values(&mut self, seq: Seq, log: LogId, origin: Origin, values: &Elements) {
        let Some(channel) = self.channels.get_mut(&log) else { return };
        let (first, count) = (channel.head, values.len() as u64);
        channel.head += count;
        channel.reopen();
        channel.kept.add(channel.elements, first, values.payload_bytes() as u64);
        channel.elements += count;
        channel.written_to = channel.head;
        let payloads = values.encoded().filter_map(|(_, payload)| payload);
        channel.digest = payloads.fold(channel.digest, Digest::with_value);
        self.remember_appended(origin, seq, first, count as u32);
    }

    /// Keeps that a command appended so many elements, from this offset on or behind those that it appended before.
    fn remember_appended(&mut self, origin: Origin, seq: Seq, offset: u64, more: u32) {
        self.remember(origin, |before| match before {
            Some(Remembered::Appended { first, count, seq }) => {
                Remembered::Appended { first, count: count + more, seq }
            }
            Some(transacted @ Remembered::Transacted { .. }) => transacted,
            _ => Remembered::Appended { first: offset, count: more, seq },
        });
    }

    fn open_session(&mut self, producer: Producer, id: SessionId, kind: &SessionKind, lease_ms: u64) {
        self.last_producer = producer;
        self.producers.insert(id, producer);
        if let SessionKind::Attempt { task, .. } = kind {
            self.attempt_sessions.entry(*task).or_default().insert(producer);
        }
        let session = Session::new(id, kind.clone(), lease_ms);
        self.sessions.insert(producer, session);
    }

    fn end_session(&mut self, producer: Producer) {
        let groups = self
            .sessions
            .get(&producer)
            .map_or_else(Vec::new, |session| session.leased.keys().copied().collect());
        self.end_leases_of(producer, groups);
        let Some(session) = self.sessions.remove(&producer) else { return };
        self.producers.remove(&session.id);
        self.overdue.remove(&producer);
        if let SessionKind::Attempt { task, .. } = session.kind
            && let Some(sessions) = self.attempt_sessions.get_mut(&task)
        {
            sessions.remove(&producer);
            if sessions.is_empty() {
                self.attempt_sessions.remove(&task);
            }
        }
        for task in session.stored {
            self.change_holders(task, |holders| holders.retain(|holder| *holder != producer));
        }
        for task in session.holds {
            self.change_keepers(task, |keepers| keepers.sessions.remove(producer));
        }
    }

    /// Keeps what a command brought, for the case that it is sent again: the newest
    /// [`IN_FLIGHT_MAX`] of a session, in whatever order the logs are folded.
    fn remember(&mut self, origin: Origin, outcome: impl FnOnce(Option<Remembered>) -> Remembered) {
        // Behind lost records it may be of a session whose beginning is among them.
        self.last_producer = self.last_producer.max(origin.producer);
        let Some(session) = self.sessions.get_mut(&origin.producer) else { return };
        let before = session.remembered.remove(&origin.number);
        session.remembered.insert(origin.number, outcome(before));
        if session.remembered.len() as u64 > IN_FLIGHT_MAX {
            session.remembered.pop_first();
        }
    }

    fn submit(&mut self, offset: u64, origin: Origin, submission: &Submission, terms: Option<&Terms>) {
        self.remember(origin, |_| Remembered::Done);
        let id = submission.key.id;
        self.displace(offset, id);
        let call = Call::new(&submission.arguments, submission.options);
        let mut missing = 0;
        for dependency in &call.dependencies {
            let Some(task) = self.tasks.get_mut(dependency) else { continue };
            if !task.phase.has_result() {
                missing += 1;
            }
            if task.phase.has_none() {
                self.doomed.insert(id);
            }
            if let Some(call) = &mut task.call {
                call.add_waiting(id);
            }
            self.change_keepers(*dependency, |keepers| keepers.dependents += 1);
        }
        let function = self.tasks.share(&submission.function, submission.version);
        let attempt = self.retired.take(id);
        let mut task = Task::new(&submission.key.label, function, offset, attempt, Some(call));
        task.phase = Phase::Waiting { missing };
        task.keepers.detached = submission.options.detach;
        self.tasks.insert(id, task);
        self.counts.pending += 1;
        self.change_keepers(id, |_| {});
        self.hold(origin.producer, id);
        terms.into_iter().for_each(|terms| self.set_terms(id, terms));
        if missing == 0 {
            self.set_phase(id, Phase::Ready);
        }
    }

    /// Enters a task that has its result, and that nobody keeps yet.
    fn scatter(&mut self, offset: u64, key: &TaskKey, value: Value) {
        self.displace(offset, key.id);
        let function = self.tasks.share(SCATTER, SCATTER_VERSION);
        let attempt = self.retired.take(key.id);
        let mut task = Task::new(&key.label, function, offset, attempt, None);
        task.phase = Phase::Finished(value);
        self.tasks.insert(key.id, task);
        self.counts.finished += 1;
        self.change_keepers(key.id, |_| {});
    }

    fn detach(&mut self, task: TaskId, is_asked: bool) {
        if is_asked {
            self.change_keepers(task, |keepers| keepers.detached = true);
        }
    }

    fn hold(&mut self, producer: Producer, task: TaskId) {
        if !self.tasks.contains_key(&task) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&producer) else { return };
        if session.holds.insert(task) {
            self.change_keepers(task, |keepers| keepers.sessions.insert(producer));
        }
    }

    fn release(&mut self, producer: Producer, task: TaskId) {
        let Some(session) = self.sessions.get_mut(&producer) else { return };
        if session.holds.remove(&task) {
            self.change_keepers(task, |keepers| keepers.sessions.remove(producer));
        }
    }

    pub(super) fn change_keepers(&mut self, id: TaskId, change: impl FnOnce(&mut Keepers)) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        change(&mut task.keepers);
        if task.keepers.any() {
            self.unkept.remove(&id);
        } else {
            self.unkept.insert(id);
        }
        if matches!(task.phase, Phase::Stored(_) | Phase::Lost) {
            self.sort_by_need(id);
        }
    }
}
