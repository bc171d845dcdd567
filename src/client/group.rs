//! Groups: consumers that share the elements of a channel, each element leased to one of them until it says that it is done.

use std::time::Duration;

use super::channel::Channel;
use super::error::{Error, Result};
use super::handle::wrong_answer;
use super::member::Member;
use super::millis::millis;
use crate::protocol::ChannelName;
use crate::protocol::command::{Answer, Command, Query};
use crate::protocol::group::{DeadLetters, GroupInfo, GroupName, GroupOptions};

/// How many elements a member has at a time unless it says otherwise: 64.
pub const WINDOW: u32 = 64;

/// The headers of a dead letter: from which channel it is, its offset there, and how often it was tried.
pub const DEAD_LETTER_HEADERS: [&str; 3] = ["dead-from", "dead-offset", "dead-attempts"];

/// A group of a channel, there or not: [`Channel::group`]. Cheap to clone.
///
/// ```
/// # use std::time::Duration;
/// # use headwater::{Client, Result};
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// # let client = Client::local().await?;
/// let orders = client.channel::<String>("orders").await?;
/// orders.append_values(&["tea".to_owned(), "milk".to_owned()]).await?;
/// orders.stop().await?;
///
/// // Any number of programs do the same: each order goes to one of them.
/// let group = orders.group("packers")?.lease(Duration::from_secs(60)).dead_letters("orders-dead", 5);
/// let mut member = group.join().await?;
/// let mut packed = Vec::new();
/// while let Some(order) = member.next().await.transpose()? {
///     packed.push(order.value().cloned());
///     order.done().await?;
/// }
/// assert_eq!(packed, [Some("tea".to_owned()), Some("milk".to_owned())]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Group<T> {
    channel: Channel<T>,
    name: GroupName,
    options: Option<GroupOptions>,
    from_end: bool,
    window: u32,
    error: Option<Error>,
}

impl<T> Channel<T> {
    /// The group of this name. It is there once somebody has joined it.
    ///
    /// # Errors
    /// [`Error::BadName`].
    pub fn group(&self, name: &str) -> Result<Group<T>> {
        let (options, from_end, error) = Default::default();
        let name = GroupName::new(name)?;
        Ok(Group { channel: self.clone(), name, options, from_end, window: WINDOW, error })
    }

    /// All groups of the channel, by name.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn groups(&self) -> Result<Vec<GroupInfo>> {
        let after = |last: &GroupInfo| last.name.clone();
        let ask = |last: Option<&GroupInfo>| Query::Groups { log: self.log(), after: last.map(after) };
        let rows = |answer| if let Answer::Groups(rows) = answer { Some(rows) } else { None };
        self.client().all_pages("a question for groups", ask, rows).await
    }
}

impl<T> Group<T> {
    /// How long a member has an element for itself, until it says that it is done, or extends the lease: 30 s unless
    /// somebody has said otherwise. What is said here holds for the group from the next [`Self::join`] on, for everyone.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        self.with(|options| options.lease_ms = millis(lease))
    }

    /// An element that was tried so often, and nobody has said that it is done, goes to another channel, with headers
    /// that say where it is from ([`DEAD_LETTER_HEADERS`]). Unless somebody has said so, it is leased again and again. As
    /// [`Self::lease`] otherwise.
    ///
    /// An element is never brought more often than that, even if it kills each member that it is brought to. When it does,
    /// those that wait behind it count as tried where it was their first lease, and not again later: give at least 2, or
    /// members with a [window](Self::window) of 1, where they shall not become dead letters untried.
    #[must_use]
    pub fn dead_letters(mut self, channel: &str, attempts_max: u32) -> Self {
        match ChannelName::new(channel) {
            Ok(channel) => {
                self.with(|options| options.dead_letters = Some(DeadLetters { channel, attempts_max }))
            }
            Err(error) => {
                self.error.get_or_insert(error.into());
                self
            }
        }
    }

    /// While something is acknowledged again within this time, at most 30 days, the channel keeps what is not done,
    /// whatever its bounds. As [`Self::lease`] otherwise.
    #[must_use]
    pub fn pinned_for(self, pin: Duration) -> Self {
        self.with(|options| options.pin_ms = millis(pin))
    }

    /// A group that is made begins behind what there is on the channel, and not with the first element that is kept.
    #[must_use]
    pub fn from_end(self) -> Self {
        Group { from_end: true, ..self }
    }

    /// How many elements a member has at a time, those that it was given and is not done with included: [`WINDOW`] unless
    /// it says otherwise here. With 1 it waits for a round trip before each.
    #[must_use]
    pub fn window(self, elements: u32) -> Self {
        Group { window: elements, ..self }
    }

    fn with(self, change: impl FnOnce(&mut GroupOptions)) -> Self {
        let mut options = self.options.clone().unwrap_or_default();
        change(&mut options);
        Group { options: Some(options), ..self }
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Finds the group, or makes it, and says how it leases, where that was said here. Not needed before [`Self::join`].
    ///
    /// # Errors
    /// For a lease, a pin or attempts that are out of bounds, and when the channel was deleted.
    pub async fn open(&self) -> Result<GroupInfo> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let (log, name) = (self.channel.log(), self.name.clone());
        let open = Command::OpenGroup { log, name, options: self.options.clone(), from_end: self.from_end };
        match self.channel.client().connection().command(open).await? {
            Answer::Group(info) => Ok(info),
            _ => Err(wrong_answer("the opening of a group")),
        }
    }

    /// Finds the group, or makes it, and takes part: elements are leased to this client from now on. One client is one
    /// member of a group.
    ///
    /// # Errors
    /// As [`Self::open`].
    ///
    /// # Panics
    /// Outside of a tokio runtime, on which leases are extended.
    pub async fn join(&self) -> Result<Member<T>> {
        let info = self.open().await?;
        Ok(Member::new(self.channel.clone(), &info, self.window))
    }

    /// Forgets the group. Its members are told.
    ///
    /// # Errors
    /// When the channel was deleted.
    pub async fn delete(&self) -> Result<()> {
        let (log, name) = (self.channel.log(), self.name.clone());
        match self.channel.client().connection().command(Command::DeleteGroup { log, name }).await? {
            Answer::Deleted => Ok(()),
            _ => Err(wrong_answer("the deletion of a group")),
        }
    }
}
