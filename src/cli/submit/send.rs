//! Sends the tasks of a submission, many on their way at a time, and puts their futures on the channel.

use anyhow::bail;
use bytes::Bytes;
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Submit;
use super::members::{self, Member};
use crate::cli::output::{Output, note};
use crate::client::{Channel, Client, Error};
use crate::protocol::channel::Retention;
use crate::protocol::command::{Answer, AppendOptions, Command, Query, Rejection};
use crate::protocol::limits::IN_FLIGHT_MAX;
use crate::protocol::task::{Argument, Submission, TaskOptions};
use crate::protocol::{ChannelName, Element, Elements, Payload, TaskKey};
use crate::worker::exec::{self, FUNCTION, VERSION};

/// Tasks that are submitted together: as many as may be on their way, with a question about each.
const TOGETHER: usize = IN_FLIGHT_MAX as usize / 4;

/// A task that was submitted.
#[derive(Debug, Clone)]
pub struct Submitted {
    pub key: TaskKey,
    pub index: Option<u64>,
}

/// Where output and futures go.
#[derive(Debug)]
pub struct Target {
    channel: Option<Channel<Value>>,
    /// The channel's head before anything was submitted.
    pub head: u64,
    /// Whether tasks are to stay without anyone who keeps them: there is no channel, or it may let go of them while they run.
    detach: bool,
}

impl Target {
    pub async fn open(client: &Client, name: Option<&ChannelName>) -> anyhow::Result<Target> {
        let Some(name) = name else { return Ok(Target { channel: None, head: 0, detach: true }) };
        let channel = client.channel(name.as_str()).await?;
        let info = channel.info().await?;
        Ok(Target { channel: Some(channel), head: info.head, detach: info.retention != Retention::ALL })
    }
}

/// Submits all, and says which they are, unless that is left to whoever waits for them.
pub async fn send(
    calls: &mut Calls<'_>,
    client: &Client,
    target: &Target,
    output: &mut Output,
) -> anyhow::Result<Vec<Submitted>> {
    let (submit, members) = (calls.submit, std::mem::take(&mut calls.members));
    let mut all = Vec::new();
    for some in members.chunks(TOGETHER) {
        let some = some.iter().map(|member| calls.call(member)).collect::<anyhow::Result<Vec<Call>>>()?;
        let sent = send_some(submit, client, target, &some).await.map_err(|error| match all.len() {
            0 => error,
            before => error.context(format!("{before} of {} tasks were submitted before", members.len())),
        })?;
        for (key, call) in sent.iter().zip(&some) {
            if !submit.is_waited_for() {
                print(submit, key, &call.member, target, output)?;
            }
            all.push(Submitted { key: key.clone(), index: call.member.index });
        }
        output.flush()?;
    }
    Ok(all)
}

/// What makes the calls of a submission.
pub struct Calls<'a> {
    submit: &'a Submit,
    members: Vec<Member>,
    command: exec::Command,
    /// The stdin that was read last, and its file: all tasks may have the same.
    stdin: Option<(String, Bytes)>,
}

/// A call that is to be submitted.
struct Call {
    member: Member,
    argument: Payload,
    name: Option<String>,
}

impl Calls<'_> {
    /// Reads what they are made of, and tries all of them. They are made anew when they are sent: what they read from
    /// stdin may be much.
    pub fn of(submit: &Submit) -> anyhow::Result<Calls<'_>> {
        let (members, command) = (submit.members()?, submit.command()?);
        let mut calls = Calls { submit, members: Vec::new(), command, stdin: None };
        for member in &members {
            calls.call(member)?.submission(submit, false).check()?;
        }
        submit.conditions.terms()?;
        Ok(Calls { members, ..calls })
    }

    fn call(&mut self, member: &Member) -> anyhow::Result<Call> {
        let stdin = self.stdin(member)?;
        let Member { index, line } = member.clone();
        let argument = exec::Command { stdin, index, line, ..self.command.clone() }.encode()?;
        let name = self.submit.name.as_ref().map(|name| match index {
            Some(index) => format!("{name}-{index}"),
            None => name.clone(),
        });
        Ok(Call { member: member.clone(), argument, name })
    }

    fn stdin(&mut self, member: &Member) -> anyhow::Result<Option<Bytes>> {
        let Some(file) = &self.submit.stdin else { return Ok(None) };
        let file = members::stdin_file(file, member);
        if let Some((known, bytes)) = &self.stdin
            && *known == file
        {
            return Ok(Some(bytes.clone()));
        }
        let bytes = members::stdin(&file)?;
        self.stdin = Some((file, bytes.clone()));
        Ok(Some(bytes))
    }
}

