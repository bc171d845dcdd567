//! What a task can learn of the attempt that runs it, and how it becomes a client itself.

use std::sync::{Arc, OnceLock};

use tokio::sync::OnceCell;

use super::FOREVER;
use super::exec::Programs;
use super::lanes::Lanes;
use super::log::TaskLog;
use super::pause::Pace;
use crate::client::blob::{Blob, BlobWriter, Room};
use crate::client::connection::{Connection, Pausing, pausing};
use crate::client::{Client, Error, Result, blocking};
use crate::protocol::equipment::Grant;
use crate::protocol::message::Assignment;
use crate::protocol::session::{HeldAttempt, Role};
use crate::protocol::task::Advance;
use crate::protocol::{AttemptNumber, TaskError, TaskKey};

/// The attempt that the current code belongs to. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
}

struct Shared {
    lanes: Arc<Lanes>,
    task: TaskKey,
    attempt: AttemptNumber,
    grants: Vec<Grant>,
    /// How it pauses, once that matters: it is a client, or wants to keep its slot.
    pace: OnceLock<Arc<Pace>>,
    client: OnceCell<Client>,
    log: OnceLock<TaskLog>,
}

tokio::task_local! {
    static CONTEXT: Context;
}

impl Context {
    /// For an attempt; the lanes hear of it where it pauses.
    pub(super) fn new(lanes: Arc<Lanes>, assignment: &Assignment) -> Self {
        let Assignment { key, attempt, grants, .. } = assignment;
        let (task, attempt, grants) = (key.clone(), *attempt, grants.clone());
        let (pace, client, log) = Default::default();
        Context { shared: Arc::new(Shared { lanes, task, attempt, grants, pace, client, log }) }
    }

    /// Runs an attempt's code so that it finds its context.
    pub(super) fn scope<F: Future>(self, code: F) -> impl Future<Output = F::Output> {
        CONTEXT.scope(self, code)
    }

    /// As [`Context::scope`], for code on a thread of its own. Without a context, it is just run.
    pub(super) fn enter<R>(context: Option<Context>, code: impl FnOnce() -> R) -> R {
        match context {
            Some(context) => CONTEXT.sync_scope(context, code),
            None => code(),
        }
    }

    /// The attempt that the current code belongs to, if it belongs to one: a task function, and what
    /// it awaits; not what it spawns.
    pub fn current() -> Option<Context> {
        CONTEXT.try_with(Context::clone).ok()
    }

    /// The task.
    pub fn task(&self) -> &TaskKey {
        &self.shared.task
    }

    /// Which attempt at it this is, from 1. Not how often it was run: one that was given to a worker and taken from it before
    /// it began, as another had a slot free, counts, too.
    pub fn attempt(&self) -> AttemptNumber {
        self.shared.attempt
    }

    /// What it has of its worker's resources, as it was submitted to need: which GPUs, say. They are its own until it is
    /// over, but while it waits as a client: see [`keep_slot`](Self::keep_slot).
    ///
    /// ```
    /// use headwater::{Context, task};
    ///
    /// #[task]
    /// fn train() -> String {
    ///     let context = Context::current().expect("it runs as a task");
    ///     let gpus = context.grants().iter().find(|grant| grant.resource.as_str() == "gpus");
    ///     gpus.map(|grant| grant.parts[0].0.to_string()).unwrap_or_default()
    /// }
    /// # fn main() {}
    /// ```
    pub fn grants(&self) -> &[Grant] {
        &self.shared.grants
    }

    /// Whether what comes of the attempt is not wanted any more: the task was cancelled, say, or its worker has lost its
    /// session. An async function ends where it waits then; one that is not goes on, and may ask from time to time.
    ///
    /// ```
    /// use headwater::{Context, task};
    ///
    /// #[task]
    /// fn count(to: u64) -> u64 {
    ///     let context = Context::current().expect("it runs as a task");
    ///     (0..to).take_while(|_| !context.is_cancelled()).count() as u64
    /// }
    /// # fn main() {}
    /// ```
    pub fn is_cancelled(&self) -> bool {
        !self.shared.lanes.lock().is_wanted(&self.held())
    }

    /// The attempt.
    pub(super) fn held(&self) -> HeldAttempt {
        HeldAttempt { task: self.shared.task.id, attempt: self.shared.attempt }
    }

    /// Where the scheduler listens.
    pub(super) fn scheduler(&self) -> &str {
        self.shared.lanes.connection().address()
    }

    /// The name of the worker that runs it.
    pub(super) fn worker(&self) -> &str {
        self.shared.lanes.options().name.as_deref().unwrap_or_default()
    }

