//! Where reading ends: at the bound that it was given, and where the channel was stopped.
//!
//! Neither shows in the records alone. The record that stops a channel is seen only by those who begin before it, and
//! nothing says that no record follows. So once reading has begun, the scheduler is asked for the channel:
//!
//! ```text
//!   begun ──▶ asked ──▶ where it was stopped, or the head: nothing is wanted from there on
//!     ▲                 │
//!     └── a stop was read, or the time of the bound has come
//! ```

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::connection::Reply;
use super::error::Result;
use super::handle::{Client, wrong_answer};
use crate::protocol::channel::ChannelInfo;
use crate::protocol::command::{Answer, Query};
use crate::protocol::{ChannelEvent, ChannelName, Digest, TimeMs};

/// Where reading ends, if that is not where the channel is stopped: [`Reading::until`](super::Reading::until).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// With what is there when reading begins, or a little later: nothing is waited for.
    Now,
    /// Before the record at this offset.
    Offset(u64),
    /// Before the first record of this time or later, by the scheduler's clock. When none comes, it ends once
    /// that clock is [`CLOCKS_APART_MS_MAX`](super::CLOCKS_APART_MS_MAX) past it and all that is there was read.
    Time(TimeMs),
}

/// What to do where the channel was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtStop {
    /// Reading ends.
    End,
    /// It goes on with what becomes of the futures, and whoever reads is told.
    Tell,
    /// It goes on, unless there is a bound: that will not be reached.
    GoOn,
}

/// A stop that was learned of by asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stop {
    /// The head then: no element is there or behind it.
    head: u64,
    pub count: u64,
    pub digest: Digest,
}

/// The stops among the records that are read. One that lies in history may have been lifted behind it, so it is told once
/// all of that is read.
#[derive(Debug, Default)]
pub(super) struct Stops {
    held: Option<(u64, Digest)>,
    is_caught_up: bool,
}

impl Stops {
    /// Takes a record. Answers how many elements there are and their digest, if no element follows it.
    pub fn take(&mut self, event: &ChannelEvent) -> Option<(u64, Digest)> {
        match event {
            ChannelEvent::Stopped { count, digest, .. } | ChannelEvent::Deleted { count, digest, .. } => {
                self.held = Some((*count, *digest));
            }
            ChannelEvent::Resumed { .. } => self.held = None,
            _ => {}
        }
        if self.is_caught_up { self.held.take() } else { None }
    }

    /// History is read. Answers as [`Self::take`].
    pub fn caught_up(&mut self) -> Option<(u64, Digest)> {
        self.is_caught_up = true;
        self.held.take()
    }
}

/// Where one reading ends, as far as is known.
#[derive(Debug)]
pub(super) struct Bound {
    until: Option<Until>,
    at_stop: AtStop,
    has_begun: bool,
    /// Nothing is wanted from here on.
    end: Option<u64>,
    stop: Option<Stop>,
    asked: Option<Asked>,
    /// When the time of the bound has come.
    due: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
struct Asked {
    reply: Reply<Answer>,
    /// Whether the head that is answered is the end.
    is_last: bool,
}

impl Bound {
    pub fn new(at_stop: AtStop) -> Self {
        Bound { until: None, at_stop, has_begun: false, end: None, stop: None, asked: None, due: None }
    }

    /// Lets reading end there. It has not begun.
    pub fn set(&mut self, until: Until) {
        self.until = Some(until);
        self.end = if let Until::Offset(offset) = until { Some(offset) } else { None };
    }

    /// Whether what is there is read and nothing else.
    pub fn is_now(&self) -> bool {
        self.until == Some(Until::Now)
    }

    /// Whether records of this time are not wanted any more.
    pub fn is_past(&self, time_ms: TimeMs) -> bool {
        matches!(self.until, Some(Until::Time(until)) if time_ms >= until)
    }

    /// Whether a record at this offset is not wanted any more.
    pub fn is_reached(&self, offset: u64) -> bool {
        self.end.is_some_and(|end| offset >= end)
    }

    /// Whether the channel has been asked for, and nothing is open.
    pub fn is_settled(&self) -> bool {
        self.asked.is_none() && (self.has_begun || !self.asks())
    }

    /// The stop that is not among the records, if reading has come to it.
    pub fn stop_before(&self, next_offset: Option<u64>) -> Option<Stop> {
        self.stop.filter(|stop| next_offset.is_some_and(|next| next >= stop.head))
    }

    /// The record of a stop was read.
    pub fn saw_stop(&mut self, client: &Client, channel: &ChannelName) {
        if self.until.is_some() && self.at_stop == AtStop::GoOn && self.stop.is_none() {
            // What was asked before may be answered as of before the stop.
            let is_last = self.asked.as_ref().is_some_and(|asked| asked.is_last);
            self.ask(client, channel, is_last);
        }
    }

    /// Asks and listens. Reading has begun.
    ///
    /// # Errors
    /// When the scheduler does not say.
    pub fn look(&mut self, client: &Client, channel: &ChannelName, context: &mut Context<'_>) -> Result<()> {
        if !self.asks() {
            return Ok(());
        }
        if !std::mem::replace(&mut self.has_begun, true) {
            let due_in = self.due_in(client);
            self.due = due_in.filter(|due_in| !due_in.is_zero()).map(|due_in| Box::pin(sleep(due_in)));
            self.ask(client, channel, self.is_now() || due_in == Some(Duration::ZERO));
        }
        if let Some(due) = &mut self.due
            && due.as_mut().poll(context).is_ready()
        {
            self.due = None;
            self.ask(client, channel, true);
        }
        if let Some(Asked { reply, is_last }) = &mut self.asked
            && let Poll::Ready(answer) = Pin::new(reply).poll(context)
        {
            let is_last = *is_last;
            self.asked = None;
            match answer? {
                Answer::Channel(info) => self.take(&info, is_last),
                _ => return Err(wrong_answer("a question for a channel")),
            }
        }
        Ok(())
    }

    fn take(&mut self, info: &ChannelInfo, is_last: bool) {
        let ChannelInfo { head, elements: count, digest, stopped, .. } = *info;
        if stopped {
            self.stop = Some(Stop { head, count, digest });
        }
        let ends_at_stop = match self.at_stop {
            AtStop::End => true,
            AtStop::Tell => false,
            AtStop::GoOn => self.until.is_some(),
        };
        if is_last || stopped && ends_at_stop {
            self.end = Some(self.end.map_or(head, |end| end.min(head)));
        }
    }

    fn asks(&self) -> bool {
        self.until.is_some() || self.at_stop != AtStop::GoOn
    }

    fn ask(&mut self, client: &Client, channel: &ChannelName, is_last: bool) {
        let reply = client.query(Query::Channel { name: channel.clone() });
        self.asked = Some(Asked { reply, is_last });
    }

    /// How long it is until the time of the bound has come everywhere, if that is a time.
    fn due_in(&self, client: &Client) -> Option<Duration> {
        let Some(Until::Time(time_ms)) = self.until else { return None };
        Some(client.connection().clock().until(time_ms))
    }
}
