//! What a channel keeps, and cursors, for synchronous code.

use std::sync::Arc;
use std::time::Duration;

use super::{Channel, Client, Shared};
use crate::client;
use crate::client::error::Result;
use crate::protocol::channel::{ChannelInfo, Retention};
use crate::protocol::cursor::CursorInfo;

impl Client {
    /// As [`client::Client::create_channel`].
    ///
    /// # Errors
    /// As there.
    pub fn create_channel<T>(&self, name: &str, retention: Retention) -> Result<Channel<T>> {
        let channel = self.shared.wait(self.shared.client.create_channel(name, retention))?;
        Ok(Channel::new(channel, &self.shared))
    }
}

impl<T> Channel<T> {
    /// As [`client::Channel::set_retention`].
    ///
    /// # Errors
    /// As there.
    pub fn set_retention(&self, retention: Retention) -> Result<ChannelInfo> {
        self.shared.wait(self.channel.set_retention(retention))
    }

    /// As [`client::Channel::trim`].
    ///
    /// # Errors
    /// As there.
    pub fn trim(&self, before: u64) -> Result<ChannelInfo> {
        self.shared.wait(self.channel.trim(before))
    }

    /// As [`client::Channel::clear`].
    ///
    /// # Errors
    /// As there.
    pub fn clear(&self) -> Result<ChannelInfo> {
        self.shared.wait(self.channel.clear())
    }

    /// As [`client::Channel::resume`].
    ///
    /// # Errors
    /// As there.
    pub fn resume(&self) -> Result<ChannelInfo> {
        self.shared.wait(self.channel.resume())
    }

    /// As [`client::Channel::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self) -> Result<()> {
        self.shared.wait(self.channel.delete())
    }

    /// As [`client::Channel::cursor`].
    ///
    /// # Errors
    /// As there.
    pub fn cursor(&self, name: &str) -> Result<Cursor<T>> {
        Ok(Cursor { cursor: self.channel.cursor(name)?, shared: self.shared.clone() })
    }

    /// As [`client::Channel::cursors`].
    ///
    /// # Errors
    /// As there.
    pub fn cursors(&self) -> Result<Vec<CursorInfo>> {
        self.shared.wait(self.channel.cursors())
    }

    /// As [`client::Channel::subscribers`].
    ///
    /// # Errors
    /// As there.
    pub fn subscribers(&self) -> Result<u64> {
        self.shared.wait(self.channel.subscribers())
    }
}

/// As [`client::Cursor`].
#[derive(Debug, Clone)]
pub struct Cursor<T> {
    pub(super) cursor: client::Cursor<T>,
    shared: Arc<Shared>,
}

impl<T> Cursor<T> {
    /// As [`client::Cursor::pinned_for`].
    #[must_use]
    pub fn pinned_for(self, pin: Duration) -> Self {
        Cursor { cursor: self.cursor.pinned_for(pin), ..self }
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.cursor.name()
    }

    /// As [`client::Cursor::position`].
    ///
    /// # Errors
    /// As there.
    pub fn position(&self) -> Result<u64> {
        self.shared.wait(self.cursor.position())
    }

    /// As [`client::Cursor::commit`].
    ///
    /// # Errors
    /// As there.
    pub fn commit(&self, offset: u64) -> Result<()> {
        self.shared.wait(self.cursor.commit(offset))
    }

    /// As [`client::Cursor::advance`].
    ///
    /// # Errors
    /// As there.
    pub fn advance(&self, from: u64, offset: u64) -> Result<()> {
        self.shared.wait(self.cursor.advance(from, offset))
    }

    /// As [`client::Cursor::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self) -> Result<()> {
        self.shared.wait(self.cursor.delete())
    }
}
