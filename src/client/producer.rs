//! Named producers: appends that are made once, though the program is started anew.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::ack::Produced;
use super::batch::AppendBatch;
use super::channel::{Channel, values};
use super::error::Result;
use super::future::TaskFuture;
use super::handle::wrong_answer;
use crate::protocol::command::{Answer, AppendOptions, Command, Query};
use crate::protocol::producer::{ProducedBy, ProducerInfo, ProducerName};
use crate::protocol::{Element, Elements, LogId};

impl<T> Channel<T> {
    /// The named producer of this name: a program that reads from some source and appends here, and that goes on where it
    /// was when it is started anew.
    ///
    /// What a client appends enters once, however often its connection breaks. But a program that is started anew is a new
    /// client, and does not know which of its last appends arrived. So it gives itself a name, and each append a number that
    /// grows: the offset in its source, the number of a line; gaps may be. The channel remembers the newest number of each
    /// name, durably, and for as long as it is there: trimming does not touch it, deleting the channel does. What is not above
    /// that is not appended again.
    ///
    /// ```
    /// # use headwater::{Client, Result};
    /// # use headwater::client::Produced;
    /// # async fn import(client: &Client, lines: &[&str]) -> Result<()> {
    /// let notes = client.channel::<String>("notes").await?;
    /// let importer = notes.producer("importer")?;
    /// let behind = importer.last().await?.unwrap_or(0);
    /// for (number, line) in (1..).zip(lines).filter(|(number, _)| *number > behind) {
    ///     importer.append_value(number, &line.to_string()).await?;
    /// }
    /// # Ok(()) }
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let client = Client::local().await?;
    /// // However often it is run, and wherever it was killed:
    /// import(&client, &["one", "two"]).await?;
    /// import(&client, &["one", "two", "three"]).await?;
    /// assert_eq!(client.channel::<String>("notes").await?.len().await?, 3);
    /// # let notes = client.channel::<String>("notes").await?;
    /// let again = notes.producer("importer")?.append_value(2, &"two".into()).await?;
    /// assert_eq!(again, Produced::Before { newest: 3 });
    /// # Ok(()) }
    /// ```
    ///
    /// Two programs may append under one name at once, of the same source: which of them is first with a number does not
    /// matter, and the other one is told what it brought. Nothing fences one of them off.
    ///
    /// # Errors
    /// [`Error::BadName`](super::Error::BadName).
    pub fn producer(&self, name: &str) -> Result<NamedProducer<T>> {
        Ok(NamedProducer { channel: self.clone(), name: ProducerName::new(name)?, place: Arc::default() })
    }

    /// All named producers of the channel, by name.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn producers(&self) -> Result<Vec<ProducerInfo>> {
        let after = |last: &ProducerInfo| last.name.clone();
        let ask = |last: Option<&ProducerInfo>| Query::Producers { log: self.log(), after: last.map(after) };
        let rows = |answer| if let Answer::Producers(rows) = answer { Some(rows) } else { None };
        self.client().all_pages("a question for producers", ask, rows).await
    }
}

/// One who appends to a channel under a name of its own: [`Channel::producer`]. Cheap to clone.
///
/// Each append comes behind the one that this handle and its clones asked for before it. When that was refused, since the
/// disk was full for a moment, say, those behind it that are on their way are refused, too
/// ([`Rejection::ProducerMoved`](crate::protocol::command::Rejection::ProducerMoved)), and what was refused can be appended
/// still. What is asked for once the refusal was told, to whoever awaited the newest of them, is taken again.
pub struct NamedProducer<T> {
    channel: Channel<T>,
    name: ProducerName,
    place: Arc<Mutex<Place>>,
}

/// Behind which number the next append is to be.
#[derive(Debug, Default)]
struct Place {
    /// None while it may be behind any.
    at: Option<u64>,
    /// How many appends were asked for.
    asked: u64,
}

