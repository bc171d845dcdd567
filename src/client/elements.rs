//! Reading a channel's elements: all of them, its futures, or its values, until it is stopped.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;

use super::bound::{AtStop, Stops, Until};
use super::error::{Error, Result};
use super::future::TaskFuture;
use super::handle::Client;
use super::marked::{InPlace, Marked, Marking, Placed, WithMarkers, Zip, plain_stream};
use super::reading::{Item, Record, Records};
use crate::protocol::payload::Lent;
use crate::protocol::{self, ChannelEvent, ChannelName, Digest, Payload};

/// An element of a channel.
#[derive(Debug, Clone)]
pub enum Element<T> {
    /// A future. It holds nothing: the channel keeps its task.
    Future(TaskFuture<T>),
    /// A value.
    Value(T),
}

impl<T> Element<T> {
    /// The future, if it is one.
    pub fn future(self) -> Option<TaskFuture<T>> {
        if let Element::Future(future) = self { Some(future) } else { None }
    }

    /// The value, if it is one.
    pub fn value(self) -> Option<T> {
        if let Element::Value(value) = self { Some(value) } else { None }
    }
}

/// The elements of a channel as they lie there, up to where it was stopped or a bound.
#[derive(Debug)]
pub(super) struct Raw {
    records: Records<ChannelEvent>,
    stops: Stops,
    was_stopped: bool,
}

impl Raw {
    pub fn new(records: Records<ChannelEvent>, until: Option<Until>) -> Self {
        Raw { records: records.at_stop(AtStop::End, until), stops: Stops::default(), was_stopped: false }
    }

    pub fn client(&self) -> &Client {
        self.records.client()
    }

    pub fn channel(&self) -> &ChannelName {
        self.records.channel()
    }

    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Marked<Placed<protocol::Element>>>>> {
        if self.was_stopped {
            return Poll::Ready(None);
        }
        loop {
            let marked = match ready!(self.records.poll(context)) {
                Some(Ok(Item::Record(record))) => match self.marked(record) {
                    Some(marked) => marked,
                    None => continue,
                },
                Some(Ok(Item::CaughtUp { head })) => match self.stops.caught_up() {
                    Some(stop) => self.stopped(stop),
                    None => Marked::CaughtUp { head },
                },
                Some(Ok(Item::Trimmed { from, first })) => Marked::Trimmed { from, first },
                Some(Ok(Item::Damaged { from, to, why })) => Marked::Damaged { from, to, why },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let before = || self.records.stop_before().map(|stop| (stop.count, stop.digest));
                    let Some(stop) = self.stops.caught_up().or_else(before) else {
                        return Poll::Ready(None);
                    };
                    self.stopped(stop)
                }
            };
            return Poll::Ready(Some(Ok(marked)));
        }
    }

    fn marked(&mut self, record: Record) -> Option<Marked<Placed<protocol::Element>>> {
        let Record { offset, time_ms, index, event } = record;
        match (event, index) {
            (
                ChannelEvent::Appended { element: item, .. }
                | ChannelEvent::AppendedWith { element: item, .. }
                | ChannelEvent::Produced { element: item, .. },
                Some(index),
            ) => Some(Marked::Item(Placed { index, offset, time_ms, item })),
            (event, _) => self.stops.take(&event).map(|stop| self.stopped(stop)),
        }
    }

    fn stopped<I>(&mut self, (count, digest): (u64, Digest)) -> Marked<I> {
        self.was_stopped = true;
        Marked::Stopped { count, digest }
    }

    /// The next element with its offset, if it is a value that is here already: where it lies. All else is left to
    /// [`Raw::poll`].
    fn take_value(&mut self) -> Option<(u64, Lent<'_>)> {
        if self.was_stopped { None } else { self.records.take_value() }
    }

    /// The next element or marker. May be dropped without a loss.
    pub async fn next(&mut self) -> Option<Result<Marked<Placed<protocol::Element>>>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// A future of this type, or a marker; `None` for a value.
    pub fn future<T>(
        &self,
        marked: Marked<Placed<protocol::Element>>,
    ) -> Option<Marked<Placed<TaskFuture<T>>>> {
        let future = |placed| match placed {
            Placed { index, offset, time_ms, item: protocol::Element::Future(key) } => {
                let item = TaskFuture::new(key, self.client().clone(), None);
                Ok(Placed { index, offset, time_ms, item })
            }
            Placed { item: protocol::Element::Value(_), .. } => Err(()),
        };
        marked.try_map(future).ok()
    }

    /// An element of this type.
    pub fn typed<T: DeserializeOwned>(&self, placed: &Placed<protocol::Element>) -> Result<Element<T>> {
        typed(self.client(), self.channel(), placed)
    }
}

/// An element as one of this type.
pub(super) fn typed<T: DeserializeOwned>(
    client: &Client,
    channel: &ChannelName,
    placed: &Placed<protocol::Element>,
) -> Result<Element<T>> {
    match &placed.item {
        protocol::Element::Future(key) => {
            Ok(Element::Future(TaskFuture::new(key.clone(), client.clone(), None)))
        }
        protocol::Element::Value(payload) => {
            let decoded = payload.decode().map(Element::Value);
            decoded.map_err(|why| undecodable(channel, placed.offset, why))
        }
    }
}

