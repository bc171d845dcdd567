//! The client for synchronous code: the same calls, which wait, and iterators for streams.
//!
//! Each [`Client`] runs its connection on a thread of its own. None of this may be used inside async
//! code, where waiting would hold up others: tokio panics with "Cannot start a runtime from within a
//! runtime". Use [`crate::client`] there.
//!
//! ```
//! use headwater::blocking::Client;
//! use headwater::{Result, task};
//!
//! #[task(pure)]
//! fn add(a: f64, b: f64) -> f64 { a + b }
//!
//! # fn main() -> Result<()> {
//! let client = Client::local()?;
//! let three = client.submit(add, (1.0, 2.0)).send()?;
//! let six = client.submit(add, (&three, 3.0)).send()?;
//! let sums = client.channel::<f64>("sums")?;
//! sums.append(&three)?;
//! sums.batch().future(&six).header("by", "me").expect(1).append()?;
//! sums.stop()?;
//! let results: Result<Vec<f64>> = sums.futures().map(|future| future?.wait()).collect();
//! assert_eq!(results?, [3.0, 6.0]);
//! # Ok(()) }
//! ```

mod batch;
mod channel;
mod group;
mod keeping;
mod map;
mod producer;
mod scatter;
mod together;
mod transaction;

pub use batch::AppendBatch;
pub use channel::{Channel, Element, Ended, Nth, Reading, View};
pub use group::{Delivery, Group, Member};
pub use keeping::Cursor;
pub use map::Map;
pub use producer::{NamedProducer, ProducedBatch};
pub use scatter::Scatter;
pub use together::{AsCompleted, Wait, as_completed, gather, gather_all, wait};
pub use transaction::Transaction;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use tokio::runtime::{self, Runtime};

use super::connection::pausing;
use super::error::{Error, Result};
use super::function::{Arguments, EncodeError, Encoded, IntoArgument, TaskFn, Value};
use super::reading::{Item, Offset};
use crate::protocol::command::{Answer, Overview, Query};
use crate::protocol::result::Replication;
use crate::protocol::session::{EndReason, Retire, WorkerStatus};
use crate::protocol::task::{Explanation, TaskInfo, TaskStatus};
use crate::protocol::terms::Backoff;
use crate::protocol::{Outcome, TaskEvent, TaskKey};

/// The client and the threads that it runs on.
struct Shared {
    client: super::Client,
    /// Taken when this is dropped.
    threads: Option<Threads>,
}

/// Where a client's work is done.
enum Threads {
    /// On threads of its own.
    Own(Runtime),
    /// On those of the worker that runs the task which uses it.
    Worker(runtime::Handle),
}

impl Shared {
    fn wait<F: Future>(&self, work: F) -> F::Output {
        match self.threads.as_ref().expect("they are there until the drop") {
            Threads::Own(runtime) => runtime.block_on(work),
            Threads::Worker(runtime) => {
                runtime.block_on(pausing(|| self.client.connection().attempt().cloned(), work))
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A worker's client is its attempt's, and ends with it.
        let Some(Threads::Own(runtime)) = self.threads.take() else { return };
        // Inside async code nothing may wait: then the session ends with its lease.
        if runtime::Handle::try_current().is_err() {
            runtime.block_on(self.client.close());
        }
        runtime.shutdown_background();
    }
}

/// As [`super::Client`]. When the last clone, channel, future and iterator of it is dropped, it waits
/// for the answers to all commands so far and ends the session.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// As [`super::Client::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect(address: impl Into<String>) -> Result<Client> {
        Client::connect_with(super::Client::builder(), address)
    }

    /// As [`super::Builder::connect`].
    ///
    /// # Errors
    /// As there.
    pub fn connect_with(builder: super::Builder, address: impl Into<String>) -> Result<Client> {
        Client::opened_by(builder.connect(address))
    }

