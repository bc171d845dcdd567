//! What a session of a worker keeps, and what it says of that to the scheduler.
//!
//! The scheduler may send [`Free`](crate::protocol::message::ServerMessage::Free) while the worker is away. So
//! whenever it is welcomed it asks which of its results are unwanted. The answer tells of one moment, and only
//! of what the scheduler had heard of by then. Therefore it is asked
//! - for those whose `Store` or `Copied` was answered before, when the welcome comes;
//! - for each of the others by itself, when it is answered, if a welcome has come since it was sent.
//!
//! And an answer speaks of the copy that it was asked for, not of one that was put in its place since.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::Options;
use super::store::{Store, Unreadable};
use crate::client::blob::{Content, Room};
use crate::client::connection::{Connection, Reply};
use crate::client::{Error, Result};
use crate::protocol::TaskId;
use crate::protocol::command::{Answer, Command, Query};
use crate::protocol::limits::LISTING_ROWS_MAX;
use crate::protocol::message::{Filling, Given};
use crate::protocol::result::{Located, StoredResult};
use crate::protocol::session::HeldAttempt;
use crate::worker::given::Here;

/// How many results are copied at one time: 4, so that a worker which retires with thousands of them does not
/// fill another one's memory with what is on its way.
const COPIES_MAX: usize = 4;

/// How long a result that is needed is tried for, and the pauses meanwhile: about 2 s in all. The scheduler does
/// better then: it learns of it, and may have another worker, or another attempt.
const TRIES_MS_MAX: u64 = 2_000;
const PAUSES_MS: [u64; 4] = [50, 150, 450, 1_000];

/// The results of one session.
#[derive(Debug)]
pub(in crate::worker) struct Held {
    connection: Connection,
    store: Store,
    /// Where what is fetched is put.
    room: Room,
    /// Where this worker gives results.
    address: Box<str>,
    /// How often the session was welcomed.
    welcomes: AtomicU64,
    /// What is being copied, and was not freed meanwhile.
    copies: Mutex<HashSet<HeldAttempt>>,
    copying: Semaphore,
    /// What the scheduler is being told of as missing.
    lacking: Mutex<HashSet<HeldAttempt>>,
}

/// A result that is kept and that the scheduler is told of.
#[derive(Debug)]
pub(in crate::worker) struct Told {
    held: HeldAttempt,
    reply: Reply<Answer>,
    /// How often the session had been welcomed before.
    welcomes: u64,
}

