//! An element of a group in a member's hands.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::channel::Channel;
use super::elements::Element;
use super::error::Result;
use super::handle::wrong_answer;
use super::member::{Waiting, lock};
use crate::protocol::command::{Answer, Command};
use crate::protocol::group::{GroupId, OfGroup};
use crate::protocol::{Headers, TimeMs};

/// An element that is leased to this member. Dropped without a word, it stays leased until its time is over, and is leased
/// again then.
#[must_use = "it is leased again, unless it is said to be done"]
pub struct Delivery<T> {
    /// The element.
    pub element: Element<T>,
    /// Its headers.
    pub headers: Headers,
    /// Its place among the elements.
    pub index: u64,
    /// The offset of the record that appended it.
    pub offset: u64,
    /// When it was appended, by the scheduler's clock.
    pub time_ms: TimeMs,
    /// How often it was tried, this time included. The first time that it was leased to somebody counts, even if its member
    /// was gone before it came to it; a later one when it was brought.
    pub attempt: u32,
    pub(super) group: GroupId,
    /// What waits behind it.
    pub(super) waiting: Arc<Mutex<Waiting>>,
    pub(super) channel: Channel<T>,
}

impl<T> Delivery<T> {
    /// The value, if it is one.
    pub fn value(&self) -> Option<&T> {
        if let Element::Value(value) = &self.element { Some(value) } else { None }
    }

    /// Says that it is done with: it is leased to nobody any more. That is durable when this returns. To say so in the
    /// commit that holds what came of it, see [`Transaction::done`](super::Transaction::done).
    ///
    /// # Errors
    /// [`Rejection::LeaseOver`](crate::protocol::command::Rejection::LeaseOver) when its time was over, and it goes to another.
    pub async fn done(self) -> Result<()> {
        self.say(Command::Acknowledge(self.of())).await
    }

    /// Gives it back: it is leased again, to whoever has room.
    ///
    /// # Errors
    /// As [`Self::done`].
    pub async fn give_back(self) -> Result<()> {
        self.say(Command::GiveBack(self.of())).await
    }

    /// Lets its lease begin anew. Whoever does so once a lease, or more often, keeps what waits behind it, too; else that
    /// goes to other members. To have nothing wait, see [`Group::window`](super::Group::window).
    ///
    /// # Errors
    /// When the group was deleted, or the session is over. A lease that was over stays so, and [`Self::done`] says it.
    pub async fn extend(&self) -> Result<()> {
        lock(&self.waiting).goes_on();
        self.say(Command::Extend(self.of())).await
    }

    pub(super) fn of(&self) -> OfGroup {
        OfGroup { group: self.group, elements: vec![(self.index, 1)] }
    }

    async fn say(&self, command: Command) -> Result<()> {
        match self.channel.client().connection().command(command).await? {
            Answer::Reported => Ok(()),
            _ => Err(wrong_answer("what is said of an element")),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, attempt) = (self.index, self.attempt);
        write!(f, "Delivery({:?}, element {index}, attempt {attempt})", self.element)
    }
}