    /// What `opening` opens, on threads of its own.
    pub(crate) fn opened_by(opening: impl Future<Output = Result<super::Client>>) -> Result<Client> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("headwater-client")
            .enable_all()
            .build()
            .map_err(Error::other)?;
        let client = runtime.block_on(opening)?;
        Ok(Client { shared: Arc::new(Shared { client, threads: Some(Threads::Own(runtime)) }) })
    }

    /// What `opening` opens, on the threads of the worker that runs this.
    pub(crate) fn opened_in_worker(opening: impl Future<Output = Result<super::Client>>) -> Result<Client> {
        let Ok(runtime) = runtime::Handle::try_current() else {
            return Err(Error::msg("no worker runs this: use blocking::Client::connect"));
        };
        let client = runtime.block_on(opening)?;
        Ok(Client { shared: Arc::new(Shared { client, threads: Some(Threads::Worker(runtime)) }) })
    }

    /// As [`super::Client::channel`].
    ///
    /// # Errors
    /// As there.
    pub fn channel<T>(&self, name: &str) -> Result<Channel<T>> {
        let channel = self.shared.wait(self.shared.client.channel(name))?;
        Ok(Channel::new(channel, &self.shared))
    }

    /// As [`super::Client::existing_channel`].
    ///
    /// # Errors
    /// As there.
    pub fn existing_channel<T>(&self, name: &str) -> Result<Channel<T>> {
        let channel = self.shared.wait(self.shared.client.existing_channel(name))?;
        Ok(Channel::new(channel, &self.shared))
    }

    /// As [`super::Client::submit`]; [`Submit::send`] submits it.
    pub fn submit<F, P, T, M, A>(&self, function: F, arguments: A) -> Submit<T>
    where
        F: TaskFn<P, T, M>,
        A: Arguments<P>,
    {
        Submit { submit: self.shared.client.submit(function, arguments), shared: self.shared.clone() }
    }

    /// As [`super::Client::map`]; [`Map::send`] submits them.
    pub fn map<F, P, T, M, A>(&self, function: F, arguments: impl IntoIterator<Item = A>) -> Map<T>
    where
        F: TaskFn<P, T, M>,
        A: Arguments<P>,
    {
        Map { map: self.shared.client.map(function, arguments), shared: self.shared.clone() }
    }

    /// As [`super::Client::future`].
    ///
    /// # Errors
    /// As there.
    pub fn future<T>(&self, key: &TaskKey) -> Result<TaskFuture<T>> {
        let future = self.shared.wait(self.shared.client.future(key))?;
        Ok(TaskFuture { future, shared: self.shared.clone() })
    }

    /// As [`super::Client::cancel`].
    ///
    /// # Errors
    /// As there.
    pub fn cancel(&self, key: &TaskKey) -> Result<TaskStatus> {
        self.shared.wait(self.shared.client.cancel(key))
    }

    /// As [`super::Client::explain`].
    ///
    /// # Errors
    /// As there.
    pub fn explain(&self, key: &TaskKey) -> Result<Explanation> {
        self.shared.wait(self.shared.client.explain(key))
    }

    /// As [`super::Client::retry`].
    ///
    /// # Errors
    /// As there.
    pub fn retry(&self, key: &TaskKey) -> Result<()> {
        self.shared.wait(self.shared.client.retry(key))
    }

    /// As [`super::Client::replicate`].
    ///
    /// # Errors
    /// As there.
    pub fn replicate<T>(&self, future: &TaskFuture<T>, copies: u32) -> Result<Replication> {
        self.shared.wait(self.shared.client.replicate(&future.future, copies))
    }

    /// As [`super::Client::overview`].
    ///
    /// # Errors
    /// As there.
    pub fn overview(&self) -> Result<Overview> {
        self.shared.wait(self.shared.client.overview())
    }

    /// As [`super::Client::task_log`]; at its head it waits for what comes.
    pub fn task_log(&self, from: Offset) -> impl Iterator<Item = Result<Item<TaskEvent>>> + use<> {
        channel::iterate(self.shared.client.task_log(from), &self.shared)
    }

    /// As [`super::Client::query`].
    ///
    /// # Errors
    /// As there.
    pub fn query(&self, query: Query) -> Result<Answer> {
        self.shared.wait(self.shared.client.query(query))
    }

    /// As [`super::Client::workers`].
    ///
    /// # Errors
    /// As there.
    pub fn workers(&self) -> Result<Vec<WorkerStatus>> {
        self.shared.wait(self.shared.client.workers())
    }

    /// As [`super::Client::retire_worker`].
    ///
    /// # Errors
    /// As there.
    pub fn retire_worker(&self, name: &str, retire: Retire) -> Result<Retirement> {
        let retirement = self.shared.wait(self.shared.client.retire_worker(name, retire))?;
        Ok(Retirement { retirement, shared: self.shared.clone() })
    }

    /// As [`super::Client::flush`].
    ///
    /// # Errors
    /// As there.
    pub fn flush(&self) -> Result<()> {
        self.shared.wait(self.shared.client.flush())
    }

    /// As [`super::Client::close`].
    pub fn close(&self) {
        self.shared.wait(self.shared.client.close());
    }
}

/// As [`super::Retirement`].
#[derive(Debug)]
pub struct Retirement {
    retirement: super::Retirement,
    shared: Arc<Shared>,
}

impl Retirement {
    /// As [`super::Retirement::worker`].
    pub fn worker(&self) -> &WorkerStatus {
        self.retirement.worker()
    }

    /// As [`super::Retirement::status`].
    ///
    /// # Errors
    /// As there.
    pub fn status(&self) -> Result<Option<WorkerStatus>> {
        self.shared.wait(self.retirement.status())
    }

    /// As [`super::Retirement::left`].
    ///
    /// # Errors
    /// As there.
    pub fn left(&self) -> Result<EndReason> {
        self.shared.wait(self.retirement.left())
    }
}

