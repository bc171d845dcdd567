//! Channels: a changing stream of futures and values, shared between clients, kept for ever.

use std::fmt;
use std::future::ready;
use std::marker::PhantomData;
use std::pin::Pin;

use futures_util::future::Either;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ack::Ack;
use super::batch::AppendBatch;
use super::elements::{Elements, Futures, Values};
use super::error::{Error, Result};
use super::fold::{Fold, Keep};
use super::future::TaskFuture;
use super::handle::{Client, wrong_answer};
use super::nth::Nth;
use super::reading::{Item, Offset, Records};
use super::results::{Results, ResultsAsCompleted};
use super::streams::Reading;
use super::view::{self, View};
use crate::protocol::channel::ChannelInfo;
use crate::protocol::command::{Answer, AppendOptions, Command, Query};
use crate::protocol::message::Reads;
use crate::protocol::task::TaskStatus;
use crate::protocol::{self, ChannelEvent, ChannelName, LogId, Payload, TimeMs};

/// A channel whose futures bring, and whose values are, of type `T`. Cheap to clone.
///
/// `T` is what this program reads it as; nothing checks that others append the same.
pub struct Channel<T> {
    client: Client,
    name: ChannelName,
    log: LogId,
    element: PhantomData<fn() -> T>,
}

/// A future on a channel, and what has become of it.
#[derive(Debug, Clone)]
pub struct Entry<T> {
    /// Its place among the elements.
    pub index: u64,
    /// The offset of the record that appended it.
    pub offset: u64,
    /// When it was appended.
    pub time_ms: TimeMs,
    /// The future.
    pub future: TaskFuture<T>,
    /// Where its task stands, as far as the channel's records say.
    pub status: TaskStatus,
}

impl<T> Channel<T> {
    pub(super) fn new(client: Client, name: ChannelName, log: LogId) -> Self {
        Channel { client, name, log, element: PhantomData }
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The number of its log.
    pub fn log(&self) -> LogId {
        self.log
    }

    /// Appends a future, and brings its offset and commit once it is durable, or written where the channel is buffered.
    ///
    /// It has its place in this client's order when this returns: several appends may be on their way. Those to one
    /// channel keep their order, and whatever else this client asks for keeps its place between them; appends to
    /// different channels that follow each other may change places. The channel keeps the task from then on.
    pub fn append(&self, future: &TaskFuture<T>) -> impl Future<Output = Result<Ack>> + Send + use<T> {
        let future = protocol::Element::Future(future.key().clone());
        self.append_all(Ok(protocol::Elements::from(&[future][..])), AppendOptions::default())
    }

    /// To append several elements, futures and values, all or none; and to give them headers, or to append only if
    /// nobody else has meanwhile.
    ///
    /// ```
    /// # use headwater::{Client, Result};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let client = Client::local().await?;
    /// let notes = client.channel::<String>("notes").await?;
    /// let first = notes.batch().value(&"one".into()).header("by", "me").value(&"two".into()).append().await?;
    /// assert_eq!(first.offsets(), 0..2);
    /// // Nobody has written since.
    /// notes.batch().value(&"three".into()).expect(2).append().await?;
    /// let error = notes.batch().value(&"four".into()).expect(2).append().await.unwrap_err();
    /// assert!(error.to_string().contains("read on from 2, and expect 3"));
    /// # Ok(()) }
    /// ```
    pub fn batch(&self) -> AppendBatch<T> {
        AppendBatch::new(self.clone())
    }

    /// Waits until there is room for more appends: as much of this client's as
    /// [`UNANSWERED_BYTES_MAX`](super::connection::UNANSWERED_BYTES_MAX) may be on its
    /// way and have no answer yet. An append has its place when it is called, and does not wait; over that bound it is
    /// refused. So a program that makes many appends without waiting for each waits here before each:
    ///
    /// ```
    /// # use headwater::{Client, Result};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let client = Client::local().await?;
    /// let numbers = client.channel::<u64>("numbers").await?;
    /// for number in 0..10_000 {
    ///     numbers.ready().await?;
    ///     drop(numbers.append_value(&number));
    /// }
    /// numbers.flush().await?;
    /// assert_eq!(numbers.len().await?, 10_000);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the session is over.
    pub async fn ready(&self) -> Result<()> {
        self.client.connection().ready().await
    }

    /// As [`Client::flush`], of what this client has appended to this channel, and of its stop.
    ///
    /// # Errors
    /// As there.
    pub fn flush(&self) -> impl Future<Output = Result<()>> + Send + 'static + use<T> {
        self.client.connection().flush(Some(self.log))
    }

