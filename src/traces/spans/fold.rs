//! The fold over the records: which tasks are open, and where the others belong.
//!
//! What is remembered, the newest of each: [`OPEN_MAX`] tasks that have not ended, [`ENDED_MAX`] that have (their dependents link to them,
//! and they may be run again), [`SESSIONS_MAX`] attempts, sessions of attempts, and of workers, and the channels' names. A task takes
//! about 500 bytes, and 4 KB with the longest names, tags and arguments that there can be: 100 MB in all as a rule.

use std::collections::HashMap;
use std::sync::Arc;

use super::appends::{Append, Appender, OneAttempt};
use super::ids::{Context, SpanId, TRACEPARENT_TAG, TraceId};
pub use super::open::Place;
use super::open::{Call, Ended, Open, Parent};
use super::recent::Recent;
use super::span::Span;
use crate::protocol::event::Origin;
use crate::protocol::session::SessionKind;
use crate::protocol::task::{SCATTER, SCATTER_VERSION};
use crate::protocol::terms::{Tag, Terms};
use crate::protocol::{
    AttemptNumber, ChannelName, LogId, Producer, Submission, TaskError, TaskEvent, TaskId, TaskKey, TimeMs,
};

/// Most open tasks that are remembered. The oldest is left out for one more.
pub const OPEN_MAX: usize = 100_000;

/// Most tasks that have ended and are remembered.
pub const ENDED_MAX: usize = 100_000;

/// Most sessions that are remembered, of attempts and of workers, and most attempts.
pub const SESSIONS_MAX: usize = 100_000;

/// The fold.
#[derive(Debug)]
pub struct Fold {
    open: Recent<TaskId, Open>,
    ended: Recent<TaskId, Past>,
    pub(super) workers: Recent<Producer, Box<str>>,
    /// Attempts that are clients, by their sessions.
    pub(super) appenders: Recent<Producer, Appender>,
    /// Attempts whose worker may append what they write.
    pub(super) attempts: Recent<OneAttempt, Appender>,
    pub(super) channels: HashMap<LogId, ChannelName>,
    pub(super) append: Option<Append>,
    spans: Vec<Span>,
    pub(super) left_out: u64,
}

/// A task that has ended.
#[derive(Debug)]
struct Past {
    call: Arc<Call>,
    context: Context,
    time_ms: TimeMs,
}

impl Default for Fold {
    fn default() -> Self {
        Fold::bounded(OPEN_MAX, ENDED_MAX)
    }
}

impl Fold {
    /// That remembers at most so many tasks that are open, and so many that are not.
    pub fn bounded(open_max: usize, ended_max: usize) -> Self {
        Fold {
            open: Recent::new(open_max),
            ended: Recent::new(ended_max),
            workers: Recent::new(SESSIONS_MAX),
            appenders: Recent::new(SESSIONS_MAX),
            attempts: Recent::new(SESSIONS_MAX),
            channels: HashMap::new(),
            append: None,
            spans: Vec::new(),
            left_out: 0,
        }
    }

    /// Takes in the name of a channel, which was given before reading began.
    pub fn name_channel(&mut self, log: LogId, name: ChannelName) {
        self.channels.insert(log, name);
    }

