//! The records of `$tasks` as rows. They name tasks and workers by numbers that earlier records explain:
//! [`Names`] remembers those while they live.

use std::collections::HashMap;

use compact_str::CompactString;
use serde_json::{Map, Value, json};

use super::record::{Row, Stored, of_advance};
use crate::protocol::event::{Receipt, TaskResult};
use crate::protocol::group::{DeadLetters, GroupOptions, Stretch};
use crate::protocol::session::SessionKind;
use crate::protocol::task::{Argument, Submission};
use crate::protocol::terms::{Backoff, Tag, Terms};
use crate::protocol::transaction::AppendedPart;
use crate::protocol::{Producer, TaskEvent, TaskId, TaskKey, TimeMs};

/// What tasks and workers are called. Bounded by the tasks and sessions that are alive.
#[derive(Debug, Clone, Default)]
pub struct Names {
    labels: HashMap<TaskId, CompactString>,
    workers: HashMap<Producer, Box<str>>,
}

impl Names {
    /// Learns the names that a record brings.
    pub fn learn(&mut self, event: &TaskEvent) {
        match event {
            TaskEvent::Submitted { submission, .. } | TaskEvent::SubmittedUnder { submission, .. } => {
                self.labels.insert(submission.key.id, submission.key.label.clone());
            }
            TaskEvent::Scattered { key, .. } => drop(self.labels.insert(key.id, key.label.clone())),
            TaskEvent::SessionOpened { producer, kind: SessionKind::Worker { name }, .. } => {
                self.workers.insert(*producer, name.clone());
            }
            _ => {}
        }
    }

    /// Forgets the names that no later record needs.
    pub fn forget(&mut self, event: &TaskEvent) {
        match event {
            TaskEvent::Forgotten { task } => drop(self.labels.remove(task)),
            TaskEvent::SessionEnded { producer, .. } => drop(self.workers.remove(producer)),
            _ => {}
        }
    }

    /// A worker's name, if it was learnt.
    pub fn worker(&self, producer: Producer) -> Option<&str> {
        self.workers.get(&producer).map(AsRef::as_ref)
    }

    /// A task's key, with a label that leads to it whatever its own is where it was submitted before reading began.
    pub fn key(&self, task: TaskId) -> String {
        let label = self.labels.get(&task).cloned().unwrap_or_else(|| TaskKey::ANY_LABEL.into());
        TaskKey { id: task, label }.to_string()
    }