/// An element whose value is as it was stored.
pub(super) fn untyped(
    client: &Client,
    _: &ChannelName,
    placed: &Placed<protocol::Element>,
) -> Result<Element<Payload>> {
    Ok(match &placed.item {
        protocol::Element::Future(key) => Element::Future(TaskFuture::new(key.clone(), client.clone(), None)),
        protocol::Element::Value(payload) => Element::Value(payload.clone()),
    })
}

fn undecodable(channel: &ChannelName, offset: u64, why: String) -> Error {
    Error::decode(format!("value at offset {offset} of {channel}"), why)
}

/// The elements of a channel in order, futures and values, then those that come, until it is stopped.
///
/// A range that was trimmed is announced by [`Error::Trimmed`], one that was lost by [`Error::Damaged`], a value of
/// another type by [`Error::Decode`], and reading goes on behind it; any other error is the last item. To see where
/// history ends, and what the channel was stopped with, read [with markers](Self::with_markers).
#[derive(Debug)]
pub struct Elements<T> {
    raw: Raw,
    element: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Elements<T> {
    pub(super) fn new(records: Records<ChannelEvent>, until: Option<Until>) -> Self {
        Elements { raw: Raw::new(records, until), element: PhantomData }
    }
}

impl<T: DeserializeOwned> Marking for Elements<T> {
    type Item = Placed<Element<T>>;

    fn channel_name(&self) -> &ChannelName {
        self.raw.channel()
    }

    fn poll_marked(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Marked<Self::Item>>>> {
        let Some(marked) = ready!(self.raw.poll(context)?) else { return Poll::Ready(None) };
        Poll::Ready(Some(marked.try_map(|placed| {
            let Placed { index, offset, time_ms, .. } = placed;
            self.raw.typed(&placed).map(|item| Placed { index, offset, time_ms, item })
        })))
    }
}

plain_stream!(Elements<T: DeserializeOwned> => Element<T>, |placed| placed.item);

/// The futures of a channel in order, then those that come, until it is stopped; values are left out.
///
/// They hold nothing: the channel keeps their tasks. Errors are as those of [`Elements`].
#[derive(Debug)]
pub struct Futures<T> {
    raw: Raw,
    result: PhantomData<fn() -> T>,
}

impl<T> Futures<T> {
    pub(super) fn new(records: Records<ChannelEvent>, until: Option<Until>) -> Self {
        Futures { raw: Raw::new(records, until), result: PhantomData }
    }
}

impl<T> Marking for Futures<T> {
    type Item = Placed<TaskFuture<T>>;

    fn channel_name(&self) -> &ChannelName {
        self.raw.channel()
    }

    fn poll_marked(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Marked<Self::Item>>>> {
        loop {
            let Some(marked) = ready!(self.raw.poll(context)?) else { return Poll::Ready(None) };
            if let Some(marked) = self.raw.future(marked) {
                return Poll::Ready(Some(Ok(marked)));
            }
        }
    }
}

plain_stream!(Futures<T> => TaskFuture<T>, |placed| placed.item);

/// The values of a channel in order, then those that come, until it is stopped; futures are left out.
///
/// Errors are as those of [`Elements`].
#[derive(Debug)]
pub struct Values<T> {
    raw: Raw,
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Values<T> {
    pub(super) fn new(records: Records<ChannelEvent>, until: Option<Until>) -> Self {
        Values { raw: Raw::new(records, until), value: PhantomData }
    }

    /// The next value, if it is here already.
    fn take_here(&mut self) -> Option<Result<T>> {
        let (offset, value) = self.raw.take_value()?;
        let decoded = value.decode();
        Some(decoded.map_err(|why| undecodable(self.raw.channel(), offset, why)))
    }
}

impl<T: DeserializeOwned> Marking for Values<T> {
    type Item = Placed<T>;

    fn channel_name(&self) -> &ChannelName {
        self.raw.channel()
    }

    fn poll_marked(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Marked<Self::Item>>>> {
        loop {
            let Some(marked) = ready!(self.raw.poll(context)?) else { return Poll::Ready(None) };
            let value = |placed| match placed {
                Placed { index, offset, time_ms, item: protocol::Element::Value(payload) } => {
                    let decoded = payload.decode().map(|item| Placed { index, offset, time_ms, item });
                    Ok(decoded.map_err(|why| undecodable(self.raw.channel(), offset, why)))
                }
                Placed { item: protocol::Element::Future(_), .. } => Err(()),
            };
            if let Ok(marked) = marked.try_map(value) {
                return Poll::Ready(Some(marked.try_map(|decoded| decoded)));
            }
        }
    }
}

plain_stream!(Values<T: DeserializeOwned> => T, |placed| placed.item, Values::take_here);