/// As [`super::Submit`].
#[must_use = "a call is submitted by `send`"]
#[derive(Debug)]
pub struct Submit<T> {
    submit: super::Submit<T>,
    shared: Arc<Shared>,
}

impl<T: 'static> Submit<T> {
    /// As [`super::Submit::key`].
    pub fn key(self, name: impl Into<Box<str>>) -> Self {
        Submit { submit: self.submit.key(name), ..self }
    }

    /// As [`super::Submit::retries`].
    pub fn retries(self, retries: u32) -> Self {
        Submit { submit: self.submit.retries(retries), ..self }
    }

    /// As [`super::Submit::priority`].
    pub fn priority(self, priority: i32) -> Self {
        Submit { submit: self.submit.priority(priority), ..self }
    }

    /// As [`super::Submit::backoff`].
    pub fn backoff(self, backoff: Backoff) -> Self {
        Submit { submit: self.submit.backoff(backoff), ..self }
    }

    /// As [`super::Submit::timeout`].
    pub fn timeout(self, timeout: Duration) -> Self {
        Submit { submit: self.submit.timeout(timeout), ..self }
    }

    /// As [`super::Submit::deadline`].
    pub fn deadline(self, deadline: Duration) -> Self {
        Submit { submit: self.submit.deadline(deadline), ..self }
    }

    /// As [`super::Submit::tag`].
    pub fn tag(self, tag: &str) -> Self {
        Submit { submit: self.submit.tag(tag), ..self }
    }

    /// As [`super::Submit::needs`].
    pub fn needs(self, need: &str) -> Self {
        Submit { submit: self.submit.needs(need), ..self }
    }

    /// As [`super::Submit::on`].
    pub fn on(self, target: &str) -> Self {
        Submit { submit: self.submit.on(target), ..self }
    }

    /// As [`super::Submit::prefers`].
    pub fn prefers(self, target: &str) -> Self {
        Submit { submit: self.submit.prefers(target), ..self }
    }

    /// As [`super::Submit::detach`].
    pub fn detach(self) -> Self {
        Submit { submit: self.submit.detach(), ..self }
    }

    /// Submits the call.
    ///
    /// # Errors
    /// As awaiting [`super::Submit`].
    pub fn send(self) -> Result<TaskFuture<T>> {
        let future = self.shared.wait(self.submit.into_future())?;
        Ok(TaskFuture { future, shared: self.shared })
    }
}

/// As [`super::TaskFuture`].
#[derive(Debug)]
pub struct TaskFuture<T> {
    // Dropped before what it needs.
    future: super::TaskFuture<T>,
    shared: Arc<Shared>,
}

impl<T> Clone for TaskFuture<T> {
    fn clone(&self) -> Self {
        TaskFuture { future: self.future.clone(), shared: self.shared.clone() }
    }
}

impl<T> TaskFuture<T> {
    /// The task's key.
    pub fn key(&self) -> &TaskKey {
        self.future.key()
    }

    /// As [`super::TaskFuture::status`].
    ///
    /// # Errors
    /// As there.
    pub fn status(&self) -> Result<TaskStatus> {
        self.shared.wait(self.future.status())
    }

    /// As [`super::TaskFuture::info`].
    ///
    /// # Errors
    /// As there.
    pub fn info(&self) -> Result<TaskInfo> {
        self.shared.wait(self.future.info())
    }

    /// As [`super::TaskFuture::outcome`].
    ///
    /// # Errors
    /// As there.
    pub fn outcome(&self) -> Result<Outcome> {
        self.shared.wait(self.future.outcome())
    }

    /// As [`super::TaskFuture::cancel`].
    ///
    /// # Errors
    /// As there.
    pub fn cancel(&self) -> Result<TaskStatus> {
        self.shared.wait(self.future.cancel())
    }

    /// As [`super::TaskFuture::retry`].
    ///
    /// # Errors
    /// As there.
    pub fn retry(&self) -> Result<()> {
        self.shared.wait(self.future.retry())
    }
}

impl<T: DeserializeOwned + 'static> TaskFuture<T> {
    /// Waits for the result.
    ///
    /// # Errors
    /// As awaiting [`super::TaskFuture`].
    pub fn wait(&self) -> Result<T> {
        self.shared.wait(self.future.clone().into_future())
    }

    /// As [`super::TaskFuture::timeout`].
    ///
    /// # Errors
    /// As there.
    pub fn timeout(&self, timeout: Duration) -> Result<T> {
        self.shared.wait(self.future.timeout(timeout))
    }
}

/// As a [`super::TaskFuture`].
impl<T> Serialize for TaskFuture<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.future.serialize(serializer)
    }
}

impl<T: Value> IntoArgument<T> for TaskFuture<T> {
    fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
        (&self.future).add_to(encoded)
    }
}

impl<T: Value> IntoArgument<T> for &TaskFuture<T> {
    fn add_to(self, encoded: &mut Encoded) -> Result<(), EncodeError> {
        (&self.future).add_to(encoded)
    }
}