    /// The row of a record.
    pub fn row(&self, offset: u64, time_ms: TimeMs, event: &TaskEvent) -> Row {
        let mut row = Row::at(offset, time_ms);
        row.kind = kind(event);
        row.key = task_of(event).map(|task| self.key(task));
        match event {
            TaskEvent::Recovered(receipt) => row.details = of_receipt(receipt),
            TaskEvent::SessionOpened { producer, kind, lease_ms, .. } => {
                row.details = details([
                    ("session", json!(producer)),
                    ("of", json!(self.owner(kind))),
                    ("lease_ms", json!(lease_ms)),
                ]);
            }
            TaskEvent::CursorSet { log, name, offset, pin_ms, .. } => {
                let place = [("log", json!(log)), ("cursor", json!(name)), ("at", json!(offset))];
                row.details = details(place);
                row.details.extend((*pin_ms > 0).then(|| ("pin_ms".to_owned(), json!(pin_ms))));
            }
            TaskEvent::CursorDeleted { log, name, .. } => {
                row.details = details([("log", json!(log)), ("cursor", json!(name))]);
            }
            TaskEvent::Transacted { origin, appended } => {
                let parts = appended.iter().map(|AppendedPart { log, first, count }| {
                    json!({ "log": log, "first": first, "count": count })
                });
                let parts = Value::Array(parts.collect());
                row.details = details([("session", json!(origin.producer)), ("appended", parts)]);
            }
            TaskEvent::GroupCreated { log, name, options, next, .. } => {
                row.details = details([("log", json!(log)), ("group", json!(name)), ("next", json!(next))]);
                row.details.extend(of_group(options));
            }
            TaskEvent::GroupChanged { group, options, .. } => {
                row.details = details([("group", json!(group))]);
                row.details.extend(of_group(options));
            }
            TaskEvent::GroupDeleted { group, .. } => row.details = details([("group", json!(group))]),
            TaskEvent::Leased { group, member, elements } => {
                let place = [("group", json!(group)), ("session", json!(member))];
                row.details = details(place);
                row.details.insert("elements".to_owned(), of_stretches(elements));
            }
            TaskEvent::Tried { origin, of } | TaskEvent::Acknowledged { origin, of } => {
                row.details = details([("group", json!(of.group)), ("session", json!(origin.producer))]);
                row.details.insert("elements".to_owned(), of_stretches(&of.elements));
            }
            TaskEvent::LeaseEnded { of, why, .. } => {
                row.details = details([("group", json!(of.group)), ("because", json!(why.to_string()))]);
                row.details.insert("elements".to_owned(), of_stretches(&of.elements));
            }
            TaskEvent::SessionEnded { producer, reason } => {
                row.details = details([("session", json!(producer)), ("because", json!(reason.to_string()))]);
                row.worker = self.workers.get(producer).cloned();
            }
            TaskEvent::ChannelCreated { name, .. } => row.details = details([("channel", json!(name))]),
            TaskEvent::Submitted { submission, .. } => row.details = self.of_submission(submission),
            TaskEvent::SubmittedUnder { submission, terms, .. } => {
                row.details = self.of_submission(submission);
                row.details.append(&mut of_terms(terms));
            }
            TaskEvent::Scattered { origin, value, .. } => {
                row.details = details([("session", json!(origin.producer)), ("value", value.to_json())]);
            }
            TaskEvent::Held { origin, detached, .. } => {
                row.details = details([("session", json!(origin.producer)), ("detached", json!(detached))]);
            }
            TaskEvent::Released { origin, tasks } => {
                let keys: Vec<String> = tasks.iter().map(|task| self.key(*task)).collect();
                row.details = details([("session", json!(origin.producer)), ("tasks", json!(keys))]);
            }
            TaskEvent::Started { attempt, worker, .. } => {
                row.worker = self.workers.get(worker).cloned();
                row.details = details([("attempt", json!(attempt)), ("session", json!(worker))]);
            }
            TaskEvent::StartedWith { attempt, worker, grants, .. } => {
                row.worker = self.workers.get(worker).cloned();
                let granted: Vec<String> = grants.iter().map(ToString::to_string).collect();
                let with =
                    [("attempt", json!(attempt)), ("session", json!(worker)), ("with", json!(granted))];
                row.details = details(with);
            }
            TaskEvent::Finished { attempt, result: TaskResult::Inline(result), .. } => {
                row.value = Some(result.to_json());
                row.details = details([("attempt", json!(attempt))]);
            }
            TaskEvent::Finished { attempt, result: TaskResult::Stored(result), .. } => {
                row.stored = Some(Stored::of(result));
                row.details = details([("attempt", json!(attempt))]);
            }
            TaskEvent::Copied { worker, .. } | TaskEvent::Dropped { worker, .. } => {
                row.worker = self.workers.get(worker).cloned();
                row.details = details([("session", json!(worker))]);
            }
            TaskEvent::Lost { worker, why, .. } => {
                row.worker = Some(worker.clone());
                row.details = details([("because", json!(why.to_string()))]);
            }
            TaskEvent::Returned { attempt, .. } => {
                row.details = details([("attempt", json!(attempt))]);
            }
            TaskEvent::Deferred { attempt, missing, .. } => {
                row.details = details([("attempt", json!(attempt)), ("missing", json!(self.key(*missing)))]);
            }
            TaskEvent::Failed { error, .. } => {
                row.set_error(error);
                row.details = details([("attempt", json!(error.attempt))]);
            }
            TaskEvent::Retried { attempt, error, .. } => {
                row.set_error(error);
                row.details = details([("attempt", json!(attempt))]);
            }
            TaskEvent::RetriedAfter { attempt, error, wait_ms, .. } => {
                row.set_error(error);
                row.details = details([("attempt", json!(attempt)), ("wait_ms", json!(wait_ms))]);
            }
            TaskEvent::Requeued { attempt, reason, .. } => {
                row.details = details([("attempt", json!(attempt)), ("because", json!(reason.to_string()))]);
            }
            TaskEvent::Died { attempt, worker, reason, counts, .. } => {
                row.details = details([
                    ("attempt", json!(attempt)),
                    ("worker", json!(worker)),
                    ("because", json!(reason.to_string())),
                    ("counts", json!(counts)),
                ]);
            }
            TaskEvent::CancelledBy { origin, .. } => {
                row.details = details([("session", json!(origin.producer))]);
            }
            TaskEvent::Advanced { attempt, advance, .. } => {
                row.details = details([("attempt", json!(attempt))]);
                row.details.append(&mut of_advance(advance));
            }
            TaskEvent::Renewed { origin, tasks } => {
                let keys: Vec<String> = tasks.iter().map(|task| self.key(*task)).collect();
                row.details = details([("session", json!(origin.producer)), ("tasks", json!(keys))]);
            }
            TaskEvent::Reopened { .. }
            | TaskEvent::Awaited { .. }
            | TaskEvent::Cancelled { .. }
            | TaskEvent::Forgotten { .. } => {}
        }
        row
    }

