//! One append of several elements of any kind, all or none.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;

use super::ack::Ack;
use super::channel::{Channel, element};
use super::error::{Error, Result};
use super::future::TaskFuture;
use super::producer::{NamedProducer, ProducedBatch};
use crate::protocol::channel::Durability;
use crate::protocol::command::AppendOptions;
use crate::protocol::transaction::Part;
use crate::protocol::{Element, Elements, Headers};

/// An append that is being put together: [`Channel::batch`]. Elements are added in order, futures and values as they
/// come; what goes wrong with one of them is said by [`AppendBatch::append`], and then nothing is appended.
#[must_use = "nothing is appended before `append`"]
pub struct AppendBatch<T> {
    channel: Channel<T>,
    elements: Elements,
    /// The newest element, which may be given headers.
    newest: Option<(Headers, Element)>,
    options: AppendOptions,
    error: Option<Error>,
    element: PhantomData<fn() -> T>,
}

impl<T> AppendBatch<T> {
    pub(super) fn new(channel: Channel<T>) -> Self {
        let (elements, newest, options, error) = Default::default();
        AppendBatch { channel, elements, newest, options, error, element: PhantomData }
    }

    /// Adds a future.
    pub fn future(self, future: &TaskFuture<T>) -> Self {
        self.add(Ok(Element::Future(future.key().clone())))
    }

    /// Gives the element that was added last a header: a few words under a key, for those who read it. One of the same
    /// key is replaced. How many there may be and how large is in [`limits`](crate::protocol::limits).
    pub fn header(mut self, key: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        match &mut self.newest {
            Some((headers, _)) => headers.insert(key, value),
            None => {
                let key = key.into();
                let why = format!("header `{key}` belongs to no element: add a value or a future before it");
                self.error.get_or_insert(Error::msg(why));
            }
        }
        self
    }

    /// Appends only if nobody has written to the channel at this offset or behind it: no element is there, and no stop.
    /// Records of what became of futures take offsets, too, and nobody writes them by hand: they do not count. So the
    /// offset behind the newest element that this program has read is right to expect, and so is the head that it has
    /// read up to. Else the append brings [`Rejection::Conflict`](crate::protocol::command::Rejection::Conflict), which
    /// names the head.
    pub fn expect(mut self, offset: u64) -> Self {
        self.options.expect = Some(offset);
        self
    }

    /// Acknowledges it once it is written, whatever the channel says: it is flushed to the disk at most so long after that, at
    /// least 1 ms and at most a minute. The scheduler's process may be killed without a loss; a power failure, or a crash of
    /// its machine, before that is done may take the append away, with all that came behind it.
    pub fn buffered(self, flush_within: Duration) -> Self {
        self.acknowledged(Durability::buffered(flush_within))
    }

    /// Acknowledges it once it is on the disk, whatever the channel says.
    pub fn fsynced(self) -> Self {
        self.acknowledged(Durability::Fsynced)
    }

    /// Acknowledges it so, whatever the channel says.
    pub fn acknowledged(mut self, durability: Durability) -> Self {
        self.options.durability = Some(durability);
        self
    }

    /// Appends all of it or nothing, next to each other, and brings the offsets and the commit once that is durable, or, if it
    /// is buffered, written.
    /// It has its place in the channel when this returns. As [`Channel::append`] otherwise.
    pub fn append(self) -> impl Future<Output = Result<Ack>> + Send + 'static + use<T> {
        let channel = self.channel.clone();
        let (elements, options) = self.into_elements();
        channel.append_all(elements, options)
    }

    /// Makes it an append of a named producer of this channel, with a number: of the last of the lines that are in it, say.
    /// It is made if that is above all numbers that were appended under the name, and else brings what became of it before.
    ///
    /// ```
    /// # use headwater::{Client, Result};
    /// # use headwater::client::Produced;
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let client = Client::local().await?;
    /// let notes = client.channel::<String>("notes").await?;
    /// let importer = notes.producer("importer")?;
    /// let lines = || notes.batch().value(&"one".into()).value(&"two".into());
    /// let first = lines().produced_by(&importer, 2).append().await?;
    /// assert_eq!(first.ack().unwrap().offsets(), 0..2);
    /// assert_eq!(lines().produced_by(&importer, 2).append().await?, first);
    /// assert_eq!(notes.len().await?, 2);
    /// # Ok(()) }
    /// ```
    pub fn produced_by(mut self, producer: &NamedProducer<T>, number: u64) -> ProducedBatch<T> {
        if producer.channel_log() != self.channel.log() {
            let why = format!("{producer:?} is not one of {:?}: ask that channel for it", self.channel);
            self.error.get_or_insert(Error::msg(why));
        }
        ProducedBatch::new(self, producer, number)
    }

    /// What is to be appended, or what is wrong with it.
    pub(super) fn into_elements(mut self) -> (Result<Elements>, AppendOptions) {
        self.settle();
        if self.elements.is_empty() {
            let why = "an append needs at least one element: add a value or a future";
            self.error.get_or_insert(Error::msg(why));
        }
        let Self { elements, options, error, .. } = self;
        (error.map_or(Ok(elements), Err), options)
    }

    /// It as a part of a transaction.
    pub(super) fn into_part(mut self) -> Result<Part> {
        self.settle();
        match self.error {
            Some(error) => Err(error),
            None => {
                Ok(Part { log: self.channel.log(), elements: self.elements, expect: self.options.expect })
            }
        }
    }

    fn add(mut self, element: Result<Element>) -> Self {
        self.settle();
        match element {
            Ok(element) => self.newest = Some((Headers::new(), element)),
            Err(error) => _ = self.error.get_or_insert(error),
        }
        self
    }

    /// The newest element is given nothing more.
    fn settle(&mut self) {
        if let Some((headers, element)) = self.newest.take() {
            self.elements.push_with(&headers, &element);
        }
    }
}

impl<T: Serialize> AppendBatch<T> {
    /// Adds a value.
    pub fn value(self, value: &T) -> Self {
        self.add(element(value))
    }
}

impl<T> fmt::Debug for AppendBatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.elements.len() + usize::from(self.newest.is_some());
        write!(f, "AppendBatch({count} elements for {:?}, {:?})", self.channel, self.options)
    }
}
