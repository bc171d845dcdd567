//! Channels for synchronous code.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Shared, TaskFuture};
use crate::client::ack::Ack;
use crate::client::error::Result;
use crate::client::{self, Entry, Item, Offset, Placed, Until, ViewState};
use crate::protocol::channel::ChannelInfo;
use crate::protocol::task::TaskStatus;
use crate::protocol::{LogId, TimeMs};

/// As [`client::Channel`].
#[derive(Debug, Clone)]
pub struct Channel<T> {
    pub(super) channel: client::Channel<T>,
    pub(super) shared: Arc<Shared>,
}

impl<T> Channel<T> {
    pub(super) fn new(channel: client::Channel<T>, shared: &Arc<Shared>) -> Self {
        Channel { channel, shared: shared.clone() }
    }

    /// The number of its log.
    pub fn log(&self) -> LogId {
        self.channel.log()
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.channel.name()
    }

    /// Appends a future, and gives its offset: it is durable then, or written where the channel is buffered.
    ///
    /// # Errors
    /// As [`client::Channel::append`].
    pub fn append(&self, future: &TaskFuture<T>) -> Result<Ack> {
        self.shared.wait(self.channel.append(&future.future))
    }

    /// As [`client::Channel::stop`].
    ///
    /// # Errors
    /// As there.
    pub fn stop(&self) -> Result<u64> {
        self.shared.wait(self.channel.stop())
    }

    /// As [`client::Channel::info`].
    ///
    /// # Errors
    /// As there.
    pub fn info(&self) -> Result<ChannelInfo> {
        self.shared.wait(self.channel.info())
    }

    /// As [`client::Channel::len`].
    ///
    /// # Errors
    /// As there.
    pub fn len(&self) -> Result<u64> {
        self.shared.wait(self.channel.len())
    }

    /// As [`client::Channel::is_empty`].
    ///
    /// # Errors
    /// As there.
    pub fn is_empty(&self) -> Result<bool> {
        self.shared.wait(self.channel.is_empty())
    }

    /// The futures that are on the channel now, each with where its task stands.
    ///
    /// # Errors
    /// As [`client::Channel::statuses`].
    pub fn statuses(&self) -> Result<Vec<(TaskFuture<T>, TaskStatus)>> {
        Ok(statuses(self.shared.wait(self.channel.statuses())?, &self.shared))
    }

    /// As [`client::Channel::view`].
    pub fn view(&self) -> View<T> {
        View { view: self.shared.wait(async { self.channel.view() }), shared: self.shared.clone() }
    }

    /// As [`client::Channel::view_of_last`].
    pub fn view_of_last(&self, maxlen: u64) -> View<T> {
        View {
            view: self.shared.wait(async { self.channel.view_of_last(maxlen) }),
            shared: self.shared.clone(),
        }
    }

    /// To read from somewhere else than the start.
    pub fn from(&self, from: Offset) -> Reading<T> {
        Reading { reading: self.channel.from(from), shared: self.shared.clone() }
    }

    /// As [`client::Channel::scan`].
    pub fn scan(&self) -> Reading<T> {
        self.from(Offset::Start).scan()
    }

    /// All futures, from the start.
    pub fn futures(&self) -> impl Iterator<Item = Result<TaskFuture<T>>> + use<T> {
        self.from(Offset::Start).futures()
    }
}

impl<T: Serialize> Channel<T> {
    /// Appends a value, and gives its offset: it is durable then, or written where the channel is buffered.
    ///
    /// # Errors
    /// As [`client::Channel::append_value`].
    pub fn append_value(&self, value: &T) -> Result<Ack> {
        self.shared.wait(self.channel.append_value(value))
    }

    /// As [`client::Channel::append_values`].
    ///
    /// # Errors
    /// As there.
    pub fn append_values<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Result<Ack>
    where
        T: 'a,
    {
        self.shared.wait(self.channel.append_values(values))
    }
}