    fn owner(&self, kind: &SessionKind) -> String {
        match kind {
            SessionKind::Client => "a client".to_owned(),
            SessionKind::Worker { name } => format!("worker {name}"),
            SessionKind::Attempt { task, attempt } => format!("attempt {attempt} of {}", self.key(*task)),
        }
    }

    fn of_future(&self, task: TaskId) -> Value {
        json!({ "future": self.key(task) })
    }

    fn of_submission(&self, submission: &Submission) -> Map<String, Value> {
        let arguments = submission.arguments.iter().map(|argument| match argument {
            Argument::Value(payload) => payload.to_json(),
            Argument::Future(task) => self.of_future(*task),
            Argument::Nested(template) => template.to_json(|task| self.of_future(task)),
        });
        details([("function", json!(submission.function)), ("arguments", arguments.collect())])
    }
}

/// The task that a record is about, if it is about one.
pub fn task_of(event: &TaskEvent) -> Option<TaskId> {
    match event {
        TaskEvent::Submitted { submission, .. } | TaskEvent::SubmittedUnder { submission, .. } => {
            Some(submission.key.id)
        }
        TaskEvent::Scattered { key, .. } => Some(key.id),
        TaskEvent::Held { task, .. }
        | TaskEvent::Started { task, .. }
        | TaskEvent::StartedWith { task, .. }
        | TaskEvent::Finished { task, .. }
        | TaskEvent::Failed { task, .. }
        | TaskEvent::Retried { task, .. }
        | TaskEvent::RetriedAfter { task, .. }
        | TaskEvent::Awaited { task }
        | TaskEvent::Advanced { task, .. }
        | TaskEvent::Requeued { task, .. }
        | TaskEvent::Died { task, .. }
        | TaskEvent::Copied { task, .. }
        | TaskEvent::Dropped { task, .. }
        | TaskEvent::Lost { task, .. }
        | TaskEvent::Reopened { task }
        | TaskEvent::Deferred { task, .. }
        | TaskEvent::Returned { task, .. }
        | TaskEvent::Cancelled { task }
        | TaskEvent::CancelledBy { task, .. }
        | TaskEvent::Forgotten { task } => Some(*task),
        TaskEvent::Recovered(_)
        | TaskEvent::SessionOpened { .. }
        | TaskEvent::SessionEnded { .. }
        | TaskEvent::ChannelCreated { .. }
        | TaskEvent::CursorSet { .. }
        | TaskEvent::CursorDeleted { .. }
        | TaskEvent::Transacted { .. }
        | TaskEvent::GroupCreated { .. }
        | TaskEvent::GroupChanged { .. }
        | TaskEvent::GroupDeleted { .. }
        | TaskEvent::Leased { .. }
        | TaskEvent::Tried { .. }
        | TaskEvent::Acknowledged { .. }
        | TaskEvent::LeaseEnded { .. }
        | TaskEvent::Renewed { .. }
        | TaskEvent::Released { .. } => None,
    }
}

