//! The worker: a client that also runs things.
//!
//! ```text
//!   Connection ──assignments──▶ session ──▶ turns ──▶ lanes, or attempt ──▶ run: decode, call, encode
//!        ▲                                                   │
//!        └────── Finish, Fail, Store, Defer ◀────────────────┘
//!                              results: what is kept here ◀──fetch── clients, other workers
//! ```
//!
//! It decides nothing: which attempt runs where, and whether an outcome still counts, is the
//! scheduler's. What it runs goes on while the connection is away; outcomes are told until they are
//! taken. When its session is over, everything it ran belongs to others: it drops it and begins anew.
//!
//! How it ends:
//! - *Handing over*: it drops what it runs and says goodbye; others start all of it anew, at once.
//! - *Retiring*: it says that it takes nothing more, runs what it has to its end, keeps its results until the
//!   scheduler has others keep them, and says goodbye then. An
//!   assignment that crosses the news is run like the others. That it retires is remembered here, and said
//!   again on every connection; a session that ends meanwhile ends it, too.
//!
//! Beside the tasks that are linked into it, a worker may run programs: [`exec`].
//!
//! Imports `protocol` and `client`; never `log`, `scheduler` or `server`.

mod advances;
mod attempt;
pub mod call;
mod concat;
pub mod context;
pub mod detect;
pub mod exec;
mod given;
mod lanes;
mod list;
mod log;
mod newest;
pub mod pause;
pub mod registry;
pub mod results;
mod returns;
pub mod run;
mod session;
#[cfg(test)]
mod tests;
mod timeouts;
mod told;
mod turns;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt, once, select};
use uuid::Uuid;

use self::registry::Registry;
use self::results::{Held, Listener};
use self::session::Session;
use crate::client::connection::{self, Connection, Trunks};
use crate::client::function::Registered;
use crate::client::{Error, Result};
use crate::protocol::command::Rejection;
use crate::protocol::equipment::Equipment;
use crate::protocol::message::Closing;
use crate::protocol::session::{EndReason, Retire, Role, WorkerOffer};

/// As good as for ever, and no overflow of the clock's: a hundred years.
pub const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

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
    /// Where it keeps large results, and gives them to others.
    pub results: results::Options,
    /// Whether it runs programs, too: [`exec`].
    pub programs: Option<exec::Programs>,
    /// What it has that tasks may need, and by which they choose it: [`detect::equipment`] says what the machine has.
    pub equipment: Equipment,
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
    let name = options.name.clone().unwrap_or_else(own_name);
    let options = Options { name: Some(name.clone()), ..options };
    let registry = Registry::of(Registered::all().chain(built_in(&options))).map_err(Error::other)?;
    let registry = Arc::new(registry);
    let mut orders = pin!(orders(retire, hand_over));
    let mut connect_timeout = options.connect_timeout;
    let (at, token) = (&options.results.at, options.token.clone());
    let listener = tokio::select! {
        bound = Listener::bind(at, &options.address, token, connect_timeout) => bound?,
        _ = orders.next() => return Ok(()),
    };
    let trunks = Trunks::new(&options.address, options.token.clone());
    loop {
        let offer = WorkerOffer {
            name: name.as_str().into(),
            slots: options.slots.max(1),
            functions: registry.offers(),
            held: vec![],
            results_at: listener.address().into(),
            equipment: options.equipment.clone(),
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
        // Each session begins with nothing: what was kept in one that is over is lost with it.
        let held = Held::new(connection.clone(), &options.results, listener.address());
        let mut session = Session::new(connection, &trunks, registry.clone(), &options, held.clone());
        let ended = tokio::select! {
            ended = session.serve(messages, orders.as_mut()) => ended,
            never = listener.serve(&held) => match never {},
        };
        match ended {
            None => return Ok(()),
            Some(why) if session.is_retiring() && !is_final(&why) => {
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

/// The functions that a worker has beside those that are linked into its program.
fn built_in(options: &Options) -> impl Iterator<Item = &'static Registered> {
    #[cfg(unix)]
    let programs = options.programs.is_some().then_some(&exec::REGISTERED);
    #[cfg(not(unix))]
    let programs = options.programs.as_ref().and(None);
    [&list::REGISTERED, &concat::REGISTERED].into_iter().chain(programs)
}

/// A name that no other worker has: one that did would take its place. In a container every worker is
/// process 1, so 16 random bits would meet among a few hundred.
pub fn own_name() -> String {
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