    /// The worker's programs, if it runs any.
    pub(super) fn programs(&self) -> Option<&Programs> {
        self.shared.lanes.options().programs.as_ref()
    }

    /// A client on the worker's own session, with which the attempt has its slot still. It is not fenced with the
    /// attempt, only with the session.
    pub(super) fn worker_client(&self) -> Client {
        Client::over(self.shared.lanes.connection().clone())
    }

    /// Says how far the task has come: so much is done, of so much (0 where that is not known), and what it is at. It is in the
    /// log, on the channels that have the task, and in `headwater task show`. Cheap: of what is said within a second the
    /// newest is told, and a message is cut at 256 bytes.
    ///
    /// ```
    /// use headwater::{Context, task};
    ///
    /// #[task]
    /// fn import(files: Vec<String>) -> u64 {
    ///     let context = Context::current().expect("it runs as a task");
    ///     for (done, file) in files.iter().enumerate() {
    ///         context.progress(done as u64, files.len() as u64, file);
    ///     }
    ///     files.len() as u64
    /// }
    /// # fn main() {}
    /// ```
    pub fn progress(&self, done: u64, total: u64, message: &str) {
        self.shared.lanes.lock().advance(self.held(), Advance::new(done, total, message));
    }

    /// Begins a [`Blob`] where the worker keeps what has no room in memory (`--spill-dir`).
    pub fn blob_writer(&self) -> BlobWriter {
        match self.room().dir {
            Some(dir) => Blob::writer_in(dir),
            None => Blob::writer(),
        }
    }

    /// Where what it brings is put.
    pub(super) fn room(&self) -> Room {
        self.shared.lanes.options().results.room()
    }

    /// How it pauses. Asked for by its own code alone, which computes.
    pub(super) fn pace(&self) -> &Arc<Pace> {
        self.shared.pace.get_or_init(|| Arc::new(Pace::new(self.shared.lanes.clone(), self.held())))
    }

    /// Runs its async code so that it pauses where it waits for others.
    pub(super) fn pausing<F: Future>(self, code: F) -> impl Future<Output = F::Output> {
        let pace = move || self.shared.pace.get().map(|pace| pace.clone() as Arc<dyn Pausing>);
        pausing(pace, code)
    }

    /// What it has written into its log.
    pub(super) fn task_log(&self) -> &TaskLog {
        self.shared.log.get_or_init(TaskLog::default)
    }

    /// The error with which it fails, with what it has written into its log, if it has.
    pub(super) fn failing(&self, error: TaskError) -> TaskError {
        match self.shared.log.get() {
            Some(log) => log.cited_by(error),
            None => error,
        }
    }

    async fn client(&self) -> Result<Client> {
        let Shared { lanes, task, attempt, client, .. } = &*self.shared;
        let open = async || {
            let role = Role::Attempt { task: task.id, attempt: *attempt };
            // As long as its worker waits for the scheduler, so does the attempt.
            let pace: Arc<dyn Pausing> = self.pace().clone();
            let connection = Connection::open_shared(lanes.trunks(), role, FOREVER, Some(pace)).await?;
            Ok(Client::over(connection))
        };
        client.get_or_try_init(open).await.cloned()
    }
}

/// Makes the running task a client of the scheduler that runs it; the same client each time.
///
/// Where it waits for others on that client, for the end of a task or for what comes on a channel, it pauses, and so it does
/// wherever else it has waited for longer than it has computed, and 50 ms: it gives up its slot of its worker and the resources that it was granted, so
/// that there is room for those for which it waits, and takes both again before it goes on ([`Context::keep_slot`] is for
/// those that must not). It has a session of its own, but no connection: all attempts of a worker share one, so that
/// thousands may wait at once. What the client holds is released when the attempt ends. When a newer
/// attempt has begun, whatever this one still asks for is refused: it is fenced.
///
/// As it goes on with its slot alone, a wait with a timeout inside a task may take longer than that says: by as long as it takes
/// until a slot is free. Threads that it has started may wait with its client, too. Where one goes on while others wait still, the task has
/// its slot for 50 ms, which is time enough to begin the next wait, and beyond that only where no other waits.
///
/// # Errors
/// Outside a task, and when the attempt is over.
pub async fn local_client() -> Result<Client> {
    match Context::current() {
        Some(context) => context.client().await,
        None => Err(Error::msg(
            "local_client() was called outside a task: call it in a function with #[task], not in what it \
             spawns, or use Client::connect",
        )),
    }
}

/// As [`local_client`], for tasks that are not async.
///
/// # Errors
/// As there.
///
/// # Panics
/// In an async task, where nothing may wait like this.
pub fn blocking_local_client() -> Result<blocking::Client> {
    blocking::Client::opened_in_worker(local_client())
}
