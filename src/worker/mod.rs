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
//! How it ends:
//! - *Handing over*: it drops what it runs and says goodbye; others start all of it anew, at once.
//! - *Retiring*: it says that it takes nothing more, runs what it has to its end, and says goodbye then. An
//!   assignment that crosses the news is run like the others. That it retires is remembered here, and said
//!   again on every connection; a session that ends meanwhile ends it, too.
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

use futures_util::stream::{Stream, StreamExt, once, select};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use uuid::Uuid;

use self::context::Context;
use self::registry::Registry;
use crate::client::connection::{self, Connection, WorkerMessage};
use crate::client::{Error, Result};
use crate::protocol::command::{Command, Rejection};
use crate::protocol::message::{Assignment, Closing};
use crate::protocol::session::{EndReason, HeldAttempt, Retire, Role, WorkerOffer};

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
    /// How many attempts it runs at a time, at least 1. A task that is a client itself takes none.
    pub slots: u32,
    /// The cluster's token, where there is one.
    pub token: Option<String>,
    /// How long the first connection is tried for; later ones are tried for ever.
    pub connect_timeout: Duration,
}

/// Offers all tasks of this program to the scheduler and runs what it is given, until `hand_over` is
/// ready: then it drops what it runs, which the scheduler gives to others, and says goodbye. Once `retire`
/// is ready, or the scheduler says so, it takes nothing more, and ends when what it runs is done.
///
/// # Errors
/// When the scheduler cannot be reached at first, refuses the worker, or has given its place to
/// another of its name.
pub async fn run(
    options: Options,
    retire: impl Future<Output = ()>,
    hand_over: impl Future<Output = ()>,
) -> Result<()> {
    let registry = Arc::new(Registry::linked().map_err(Error::other)?);
    let name = options.name.clone().unwrap_or_else(own_name);
    let mut orders = pin!(orders(retire, hand_over));
    let mut connect_timeout = options.connect_timeout;
    loop {
        let offer = WorkerOffer {
            name: name.as_str().into(),
            slots: options.slots.max(1),
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
            // Without a session there is nothing to finish.
            _ = orders.next() => {
                if let Ok(Ok((connection, _))) = tokio::time::timeout(HELLO_UNDER_WAY, opened).await {
                    connection.close().await;
                }
                return Ok(());
            }
        };
        tracing::info!(worker = name, slots = options.slots, address = options.address, "joined");
        let mut session = Session {
            connection,
            registry: registry.clone(),
            options: &options,
            running: HashMap::new(),
            attempts: JoinSet::new(),
            is_retiring: false,
        };
        match session.serve(messages, orders.as_mut()).await {
            None => return Ok(()),
            Some(why) if session.is_retiring && !is_final(&why) => {
                tracing::warn!(%why, "the session is over while it retires: what ran here is given to others");
                return Ok(());
            }
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

/// What the worker's owner tells it: to retire, then to hand over; both once.
fn orders(
    retire: impl Future<Output = ()>,
    hand_over: impl Future<Output = ()>,
) -> impl Stream<Item = Retire> {
    let retire = once(retire).map(|()| Retire::Finish);
    let hand_over = once(hand_over).map(|()| Retire::HandOver);
    select(retire, hand_over).chain(futures_util::stream::pending())
}

/// A worker's session, and what runs in it.
struct Session<'a> {
    connection: Connection,
    registry: Arc<Registry>,
    options: &'a Options,
    running: HashMap<HeldAttempt, AbortHandle>,
    /// The same, to be told of their ends; and, when it retires, the wait until the scheduler knows.
    attempts: JoinSet<()>,
    is_retiring: bool,
}

impl Session<'_> {
    /// Runs what comes. Answers why the session is over, or nothing when it left in order.
    async fn serve(
        &mut self,
        mut messages: mpsc::UnboundedReceiver<WorkerMessage>,
        mut orders: Pin<&mut impl Stream<Item = Retire>>,
    ) -> Option<Error> {
        loop {
            // What was assigned before the scheduler knew is among the messages when its answer is here.
            if self.is_retiring && self.attempts.is_empty() && messages.is_empty() {
                tracing::info!("nothing runs here any more: it leaves");
                return self.leave().await;
            }
            let message = tokio::select! {
                biased;
                message = messages.recv() => message,
                Some(retire) = orders.next() => Some(WorkerMessage::Retire(retire)),
                Some(_) = self.attempts.join_next() => continue,
            };
            match message {
                Some(WorkerMessage::Assign(assignment)) => self.begin(assignment),
                Some(WorkerMessage::Abort { task, attempt }) => {
                    if let Some(attempt) = self.running.remove(&HeldAttempt { task, attempt }) {
                        attempt.abort();
                    }
                }
                Some(WorkerMessage::Retire(Retire::Finish)) => self.retire(),
                Some(WorkerMessage::Retire(Retire::HandOver)) => {
                    self.drop_all();
                    return self.leave().await;
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
        self.running.insert(held, self.attempts.spawn(context.scope(attempt)));
    }

    /// Takes nothing more, and says so.
    fn retire(&mut self) {
        if std::mem::replace(&mut self.is_retiring, true) {
            return;
        }
        self.running.retain(|_, attempt| !attempt.is_finished());
        tracing::info!(
            running = self.running.len(),
            "retires: it takes nothing more, and finishes what it runs"
        );
        let told = self.connection.retire();
        self.attempts.spawn(async {
            // A session that is over says so itself.
            let _ = told.await;
        });
    }

    /// Async attempts end where they wait; blocking ones go on to their end, and nobody hears of it.
    fn drop_all(&mut self) {
        self.running.drain().for_each(|(_, attempt)| attempt.abort());
    }

    /// Says goodbye: what it still has is started anew elsewhere.
    async fn leave(&self) -> Option<Error> {
        self.connection.close().await;
        None
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
