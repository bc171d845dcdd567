//! Tasks.

use serde::Serialize;
use serde_json::{Map, Value};

use super::history::History;
use super::record::{Row, Stored, of_advance};
use super::time;
use crate::protocol::Outcome;
use crate::protocol::command::Overview;
use crate::protocol::task::{Explanation, TaskInfo};
use crate::protocol::terms::Tag;

/// How many there are of them.
#[derive(Debug, Serialize)]
pub struct Counts {
    pending: u64,
    running: u64,
    finished: u64,
    failed: u64,
}

impl Counts {
    /// Of all that are known.
    pub fn of(overview: &Overview) -> Counts {
        let Overview { pending, running, finished, failed, .. } = *overview;
        Counts { pending, running, finished, failed }
    }
}

/// A task among others.
#[derive(Debug, Serialize)]
pub struct Listed<'a> {
    key: String,
    status: String,
    function: &'a str,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Tag]>::is_empty")]
    tags: &'a [Tag],
    kept_by: &'a str,
    submitted_at: u64,
}

impl<'a> Listed<'a> {
    pub fn of(info: &'a TaskInfo) -> Self {
        Listed {
            key: info.key.to_string(),
            status: info.status.to_string(),
            function: &info.function,
            attempt: info.attempt.0,
            worker: info.worker.as_deref(),
            waits_for: info.waits_for.as_deref(),
            tags: &info.tags,
            kept_by: &info.kept_by,
            submitted_at: info.submitted_at,
        }
    }
}

/// A task with all that is known of it.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    key: String,
    status: String,
    function: &'a str,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advance: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_at: Option<String>,
    #[serde(skip_serializing_if = "<[Tag]>::is_empty")]
    tags: &'a [Tag],
    kept_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<ShownStored<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ShownError<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dependents: Vec<String>,
    history: Vec<Row>,
}

/// A result that workers keep, and those of them that are connected.
#[derive(Debug, Serialize)]
struct ShownStored<'a> {
    #[serde(flatten)]
    result: Stored,
    holders: Vec<ShownHolder<'a>>,
}

#[derive(Debug, Serialize)]
struct ShownHolder<'a> {
    worker: &'a str,
    address: &'a str,
}

#[derive(Debug, Serialize)]
struct ShownError<'a> {
    message: &'a str,
    causes: &'a [String],
    worker: &'a str,
    attempt: u32,
    path: Vec<String>,
}

impl<'a> Shown<'a> {
    pub fn of(info: &'a TaskInfo, history: History) -> Self {
        let value = match &info.outcome {
            Some(Outcome::Finished(result)) => Some(result.to_json()),
            _ => None,
        };
        let stored = match &info.outcome {
            Some(Outcome::Stored(located)) => Some(ShownStored {
                result: Stored::of(&located.result),
                holders: located
                    .holders
                    .iter()
                    .map(|holder| ShownHolder { worker: &holder.worker, address: &holder.address })
                    .collect(),
            }),
            _ => None,
        };
        let error = match &info.outcome {
            Some(Outcome::Failed(error)) => Some(ShownError {
                message: &error.message,
                causes: &error.causes,
                worker: &error.worker,
                attempt: error.attempt.0,
                path: error.path.iter().map(ToString::to_string).collect(),
            }),
            _ => None,
        };
        Shown {
            key: info.key.to_string(),
            status: info.status.to_string(),
            function: &info.function,
            attempt: info.attempt.0,
            worker: info.worker.as_deref(),
            waits_for: info.waits_for.as_deref(),
            advance: info.advance.as_ref().map(of_advance),
            next_attempt_at: info.next_attempt_at.map(time::rfc3339),
            deadline_at: info.deadline_at.map(time::rfc3339),
            tags: &info.tags,
            kept_by: &info.kept_by,
            value,
            stored,
            error,
            dependencies: history.dependencies,
            dependents: history.dependents.into_iter().map(|(_, key)| key).collect(),
            history: history.rows,
        }
    }
}

/// Why a task is where it is.
#[derive(Debug, Serialize)]
pub struct Explained<'a> {
    key: String,
    status: &'a str,
    because: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    points: Vec<PointLine<'a>>,
    more: u64,
}

#[derive(Debug, Serialize)]
struct PointLine<'a> {
    of: &'a str,
    words: &'a str,
}

impl<'a> Explained<'a> {
    pub fn of(explanation: &'a Explanation) -> Self {
        let Explanation { key, status, because, not_before, points, more } = explanation;
        let points = points.iter().map(|point| PointLine { of: &point.of, words: &point.words });
        Explained {
            key: key.to_string(),
            status: status.word(),
            because,
            not_before: not_before.map(time::rfc3339),
            points: points.collect(),
            more: *more,
        }
    }
}
