//! Reading a log record by record.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use serde::de::DeserializeOwned;

use super::bound::{AtStop, Bound, Stop, Until};
use super::connection::{ReadItem, Subscription};
use super::error::{Error, Result};
use super::handle::Client;
use crate::protocol::batch::{BadBatch, Batch, Damage};
use crate::protocol::message::{Position, Reads};
use crate::protocol::payload::Lent;
use crate::protocol::unread::Unread;
use crate::protocol::{ChannelEvent, ChannelName, Headers, LogId, TaskEvent, TimeMs};

/// Where to begin to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// With the first record ever.
    Start,
    /// With the record at this offset.
    At(u64),
    /// With the element of this index, also when it is still to come. What comes before it is left out.
    Index(u64),
    /// With what comes next.
    End,
    /// With the last so many elements that there are when reading begins: the first of them, or the first record there
    /// is when there are fewer. In the task log, which has no elements, every record counts.
    Last(u64),
    /// With the first record that was committed at this time or later, by the scheduler's clock; with what comes next
    /// when there is none. Where that clock was set back, several records may be of that time or later behind an
    /// earlier one: it is one of them.
    Time(TimeMs),
}

impl Offset {
    pub(crate) fn position(self) -> Position {
        match self {
            Offset::Start => Position::Offset(0),
            Offset::At(offset) => Position::Offset(offset),
            Offset::Index(index) => Position::Index(index),
            Offset::End => Position::End,
            Offset::Last(count) => Position::Last(count),
            Offset::Time(time_ms) => Position::Time(time_ms),
        }
    }
}

/// The kind of record that a log holds.
pub trait Event: DeserializeOwned + Unpin {
    /// Whether it is an element, and so has an index.
    fn is_element(&self) -> bool;
    /// Whether no element follows it, unless that is lifted.
    fn is_last(&self) -> bool;
    /// Whether it says that no element follows it, or lifts that.
    fn bears_on_end(&self) -> bool {
        self.is_last()
    }
}

impl Event for ChannelEvent {
    fn is_element(&self) -> bool {
        ChannelEvent::is_element(self)
    }
    fn is_last(&self) -> bool {
        matches!(self, ChannelEvent::Stopped { .. } | ChannelEvent::Deleted { .. })
    }
    fn bears_on_end(&self) -> bool {
        self.is_last() || matches!(self, ChannelEvent::Resumed { .. })
    }
}

impl Event for TaskEvent {
    fn is_element(&self) -> bool {
        false
    }
    fn is_last(&self) -> bool {
        false
    }
}

/// A record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<E = ChannelEvent> {
    /// Its place in the log.
    pub offset: u64,
    /// When it was committed, by the scheduler's clock.
    pub time_ms: TimeMs,
    /// Its place among the elements, if it is one.
    pub index: Option<u64>,
    /// What it says.
    pub event: E,
}

impl Record {
    /// The headers, if it is an element; most have none.
    pub fn headers(&self) -> Option<&Headers> {
        self.event.appended().map(|appended| appended.headers)
    }
}

/// What reading brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<E = ChannelEvent> {
    /// A record.
    Record(Record<E>),
    /// Here history ends: everything that was there when it was read has been read. Comes once; last where no more was
    /// asked for.
    CaughtUp {
        /// The head then: the offset of the next record.
        head: u64,
    },
    /// Records are gone.
    Trimmed {
        /// The offset that was to come next.
        from: u64,
        /// The offset of the next record.
        first: u64,
    },
    /// Records were lost with a damaged store. They keep their offsets, and the elements among them theirs.
    Damaged {
        /// The first offset that is lost, or where reading began among them.
        from: u64,
        /// The offset of the next record.
        to: u64,
        /// Why, in words.
        why: Box<str>,
    },
}

/// The records of a log, every one from where it began, in order, once, and then those that come, up to a bound if it has
/// one. An error is its last item.
#[derive(Debug)]
pub struct Records<E = ChannelEvent> {
    subscription: Subscription,
    /// With what it keeps: the scheduler itself, say.
    client: Client,
    /// Whose records they are.
    channel: ChannelName,
    bound: Bound,
    has_caught_up: bool,
    open: Option<Open>,
    is_over: bool,
    next_offset: Option<u64>,
    /// Until the element with this index came, the rest is left out.
    waits_for_index: Option<u64>,
    event: PhantomData<fn() -> E>,
}

/// The batch that is being read.
#[derive(Debug)]
struct Open {
    unread: Unread,
    /// The first offset in it that is wanted.
    from: u64,
    /// The index of its next element.
    index: u64,
    time_ms: TimeMs,
}

impl<E: Event> Records<E> {
    pub(super) fn new(client: &Client, channel: ChannelName, log: LogId, from: Offset, reads: Reads) -> Self {
        Records {
            subscription: client.connection().subscribe_to(log, from.position(), reads),
            client: client.clone(),
            channel,
            bound: Bound::new(AtStop::GoOn),
            has_caught_up: false,
            open: None,
            is_over: false,
            next_offset: None,
            waits_for_index: if let Offset::Index(index) = from { Some(index) } else { None },
            event: PhantomData,
        }
    }

    /// Lets reading end there. It is to be called before anything is read.
    #[must_use]
    pub fn until(mut self, until: Until) -> Self {
        self.bound.set(until);
        self
    }

    /// What to do where the channel was stopped. Nothing was read yet.
    pub(super) fn at_stop(mut self, at_stop: AtStop, until: Option<Until>) -> Self {
        self.bound = Bound::new(at_stop);
        until.into_iter().for_each(|until| self.bound.set(until));
        self
    }

