//! The typed handle to a task's outcome.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::blob::{Content, Room};
use super::connection::{Pausing, Watch};
use super::error::{Error, Result, within};
use super::handle::{Client, wrong_answer};
use super::holds::Hold;
use super::settled::{End, ended, settled};
use crate::protocol::command::{Answer, Command, Query};
use crate::protocol::task::{TaskInfo, TaskStatus};
use crate::protocol::{Outcome, Payload, TaskId, TaskKey};

/// A task's outcome, soon or late, of type `T`.
///
/// Await it, by value or by reference, as often as you like: it brings the result, or the error that
/// the task failed with ([`Error::Task`]). It can also be passed as an argument to another task, and
/// appended to a channel.
///
/// While a future that was submitted or looked up exists, in any clone, the client holds its task: the
/// scheduler keeps it. A future that was read from a channel holds nothing: the channel keeps its task.
/// A client that ends without dropping its futures holds them for its lease.
pub struct TaskFuture<T> {
    key: TaskKey,
    client: Client,
    hold: Option<Arc<Hold>>,
    result: PhantomData<fn() -> T>,
}

impl<T> TaskFuture<T> {
    pub(super) fn new(key: TaskKey, client: Client, hold: Option<Arc<Hold>>) -> Self {
        TaskFuture { key, client, hold, result: PhantomData }
    }

    /// The task's key.
    pub fn key(&self) -> &TaskKey {
        &self.key
    }

    /// The task's identity.
    pub fn id(&self) -> TaskId {
        self.key.id
    }

    /// What keeps the task known as long as it lives, as this does.
    pub(super) fn kept(&self) -> Box<dyn Any + Send> {
        Box::new((self.client.clone(), self.hold.clone()))
    }

    /// Where the task stands now.
    ///
    /// # Errors
    /// When the task is not known, or the session is over.
    pub async fn status(&self) -> Result<TaskStatus> {
        Ok(self.info().await?.status)
    }

    /// What the scheduler knows of the task.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn info(&self) -> Result<TaskInfo> {
        match self.client.query(Query::Task { task: self.key.id }).await? {
            Answer::Task(info) => Ok(*info),
            _ => Err(wrong_answer("a question for a task")),
        }
    }

    /// The attempt that pauses as it waits on this, if one does.
    pub(super) fn attempt(&self) -> Option<Arc<dyn Pausing>> {
        self.client.connection().attempt().cloned()
    }

    /// Watches the task, from when this is called.
    pub(super) fn watch(&self) -> Watch {
        self.client.connection().watch(self.key.id)
    }

    /// Waits until the task has ended, and says how, without decoding its result. A result that workers keep is
    /// fetched: it comes as [`Outcome::Finished`], like any other.
    ///
    /// # Errors
    /// When the task is not known, or the session is over; [`Error::Fetch`] when no worker that keeps the result
    /// can be reached from here.
    pub async fn outcome(&self) -> Result<Outcome> {
        settled(self.client.connection().clone(), self.key.clone()).await
    }

    /// Cancels the task: [`Client::cancel`].
    ///
    /// # Errors
    /// As there.
    pub async fn cancel(&self) -> Result<TaskStatus> {
        self.client.cancel(&self.key).await
    }

    /// Tries the task again: [`Client::retry`].
    ///
    /// # Errors
    /// As there.
    pub async fn retry(&self) -> Result<()> {
        self.client.retry(&self.key).await
    }

    /// Lets the task stay when nobody holds it any more.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn detach(&self) -> Result<()> {
        // A future that holds nothing holds the task while this is on its way, no longer.
        let command = Command::Hold { task: self.key.id, detach: true };
        let (_hold, reply) = self.client.holds().hold(self.key.id, command);
        reply.await?;
        Ok(())
    }
}

impl<T: DeserializeOwned + 'static> TaskFuture<T> {
    /// Waits for what the task brings, as [`Self::outcome`], from when this is called.
    pub(super) fn content(&self) -> impl Future<Output = Result<Content>> + Send + use<T> {
        let key = self.key.clone();
        let ended = ended(self.client.connection().clone(), key.clone(), Room::of_type::<T>());
        async move {
            match ended.await? {
                End::Told(outcome) => finished(outcome, &key).map(Content::Memory),
                End::Fetched(content) => Ok(content),
            }
        }
    }

    /// Waits for the result, and no longer than this. The task goes on. Inside a task it may take longer: it goes on once it has
    /// its slot again, see [`local_client`](crate::local_client).
    ///
    /// # Errors
    /// [`Error::TimedOut`] when it has not ended by then; else as awaiting it.
    pub async fn timeout(&self, timeout: Duration) -> Result<T> {
        within(timeout, || format!("the result of {}", self.key), self.into_future()).await
    }
}

impl<T> Clone for TaskFuture<T> {
    fn clone(&self) -> Self {
        TaskFuture::new(self.key.clone(), self.client.clone(), self.hold.clone())
    }
}

impl<T> fmt::Debug for TaskFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskFuture({})", self.key)
    }
}

impl<T: DeserializeOwned + 'static> IntoFuture for TaskFuture<T> {
    type Output = Result<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let content = self.content();
        Box::pin(async move {
            // All of it, and with it its hold, lives until the outcome is here: the block would capture
            // no more than the key otherwise.
            let held = self;
            decoded(content.await?, &held.key)
        })
    }
}

impl<T: DeserializeOwned + 'static> IntoFuture for &TaskFuture<T> {
    type Output = Result<T>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        self.clone().into_future()
    }
}

/// What an outcome means to one who wants the result.
pub(super) fn result<T: DeserializeOwned + 'static>(outcome: Outcome, key: &TaskKey) -> Result<T> {
    decoded(finished(outcome, key)?.into(), key)
}

/// As [`result`], before it is decoded.
fn finished(outcome: Outcome, key: &TaskKey) -> Result<Payload> {
    match outcome {
        Outcome::Finished(payload) => Ok(payload),
        Outcome::Failed(error) => Err(Error::Task(error)),
        Outcome::Cancelled => Err(Error::Cancelled(key.clone())),
        Outcome::Stored(_) => Err(wrong_answer("a watch, behind which the result was fetched")),
    }
}

/// What a task has brought, decoded.
pub(super) fn decoded<T: DeserializeOwned + 'static>(content: Content, key: &TaskKey) -> Result<T> {
    content.decode().map_err(|why| Error::decode(format!("result of {key}"), why))
}