impl<T: DeserializeOwned> Channel<T> {
    /// As [`client::Channel::element`]; [`Nth::wait`] waits for it.
    pub fn element(&self, index: u64) -> Nth<T> {
        Nth { nth: self.channel.element(index), shared: self.shared.clone() }
    }

    /// All elements, from the start.
    pub fn elements(&self) -> impl Iterator<Item = Result<Element<T>>> + use<T> {
        self.from(Offset::Start).elements()
    }

    /// All values, from the start.
    pub fn values(&self) -> impl Iterator<Item = Result<T>> + use<T> {
        self.from(Offset::Start).values()
    }
}

/// As [`client::Reading`], with iterators that wait for what comes.
#[derive(Debug, Clone)]
pub struct Reading<T> {
    reading: client::Reading<T>,
    shared: Arc<Shared>,
}

impl<T> Reading<T> {
    /// As [`client::Reading::until`].
    #[must_use]
    pub fn until(self, until: Until) -> Self {
        Reading { reading: self.reading.until(until), ..self }
    }

    /// As [`client::Reading::scan`].
    #[must_use]
    pub fn scan(self) -> Self {
        self.until(Until::Now)
    }

    /// As [`client::Reading::undurable`].
    #[must_use]
    pub fn undurable(self) -> Self {
        Reading { reading: self.reading.undurable(), ..self }
    }

    /// As [`client::Reading::futures`].
    pub fn futures(&self) -> impl Iterator<Item = Result<TaskFuture<T>>> + use<T> {
        let shared = self.shared.clone();
        iterate(self.reading.futures(), &self.shared)
            .map(move |future| Ok(TaskFuture { future: future?, shared: shared.clone() }))
    }

    /// As [`client::Reading::records`].
    pub fn records(&self) -> impl Iterator<Item = Result<Item>> + use<T> {
        iterate(self.reading.records(), &self.shared)
    }
}

impl<T: DeserializeOwned> Reading<T> {
    /// As [`client::Reading::elements`].
    pub fn elements(&self) -> impl Iterator<Item = Result<Element<T>>> + use<T> {
        let shared = self.shared.clone();
        iterate(self.reading.elements(), &self.shared).map(move |element| Ok(Element::of(element?, &shared)))
    }

    /// As [`client::Reading::values`].
    pub fn values(&self) -> impl Iterator<Item = Result<T>> + use<T> {
        iterate(self.reading.values(), &self.shared)
    }
}

impl<T: DeserializeOwned + 'static> Reading<T> {
    /// As [`client::Reading::results`].
    pub fn results(&self) -> impl Iterator<Item = Result<Ended<T>>> + use<T> {
        let shared = self.shared.clone();
        iterate(self.reading.results(), &self.shared).map(move |ended| Ok(Ended::of(ended?, &shared)))
    }

    /// As [`client::Reading::results_as_completed`].
    pub fn results_as_completed(&self) -> impl Iterator<Item = Result<Ended<T>>> + use<T> {
        let (shared, results) = (self.shared.clone(), self.reading.results_as_completed());
        iterate(results, &self.shared).map(move |ended| Ok(Ended::of(ended?, &shared)))
    }
}

/// As [`client::Element`].
#[derive(Debug, Clone)]
pub enum Element<T> {
    /// A future.
    Future(TaskFuture<T>),
    /// A value.
    Value(T),
}

impl<T> Element<T> {
    fn of(element: client::Element<T>, shared: &Arc<Shared>) -> Self {
        match element {
            client::Element::Future(future) => Element::Future(TaskFuture { future, shared: shared.clone() }),
            client::Element::Value(value) => Element::Value(value),
        }
    }

    /// The future, if it is one.
    pub fn future(self) -> Option<TaskFuture<T>> {
        if let Element::Future(future) = self { Some(future) } else { None }
    }

