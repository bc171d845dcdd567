//! What was appended to channels: a span for each command that did.

use std::borrow::Cow;

use super::fold::Fold;
use super::ids::{Context, SpanId};
use super::open::Place;
use super::span::{Kind, Span, Status};
use crate::protocol::event::Origin;
use crate::protocol::{AttemptNumber, ChannelEvent, Element, Headers, LogId, TaskId, TaskKey};

/// Most futures of a command that are told of: 128, as many links as OpenTelemetry's own programs give a span.
const FUTURES_MAX: usize = 128;

/// Most appends of an attempt that are told of: 1,000. Some attempts append for months, and nobody looks at a trace of more.
const APPENDS_MAX: u32 = 1_000;

/// The headers by which a worker says whose output a value is, see `src/worker/exec/call.rs`: a task's key, and which attempt
/// if that is not the first.
const TASK_HEADER: &str = "task";
const ATTEMPT_HEADER: &str = "attempt";

/// The elements of one command, which follow each other, as far as they are of one attempt.
#[derive(Debug)]
pub struct Append {
    log: LogId,
    origin: Origin,
    /// Whose output it is, as its headers say.
    output_of: Option<OneAttempt>,
    at: Place,
    elements: u64,
    futures: Vec<TaskId>,
}

/// An attempt that appends, itself or by its worker.
#[derive(Debug)]
pub struct Appender {
    /// The attempt's span.
    pub context: Context,
    /// How many appends of it were told of.
    pub appends: u32,
}

/// Which attempt.
pub type OneAttempt = (TaskId, AttemptNumber);

impl Fold {
    /// Takes in a record of a channel, whose records come in order, behind those of the task log that are as old.
    pub fn channel_record(&mut self, log: LogId, at: Place, event: &ChannelEvent) {
        let Some(appended) = event.appended() else { return };
        let (origin, output_of) = (appended.origin, output_of(appended.headers));
        let goes_on =
            |append: &Append| (append.log, append.origin, append.output_of) == (log, origin, output_of);
        if !self.append.as_ref().is_some_and(goes_on) {
            self.end_append();
        }
        let begun = || Append { log, origin, output_of, at, elements: 0, futures: Vec::new() };
        let append = self.append.get_or_insert_with(begun);
        append.elements += 1;
        if let Element::Future(key) = appended.element
            && append.futures.len() < FUTURES_MAX
        {
            append.futures.push(key.id);
        }
    }

    /// The records of a channel that were told up to here end with a commit.
    pub fn end_append(&mut self) {
        let Some(append) = self.append.take() else { return };
        let futures = append.futures.iter().filter_map(|task| Some((*task, self.context_of(*task)?)));
        let futures: Vec<(TaskId, Context)> = futures.collect();
        let by = append.origin.producer;
        // Only workers speak for attempts.
        let output_of = append.output_of.filter(|_| self.workers.get(&by).is_some());
        let appender = match output_of {
            Some(attempt) => self.attempts.get_mut(&attempt),
            None => self.appenders.get_mut(&by),
        };
        match appender {
            Some(appender) if appender.appends >= APPENDS_MAX => self.left_out += 1,
            Some(appender) => {
                appender.appends += 1;
                let parent = appender.context;
                let span = SpanId::of_append(append.log, append.origin, output_of);
                let links = futures.into_iter().map(|(_, context)| context).collect();
                let span = self.span_of_append(&append, span, parent, links);
                self.push(span);
            }
            None => {
                for (task, parent) in futures {
                    let span = SpanId::of_append(append.log, append.origin, Some((task, AttemptNumber(0))));
                    let span = self.span_of_append(&append, span, parent, Vec::new());
                    self.push(span);
                }
            }
        }
    }

    fn span_of_append(&self, append: &Append, span: SpanId, parent: Context, links: Vec<Context>) -> Span {
        let channel = match self.channels.get(&append.log) {
            Some(name) => name.as_str().to_owned(),
            None => format!("log {}", append.log),
        };
        Span {
            context: Context { span, ..parent },
            parent: Some(parent.span),
            is_parent_remote: false,
            name: Cow::Owned(format!("append {channel}")),
            kind: Kind::Producer,
            start_ms: append.at.time_ms,
            end_ms: append.at.time_ms,
            attributes: vec![
                ("headwater.channel", channel.into()),
                ("headwater.offset", append.at.offset.into()),
                ("headwater.elements", append.elements.into()),
            ],
            links,
            status: Status::Unset,
        }
    }
}

/// Whose output an element is, if its headers say so.
fn output_of(headers: &Headers) -> Option<OneAttempt> {
    let key: TaskKey = headers.get(TASK_HEADER)?.parse().ok()?;
    let attempt = headers.get(ATTEMPT_HEADER).map_or(Some(1), |number| number.parse().ok())?;
    Some((key.id, AttemptNumber(attempt)))
}