    /// Whose records they are.
    pub(super) fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// Whose session it is.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The stop of the channel, if it is not among the records and reading has come to it.
    pub(super) fn stop_before(&self) -> Option<Stop> {
        self.bound.stop_before(self.next_offset)
    }

    /// The offset after the last record that was read or left out; `None` before reading has begun.
    pub fn next_offset(&self) -> Option<u64> {
        self.next_offset
    }

    /// The next item; `None` at the end, which there is when it was asked for, and after an error. May be dropped without
    /// a loss.
    pub async fn next(&mut self) -> Option<Result<Item<E>>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Item<E>>>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            if let Some(next) = self.next_offset {
                if let Err(error) = self.bound.look(&self.client, &self.channel, context) {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
                if self.bound.is_reached(next) {
                    return Poll::Ready(self.end(next).map(Ok));
                }
            }
            if let Some(read) = self.read_on() {
                return Poll::Ready(Some(read.map(Item::Record)));
            }
            // What was read last may have been all.
            if self.is_over || self.next_offset.is_some_and(|next| self.bound.is_reached(next)) {
                continue;
            }
            match ready!(Pin::new(&mut self.subscription).poll_next(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.of_reading(&self.channel)))),
                Some(Ok(ReadItem::Subscribed { from })) => self.next_offset = Some(from),
                Some(Ok(ReadItem::Records { batch, .. })) if self.bound.is_past(batch.header().time_ms) => {
                    self.is_over = true;
                }
                Some(Ok(ReadItem::Records { batch, from })) => {
                    if let Some(damage) = batch.damage() {
                        let damage = Damage { from: damage.from.max(from), ..damage };
                        if let Some(item) = self.skip(&batch, damage) {
                            return Poll::Ready(Some(Ok(item)));
                        }
                    } else {
                        let (index, time_ms) = (batch.header().base_index, batch.header().time_ms);
                        self.open = Some(Open { unread: Unread::all_of(batch), from, index, time_ms });
                    }
                }
                Some(Ok(ReadItem::CaughtUp { head })) => {
                    self.has_caught_up = true;
                    self.is_over = self.bound.is_now();
                    return Poll::Ready(Some(Ok(Item::CaughtUp { head })));
                }
                Some(Ok(ReadItem::Trimmed { from, first })) => {
                    self.next_offset = Some(first);
                    return Poll::Ready(Some(Ok(Item::Trimmed { from, first })));
                }
            }
        }
    }

    /// Ends at the bound. Who wanted what is there now has caught up with it.
    fn end(&mut self, head: u64) -> Option<Item<E>> {
        self.is_over = true;
        let catches_up = self.bound.is_now() && !std::mem::replace(&mut self.has_caught_up, true);
        catches_up.then_some(Item::CaughtUp { head })
    }

    /// The next record that is wanted of the open batch.
    fn read_on(&mut self) -> Option<Result<Record<E>>> {
        loop {
            let Some(open) = &mut self.open else { return None };
            if self.bound.is_reached(open.unread.next_offset()) {
                self.open = None;
                return None;
            }
            let record = match open.unread.take::<E>() {
                Some(Ok((offset, event))) => {
                    let index = event.is_element().then_some(open.index);
                    open.index += u64::from(index.is_some());
                    if offset < open.from {
                        continue;
                    }
                    Record { offset, time_ms: open.time_ms, index, event }
                }
                Some(Err(bad)) => {
                    (self.open, self.is_over) = (None, true);
                    return Some(Err(undecodable(&bad)));
                }
                None => {
                    self.open = None;
                    return None;
                }
            };
            self.next_offset = Some(record.offset + 1);
            if record.event.is_last() {
                self.bound.saw_stop(&self.client, &self.channel);
            }
            if self.is_wanted(&record) {
                return Some(Ok(record));
            }
        }
    }

    /// Goes on behind records that are lost, and says so. Those before the element that is waited for are left out.
    fn skip(&mut self, batch: &Batch, damage: Damage) -> Option<Item<E>> {
        let header = batch.header();
        self.next_offset = Some(header.end_offset());
        if self.waits_for_index.is_some_and(|wanted| header.end_index() <= wanted) {
            return None;
        }
        self.waits_for_index = None;
        let Damage { from, to, why } = damage;
        Some(Item::Damaged { from, to, why: why.into() })
    }

    fn is_wanted(&mut self, record: &Record<E>) -> bool {
        match (self.waits_for_index, record.index) {
            (None, _) => true,
            (Some(wanted), Some(index)) if index >= wanted => {
                self.waits_for_index = None;
                true
            }
            _ => record.event.bears_on_end(),
        }
    }
}

impl Records<ChannelEvent> {
    /// The next record with its offset, if it is a value that is here already and that is wanted: where it lies. All
    /// else is left to [`Records::poll`].
    pub(super) fn take_value(&mut self) -> Option<(u64, Lent<'_>)> {
        let open = self.open.as_mut()?;
        let next = open.unread.next_offset();
        if self.waits_for_index.is_some() || next < open.from {
            return None;
        }
        if !self.bound.is_settled() || self.bound.is_reached(next) {
            return None;
        }
        let (offset, value) = open.unread.take_value()?;
        open.index += 1;
        self.next_offset = Some(offset + 1);
        Some((offset, value))
    }
}

fn undecodable(bad: &BadBatch) -> Error {
    Error::decode("log", format!("{bad}: read it with a newer headwater"))
}

impl<E: Event> Stream for Records<E> {
    type Item = Result<Item<E>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(context)
    }
}
