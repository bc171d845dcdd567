//! Values as futures.

use std::marker::PhantomData;
use std::pin::Pin;

use super::error::{Error, Result};
use super::function::Value;
use super::future::TaskFuture;
use super::handle::{Client, wrong_answer};
use super::submit::{answered_behind, pure_key};
use crate::protocol::command::{Answer, Command};
use crate::protocol::limits::{ARGUMENTS_MAX, PAYLOAD_BYTES_MAX, SCATTERED_BYTES_MAX, TooLarge};
use crate::protocol::task::{
    Argument, CONCAT, CONCAT_VERSION, SCATTER, SCATTER_VERSION, SCATTERED_TOO_LARGE, TaskOptions,
};
use crate::protocol::{Codec, Payload, Submission, TaskId, TaskKey};

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
    /// It is at most [64 MiB](SCATTERED_BYTES_MAX): have a task return what is larger. One over
    /// [60 KiB](PAYLOAD_BYTES_MAX), of which no record is made, is in the log in pieces. Workers put them together when it is
    /// scattered, and again when all that keep the whole of it are lost; so it needs one that is connected before it brings
    /// anything.
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
        TooLarge::check("the value", value.bytes.len(), SCATTERED_BYTES_MAX, SCATTERED_TOO_LARGE)?;
        let (pieces, whole) = in_pieces(value, name.as_deref(), detach);
        let send = |Sent { key, command }| client.holds().hold(key.id, command);
        let pieces: Vec<_> = pieces.into_iter().map(send).collect();
        let key = whole.key.clone();
        let (hold, reply) = send(whole);
        Ok(async move {
            match answered_behind(pieces, reply).await? {
                Answer::Submitted => Ok(TaskFuture::new(key, client, Some(hold))),
                _ => Err(wrong_answer("a value that was scattered")),
            }
        })
    }
}

/// What makes a task known.
struct Sent {
    key: TaskKey,
    command: Command,
}

/// The task that a value is, and before it those that it is made of, if it is too large for one record: pieces of it, and
/// tasks of the function [`CONCAT`] that put them together, level by level. Equal pieces are one.
fn in_pieces(value: Payload, name: Option<&str>, detach: bool) -> (Vec<Sent>, Sent) {
    let named = |of_content: TaskKey| name.map_or(of_content, TaskKey::named);
    if value.bytes.len() <= PAYLOAD_BYTES_MAX {
        let key = named(TaskKey::pure(SCATTER, SCATTER, SCATTER_VERSION, &value.bytes));
        return (Vec::new(), Sent { key: key.clone(), command: Command::Scatter { key, value, detach } });
    }
    let mut sent: Vec<Sent> = Vec::new();
    let mut level = Vec::new();
    for at in (0..value.bytes.len()).step_by(PAYLOAD_BYTES_MAX) {
        let end = value.bytes.len().min(at + PAYLOAD_BYTES_MAX);
        let piece = Payload::raw(value.bytes.slice(at..end));
        let key = TaskKey::pure(PIECE, PIECE, SCATTER_VERSION, &piece.bytes);
        level.push(key.id);
        sent.push(Sent { key: key.clone(), command: Command::Scatter { key, value: piece, detach: false } });
    }
    while level.len() > PIECES_MAX {
        let some = level.chunks(PIECES_MAX).map(|some| concat(Codec::Raw, some, |key| key, false));
        let some: Vec<_> = some.collect();
        level = some.iter().map(|sent| sent.key.id).collect();
        sent.extend(some);
    }
    let whole = concat(value.codec, &level, named, detach);
    (sent, whole)
}

/// What the pieces of a value are called. It is in their keys, too: a value of a piece's bytes is another one.
const PIECE: &str = "piece";

/// How many pieces one task puts together: its arguments but the first.
const PIECES_MAX: usize = ARGUMENTS_MAX - 1;

/// A task that puts pieces together.
fn concat(codec: Codec, pieces: &[TaskId], key: impl FnOnce(TaskKey) -> TaskKey, detach: bool) -> Sent {
    let codec = Payload::encode(&codec).expect("a name can be encoded");
    let pieces = pieces.iter().copied().map(Argument::Future);
    let arguments: Vec<_> = [Argument::Value(codec)].into_iter().chain(pieces).collect();
    let key = key(pure_key(CONCAT, CONCAT, CONCAT_VERSION, &arguments));
    let (function, version) = (CONCAT.into(), CONCAT_VERSION);
    let options = TaskOptions { detach, ..TaskOptions::default() };
    let submission = Submission { key: key.clone(), function, version, arguments, options };
    Sent { key, command: Command::Submit(submission) }
}

impl<T: 'static> IntoFuture for Scatter<T> {
    type Output = Result<TaskFuture<T>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<TaskFuture<T>>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let sent = self.send();
        Box::pin(async move { sent?.await })
    }
}
