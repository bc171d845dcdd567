//! Values as futures.

use std::marker::PhantomData;
use std::pin::Pin;

use super::error::{Error, Result};
use super::function::Value;
use super::future::TaskFuture;
use super::handle::{Client, wrong_answer};
use crate::protocol::command::{Answer, Command};
use crate::protocol::limits::{PAYLOAD_BYTES_MAX, TooLarge};
use crate::protocol::task::{SCATTER, SCATTER_VERSION, SCATTERED_TOO_LARGE};
use crate::protocol::{Payload, TaskKey};

/// A value that is about to be a future: when this is awaited.
#[must_use = "a value is scattered when it is awaited"]
#[derive(Debug)]
pub struct Scatter<T> {
    client: Client,
    value: Result<Payload>,
    name: Option<Box<str>>,
    detach: bool,
    result: PhantomData<fn() -> T>,
}

impl Client {
    /// Makes a value a future, which brings it: to be passed to many tasks, or put on channels, and sent but once. It is in
    /// the log when what this returns was awaited, and stays as long as its futures do, as a task stays that has ended.
    /// The same value is the same future, whoever scatters it, unless it is given a [key](Scatter::key).
    ///
    /// It is at most [60 KiB](PAYLOAD_BYTES_MAX), as an argument is: have a task return what is larger.
    ///
    /// ```
    /// # use headwater::{Client, Result, task};
    /// #[task(pure)]
    /// fn scale(table: Vec<f64>, by: f64) -> f64 { table.iter().map(|x| x * by).sum() }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let client = Client::local().await?;
    /// let table = client.scatter(&vec![1.0, 2.0, 3.0]).key("table").await?;
    /// let double = client.submit(scale, (&table, 2.0)).await?;
    /// let triple = client.submit(scale, (&table, 3.0)).await?;
    /// assert_eq!((double.await?, triple.await?), (12.0, 18.0));
    /// assert_eq!(table.await?, [1.0, 2.0, 3.0]);
    /// # Ok(()) }
    /// ```
    pub fn scatter<T: Value>(&self, value: &T) -> Scatter<T> {
        let value = Payload::encode(value).map_err(|why| Error::encode("value", why));
        Scatter { client: self.clone(), value, name: None, detach: false, result: PhantomData }
    }
}

impl<T> Scatter<T> {
    /// The name that it is to have. Under a name that is taken, the same value is the same future; another is refused.
    pub fn key(self, name: impl Into<Box<str>>) -> Self {
        Scatter { name: Some(name.into()), ..self }
    }

    /// Lets it stay when nobody holds it.
    pub fn detach(self) -> Self {
        Scatter { detach: true, ..self }
    }

    fn send(self) -> Result<impl Future<Output = Result<TaskFuture<T>>> + Send + use<T>> {
        let Scatter { client, value, name, detach, .. } = self;
        let value = value?;
        TooLarge::check("the value", value.bytes.len(), PAYLOAD_BYTES_MAX, SCATTERED_TOO_LARGE)?;
        let key = match name {
            Some(name) => TaskKey::named(&name),
            None => TaskKey::pure(SCATTER, SCATTER, SCATTER_VERSION, &value.bytes),
        };
        let (hold, reply) = client.holds().hold(key.id, Command::Scatter { key: key.clone(), value, detach });
        Ok(async move {
            match reply.await? {
                Answer::Submitted => Ok(TaskFuture::new(key, client, Some(hold))),
                _ => Err(wrong_answer("a value that was scattered")),
            }
        })
    }
}

impl<T: 'static> IntoFuture for Scatter<T> {
    type Output = Result<TaskFuture<T>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<TaskFuture<T>>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let sent = self.send();
        Box::pin(async move { sent?.await })
    }
}