fn kind(event: &TaskEvent) -> &'static str {
    match event {
        TaskEvent::Recovered(_) => "recovered",
        TaskEvent::SessionOpened { .. } => "session_opened",
        TaskEvent::SessionEnded { .. } => "session_ended",
        TaskEvent::ChannelCreated { .. } => "channel_created",
        TaskEvent::Submitted { .. } | TaskEvent::SubmittedUnder { .. } => "submitted",
        TaskEvent::Scattered { .. } => "scattered",
        TaskEvent::Held { .. } => "held",
        TaskEvent::Released { .. } => "released",
        TaskEvent::Started { .. } | TaskEvent::StartedWith { .. } => "started",
        TaskEvent::Finished { .. } => "finished",
        TaskEvent::Failed { .. } => "failed",
        TaskEvent::Retried { .. } | TaskEvent::RetriedAfter { .. } => "retried",
        TaskEvent::Awaited { .. } => "awaited",
        TaskEvent::Renewed { .. } => "renewed",
        TaskEvent::Advanced { .. } => "advanced",
        TaskEvent::Requeued { .. } => "requeued",
        TaskEvent::Died { .. } => "died",
        TaskEvent::Copied { .. } => "copied",
        TaskEvent::Dropped { .. } => "dropped",
        TaskEvent::Lost { .. } => "lost",
        TaskEvent::Reopened { .. } => "reopened",
        TaskEvent::Deferred { .. } => "deferred",
        TaskEvent::Returned { .. } => "returned",
        TaskEvent::Cancelled { .. } | TaskEvent::CancelledBy { .. } => "cancelled",
        TaskEvent::Forgotten { .. } => "forgotten",
        TaskEvent::CursorSet { .. } => "cursor_set",
        TaskEvent::CursorDeleted { .. } => "cursor_deleted",
        TaskEvent::Transacted { .. } => "transacted",
        TaskEvent::GroupCreated { .. } => "group_created",
        TaskEvent::GroupChanged { .. } => "group_changed",
        TaskEvent::GroupDeleted { .. } => "group_deleted",
        TaskEvent::Leased { .. } => "leased",
        TaskEvent::Tried { .. } => "tried",
        TaskEvent::Acknowledged { .. } => "acknowledged",
        TaskEvent::LeaseEnded { .. } => "lease_ended",
    }
}

/// Under what conditions a task is run, by name.
fn of_terms(terms: &Terms) -> Map<String, Value> {
    let mut all = Map::new();
    if let Some(Backoff { first_ms, factor, max_ms, is_jittered }) = terms.backoff() {
        let jitter = if *is_jittered { 0.5 } else { 0.0 };
        let backoff = json!({ "first_ms": first_ms, "factor": factor, "max_ms": max_ms, "jitter": jitter });
        all.insert("backoff".to_owned(), backoff);
    }
    all.extend(terms.timeout_ms().map(|ms| ("timeout_ms".to_owned(), json!(ms))));
    all.extend(terms.deadline_ms().map(|ms| ("deadline_ms".to_owned(), json!(ms))));
    let tags: Vec<&Tag> = terms.tags().collect();
    all.extend((!tags.is_empty()).then(|| ("tags".to_owned(), json!(tags))));
    all
}

/// How a group leases, by name.
fn of_group(options: &GroupOptions) -> Map<String, Value> {
    let mut all = details([("lease_ms", json!(options.lease_ms))]);
    if let Some(DeadLetters { channel, attempts_max }) = &options.dead_letters {
        all.insert("dead_letters".to_owned(), json!({ "channel": channel, "attempts_max": attempts_max }));
    }
    all.extend((options.pin_ms > 0).then(|| ("pin_ms".to_owned(), json!(options.pin_ms))));
    all
}