impl Call {
    fn submission(&self, submit: &Submit, detach: bool) -> Submission {
        Submission {
            key: match &self.name {
                Some(name) => TaskKey::named(name),
                None => TaskKey::unique(FUNCTION, Uuid::now_v7().into_bytes()),
            },
            function: FUNCTION.into(),
            version: VERSION,
            arguments: vec![Argument::Value(self.argument.clone())],
            options: TaskOptions { retries: submit.retries, priority: submit.priority, detach },
        }
    }
}

/// Submits some. Their futures are on the channel before any of them can say anything there: they follow in the session's
/// order, and nothing is waited for between. The session holds the tasks until it ends.
async fn send_some(
    submit: &Submit,
    client: &Client,
    target: &Target,
    calls: &[Call],
) -> anyhow::Result<Vec<TaskKey>> {
    let names = calls.iter().filter_map(|call| call.name.as_deref());
    try_join_all(names.map(|name| note_if_there(client, name))).await?;
    let submissions: Vec<Submission> =
        calls.iter().map(|call| call.submission(submit, target.detach)).collect();
    submissions.iter().try_for_each(Submission::check)?;
    let keys: Vec<TaskKey> = submissions.iter().map(|submission| submission.key.clone()).collect();
    let mut futures = Elements::default();
    for (key, call) in keys.iter().zip(calls) {
        let headers = call.member.index.map(|index| ("index", index.to_string()));
        futures.push_with(&headers.into_iter().collect(), &Element::Future(key.clone()));
    }
    let (connection, terms) = (client.connection(), submit.conditions.terms()?);
    let submitted = submissions
        .into_iter()
        .map(|submission| connection.command(Command::submit(submission, terms.clone())));
    let submitted: Vec<_> = submitted.collect();
    let appended = target
        .channel
        .as_ref()
        .map(|channel| connection.append(channel.log(), &futures, AppendOptions::default()));
    // Why one was not submitted is also why its future is not on the channel.
    try_join_all(submitted).await?;
    if let Some(appended) = appended {
        appended?.await?;
    }
    Ok(keys)
}

/// Says so if a task of this name is there: it stays what it is. What is no program is refused before anything is sent.
async fn note_if_there(client: &Client, name: &str) -> anyhow::Result<()> {
    match client.query(Query::Task { task: TaskKey::named(name).id }).await {
        Ok(Answer::Task(info)) if *info.function != *FUNCTION => {
            bail!("the task `{name}` is a call of `{}`, and no program: give another --name", info.function)
        }
        Ok(_) => note(format_args!(
            "there is a task `{name}` already: it stays as it is, and is not run again (`headwater task show {name}`)"
        )),
        Err(Error::Rejected(Rejection::UnknownTask(_))) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn print(
    submit: &Submit,
    key: &TaskKey,
    member: &Member,
    target: &Target,
    output: &mut Output,
) -> anyhow::Result<()> {
    if !submit.json {
        return output.line(key);
    }
    let mut line = json!({ "key": key.to_string() });
    let fields = [
        ("channel", target.channel.as_ref().map(|channel| channel.name().into())),
        ("index", member.index.map(Value::from)),
        ("line", member.line.as_deref().map(Value::from)),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            line[name] = value;
        }
    }
    output.json(&line)
}
