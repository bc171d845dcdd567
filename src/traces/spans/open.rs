//! A task that has not ended, and the spans that end with what happens to it.

use std::borrow::Cow;
use std::sync::Arc;

use super::ids::{Context, SpanId, TRACEPARENT_TAG};
use super::span::{Attribute, Kind, Span, Status};
use crate::protocol::task::shortened;
use crate::protocol::terms::Tag;
use crate::protocol::{AttemptNumber, TaskError, TaskId, TaskKey, TimeMs};

/// What is called, as far as spans tell it.
#[derive(Debug)]
pub struct Call {
    pub key: TaskKey,
    pub function: Box<str>,
    pub version: u32,
    pub priority: i32,
    pub tags: Vec<Tag>,
    /// The spans of the tasks whose results it takes.
    pub links: Vec<Context>,
}

/// Where a record stands, and when it was committed.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its offset in its log.
    pub offset: u64,
    /// When, by the scheduler's clock.
    pub time_ms: TimeMs,
}

/// Of which span one is a part.
#[derive(Debug, Clone, Copy)]
pub struct Parent {
    pub span: SpanId,
    pub is_remote: bool,
}

/// What a task waits for before an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// The results of others.
    Tasks,
    /// A worker that has room.
    Worker,
    /// Some time since an attempt has failed.
    Retry,
}

impl Wait {
    fn word(self) -> &'static str {
        match self {
            Wait::Tasks => "tasks",
            Wait::Worker => "worker",
            Wait::Retry => "retry",
        }
    }
}

#[derive(Debug)]
enum Phase {
    Waits { since_ms: TimeMs, wait: Wait },
    Runs(Attempt),
}

#[derive(Debug)]
struct Attempt {
    number: AttemptNumber,
    since_ms: TimeMs,
    /// Why it was lost with its worker.
    death: Option<String>,
}

