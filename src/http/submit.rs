//! Submitting a program.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::body;
use super::door::Door;
use super::problem::Problem;
use crate::client::{Channel, Client, Error};
use crate::protocol::channel::Retention;
use crate::protocol::command::{AppendOptions, Command};
use crate::protocol::equipment::{Need, Target};
use crate::protocol::task::{Argument, Submission, TaskOptions};
use crate::protocol::terms::{Backoff, Tag, Term, Terms};
use crate::protocol::{ChannelName, Element, Elements, TaskKey};
use crate::worker::exec::command::{GRACE_MS, own_channel};
use crate::worker::exec::{self, FUNCTION, VERSION};

/// A program, and how it is to be run: as `headwater submit` has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    /// The program, and its arguments.
    command: Vec<String>,
    name: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    cwd: Option<String>,
    stdin: Option<String>,
    time_limit_ms: Option<u64>,
    grace_ms: Option<u64>,
    output_channel: Option<String>,
    #[serde(default)]
    no_output: bool,
    #[serde(default)]
    retries: u32,
    #[serde(default)]
    priority: i32,
    backoff_ms: Option<u64>,
    deadline_ms: Option<u64>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    on: Vec<String>,
    #[serde(default)]
    prefer: Vec<String>,
}

pub(super) async fn submit(
    State(door): State<Arc<Door>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let program: Program = body::json(&headers, &body?)?;
    let terms = program.terms()?;
    let client = door.client().await?;
    let output = match (&program.output_channel, program.no_output) {
        (Some(_), true) => {
            return Err(Problem::bad_request("`output_channel` and `no_output` exclude each other"));
        }
        (None, true) => None,
        (Some(name), false) => Some(ChannelName::new(name).map_err(Error::from)?),
        (None, false) => Some(own_channel()),
    };
    let submission = program.submission(output.as_ref())?;
    submission.check().map_err(Error::from)?;
    let channel = match &output {
        Some(name) => Some(client.channel::<()>(name.as_str()).await?),
        None => None,
    };
    let key = send(&client, submission, terms, channel.as_ref()).await?;
    let told = json!({ "key": key.to_string(), "channel": output.as_ref().map(ChannelName::as_str) });
    Ok((StatusCode::CREATED, Json(told)).into_response())
}

/// Submits the task, and then puts its future on the channel, which keeps it from then on. Where nothing does, it is
/// detached. If it is not submitted, nothing is on the channel: a name that is taken is that of another future.
async fn send(
    client: &Client,
    mut submission: Submission,
    terms: Terms,
    channel: Option<&Channel<()>>,
) -> Result<TaskKey, Problem> {
    submission.options.detach = match channel {
        Some(channel) => channel.info().await?.retention != Retention::ALL,
        None => true,
    };
    let key = submission.key.clone();
    let (hold, submitted) = client.holds().hold(key.id, Command::submit(submission, terms));
    submitted.await?;
    if let Some(channel) = channel {
        let future = Elements::from(&[Element::Future(key.clone())][..]);
        client.connection().append(channel.log(), &future, AppendOptions::default())?.await?;
    }
    drop(hold);
    Ok(key)
}

impl Program {
    fn submission(&self, output: Option<&ChannelName>) -> Result<Submission, Problem> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(Problem::bad_request("`command` is empty: give a program, and its arguments"));
        };
        let command = exec::Command {
            program: program.clone(),
            arguments: arguments.to_vec(),
            environment: self.env.clone(),
            directory: self.cwd.clone(),
            stdin: self.stdin.clone().map(Into::into),
            time_limit_ms: self.time_limit_ms,
            grace_ms: self.grace_ms.unwrap_or(GRACE_MS),
            output: output.map(ToString::to_string),
            index: None,
            line: None,
        };
        Ok(Submission {
            key: match &self.name {
                Some(name) => TaskKey::named(name),
                None => TaskKey::unique(FUNCTION, Uuid::now_v7().into_bytes()),
            },
            function: FUNCTION.into(),
            version: VERSION,
            arguments: vec![Argument::Value(command.encode().map_err(Error::from)?)],
            options: TaskOptions { retries: self.retries, priority: self.priority, detach: false },
        })
    }

    fn terms(&self) -> Result<Terms, Problem> {
        let mut terms = Terms::default();
        if let Some(first) = self.backoff_ms {
            let first = std::time::Duration::from_millis(first);
            terms.set(Term::Backoff(Backoff::exponential(first).jittered()));
        }
        if let Some(ms) = self.deadline_ms {
            terms.set(Term::Deadline { ms });
        }
        for tag in &self.tags {
            terms.set(Term::Tag(Tag::new(tag).map_err(Problem::bad_request)?));
        }
        for need in &self.needs {
            terms.set(Term::Needs(need.parse::<Need>().map_err(Error::from)?));
        }
        for target in &self.on {
            terms.set(Term::On(target.parse::<Target>().map_err(Error::from)?));
        }
        for target in &self.prefer {
            terms.set(Term::Prefers(target.parse::<Target>().map_err(Error::from)?));
        }
        terms.check().map_err(Error::from)?;
        Ok(terms)
    }
}