impl Held {
    pub fn new(connection: Connection, options: &Options, address: &str) -> Arc<Self> {
        Arc::new(Held {
            connection,
            store: Store::new(options.memory_bytes, options.spill_dir.clone()),
            room: options.room_for_fetched(),
            address: address.into(),
            welcomes: AtomicU64::new(0),
            copies: Mutex::default(),
            copying: Semaphore::new(COPIES_MAX),
            lacking: Mutex::default(),
        })
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// How many results are kept.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// An attempt's arguments with all that is stored elsewhere in them.
    ///
    /// # Errors
    /// The task whose result cannot be had.
    pub async fn arguments(self: &Arc<Self>, given: Vec<Given>) -> Result<Vec<Here>, TaskId> {
        let arguments = given.into_iter().map(async |given| match given {
            Given::Value(payload) => Ok(Here::Value(payload.into())),
            Given::Stored(located) => self.needed(&located).await.map(Here::Value),
            Given::Nested { template, results } => {
                let results = results.into_iter().map(async |result| match result {
                    Filling::Value(payload) => Ok(payload.into()),
                    Filling::Stored(located) => self.needed(&located).await,
                });
                Ok(Here::Nested { template, results: try_join_all(results).await? })
            }
        });
        try_join_all(arguments).await
    }

    async fn needed(self: &Arc<Self>, located: &Located) -> Result<Content, TaskId> {
        self.obtain(located).await.ok_or(located.key.id)
    }

    /// Keeps an attempt's result, and tells the scheduler. Dropped before that, it keeps nothing.
    ///
    /// # Errors
    /// When it is in a file that cannot be read.
    pub async fn keep(&self, held: HeldAttempt, content: Content) -> io::Result<Told> {
        let result = Store::describe(&content).await?;
        let untold = self.put(held, result, content);
        self.store.make_room().await;
        let HeldAttempt { task, attempt } = held;
        let told = self.tell(held, Command::Store { task, attempt, result });
        std::mem::forget(untold);
        Ok(told)
    }

    /// Waits until the scheduler has taken note of a result.
    pub async fn settle(self: Arc<Self>, told: Told) {
        let Told { held, reply, welcomes } = told;
        match reply.await {
            // It was of an attempt that is over, or of a task that nobody needs.
            Ok(Answer::Unwanted(_)) => drop(self.store.free(&held)),
            Ok(_) => {
                let Some(age) = self.store.acknowledge(&held) else { return };
                if self.welcomes.load(Ordering::SeqCst) != welcomes {
                    self.drop_unwanted(vec![(held, age)]).await;
                }
            }
            Err(Error::Rejected(why)) => {
                tracing::warn!(task = %held.task, attempt = %held.attempt, %why, "its result was refused");
                self.store.free(&held);
            }
            // The session is over, and says so itself.
            Err(_) => {}
        }
    }

    /// The session was welcomed: asks what is kept in vain. What this gives waits for the answers.
    pub fn welcomed(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        self.welcomes.fetch_add(1, Ordering::SeqCst);
        self.drop_unwanted(self.store.acknowledged())
    }

    fn drop_unwanted(
        self: &Arc<Self>,
        results: Vec<(HeldAttempt, u64)>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let this = self.clone();
        let asked: Vec<_> = results
            .chunks(LISTING_ROWS_MAX)
            .map(|page| {
                let results = page.iter().map(|(held, _)| *held).collect();
                (self.connection.query(Query::Unwanted { results }), page.to_vec())
            })
            .collect();
        async move {
            let answers = asked.into_iter().map(async |(reply, page)| {
                // Without an answer the session is over.
                let Ok(Answer::Unwanted(unwanted)) = reply.await else { return };
                let unwanted: HashSet<HeldAttempt> = unwanted.into_iter().collect();
                for (held, age) in page.into_iter().filter(|(held, _)| unwanted.contains(held)) {
                    this.store.free_aged(&held, age);
                }
            });
            join_all(answers).await;
        }
    }

    /// Keeps a result no longer, nor a copy of it that is under way.
    pub fn free(&self, held: &HeldAttempt) {
        lock(&self.copies).remove(held);
        self.store.free(held);
    }

    /// Fetches a result, keeps it, and says so; or that it cannot be had.
    pub async fn copy(self: Arc<Self>, located: Located) {
        self.make_copy(located).await;
    }

    async fn make_copy(self: &Arc<Self>, located: Located) {
        let held = located.held();
        lock(&self.copies).insert(held);
        let _turn = self.copying.acquire().await;
        let content = self.obtain(&located).await;
        let told = {
            // Under this lock it is freed before it is put, or afterwards.
            let mut copies = lock(&self.copies);
            if !copies.remove(&held) {
                return;
            }
            let Some(content) = content else { return self.lack(held) };
            if self.store.result(&held).is_none() {
                std::mem::forget(self.put(held, located.result, content));
            }
            let HeldAttempt { task, attempt } = held;
            self.tell(held, Command::Copied { task, attempt })
        };
        self.store.make_room().await;
        self.clone().settle(told).await;
    }

    /// A result, from here or from where it is kept.
    async fn obtain(self: &Arc<Self>, located: &Located) -> Option<Content> {
        let held = located.held();
        match self.store.content(&held).await {
            Ok(Some(content)) => return Some(content),
            Ok(None) if located.holders.iter().any(|holder| holder.address == self.address) => {
                self.lack(held)
            }
            Ok(None) => {}
            Err(why) => self.lost(held, &why),
        }
        let mut others = located.clone();
        others.holders.retain(|holder| holder.address != self.address);
        let until = Instant::now() + Duration::from_millis(TRIES_MS_MAX);
        let mut pauses = PAUSES_MS.into_iter();
        loop {
            let error = match self.connection.fetch(&others, &self.room).await {
                Ok(content) => return Some(content),
                Err(error) => error,
            };
            let pause = pauses.next().filter(|_| !error.is_gone() && Instant::now() < until);
            let Some(pause_ms) = pause else {
                tracing::info!(task = %located.key, why = %error, "a result that is needed here cannot be had");
                return None;
            };
            sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    /// A result that is kept cannot be read any more.
    pub(super) fn lost(self: &Arc<Self>, held: HeldAttempt, why: &Unreadable) {
        tracing::error!(task = %held.task, attempt = %held.attempt, %why, "a result that was kept here is lost");
        self.store.free(&held);
        self.lack(held);
    }

    /// Says that a result is not here. Once at a time, however many ask for it.
    pub(super) fn lack(self: &Arc<Self>, held: HeldAttempt) {
        if !lock(&self.lacking).insert(held) {
            return;
        }
        let HeldAttempt { task, attempt } = held;
        let reply = self.connection.command(Command::Lack { task, attempt });
        let this = self.clone();
        tokio::spawn(async move {
            // A session that is over says so itself.
            let _ = reply.await;
            lock(&this.lacking).remove(&held);
        });
    }

    fn put(&self, held: HeldAttempt, result: StoredResult, content: Content) -> Untold<'_> {
        self.store.put(held, result, content);
        Untold { store: &self.store, held }
    }

    fn tell(&self, held: HeldAttempt, command: Command) -> Told {
        let welcomes = self.welcomes.load(Ordering::SeqCst);
        Told { held, reply: self.connection.command(command), welcomes }
    }
}

/// A result that nobody was told of: dropped, it is freed. Else it would be kept for the whole session.
struct Untold<'a> {
    store: &'a Store,
    held: HeldAttempt,
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        self.store.free(&self.held);
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics half-way.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
