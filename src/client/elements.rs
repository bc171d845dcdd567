//! Reading a channel's elements: its futures, or its values, until it is stopped.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;

use super::connection::Reply;
use super::error::{Error, Result};
use super::future::TaskFuture;
use super::handle::{Client, wrong_answer};
use super::reading::{Item, Record, Records};
use crate::protocol::command::{Answer, Query};
use crate::protocol::payload::Lent;
use crate::protocol::{ChannelEvent, ChannelName, Element};

/// The elements of a channel, up to where it was stopped.
///
/// The record that stops a channel is seen only by those who begin before it. So once reading has
/// begun, the channel is asked: if it is stopped, there is nothing beyond the head that it had then.
#[derive(Debug)]
struct Elements {
    client: Client,
    channel: ChannelName,
    records: Records<ChannelEvent>,
    end: End,
}

#[derive(Debug)]
enum End {
    /// Reading has not begun.
    Unasked,
    /// The channel was asked.
    Asked(Reply<Answer>),
    /// It was not stopped: its last record is still to come.
    Ahead,
    /// It was stopped before this offset.
    Before(u64),
    /// All is read.
    Reached,
}

impl Elements {
    fn new(client: &Client, channel: &ChannelName, records: Records<ChannelEvent>) -> Self {
        Elements { client: client.clone(), channel: channel.clone(), records, end: End::Unasked }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<(u64, Element)>>> {
        loop {
            if let Err(error) = self.look_for_end(context) {
                self.end = End::Reached;
                return Poll::Ready(Some(Err(error)));
            }
            if matches!(self.end, End::Reached) {
                return Poll::Ready(None);
            }
            let asked_before = matches!(self.end, End::Unasked);
            let item = match self.records.poll(context) {
                // Reading may just have begun: then there is something to ask.
                Poll::Pending if asked_before && self.records.next_offset().is_some() => continue,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(item) => item,
            };
            match item {
                Some(Ok(Item::Record(Record {
                    offset,
                    event: ChannelEvent::Appended { element, .. } | ChannelEvent::AppendedWith { element, .. },
                    ..
                }))) => {
                    return Poll::Ready(Some(Ok((offset, element))));
                }
                Some(Ok(Item::Record(Record { event: ChannelEvent::Stopped { .. }, .. }))) | None => {
                    self.end = End::Reached;
                }
                Some(Ok(Item::Record(_) | Item::CaughtUp { .. })) => {}
                Some(Ok(Item::Trimmed { from, first })) => {
                    let channel = self.channel.clone();
                    return Poll::Ready(Some(Err(Error::Trimmed { channel, from, first })));
                }
                Some(Ok(Item::Damaged { from, to, why })) => {
                    let channel = self.channel.clone();
                    return Poll::Ready(Some(Err(Error::Damaged { channel, from, to, why })));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// The next element with its offset, if it is a value that is here already: where it lies. All else is left to
    /// [`Elements::poll`].
    fn take_value(&mut self) -> Option<(u64, Lent<'_>)> {
        match self.end {
            End::Ahead => self.records.take_value(),
            End::Before(end) if self.records.next_offset().is_some_and(|next| next < end) => {
                self.records.take_value()
            }
            _ => None,
        }
    }

    fn undecodable(&self, offset: u64, why: String) -> Error {
        Error::decode(format!("value at offset {offset} of {}", self.channel), why)
    }

    fn look_for_end(&mut self, context: &mut Context<'_>) -> Result<()> {
        if let End::Unasked = self.end
            && self.records.next_offset().is_some()
        {
            self.end = End::Asked(self.client.query(Query::Channel { name: self.channel.clone() }));
        }
        if let End::Asked(reply) = &mut self.end
            && let Poll::Ready(answer) = Pin::new(reply).poll(context)
        {
            self.end = match answer? {
                Answer::Channel(info) if info.stopped => End::Before(info.head),
                Answer::Channel(_) => End::Ahead,
                _ => return Err(wrong_answer("a question for a channel")),
            };
        }
        if let End::Before(end) = self.end
            && self.records.next_offset().is_some_and(|next| next >= end)
        {
            self.end = End::Reached;
        }
        Ok(())
    }
}

/// The futures of a channel in order, then those that come, until it is stopped; values are left out.
///
/// They hold nothing: the channel keeps their tasks. A range that was trimmed is announced by
/// [`Error::Trimmed`], one that was lost by [`Error::Damaged`], and reading goes on behind it; any other
/// error is the last item.
#[derive(Debug)]
pub struct Futures<T> {
    elements: Elements,
    result: PhantomData<fn() -> T>,
}

impl<T> Futures<T> {
    pub(super) fn new(client: &Client, channel: &ChannelName, records: Records<ChannelEvent>) -> Self {
        Futures { elements: Elements::new(client, channel, records), result: PhantomData }
    }

    /// The next future; `None` at the end. May be dropped without a loss.
    pub async fn next(&mut self) -> Option<Result<TaskFuture<T>>> {
        StreamExt::next(self).await
    }

    /// Pairs with another stream, one of each at a time, until either ends.
    pub fn zip<S: Stream + Unpin>(self, other: S) -> Zip<Self, S> {
        Zip(StreamExt::zip(self, other))
    }
}

impl<T> Stream for Futures<T> {
    type Item = Result<TaskFuture<T>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.elements.poll(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok((_, Element::Future(key)))) => {
                    let future = TaskFuture::new(key, self.elements.client.clone(), None);
                    return Poll::Ready(Some(Ok(future)));
                }
                Some(Ok((_, Element::Value(_)))) => {}
            }
        }
    }
}

/// The values of a channel in order, then those that come, until it is stopped; futures are left out.
///
/// A value of another type is an [`Error::Decode`], and reading goes on behind it. As [`Futures`]
/// otherwise.
#[derive(Debug)]
pub struct Values<T> {
    elements: Elements,
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Values<T> {
    pub(super) fn new(client: &Client, channel: &ChannelName, records: Records<ChannelEvent>) -> Self {
        Values { elements: Elements::new(client, channel, records), value: PhantomData }
    }

    /// The next value; `None` at the end. May be dropped without a loss.
    pub async fn next(&mut self) -> Option<Result<T>> {
        StreamExt::next(self).await
    }

    /// Pairs with another stream, one of each at a time, until either ends.
    pub fn zip<S: Stream + Unpin>(self, other: S) -> Zip<Self, S> {
        Zip(StreamExt::zip(self, other))
    }
}

impl<T: DeserializeOwned> Stream for Values<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some((offset, value)) = self.elements.take_value() {
                let decoded = value.decode();
                return Poll::Ready(Some(decoded.map_err(|why| self.elements.undecodable(offset, why))));
            }
            match ready!(self.elements.poll(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok((offset, Element::Value(payload)))) => {
                    let decoded = payload.decode();
                    return Poll::Ready(Some(decoded.map_err(|why| self.elements.undecodable(offset, why))));
                }
                Some(Ok((_, Element::Future(_)))) => {}
            }
        }
    }
}

/// Two streams side by side.
pub struct Zip<A: Stream, B: Stream>(futures_util::stream::Zip<A, B>);

impl<A: Stream, B: Stream> std::fmt::Debug for Zip<A, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Zip")
    }
}

impl<A: Stream + Unpin, B: Stream + Unpin> Zip<A, B> {
    /// The next pair; `None` when either stream has ended. May be dropped without a loss.
    pub async fn next(&mut self) -> Option<(A::Item, B::Item)> {
        self.0.next().await
    }
}

impl<A: Stream + Unpin, B: Stream + Unpin> Stream for Zip<A, B> {
    type Item = (A::Item, B::Item);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}
