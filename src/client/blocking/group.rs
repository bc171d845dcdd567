//! Groups for synchronous code.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{Channel, Shared};
use crate::client::error::Result;
use crate::client::{self, Element};
use crate::protocol::Headers;
use crate::protocol::group::GroupInfo;

impl<T> Channel<T> {
    /// As [`client::Channel::group`].
    ///
    /// # Errors
    /// As there.
    pub fn group(&self, name: &str) -> Result<Group<T>> {
        Ok(Group { group: self.channel.group(name)?, shared: self.shared.clone() })
    }

    /// As [`client::Channel::groups`].
    ///
    /// # Errors
    /// As there.
    pub fn groups(&self) -> Result<Vec<GroupInfo>> {
        self.shared.wait(self.channel.groups())
    }
}

/// As [`client::Group`].
#[derive(Debug, Clone)]
pub struct Group<T> {
    group: client::Group<T>,
    shared: Arc<Shared>,
}

impl<T> Group<T> {
    /// As [`client::Group::lease`].
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        Group { group: self.group.lease(lease), ..self }
    }

    /// As [`client::Group::dead_letters`].
    #[must_use]
    pub fn dead_letters(self, channel: &str, attempts_max: u32) -> Self {
        Group { group: self.group.dead_letters(channel, attempts_max), ..self }
    }

    /// As [`client::Group::pinned_for`].
    #[must_use]
    pub fn pinned_for(self, pin: Duration) -> Self {
        Group { group: self.group.pinned_for(pin), ..self }
    }

    /// As [`client::Group::from_end`].
    #[must_use]
    pub fn from_end(self) -> Self {
        Group { group: self.group.from_end(), ..self }
    }

    /// As [`client::Group::window`].
    #[must_use]
    pub fn window(self, elements: u32) -> Self {
        Group { group: self.group.window(elements), ..self }
    }

    /// As [`client::Group::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(&self) -> Result<GroupInfo> {
        self.shared.wait(self.group.open())
    }

    /// As [`client::Group::join`].
    ///
    /// # Errors
    /// As there.
    pub fn join(&self) -> Result<Member<T>> {
        Ok(Member { member: self.shared.wait(self.group.join())?, shared: self.shared.clone() })
    }

    /// As [`client::Group::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self) -> Result<()> {
        self.shared.wait(self.group.delete())
    }
}

/// As [`client::Member`]: an iterator over what is leased to it.
#[derive(Debug)]
pub struct Member<T> {
    member: client::Member<T>,
    shared: Arc<Shared>,
}

impl<T: DeserializeOwned> Iterator for Member<T> {
    type Item = Result<Delivery<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        let delivery = self.shared.wait(self.member.next())?;
        Some(delivery.map(|delivery| Delivery { delivery, shared: self.shared.clone() }))
    }
}

/// As [`client::Delivery`].
#[must_use = "it is leased again, unless it is said to be done"]
#[derive(Debug)]
pub struct Delivery<T> {
    pub(super) delivery: client::Delivery<T>,
    shared: Arc<Shared>,
}

impl<T> Delivery<T> {
    /// The element.
    pub fn element(&self) -> &Element<T> {
        &self.delivery.element
    }

    /// The value, if it is one.
    pub fn value(&self) -> Option<&T> {
        self.delivery.value()
    }

    /// Its headers.
    pub fn headers(&self) -> &Headers {
        &self.delivery.headers
    }

    /// Its place among the elements.
    pub fn index(&self) -> u64 {
        self.delivery.index
    }

    /// How often it was leased, this time included.
    pub fn attempt(&self) -> u32 {
        self.delivery.attempt
    }

    /// As [`client::Delivery::done`].
    ///
    /// # Errors
    /// As there.
    pub fn done(self) -> Result<()> {
        self.shared.wait(self.delivery.done())
    }

    /// As [`client::Delivery::give_back`].
    ///
    /// # Errors
    /// As there.
    pub fn give_back(self) -> Result<()> {
        self.shared.wait(self.delivery.give_back())
    }

    /// As [`client::Delivery::extend`].
    ///
    /// # Errors
    /// As there.
    pub fn extend(&self) -> Result<()> {
        self.shared.wait(self.delivery.extend())
    }
}