/// How an attempt ended.
pub enum Ended<'a> {
    Finished,
    Failed(&'a TaskError),
    /// It failed, and the task waits for the next one, for some time if so much is said.
    Retried(&'a TaskError, bool),
    /// It is over without an outcome, in a word, and why.
    Over(&'static str, Option<String>),
}

/// A task that has not ended.
#[derive(Debug)]
pub struct Open {
    pub call: Arc<Call>,
    pub context: Context,
    parent: Option<Parent>,
    began: Place,
    /// Why it runs again, if it had ended before.
    again: Option<&'static str>,
    /// The tasks that it waits for, until its first attempt.
    pub needs: Vec<TaskId>,
    phase: Phase,
    attempts: u32,
    worker: Option<Box<str>>,
}

impl Open {
    pub fn new(call: Arc<Call>, context: Context, parent: Option<Parent>, began: Place) -> Open {
        Open {
            call,
            context,
            parent,
            began,
            again: None,
            needs: Vec::new(),
            phase: Phase::Waits { since_ms: began.time_ms, wait: Wait::Worker },
            attempts: 0,
            worker: None,
        }
    }

    /// One that had ended, and is run again: its span is a child of the one before.
    pub fn again(call: Arc<Call>, before: Context, began: Place, why: &'static str) -> Open {
        let context = Context { span: SpanId::of_task(call.key.id, began.offset), ..before };
        let parent = Parent { span: before.span, is_remote: false };
        Open { again: Some(why), ..Open::new(call, context, Some(parent), began) }
    }

    /// An attempt has begun. `ready_ms`: when the last of the tasks that it needs had ended, if that is known.
    pub fn started(
        &mut self,
        number: AttemptNumber,
        worker: Option<&str>,
        ready_ms: Option<TimeMs>,
        at: Place,
        spans: &mut Vec<Span>,
    ) {
        if let Phase::Waits { since_ms, .. } = &mut self.phase
            && let Some(ready_ms) = ready_ms.filter(|ready_ms| ready_ms > since_ms)
        {
            let began = std::mem::replace(since_ms, ready_ms);
            spans.extend(self.wait(began, ready_ms, Wait::Tasks, at.offset));
        }
        self.stop_waiting(at, spans);
        self.needs = Vec::new();
        self.attempts += 1;
        self.worker = worker.map(Into::into);
        self.phase = Phase::Runs(Attempt { number, since_ms: at.time_ms, death: None });
    }

    /// Its worker has died: the attempt is over with the next record that says so.
    pub fn died(&mut self, why: String) {
        if let Phase::Runs(attempt) = &mut self.phase {
            attempt.death = Some(why);
        }
    }

    /// The time that it waited for has come.
    pub fn awaited(&mut self, at: Place, spans: &mut Vec<Span>) {
        if matches!(self.phase, Phase::Waits { .. }) {
            self.stop_waiting(at, spans);
            self.phase = Phase::Waits { since_ms: at.time_ms, wait: Wait::Worker };
        }
    }

    /// The attempt that runs, if one does, has ended.
    pub fn attempt_ended(&mut self, ended: &Ended<'_>, at: Place, spans: &mut Vec<Span>) {
        let wait = if let Ended::Retried(_, true) = ended { Wait::Retry } else { Wait::Worker };
        let waits = Phase::Waits { since_ms: at.time_ms, wait };
        let attempt = match std::mem::replace(&mut self.phase, waits) {
            Phase::Runs(attempt) => attempt,
            phase => return self.phase = phase,
        };
        let (outcome, status) = match (ended, attempt.death) {
            (_, Some(why)) => ("died", Status::Error(why)),
            (Ended::Finished, None) => ("finished", Status::Unset),
            (Ended::Failed(error), None) => ("failed", failed(error)),
            (Ended::Retried(error, _), None) => ("retried", failed(error)),
            (Ended::Over(word, _), None) => (*word, Status::Unset),
        };
        let mut attributes: Vec<Attribute> = vec![
            ("headwater.task", self.call.key.to_string().into()),
            ("headwater.function", self.call.function.as_ref().into()),
            ("headwater.attempt", attempt.number.0.into()),
            ("headwater.outcome", outcome.into()),
        ];
        attributes.extend(self.worker.as_deref().map(|worker| ("headwater.worker", worker.into())));
        match ended {
            Ended::Failed(error) | Ended::Retried(error, _) => attributes.push(of_kind(error)),
            Ended::Over(_, Some(why)) => attributes.push(("headwater.reason", why.as_str().into())),
            Ended::Finished | Ended::Over(_, None) => {}
        }
        spans.push(Span {
            context: self.attempt_context(attempt.number),
            parent: Some(self.context.span),
            is_parent_remote: false,
            name: Cow::Borrowed("attempt"),
            kind: Kind::Consumer,
            start_ms: attempt.since_ms,
            end_ms: at.time_ms,
            attributes,
            links: Vec::new(),
            status,
        });
    }

    /// The task has ended, so: its last span.
    pub fn ended(mut self, state: &str, error: Option<&TaskError>, at: Place, spans: &mut Vec<Span>) {
        self.stop_waiting(at, spans);
        let Call { key, function, version, priority, tags, links } = self.call.as_ref();
        let mut attributes: Vec<Attribute> = vec![
            ("headwater.task", key.to_string().into()),
            ("headwater.label", key.label.as_str().into()),
            ("headwater.function", function.as_ref().into()),
            ("headwater.function.version", (*version).into()),
            ("headwater.state", state.into()),
            ("headwater.attempts", self.attempts.into()),
            ("headwater.priority", (*priority).into()),
            ("headwater.offset", self.began.offset.into()),
        ];
        attributes.extend(self.worker.take().map(|worker| ("headwater.worker", worker.as_ref().into())));
        attributes.extend(self.again.map(|why| ("headwater.again", why.into())));
        attributes.extend(error.map(of_kind));
        let tags = tags.iter().map(Tag::as_str).filter(|tag| !tag.starts_with(TRACEPARENT_TAG));
        let tags: Vec<String> = tags.map(str::to_owned).collect();
        if !tags.is_empty() {
            attributes.push(("headwater.tags", super::span::Value::Texts(tags)));
        }
        spans.push(Span {
            context: self.context,
            parent: self.parent.map(|parent| parent.span),
            is_parent_remote: self.parent.is_some_and(|parent| parent.is_remote),
            name: Cow::Owned(TaskKey::label_of(function).to_owned()),
            kind: Kind::Internal,
            start_ms: self.began.time_ms,
            end_ms: at.time_ms,
            attributes,
            links: links.clone(),
            status: error.map_or(Status::Unset, failed),
        });
    }

    /// An attempt of it, as others name it.
    pub fn attempt_context(&self, number: AttemptNumber) -> Context {
        Context { span: SpanId::of_attempt(self.context.span, number), ..self.context }
    }

    fn stop_waiting(&mut self, at: Place, spans: &mut Vec<Span>) {
        if let Phase::Waits { since_ms, wait } = self.phase {
            spans.extend(self.wait(since_ms, at.time_ms, wait, at.offset));
        }
    }

    /// A wait, unless it took no time at all.
    fn wait(&self, start_ms: TimeMs, end_ms: TimeMs, wait: Wait, offset: u64) -> Option<Span> {
        let span = SpanId::of_wait(self.context.span, offset, wait.word());
        (end_ms > start_ms).then(|| Span {
            context: Context { span, ..self.context },
            parent: Some(self.context.span),
            is_parent_remote: false,
            name: Cow::Borrowed("wait"),
            kind: Kind::Internal,
            start_ms,
            end_ms,
            attributes: vec![
                ("headwater.task", self.call.key.to_string().into()),
                ("headwater.wait.for", wait.word().into()),
            ],
            links: Vec::new(),
            status: Status::Unset,
        })
    }
}

/// That it did not go well, in at most 2 KiB: hundreds of spans are one request.
fn failed(error: &TaskError) -> Status {
    Status::Error(shortened(&error.to_string()))
}

/// What kind of error it was, as OpenTelemetry has it: a word of few.
fn of_kind(error: &TaskError) -> Attribute {
    ("error.type", format!("{:?}", error.kind).into())
}
