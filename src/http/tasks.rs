//! Tasks: which there are, how each stands, what it brought; and their end.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::as_of::{Asked, At};
use super::door::Door;
use super::problem::Problem;
use crate::client::{Client, Error, TaskFuture};
use crate::protocol::command::{self, Answer};
use crate::protocol::limits::TooLarge;
use crate::protocol::task::{TaskInfo, TaskStatus};
use crate::protocol::terms::Tag;
use crate::protocol::{Codec, Outcome, Payload, TaskKey};
use crate::rows::history::history;
use crate::rows::task::{Explained, Listed, Shown};

/// Tasks of a page unless told, and most of them.
const PAGE_TASKS: usize = 1_000;

/// How long an answer is waited for at most: a minute, less than what lies between gives up after.
const WAIT_MS_MAX: u64 = 60_000;

/// Most bytes of a result that is given here: 16 MiB, since it is made whole in the memory of the scheduler, and as JSON
/// takes up to 32 times as much. Those that workers keep have up to 4 GiB.
const RESULT_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default)]
    from: u64,
    limit: Option<usize>,
    status: Option<String>,
    tag: Option<String>,
    contains: Option<String>,
    at: Option<u64>,
}

/// A page of tasks, in the order of their submission.
pub(super) async fn list(
    State(door): State<Arc<Door>>,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Page { mut from, limit, status, tag, contains, at }) = query?;
    let limit = limit.unwrap_or(PAGE_TASKS);
    if !(1..=PAGE_TASKS).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit`: give a number from 1 to {PAGE_TASKS}")));
    }
    let status = status.map(|word| status_of(&word)).transpose()?;
    let tag = tag.map(|tag| Tag::new(&tag)).transpose().map_err(Problem::bad_request)?;
    let contains = contains.map(|words| words.to_lowercase());
    let is_wanted = |info: &TaskInfo| {
        status.is_none_or(|status| info.status == status)
            && tag.as_ref().is_none_or(|tag| info.tags.contains(tag))
            && contains.as_ref().is_none_or(|words| is_in(words, info))
    };
    let asked = door.asked(at).await?;
    let (mut tasks, mut next) = (Vec::new(), None);
    'pages: loop {
        let Answer::Tasks(page) = asked.query(command::Query::Tasks { from }).await? else {
            return Err(Problem::unanswered());
        };
        let Some(last) = page.last() else { break };
        from = last.submitted_at + 1;
        for info in page.into_iter().filter(|info| is_wanted(info)) {
            if tasks.len() == limit {
                next = Some(info.submitted_at);
                break 'pages;
            }
            tasks.push(info);
        }
    }
    let rows: Vec<_> = tasks.iter().map(Listed::of).collect();
    Ok(Json(asked.dated(json!({ "tasks": rows, "next": next }))))
}

/// Whether a task's key or function has these words in it, in small letters.
fn is_in(words: &str, info: &TaskInfo) -> bool {
    [info.key.to_string(), info.function.to_string()].iter().any(|text| text.to_lowercase().contains(words))
}

fn status_of(word: &str) -> Result<TaskStatus, Problem> {
    let known = TaskStatus::ALL.into_iter().find(|status| status.word() == word);
    known.ok_or_else(|| {
        let words = TaskStatus::ALL.map(TaskStatus::word).join(", ");
        Problem::bad_request(format!("`status`: there is no status `{word}`: give one of {words}"))
    })
}

/// The key, or the name, in a path.
pub(super) type Key = Result<Path<String>, PathRejection>;

async fn info(client: &Client, key: Key) -> Result<TaskInfo, Problem> {
    info_of(&Asked::Now(client.clone()), key).await
}

async fn info_of(asked: &Asked, key: Key) -> Result<TaskInfo, Problem> {
    let Path(name) = key?;
    let key = TaskKey::from_str(&name).map_err(Error::from)?;
    let answer = asked.query(command::Query::Task { task: key.id }).await;
    match answer.map_err(|problem| problem.of_task(&name))? {
        Answer::Task(info) if key.is_of(&info.key) => Ok(*info),
        Answer::Task(info) => Err(Problem::another_task(&name, &info.key)),
        _ => Err(Problem::unanswered()),
    }
}

/// All that is known of a task.
pub(super) async fn show(
    State(door): State<Arc<Door>>,
    key: Key,
    query: Result<Query<At>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let asked = door.asked(query?.0.at).await?;
    let info = info_of(&asked, key).await?;
    let mut history = history(&door.client().await?, &info).await?;
    history.retain(|offset| asked.knows(offset));
    let shown = serde_json::to_value(Shown::of(&info, history)).map_err(Problem::internal)?;
    Ok(Json(asked.dated(shown)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Waiting {
    #[serde(default)]
    wait_ms: u64,
}

/// What a task brought, as it is: JSON, or its bytes.
pub(super) async fn result(
    State(door): State<Arc<Door>>,
    key: Key,
    query: Result<Query<Waiting>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Waiting { wait_ms }) = query?;
    let client = door.client().await?;
    let info = info(&client, key).await?;
    let is_open = matches!(info.status, TaskStatus::Pending | TaskStatus::Running | TaskStatus::Lost);
    if is_open && wait_ms == 0 {
        return Err(Problem::too_early(info.status.word()));
    }
    let future = client.future::<Value>(&info.key).await?;
    // What has ended and is lost has to be computed anew, and what is large to be fetched.
    let wait = Duration::from_millis(if is_open { wait_ms.min(WAIT_MS_MAX) } else { WAIT_MS_MAX });
    let Ok(outcome) = tokio::time::timeout(wait, outcome(&client, &future)).await else {
        return Err(Problem::too_early(future.status().await?.word()));
    };
    match outcome? {
        Outcome::Finished(payload) => Ok(brought(&payload)),
        Outcome::Failed(error) => Err(Error::Task(error).into()),
        Outcome::Cancelled => Err(Error::Cancelled(info.key).into()),
        Outcome::Stored(_) => Err(Problem::internal("the result was not fetched")),
    }
}

/// How a task ends, with a result that is not too large to be given.
async fn outcome(client: &Client, future: &TaskFuture<Value>) -> Result<Outcome, Error> {
    if let Outcome::Stored(located) = client.connection().watch(future.key().id).await? {
        let hint = "have a task work on it, or read it with a client of the library";
        let bytes = usize::try_from(located.result.bytes).unwrap_or(usize::MAX);
        TooLarge::check("the result", bytes, RESULT_BYTES, hint)?;
    }
    future.outcome().await
}

fn brought(payload: &Payload) -> Response {
    match payload.codec {
        Codec::MessagePack => Json(payload.to_json()).into_response(),
        Codec::Raw => {
            ([(header::CONTENT_TYPE, "application/octet-stream")], payload.bytes.clone()).into_response()
        }
    }
}

/// Why a task is where it is.
pub(super) async fn explain(State(door): State<Arc<Door>>, key: Key) -> Result<Response, Problem> {
    let client = door.client().await?;
    let key = info(&client, key).await?.key;
    Ok(Json(Explained::of(&client.explain(&key).await?)).into_response())
}

pub(super) async fn cancel(State(door): State<Arc<Door>>, key: Key) -> Result<Json<Value>, Problem> {
    let client = door.client().await?;
    let key = info(&client, key).await?.key;
    let status = client.cancel(&key).await?;
    Ok(Json(json!({ "key": key.to_string(), "status": status.word() })))
}

pub(super) async fn retry(State(door): State<Arc<Door>>, key: Key) -> Result<Json<Value>, Problem> {
    let client = door.client().await?;
    let key = info(&client, key).await?.key;
    client.retry(&key).await?;
    Ok(Json(json!({ "key": key.to_string() })))
}