    /// The spans that have ended, in the order of their ends in each log. They are not told again.
    pub fn take(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.spans)
    }

    /// How much was left out for want of room since this was asked last: tasks, and appends.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    /// Takes in a record of the task log. They come in order.
    pub fn task_record(&mut self, at: Place, event: &TaskEvent) {
        match event {
            TaskEvent::SessionOpened { producer, kind, .. } => self.session(*producer, kind),
            TaskEvent::ChannelCreated { log, name, .. } => self.name_channel(*log, name.clone()),
            TaskEvent::Submitted { origin, submission } => {
                self.submitted(*origin, submission, &Terms::default(), at);
            }
            TaskEvent::SubmittedUnder { origin, submission, terms } => {
                self.submitted(*origin, submission, terms, at);
            }
            TaskEvent::Scattered { origin, key, .. } => self.scattered(*origin, key, at),
            TaskEvent::Started { task, attempt, worker }
            | TaskEvent::StartedWith { task, attempt, worker, .. } => {
                self.started(*task, *attempt, *worker, at);
            }
            TaskEvent::Finished { task, .. } => self.settled(*task, "finished", &Ended::Finished, at),
            TaskEvent::Failed { task, error } => self.settled(*task, "error", &Ended::Failed(error), at),
            TaskEvent::Cancelled { task } | TaskEvent::CancelledBy { task, .. } => {
                self.settled(*task, "cancelled", &Ended::Over("cancelled", None), at);
            }
            // One that nobody wanted any more before it ended.
            TaskEvent::Forgotten { task } => {
                self.settled(*task, "forgotten", &Ended::Over("forgotten", None), at);
                self.ended.remove(task);
            }
            TaskEvent::Retried { task, error, .. } => {
                self.attempt_ended(*task, &Ended::Retried(error, false), at);
            }
            TaskEvent::RetriedAfter { task, error, .. } => {
                self.attempt_ended(*task, &Ended::Retried(error, true), at);
            }
            TaskEvent::Requeued { task, reason, .. } => {
                self.attempt_ended(*task, &Ended::Over("requeued", Some(reason.to_string())), at);
            }
            TaskEvent::Deferred { task, missing, .. } => {
                let why = format!("the result of {missing} could not be had");
                self.attempt_ended(*task, &Ended::Over("deferred", Some(why)), at);
            }
            TaskEvent::Returned { task, .. } => {
                self.attempt_ended(*task, &Ended::Over("returned", None), at);
            }
            TaskEvent::Died { task, worker, reason, .. } => {
                if let Some(open) = self.open.get_mut(task) {
                    open.died(format!("worker {worker} died: {reason}"));
                }
            }
            TaskEvent::Awaited { task } => self.of_open(*task, |open, spans| open.awaited(at, spans)),
            TaskEvent::Reopened { task } => self.again(*task, at, "reopened"),
            TaskEvent::Renewed { tasks, .. } => {
                tasks.iter().for_each(|task| self.again(*task, at, "renewed"));
            }
            // What only sessions, channels and keepers are about, and what an attempt says meanwhile.
            TaskEvent::Recovered(_)
            | TaskEvent::SessionEnded { .. }
            | TaskEvent::Held { .. }
            | TaskEvent::Released { .. }
            | TaskEvent::Copied { .. }
            | TaskEvent::Dropped { .. }
            | TaskEvent::Lost { .. }
            | TaskEvent::CursorSet { .. }
            | TaskEvent::CursorDeleted { .. }
            | TaskEvent::Transacted { .. }
            | TaskEvent::GroupCreated { .. }
            | TaskEvent::GroupChanged { .. }
            | TaskEvent::GroupDeleted { .. }
            | TaskEvent::Leased { .. }
            | TaskEvent::Acknowledged { .. }
            | TaskEvent::LeaseEnded { .. }
            | TaskEvent::Tried { .. }
            | TaskEvent::Advanced { .. } => {}
        }
    }

    /// The span of a task, as others name it, if it is remembered.
    pub(super) fn context_of(&self, task: TaskId) -> Option<Context> {
        let open = || self.open.get(&task).map(|open| open.context);
        open().or_else(|| self.ended.get(&task).map(|past| past.context))
    }

    /// Takes a span that has ended, if anybody wants its trace.
    pub(super) fn push(&mut self, span: Span) {
        self.spans.extend(span.context.is_sampled.then_some(span));
    }

    fn session(&mut self, producer: Producer, kind: &SessionKind) {
        match kind {
            SessionKind::Client => {}
            SessionKind::Worker { name } => drop(self.workers.insert(producer, name.clone())),
            SessionKind::Attempt { task, attempt } => {
                if let Some(open) = self.open.get(task) {
                    let context = open.attempt_context(*attempt);
                    self.appenders.insert(producer, Appender { context, appends: 0 });
                }
            }
        }
    }

    fn submitted(&mut self, origin: Origin, submission: &Submission, terms: &Terms, at: Place) {
        let needs = submission.dependencies();
        let links = needs.iter().filter_map(|task| self.context_of(*task)).collect();
        let tags: Vec<Tag> = terms.tags().cloned().collect();
        let Submission { key, function, version, options, .. } = submission;
        let (function, version, priority) = (function.clone(), *version, options.priority);
        let call = Arc::new(Call { key: key.clone(), function, version, priority, tags, links });
        let mut open = self.opened(origin, call, at);
        open.needs = needs;
        self.left_out += u64::from(self.open.insert(key.id, open));
    }

    fn scattered(&mut self, origin: Origin, key: &TaskKey, at: Place) {
        let (function, version) = (SCATTER.into(), SCATTER_VERSION);
        let (key, tags, links) = (key.clone(), Vec::new(), Vec::new());
        let call = Arc::new(Call { key, function, version, priority: 0, tags, links });
        let open = self.opened(origin, call, at);
        let task = open.call.key.id;
        self.left_out += u64::from(self.open.insert(task, open));
        self.settled(task, "finished", &Ended::Finished, at);
    }

    /// A task that somebody has submitted, where it belongs.
    fn opened(&self, origin: Origin, call: Arc<Call>, at: Place) -> Open {
        let mut named = call.tags.iter().filter_map(|tag| tag.as_str().strip_prefix(TRACEPARENT_TAG));
        let remote = named.find_map(Context::of_traceparent);
        let submitter = || self.appenders.get(&origin.producer).map(|appender| appender.context);
        let parent = remote.or_else(submitter);
        let span = SpanId::of_task(call.key.id, at.offset);
        let root = Context { trace: TraceId::of_root(call.key.id), span, is_sampled: true };
        let context = parent.map_or(root, |parent| Context { span, ..parent });
        let parent = parent.map(|parent| Parent { span: parent.span, is_remote: remote.is_some() });
        Open::new(call, context, parent, at)
    }

    fn started(&mut self, task: TaskId, attempt: AttemptNumber, worker: Producer, at: Place) {
        let Some(open) = self.open.get(&task) else { return };
        let ended = open.needs.iter().filter_map(|task| self.ended.get(task));
        let ready_ms = ended.map(|past| past.time_ms).max();
        let context = open.attempt_context(attempt);
        self.attempts.insert((task, attempt), Appender { context, appends: 0 });
        let worker = self.workers.get(&worker).cloned();
        self.of_open(task, |open, spans| open.started(attempt, worker.as_deref(), ready_ms, at, spans));
    }

    fn attempt_ended(&mut self, task: TaskId, ended: &Ended<'_>, at: Place) {
        self.of_open(task, |open, spans| open.attempt_ended(ended, at, spans));
    }

    fn settled(&mut self, task: TaskId, state: &str, ended: &Ended<'_>, at: Place) {
        self.attempt_ended(task, ended, at);
        let Some(open) = self.open.remove(&task) else { return };
        let (call, context, time_ms) = (open.call.clone(), open.context, at.time_ms);
        let error: Option<&TaskError> = if let Ended::Failed(error) = ended { Some(error) } else { None };
        let mut spans = Vec::new();
        open.ended(state, error, at, &mut spans);
        spans.into_iter().for_each(|span| self.push(span));
        self.ended.insert(task, Past { call, context, time_ms });
    }

    fn again(&mut self, task: TaskId, at: Place, why: &'static str) {
        let Some(Past { call, context, .. }) = self.ended.remove(&task) else { return };
        self.left_out += u64::from(self.open.insert(task, Open::again(call, context, at, why)));
    }

    /// Does something with an open task, and takes the spans that end with it.
    fn of_open(&mut self, task: TaskId, what: impl FnOnce(&mut Open, &mut Vec<Span>)) {
        let Some(open) = self.open.get_mut(&task) else { return };
        let mut spans = Vec::new();
        what(open, &mut spans);
        spans.into_iter().for_each(|span| self.push(span));
    }
}
