//! One attempt, from its assignment to what is told of it.

use std::sync::Arc;

use super::registry::Registry;
use super::results::{Held, Told};
use super::run;
use crate::client::Connection;
use crate::protocol::command::Command;
use crate::protocol::limits::PAYLOAD_BYTES_MAX;
use crate::protocol::message::Assignment;
use crate::protocol::session::HeldAttempt;

/// Runs an attempt and tells what came of it until that is taken. A result that is kept here is still to be
/// settled with the scheduler: that must not be aborted with the attempt, since an attempt that the scheduler
/// takes to be over may be so for its very result.
pub(super) async fn attempt(
    connection: Connection,
    registry: Arc<Registry>,
    held: Arc<Held>,
    assignment: Assignment,
) -> Option<Told> {
    let Assignment { key, attempt, function, version, arguments } = assignment;
    let task = key.id;
    tracing::debug!(task = %key, %attempt, "begins");
    let outcome = match registry.find(&function, version) {
        Ok(registered) => match held.arguments(arguments).await {
            Ok(arguments) => run::run(registered, arguments).await,
            Err(missing) => {
                tell(&connection, &key, Command::Defer { task, attempt, missing }).await;
                return None;
            }
        },
        Err(error) => Err(error),
    };
    let command = match outcome {
        Ok(result) if result.bytes.len() > PAYLOAD_BYTES_MAX => {
            return Some(held.keep(HeldAttempt { task, attempt }, result).await);
        }
        Ok(result) => Command::Finish { task, attempt, result },
        Err(error) => {
            tracing::info!(task = %key, %attempt, %error, "failed");
            Command::Fail { task, attempt, error: Box::new(error) }
        }
    };
    tell(&connection, &key, command).await;
    None
}

async fn tell(connection: &Connection, task: &crate::protocol::TaskKey, command: Command) {
    if let Err(error) = connection.command(command).await {
        tracing::warn!(%task, %error, "its outcome could not be told");
    }
}