    pub(super) fn append_all(
        &self,
        elements: Result<protocol::Elements>,
        options: AppendOptions,
    ) -> impl Future<Output = Result<Ack>> + Send + 'static + use<T> {
        let share =
            elements.and_then(|elements| self.client.connection().append(self.log, &elements, options));
        match share {
            Ok(share) => Either::Left(share),
            Err(error) => Either::Right(ready(Err(error))),
        }
    }

    /// Lets the channel take no more elements, and brings how many it has. Readers of its futures and
    /// values come to an end.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn stop(&self) -> Result<u64> {
        match self.client.connection().command(Command::Stop { log: self.log }).await? {
            Answer::Stopped { count, .. } => Ok(count),
            _ => Err(wrong_answer("a stop")),
        }
    }

    /// What the scheduler knows of the channel.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn info(&self) -> Result<ChannelInfo> {
        match self.client.query(Query::Channel { name: self.name.clone() }).await? {
            Answer::Channel(info) => Ok(info),
            _ => Err(wrong_answer("a question for a channel")),
        }
    }

    /// How many elements were ever appended.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn len(&self) -> Result<u64> {
        Ok(self.info().await?.elements)
    }

    /// Whether nothing was ever appended.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.len().await? == 0)
    }

    /// To read from somewhere else than the start.
    pub fn from(&self, from: Offset) -> Reading<T> {
        Reading::new(self.clone(), from)
    }

    /// To read what is there now, from the start, and to come to an end then: see [`Reading::scan`].
    pub fn scan(&self) -> Reading<T> {
        self.from(Offset::Start).scan()
    }

    pub(super) fn records_from(&self, from: Offset, reads: Reads) -> Records<ChannelEvent> {
        Records::new(&self.client, self.name.clone(), self.log, from, reads)
    }

    /// To read from the element with this index, counted from 0.
    pub fn elements_from(&self, index: u64) -> Reading<T> {
        self.from(Offset::Index(index))
    }

    /// All futures, from the start: see [`Reading::futures`].
    pub fn futures(&self) -> Futures<T> {
        self.from(Offset::Start).futures()
    }

    /// What all futures bring, from the start: see [`Reading::results`].
    pub fn results(&self) -> Results<T> {
        self.from(Offset::Start).results()
    }

    /// What all futures bring, from the start, as they end: see [`Reading::results_as_completed`].
    pub fn results_as_completed(&self) -> ResultsAsCompleted<T> {
        self.from(Offset::Start).results_as_completed()
    }

    /// All records, from the start: see [`Reading::records`].
    pub fn records(&self) -> Records<ChannelEvent> {
        self.from(Offset::Start).records()
    }

    /// The futures that are on the channel now, and where their tasks stand.
    ///
    /// # Errors
    /// When the channel cannot be read, or a part of it is gone.
    pub async fn statuses(&self) -> Result<Vec<Entry<T>>> {
        let mut records = self.records();
        let mut fold = Fold::new(Keep::Futures, Some(0));
        while fold.caught_up_at().is_none()
            && let Some(item) = records.next().await
        {
            match item? {
                Item::Trimmed { from, first } => {
                    return Err(Error::Trimmed { channel: self.name.clone(), from, first });
                }
                Item::Damaged { from, to, why } => {
                    return Err(Error::Damaged { channel: self.name.clone(), from, to, why });
                }
                item => fold.take(item),
            }
        }
        Ok(view::entries(self, &fold))
    }

    /// All elements and where its futures stand, kept up to date here from now on. It takes as much memory as they do.
    ///
    /// # Panics
    /// Outside of a tokio runtime, on which it reads.
    pub fn view(&self) -> View<T> {
        View::new(self, None)
    }

    /// As [`Self::view`], of the last so many elements: those that there are now, and whichever are the last later.
    ///
    /// # Panics
    /// As there.
    pub fn view_of_last(&self, maxlen: u64) -> View<T> {
        View::new(self, Some(maxlen))
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn channel_name(&self) -> &ChannelName {
        &self.name
    }
}

impl<T: Serialize> Channel<T> {
    /// Appends a value. Values that wait to be sent share a command, so make many of these calls before waiting for the
    /// first of them. As [`Self::append`] otherwise.
    pub fn append_value(&self, value: &T) -> impl Future<Output = Result<Ack>> + Send + use<T> {
        self.append_all(values([value]), AppendOptions::default())
    }

    /// Appends several values, all or none, next to each other, and brings their offsets and commit. As
    /// [`Self::append`] otherwise.
    pub fn append_values<'a>(
        &self,
        values: impl IntoIterator<Item = &'a T>,
    ) -> Pin<Box<dyn Future<Output = Result<Ack>> + Send>>
    where
        T: 'a,
    {
        Box::pin(self.append_all(self::values(values), AppendOptions::default()))
    }
}

impl<T: DeserializeOwned> Channel<T> {
    /// The element with this index, counted from 0; waits for one that is still to come.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use headwater::{Client, Error, Result};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let client = Client::local().await?;
    /// let numbers = client.channel::<u64>("numbers").await?;
    /// numbers.append_values(&[10, 20, 30]).await?;
    /// assert_eq!(numbers.element(2).await?.value(), Some(30));
    ///
    /// let fourth = numbers.element(3).timeout(Duration::from_millis(10)).await;
    /// assert!(matches!(fourth, Err(Error::TimedOut { .. })));
    /// # Ok(()) }
    /// ```
    pub fn element(&self, index: u64) -> Nth<T> {
        Nth::new(self.clone(), index)
    }

    /// All elements, from the start: see [`Reading::elements`].
    pub fn elements(&self) -> Elements<T> {
        self.from(Offset::Start).elements()
    }

    /// All values, from the start: see [`Reading::values`].
    pub fn values(&self) -> Values<T> {
        self.from(Offset::Start).values()
    }
}

impl<T> Clone for Channel<T> {
    fn clone(&self) -> Self {
        Channel::new(self.client.clone(), self.name.clone(), self.log)
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({}, log {})", self.name, self.log)
    }
}

/// Values as elements.
pub(super) fn values<'a, T: Serialize + 'a>(
    values: impl IntoIterator<Item = &'a T>,
) -> Result<protocol::Elements> {
    let mut elements = protocol::Elements::default();
    for value in values {
        elements.push_value(value).map_err(|why| Error::encode("value", why))?;
    }
    Ok(elements)
}

pub(super) fn element<T: Serialize>(value: &T) -> Result<protocol::Element> {
    Payload::encode(value).map(protocol::Element::Value).map_err(|why| Error::encode("value", why))
}
