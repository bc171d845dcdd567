//! The worker: a client that also runs things.
//!
//! ```text
//!   Connection ──assignments──▶ worker ──spawns──▶ run: decode, call, encode
//!        ▲                                             │
//!        └──────────── Finish, Fail ◀──────────────────┘
//! ```
//!
//! It decides nothing: which attempt runs where, and whether an outcome still counts, is the
//! scheduler's. What it runs goes on while the connection is away; outcomes are told until they are
//! taken. When its session is over, everything it ran belongs to others: it drops it and begins anew.
//!
//! Imports `protocol` and `client`; never `log`, `scheduler` or `server`.

pub mod call;
pub mod context;
pub mod registry;
pub mod run;

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use uuid::Uuid;

use self::context::Context;
use self::registry::Registry;
use crate::client::connection::{self, Connection, WorkerMessage};
use crate::client::{Error, Result};
use crate::protocol::command::{Command, Rejection};
use crate::protocol::message::{Assignment, Closing};
use crate::protocol::session::{EndReason, HeldAttempt, Role, WorkerOffer};

/// As good as for ever, and no overflow of the clock's: a hundred years.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How long a worker that is told to stop while its hello is under way waits for the welcome, to say
/// goodbye: a session that nobody ends would be given work until its lease is over.
const HELLO_UNDER_WAY: Duration = Duration::from_millis(300);

/// How a worker runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the scheduler listens: `host:port`.
    pub address: String,
    /// The worker's name, one of its own if none is given. A worker that joins under the name of
    /// another takes its place.
    pub name: Option<String>,
    /// How many attempts it runs at a time. A task that is a client itself takes none.
    pub slots: u32,
    /// The cluster's token, where there is one.
    pub token: Option<String>,
    /// How long the first connection is tried for; later ones are tried for ever.
    pub connect_timeout: Duration,
}

/// Offers all tasks of this program to the scheduler and runs what it is given, until `shutdown` is
/// ready: then it drops what it runs, which the scheduler gives to others, and says goodbye.
///
/// # Errors
/// When the scheduler cannot be reached at first, refuses the worker, or has given its place to
/// another of its name.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> Result<()> {
    let registry = Arc::new(Registry::linked().map_err(Error::other)?);
    let name = options.name.clone().unwrap_or_else(own_name);
    let mut shutdown = pin!(shutdown);
    let mut connect_timeout = options.connect_timeout;
    loop {
        let offer = WorkerOffer {
            name: name.as_str().into(),
            slots: options.slots,
            functions: registry.offers(),
            held: vec![],
        };
        let opening = connection::Options {
            address: options.address.clone(),
            role: Role::Worker(offer),
            token: options.token.clone(),
            connect_timeout,
        };
        let mut opened = pin!(Connection::open_as_worker(opening));
        let (connection, messages) = tokio::select! {
            opened = &mut opened => opened?,
            () = &mut shutdown => {
                if let Ok(Ok((connection, _))) = tokio::time::timeout(HELLO_UNDER_WAY, opened).await {
                    connection.close().await;
                }
                return Ok(());
            }
        };
        tracing::info!(worker = name, slots = options.slots, address = options.address, "joined");
        let session =
            Session { connection, registry: registry.clone(), options: &options, running: HashMap::new() };
        match session.serve(messages, shutdown.as_mut()).await {
            None => return Ok(()),
            Some(why) if is_final(&why) => return Err(why),
            Some(why) => {
                tracing::warn!(%why, "the session is over: joining anew, what ran here is given to others")
            }
        }
        // Whoever was once let in waits for as long as the scheduler is away.
        connect_timeout = FOREVER;
    }
}

/// A name that no other worker has: one that did would take its place. In a container every worker is
/// process 1, so 16 random bits would meet among a few hundred.
fn own_name() -> String {
    let random = Uuid::now_v7().as_u128() as u32;
    format!("worker-{}-{random:08x}", std::process::id())
}

/// Whether it makes no sense to join again.
fn is_final(why: &Error) -> bool {
    let expired = Rejection::SessionEnded(EndReason::LeaseExpired);
    match why {
        Error::Closed(Closing::Rejected(rejection)) => *rejection != expired,
        Error::Closed(Closing::Regressed(_)) => false,
        _ => true,
    }
}

/// A worker's session, and what runs in it.
struct Session<'a> {
    connection: Connection,
    registry: Arc<Registry>,
    options: &'a Options,
    running: HashMap<HeldAttempt, AbortHandle>,
}

impl Session<'_> {
    /// Runs what comes. Answers why the session is over, or nothing when it was shut down.
    async fn serve(
        mut self,
        mut messages: mpsc::UnboundedReceiver<WorkerMessage>,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<Error> {
        loop {
            let message = tokio::select! {
                message = messages.recv() => message,
                () = &mut shutdown => {
                    self.drop_all();
                    self.connection.close().await;
                    return None;
                }
            };
            match message {
                Some(WorkerMessage::Assign(assignment)) => self.begin(assignment),
                Some(WorkerMessage::Abort { task, attempt }) => {
                    if let Some(attempt) = self.running.remove(&HeldAttempt { task, attempt }) {
                        attempt.abort();
                    }
                }
                Some(WorkerMessage::Closed(why)) => {
                    self.drop_all();
                    return Some(why);
                }
                None => {
                    self.drop_all();
                    return Some(Error::Stopped);
                }
            }
        }
    }

    fn begin(&mut self, assignment: Assignment) {
        self.running.retain(|_, attempt| !attempt.is_finished());
        let held = HeldAttempt { task: assignment.key.id, attempt: assignment.attempt };
        let context = Context::new(self.options, &assignment);
        let attempt = attempt(self.connection.clone(), self.registry.clone(), assignment);
        self.running.insert(held, tokio::spawn(context.scope(attempt)).abort_handle());
    }

    /// Async attempts end where they wait; blocking ones go on to their end, and nobody hears of it.
    fn drop_all(&mut self) {
        self.running.drain().for_each(|(_, attempt)| attempt.abort());
    }
}

/// Runs an attempt and tells what came of it until that is taken.
async fn attempt(connection: Connection, registry: Arc<Registry>, assignment: Assignment) {
    let Assignment { key, attempt, function, version, arguments } = assignment;
    let task = key.id;
    tracing::debug!(task = %key, %attempt, "begins");
    let outcome = match registry.find(&function, version) {
        Ok(registered) => run::run(registered, arguments).await,
        Err(error) => Err(error),
    };
    let command = match outcome {
        Ok(result) => Command::Finish { task, attempt, result },
        Err(error) => {
            tracing::info!(task = %key, %attempt, %error, "failed");
            Command::Fail { task, attempt, error: Box::new(error) }
        }
    };
    if let Err(error) = connection.command(command).await {
        tracing::warn!(task = %key, %attempt, %error, "its outcome could not be told");
    }
}