    /// The value, if it is one.
    pub fn value(self) -> Option<T> {
        if let Element::Value(value) = self { Some(value) } else { None }
    }
}

/// As [`client::Ended`].
#[derive(Debug, Clone)]
pub struct Ended<T> {
    /// Its place among the elements.
    pub index: u64,
    /// The offset of the record that appended it.
    pub offset: u64,
    /// When it was appended, by the scheduler's clock.
    pub time_ms: TimeMs,
    /// The future.
    pub future: TaskFuture<T>,
    /// What it brings, or why not.
    pub result: Result<T>,
}

impl<T> Ended<T> {
    fn of(ended: client::Ended<T>, shared: &Arc<Shared>) -> Self {
        let client::Ended { index, offset, time_ms, future, result } = ended;
        Ended { index, offset, time_ms, future: TaskFuture { future, shared: shared.clone() }, result }
    }
}

/// As [`client::Nth`].
#[must_use = "an element is waited for by `wait`"]
#[derive(Debug)]
pub struct Nth<T> {
    nth: client::Nth<T>,
    shared: Arc<Shared>,
}

impl<T: DeserializeOwned + 'static> Nth<T> {
    /// As [`client::Nth::timeout`].
    pub fn timeout(self, timeout: Duration) -> Self {
        Nth { nth: self.nth.timeout(timeout), ..self }
    }

    /// Waits for the element.
    ///
    /// # Errors
    /// As awaiting [`client::Nth`].
    pub fn wait(self) -> Result<Element<T>> {
        Ok(Element::of(self.shared.wait(self.nth.into_future())?, &self.shared))
    }
}

/// As [`client::View`].
#[derive(Debug, Clone)]
pub struct View<T> {
    // Dropped before what it needs.
    view: client::View<T>,
    shared: Arc<Shared>,
}

impl<T> View<T> {
    /// As [`client::View::len`].
    pub fn len(&self) -> u64 {
        self.view.len()
    }

    /// As [`client::View::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.view.is_empty()
    }

    /// As [`client::View::state`].
    pub fn state(&self) -> ViewState {
        self.view.state()
    }

    /// The futures in view, each with where its task stands.
    pub fn futures(&self) -> Vec<(TaskFuture<T>, TaskStatus)> {
        statuses(self.view.futures(), &self.shared)
    }

    /// As [`client::View::changed`].
    ///
    /// # Errors
    /// As there.
    pub fn changed(&mut self) -> Result<()> {
        self.shared.wait(self.view.changed())
    }

    /// As [`client::View::caught_up`].
    ///
    /// # Errors
    /// As there.
    pub fn caught_up(&mut self) -> Result<()> {
        self.shared.wait(self.view.caught_up())
    }
}

impl<T: DeserializeOwned> View<T> {
    /// As [`client::View::values`].
    ///
    /// # Errors
    /// As there.
    pub fn values(&self) -> Result<Vec<T>> {
        self.view.values()
    }

    /// As [`client::View::elements`].
    pub fn elements(&self) -> Vec<Placed<Result<Element<T>>>> {
        let of = |placed: Placed<Result<client::Element<T>>>| {
            let Placed { index, offset, time_ms, item } = placed;
            Placed { index, offset, time_ms, item: item.map(|element| Element::of(element, &self.shared)) }
        };
        self.view.elements().into_iter().map(of).collect()
    }
}

fn statuses<T>(entries: Vec<Entry<T>>, shared: &Arc<Shared>) -> Vec<(TaskFuture<T>, TaskStatus)> {
    let of = |entry: Entry<T>| (TaskFuture { future: entry.future, shared: shared.clone() }, entry.status);
    entries.into_iter().map(of).collect()
}

pub(super) fn iterate<S: Stream + Unpin>(
    mut stream: S,
    shared: &Arc<Shared>,
) -> impl Iterator<Item = S::Item> + use<S> {
    let shared = shared.clone();
    std::iter::from_fn(move || shared.wait(stream.next()))
}
