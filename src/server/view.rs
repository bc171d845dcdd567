//! What a subscription sees of a log: what is durable, what is stored though it is trimmed, or what is appended, too.

use tokio::sync::watch;

use super::subscription::{Search, Subscription};
use crate::log::reader::Reader;
use crate::log::{Bounds, Error};
use crate::protocol::LogId;
use crate::protocol::batch::Batch;
use crate::protocol::command::Rejection;
use crate::protocol::message::{Position, Reads, ServerMessage};

/// What a subscription sees of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// What is durable and not trimmed.
    Durable,
    /// What is durable and stored.
    Stored,
    /// What is appended and not trimmed.
    Appended,
}

impl View {
    /// The view of one who begins to read there, or goes on.
    ///
    /// # Errors
    /// [`Rejection::Undone`] behind records that were read and are not there any more.
    pub fn open(reader: &Reader, from: Position, reads: Reads) -> Result<View, Rejection> {
        match (from, reads) {
            (Position::Stored(_), _) => Ok(View::Stored),
            (_, Reads::Durable) => Ok(View::Durable),
            (_, Reads::Appended { seen: None }) => Ok(View::Appended),
            (_, Reads::Appended { seen: Some(seen) }) => match reader.starts().check(&seen) {
                Ok(()) => Ok(View::Appended),
                Err(regress) => Err(Rejection::Undone(regress)),
            },
        }
    }

    /// Begins to read a log, and gives the message to send first.
    ///
    /// # Errors
    /// As [`Subscription::open`].
    pub fn begin(
        self,
        reader: &Reader,
        log: LogId,
        from: Position,
        credit_bytes: u64,
    ) -> Result<(Subscription, ServerMessage), Rejection> {
        let bounds = match (self, from) {
            // What is acknowledged may be begun with, and is waited for.
            (View::Durable, Position::Offset(_)) => reader.appended_bounds(log),
            _ => self.bounds(reader, log),
        };
        let subscription =
            Subscription::open(log, from, credit_bytes, bounds, |search| match (self, search) {
                (View::Appended, Search::Element(index)) => reader.find_appended_element(log, index),
                (View::Appended, Search::Time(time_ms)) => reader.find_appended_time(log, time_ms),
                (View::Durable | View::Stored, Search::Element(index)) => reader.find_element(log, index),
                (View::Durable | View::Stored, Search::Time(time_ms)) => reader.find_time(log, time_ms),
            })?;
        let from = subscription.next_offset();
        // A commit at which the log reached up to there. The head first: the commit is not behind it.
        let is_durable = from <= reader.stored_bounds(log).head;
        let undurable =
            if self == View::Appended && !is_durable { reader.appended_before(log, from) } else { None };
        let seq = undurable.unwrap_or(reader.last().seq);
        Ok((subscription, ServerMessage::Subscribed { from, seq }))
    }

    /// Where the log begins and ends in it.
    pub fn bounds(self, reader: &Reader, log: LogId) -> Bounds {
        match self {
            View::Durable => reader.bounds(log),
            View::Stored => reader.stored_bounds(log),
            View::Appended => reader.appended_bounds(log),
        }
    }

    /// The head of a log in it, now and whenever it moves.
    pub(super) fn head(self, reader: &Reader, log: LogId) -> watch::Receiver<u64> {
        match self {
            View::Durable | View::Stored => reader.head(log),
            View::Appended => reader.appended_head(log),
        }
    }

    /// As [`Reader::read`], of what is in it.
    ///
    /// # Errors
    /// As there.
    pub fn read(self, reader: &Reader, log: LogId, from: u64, bytes_max: usize) -> Result<Vec<Batch>, Error> {
        match self {
            View::Durable | View::Stored => reader.read(log, from, bytes_max),
            View::Appended => reader.read_appended(log, from, bytes_max),
        }
    }

    /// Whether a read from this offset finds its first batch in memory.
    pub(super) fn is_at_hand(self, reader: &Reader, log: LogId, from: u64) -> bool {
        reader.is_recent(log, from) || (self == View::Appended && from >= reader.bounds(log).head)
    }
}