/// Stretches of elements as the indexes of their first and last.
fn of_stretches(elements: &[Stretch]) -> Value {
    let ends = elements.iter().map(|(first, count)| json!([first, first + u64::from(*count) - 1]));
    Value::Array(ends.collect())
}

/// A receipt's fields, by name.
pub fn of_receipt(receipt: &Receipt) -> Map<String, Value> {
    let mut fields = details([
        ("epoch", json!(receipt.epoch)),
        ("seq", json!(receipt.seq)),
        ("digest", json!(receipt.digest.to_string())),
        ("records", json!(receipt.records)),
        ("tasks_kept", json!(receipt.tasks_kept)),
        ("tasks_requeued", json!(receipt.tasks_requeued)),
        ("tasks_running", json!(receipt.tasks_running)),
        ("channels", json!(receipt.channels)),
    ]);
    fields.extend(receipt.damage.as_ref().map(|damage| ("damage".to_owned(), json!(damage))));
    fields
}

fn details<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::Origin;
    use crate::protocol::task::TaskOptions;
    use crate::protocol::{AttemptNumber, Payload, SessionId, Template, template};

    /// `[a future]`
    fn nested() -> Template {
        let mut bytes = vec![0x91];
        template::add_hole(&mut bytes, TaskId([2; 16]));
        Template::new(bytes)
    }

    fn submitted() -> TaskEvent {
        let submission = Submission {
            key: TaskKey::unique("add", [1; 16]),
            function: "rust:m::add".into(),
            version: 1,
            arguments: vec![
                Argument::Value(Payload::encode(&1.5).unwrap()),
                Argument::Future(TaskId([2; 16])),
                Argument::Nested(nested()),
            ],
            options: TaskOptions::default(),
        };
        TaskEvent::Submitted { origin: Origin { producer: Producer(1), number: 1 }, submission }
    }

    fn json(names: &Names, event: &TaskEvent) -> Value {
        serde_json::to_value(names.row(3, 0, event)).unwrap()
    }

    #[test]
    fn tasks_and_workers_go_by_the_names_that_were_learnt() {
        let started =
            TaskEvent::Started { task: TaskId([1; 16]), attempt: AttemptNumber(1), worker: Producer(2) };
        let mut names = Names::default();
        let row = json(&names, &started);
        assert_eq!(row["key"], "task-01010101010101010101010101010101");
        assert_eq!((row.get("worker"), &row["session"]), (None, &json!(2)));
        names.learn(&submitted());
        names.learn(&TaskEvent::SessionOpened {
            producer: Producer(2),
            session: SessionId([0; 16]),
            kind: SessionKind::Worker { name: "w".into() },
            lease_ms: 1,
        });
        let row = json(&names, &started);
        assert_eq!(row["key"], "add-01010101010101010101010101010101");
        assert_eq!(
            (&row["kind"], &row["worker"], &row["attempt"]),
            (&json!("started"), &json!("w"), &json!(1))
        );
        names.forget(&TaskEvent::Forgotten { task: TaskId([1; 16]) });
        assert_eq!(json(&names, &started)["key"], "task-01010101010101010101010101010101");
    }

    #[test]
    fn a_submission_shows_its_call() {
        let row = json(&Names::default(), &submitted());
        assert_eq!(row["function"], "rust:m::add");
        let future = json!({ "future": "task-02020202020202020202020202020202" });
        assert_eq!(row["arguments"], json!([1.5, future, [future]]));
    }

    #[test]
    fn a_value_that_was_scattered_is_known_by_its_name() {
        let (key, origin) = (TaskKey::unique("table", [3; 16]), Origin { producer: Producer(1), number: 2 });
        let value = Payload::encode(&[1, 2]).unwrap();
        let scattered = TaskEvent::Scattered { origin, key: key.clone(), value, detach: false };
        let mut names = Names::default();
        names.learn(&scattered);
        let row = json(&names, &scattered);
        assert_eq!((&row["kind"], &row["key"]), (&json!("scattered"), &json!(key.to_string())));
        assert_eq!((&row["value"], &row["session"]), (&json!([1, 2]), &json!(1)));
    }
}
