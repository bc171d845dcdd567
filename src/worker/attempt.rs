//! One attempt, from its assignment to what is told of it.

use std::sync::Arc;

use super::given::{self, Here};
use super::registry::Registry;
use super::results::{Held, Told};
use super::run;
use crate::client::blob::Content;
use crate::client::connection::{Connection, Reply};
use crate::protocol::command::{Answer, Command};
use crate::protocol::limits::PAYLOAD_BYTES_MAX;
use crate::protocol::message::Assignment;
use crate::protocol::session::HeldAttempt;
use crate::protocol::task::ErrorKind;
use crate::protocol::{AttemptNumber, TaskError, TaskKey};

/// What an attempt has told.
#[derive(Debug)]
pub(super) enum Report {
    /// Of its result, which is kept here and still to be settled with the scheduler. That must not be aborted with the
    /// attempt, since an attempt that the scheduler takes to be over may be so for its very result.
    Kept(Told),
    /// All that there is to tell: the answer is on its way.
    Told(Reply<Answer>),
}

/// Runs an attempt and tells what came of it. It takes its slot no longer than that.
pub(super) async fn attempt(
    connection: Connection,
    registry: Arc<Registry>,
    held: Arc<Held>,
    assignment: Assignment,
) -> Report {
    let Assignment { key, attempt, function, version, arguments, timeout_ms: _, grants: _ } = assignment;
    let task = key.id;
    tracing::debug!(task = %key, %attempt, "begins");
    let outcome = match registry.find(&function, version) {
        Ok(registered) => match held.arguments(arguments).await {
            Ok(arguments) => match values(&function, arguments).await {
                Ok(arguments) => run::run(registered, arguments).await,
                Err(error) => Err(error),
            },
            Err(missing) => {
                return Report::Told(connection.command(Command::Defer { task, attempt, missing }));
            }
        },
        Err(error) => Err(error),
    };
    match command_for(&key, attempt, outcome) {
        Ok(command) => Report::Told(connection.command(command)),
        Err(result) => keep(&connection, &held, HeldAttempt { task, attempt }, result).await,
    }
}

/// Keeps a result that is too large for the log.
pub(super) async fn keep(connection: &Connection, held: &Held, of: HeldAttempt, result: Content) -> Report {
    match held.keep(of, result).await {
        Ok(told) => Report::Kept(told),
        Err(error) => {
            let HeldAttempt { task, attempt } = of;
            let message = format!("the result cannot be read back from the disk: {error}");
            let error = Box::new(TaskError::new(ErrorKind::BadResult, &message, Vec::new()));
            Report::Told(connection.command(Command::Fail { task, attempt, error }))
        }
    }
}

/// The values of arguments, all of which are here. To put large ones together takes long, and holds up nobody.
async fn values(function: &str, arguments: Vec<Here>) -> Result<Vec<Content>, TaskError> {
    if !arguments.iter().any(|argument| matches!(argument, Here::Nested { .. })) {
        return given::values(function, arguments);
    }
    let function = function.to_owned();
    match tokio::task::spawn_blocking(move || given::values(&function, arguments)).await {
        Ok(values) => values,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: see [`run::run`].
            Err(_) => std::future::pending().await,
        },
    }
}

/// What tells of an outcome.
///
/// # Errors
/// The result, when it is too large for the log.
pub(super) fn command_for(
    key: &TaskKey,
    attempt: AttemptNumber,
    outcome: Result<Content, TaskError>,
) -> Result<Command, Content> {
    let task = key.id;
    match outcome {
        Ok(Content::Memory(result)) if result.bytes.len() <= PAYLOAD_BYTES_MAX => {
            Ok(Command::Finish { task, attempt, result })
        }
        Ok(result) => Err(result),
        Err(error) => {
            tracing::info!(task = %key, %attempt, %error, "failed");
            Ok(Command::Fail { task, attempt, error: Box::new(error) })
        }
    }
}
