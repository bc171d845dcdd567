//! A call of the function `exec`: one attempt, with its program.

use std::any::TypeId;
use std::os::unix::process::ExitStatusExt;

use tokio::sync::watch;

use super::command::{self, Command, FUNCTION, VERSION};
use super::ended::{Finished, exit_code_message, signal_message};
use super::output::Sink;
use super::process::{self, End, Ended, NotStarted};
use crate::client::blob::Content;
use crate::client::function::{Registered, Run, Running};
use crate::client::millis::millis;
use crate::protocol::equipment::Grant;
use crate::protocol::task::ErrorKind;
use crate::protocol::{Payload, TaskError};
use crate::worker::context::Context;

/// The function, for workers that run programs.
pub(in crate::worker) static REGISTERED: Registered = Registered {
    name: FUNCTION,
    version: VERSION,
    pure: false,
    place: "the worker itself",
    type_id: TypeId::of::<Command>,
    run: Run::Async(call),
};

fn call(arguments: Vec<Content>) -> Running {
    Box::pin(async move {
        let command = command::decode(arguments)?;
        let context = Context::current().ok_or_else(|| failed("a program runs as a task", None))?;
        run(command, context).await
    })
}

async fn run(command: Command, context: Context) -> Result<Content, TaskError> {
    let key = context.task().to_string();
    let programs = context.programs().ok_or_else(|| failed("this worker runs no programs", None))?.clone();
    let command = command.filled(&key);
    let environment = environment(&command, &key, &context);
    let sink = command.output.clone().map(|channel| sink(channel, &command, key, &context));
    let worker = context.worker().to_owned();
    // When this is dropped, so is what says that it is wanted. The program is not, from its start on: it has its grace.
    let (is_wanted, wanted) = watch::channel(());
    let kept = tokio::spawn(async move {
        let process = process::start(&command, &environment, &programs, &worker, &wanted).await?;
        Ok(process.keep(sink, wanted).await)
    });
    let ended = kept.await.unwrap_or_else(|broken| std::panic::resume_unwind(broken.into_panic()));
    drop(is_wanted);
    outcome(ended.map_err(|error: NotStarted| failed(&error.to_string(), None))?)
}

/// What a program learns of its task, and by which the `headwater` command finds the scheduler from within it.
fn environment(command: &Command, key: &str, context: &Context) -> Vec<(String, String)> {
    let mut environment = vec![
        ("HEADWATER_TASK".to_owned(), key.to_owned()),
        ("HEADWATER_ATTEMPT".to_owned(), context.attempt().to_string()),
        ("HEADWATER_CONNECT".to_owned(), context.scheduler().to_owned()),
    ];
    environment.extend(command.index.map(|index| ("HEADWATER_INDEX".to_owned(), index.to_string())));
    environment.extend(command.line.clone().map(|line| ("HEADWATER_LINE".to_owned(), line)));
    environment.extend(context.grants().iter().flat_map(of_grant));
    environment
}

/// What a program learns of a resource that it has: how much, or which ones. What uses CUDA sees no GPU but its own.
fn of_grant(grant: &Grant) -> Vec<(String, String)> {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = grant.resource.as_str().chars().map(letter).collect();
    let parts: Vec<&str> = grant.parts.iter().map(|(part, _)| &**part).collect();
    let granted = if parts.is_empty() { grant.amount.to_string() } else { parts.join(",") };
    let mut variables = vec![(format!("HEADWATER_RESOURCE_{name}"), granted.clone())];
    if grant.resource.as_str() == "gpus" && !parts.is_empty() {
        variables.push(("CUDA_VISIBLE_DEVICES".to_owned(), granted));
    }
    variables
}

fn sink(channel: String, command: &Command, key: String, context: &Context) -> Sink {
    let mut headers = vec![("task", key)];
    headers.extend(command.index.map(|index| ("index", index.to_string())));
    let attempt = context.attempt();
    headers.extend((attempt.0 > 1).then(|| ("attempt", attempt.to_string())));
    Sink::new(context.worker_client(), channel, headers)
}

fn outcome(Ended { end, took, newest }: Ended) -> Result<Content, TaskError> {
    let message = match end {
        End::Exited(Ok(status)) => match (status.code(), status.signal()) {
            (Some(0), _) => {
                let took_ms = millis(took);
                let encoded = Payload::encode(&Finished { code: 0, took_ms });
                return Ok(encoded.expect("it has nothing that MessagePack cannot carry").into());
            }
            (Some(code), _) => exit_code_message(code),
            (None, Some(signal)) => signal_message(signal),
            (None, None) => format!("ended with {status}"),
        },
        End::Exited(Err(error)) => format!("how it ended cannot be learned: {error}"),
        End::OverLimit(limit) => format!("over its time limit of {limit:?}"),
        End::Refused(error) => format!("its output cannot be kept, so it was ended: {error}"),
        End::NotWanted => "it is not wanted any more".to_owned(),
    };
    Err(failed(&message, newest.cited("its stderr")))
}

fn failed(message: &str, cause: Option<String>) -> TaskError {
    TaskError::new(ErrorKind::Returned, message, cause.into_iter().collect())
}