impl<T> NamedProducer<T> {
    /// The name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The newest number that was appended under this name: where to go on behind; nothing when none was. Of what this
    /// client has asked for before, all counts.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn last(&self) -> Result<Option<u64>> {
        let asked = self.place().asked;
        let producers = self.channel.producers().await?;
        let last = producers.iter().find(|info| info.name == self.name).map(|info| info.number);
        let mut place = self.place();
        if place.asked == asked {
            place.at = Some(last.unwrap_or(0));
        }
        Ok(last)
    }

    /// Appends a future under this number, if that is above all that were appended under this name. As
    /// [`Channel::append`] otherwise: it has its place when this returns, and several may be on their way.
    pub fn append(
        &self,
        number: u64,
        future: &TaskFuture<T>,
    ) -> impl Future<Output = Result<Produced>> + Send + 'static + use<T> {
        let elements = Elements::from(&[Element::Future(future.key().clone())][..]);
        self.append_all(number, Ok(elements), AppendOptions::default())
    }

    /// Forgets it: what was appended stays, and the numbers may begin anew.
    ///
    /// # Errors
    /// When the channel was deleted.
    pub async fn forget(&self) -> Result<()> {
        let (log, name) = (self.channel.log(), self.name.clone());
        let reply = {
            let mut place = self.place();
            (place.at, place.asked) = (None, place.asked + 1);
            self.channel.client().connection().command(Command::ForgetProducer { log, name })
        };
        match reply.await? {
            Answer::Deleted => Ok(()),
            _ => Err(wrong_answer("the end of a producer")),
        }
    }

    pub(super) fn channel_log(&self) -> LogId {
        self.channel.log()
    }

    pub(super) fn append_all(
        &self,
        number: u64,
        elements: Result<Elements>,
        options: AppendOptions,
    ) -> impl Future<Output = Result<Produced>> + Send + 'static + use<T> {
        let (share, asked) = {
            // Locked until it has its place in the session's order.
            let mut place = self.place();
            let from = place.at.filter(|at| *at < number);
            (place.at, place.asked) = (Some(number), place.asked + 1);
            let producer = Some(ProducedBy { name: self.name.clone(), number, from });
            let options = AppendOptions { producer, ..options };
            let connection = self.channel.client().connection();
            let append = |elements| connection.append(self.channel.log(), &elements, options);
            (elements.and_then(append), place.asked)
        };
        let place = self.place.clone();
        async move {
            let brought = match share {
                Ok(share) => share.produced().await,
                Err(error) => Err(error),
            };
            let mut place = locked(&place);
            if place.asked == asked {
                match &brought {
                    Ok(Produced::Appended(_)) => {}
                    Ok(Produced::Before { newest }) => place.at = Some(*newest),
                    Err(_) => place.at = None,
                }
            }
            brought
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        locked(&self.place)
    }
}

fn locked(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Serialize> NamedProducer<T> {
    /// Appends a value. As [`Self::append`] otherwise. Each is a command of its own: whoever has many at once gives several
    /// of them one number, by [`AppendBatch::produced_by`].
    pub fn append_value(
        &self,
        number: u64,
        value: &T,
    ) -> impl Future<Output = Result<Produced>> + Send + 'static + use<T> {
        let elements = values([value]);
        self.append_all(number, elements, AppendOptions::default())
    }
}

impl<T> Clone for NamedProducer<T> {
    fn clone(&self) -> Self {
        let NamedProducer { channel, name, place } = self;
        NamedProducer { channel: channel.clone(), name: name.clone(), place: place.clone() }
    }
}

impl<T> fmt::Debug for NamedProducer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamedProducer({} of {:?})", self.name, self.channel)
    }
}

/// An append of a named producer that is put together: [`AppendBatch::produced_by`].
#[must_use = "nothing is appended before `append`"]
#[derive(Debug)]
pub struct ProducedBatch<T> {
    batch: AppendBatch<T>,
    producer: NamedProducer<T>,
    number: u64,
}

impl<T> ProducedBatch<T> {
    pub(super) fn new(batch: AppendBatch<T>, producer: &NamedProducer<T>, number: u64) -> Self {
        ProducedBatch { batch, producer: producer.clone(), number }
    }

    /// As [`AppendBatch::append`], if the number is above all that were appended under the producer's name.
    pub fn append(self) -> impl Future<Output = Result<Produced>> + Send + 'static + use<T> {
        let (elements, options) = self.batch.into_elements();
        self.producer.append_all(self.number, elements, options)
    }
}
