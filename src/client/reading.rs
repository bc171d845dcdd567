//! Reading a log record by record.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use serde::de::DeserializeOwned;

use super::connection::{ReadItem, Subscription};
use super::error::{Error, Result};
use super::handle::Client;
use crate::protocol::batch::{BadBatch, Batch, Damage};
use crate::protocol::message::Position;
use crate::protocol::{ChannelEvent, ChannelName, LogId, TaskEvent, TimeMs};

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
}

impl Offset {
    fn position(self) -> Position {
        match self {
            Offset::Start => Position::Offset(0),
            Offset::At(offset) => Position::Offset(offset),
            Offset::Index(index) => Position::Index(index),
            Offset::End => Position::End,
        }
    }
}

/// The kind of record that a log holds.
pub trait Event: DeserializeOwned + Unpin {
    /// Whether it is an element, and so has an index.
    fn is_element(&self) -> bool;
    /// Whether no element follows it.
    fn is_last(&self) -> bool;
}

impl Event for ChannelEvent {
    fn is_element(&self) -> bool {
        ChannelEvent::is_element(self)
    }
    fn is_last(&self) -> bool {
        matches!(self, ChannelEvent::Stopped { .. })
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

/// What reading brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<E = ChannelEvent> {
    /// A record.
    Record(Record<E>),
    /// Here history ends: everything that was there when it was read has been read. Comes once.
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

/// The records of a log, every one from where it began, in order, once, and then those that come. An
/// error is its last item.
#[derive(Debug)]
pub struct Records<E = ChannelEvent> {
    subscription: Subscription,
    /// With what it keeps: the scheduler itself, say.
    _client: Client,
    /// Whose records they are.
    channel: ChannelName,
    read: VecDeque<Record<E>>,
    /// What is lost behind the records that were read.
    damage: Option<Damage>,
    /// What comes behind the records that were read.
    error: Option<Error>,
    is_over: bool,
    next_offset: Option<u64>,
    /// Until the element with this index came, the rest is left out.
    waits_for_index: Option<u64>,
}

impl<E: Event> Records<E> {
    pub(super) fn new(client: &Client, channel: ChannelName, log: LogId, from: Offset) -> Self {
        Records {
            subscription: client.connection().subscribe(log, from.position()),
            _client: client.clone(),
            channel,
            read: VecDeque::new(),
            damage: None,
            error: None,
            is_over: false,
            next_offset: None,
            waits_for_index: if let Offset::Index(index) = from { Some(index) } else { None },
        }
    }

    /// The offset after the last record that was read or left out; `None` before reading has begun.
    pub fn next_offset(&self) -> Option<u64> {
        self.next_offset
    }

    /// The next item; `None` after an error. May be dropped without a loss.
    pub async fn next(&mut self) -> Option<Result<Item<E>>> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Item<E>>>> {
        loop {
            while let Some(record) = self.read.pop_front() {
                self.next_offset = Some(record.offset + 1);
                if self.is_wanted(&record) {
                    return Poll::Ready(Some(Ok(Item::Record(record))));
                }
            }
            if let Some(Damage { from, to, why }) = self.damage.take() {
                self.next_offset = Some(to);
                return Poll::Ready(Some(Ok(Item::Damaged { from, to, why: why.into() })));
            }
            if let Some(error) = self.error.take() {
                self.is_over = true;
                return Poll::Ready(Some(Err(error)));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.subscription).poll_next(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.of_reading(&self.channel)))),
                Some(Ok(ReadItem::Subscribed { from })) => self.next_offset = Some(from),
                Some(Ok(ReadItem::Records { batch, from })) => self.open(&batch, from),
                Some(Ok(ReadItem::CaughtUp { head })) => {
                    return Poll::Ready(Some(Ok(Item::CaughtUp { head })));
                }
                Some(Ok(ReadItem::Trimmed { from, first })) => {
                    self.next_offset = Some(first);
                    return Poll::Ready(Some(Ok(Item::Trimmed { from, first })));
                }
            }
        }
    }

    fn open(&mut self, batch: &Batch, from: u64) {
        if let Some(damage) = batch.damage() {
            return self.skip(batch, Damage { from: damage.from.max(from), ..damage });
        }
        let (mut index, time_ms) = (batch.header().base_index, batch.header().time_ms);
        for record in batch.records::<E>() {
            match record {
                Ok((offset, event)) => {
                    let is_element = event.is_element();
                    if offset >= from {
                        let index = is_element.then_some(index);
                        self.read.push_back(Record { offset, time_ms, index, event });
                    }
                    index += u64::from(is_element);
                }
                Err(bad) => self.error = Some(undecodable(&bad)),
            }
        }
    }

    /// Goes on behind records that are lost. Those before the element that is waited for are left out.
    fn skip(&mut self, batch: &Batch, damage: Damage) {
        let header = batch.header();
        if self.waits_for_index.is_some_and(|wanted| header.end_index() <= wanted) {
            self.next_offset = Some(header.end_offset());
        } else {
            (self.waits_for_index, self.damage) = (None, Some(damage));
        }
    }

    fn is_wanted(&mut self, record: &Record<E>) -> bool {
        match (self.waits_for_index, record.index) {
            (None, _) => true,
            (Some(wanted), Some(index)) if index >= wanted => {
                self.waits_for_index = None;
                true
            }
            _ => record.event.is_last(),
        }
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
