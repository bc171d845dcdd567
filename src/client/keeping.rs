//! What a channel keeps and when its appends are acknowledged, and the cursors that say how far it was read.

use std::time::Duration;

use super::channel::Channel;
use super::error::Result;
use super::handle::{Client, wrong_answer};
use super::millis::millis;
use crate::protocol::ChannelName;
use crate::protocol::channel::{ChannelInfo, ChannelOptions, Durability, Retention};
use crate::protocol::command::{Answer, Command, Query};
use crate::protocol::cursor::{CursorInfo, CursorMove, CursorName};

impl Client {
    /// Makes a channel of this name, which must not be there, with what it keeps ([`Retention`]), or with when its appends
    /// are acknowledged ([`Durability`]), or with both ([`ChannelOptions`]).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use headwater::{Client, Result, Retention};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let client = Client::local().await?;
    /// let bounded = Retention::ALL.with_elements(2).with_age(Duration::from_secs(3600));
    /// let readings = client.create_channel::<u32>("readings", bounded).await?;
    /// for reading in 1..=5 {
    ///     readings.append_value(&reading).await?;
    /// }
    /// assert_eq!(readings.info().await?.trimmed, 3);
    /// # client.close().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::BadName`](super::Error::BadName); [`Error::Rejected`](super::Error::Rejected) for a name that is taken or is
    /// the scheduler's own, and for a bound of 0.
    pub async fn create_channel<T>(
        &self,
        name: &str,
        options: impl Into<ChannelOptions>,
    ) -> Result<Channel<T>> {
        let (name, options) = (ChannelName::new(name)?, options.into());
        let create = Command::CreateChannel { name: name.clone(), options };
        match self.connection().command(create).await? {
            Answer::Channel(info) => Ok(Channel::new(self.clone(), name, info.log)),
            _ => Err(wrong_answer("the creation of a channel")),
        }
    }
}

// Here, since what is stored and sent knows of no clock.
impl Retention {
    /// Keeps elements of this age and younger ones.
    #[must_use]
    pub fn with_age(self, max: Duration) -> Self {
        Retention { max_age_ms: Some(millis(max)), ..self }
    }
}

impl Durability {
    /// Acknowledged once it is written, and flushed to the disk at most so long after that, in whole milliseconds:
    /// [`Durability::Buffered`].
    pub fn buffered(flush_within: Duration) -> Self {
        Durability::Buffered { flush_ms: u32::try_from(flush_within.as_millis()).unwrap_or(u32::MAX) }
    }
}

impl<T> Channel<T> {
    /// Lets appends to the channel be acknowledged so from now on, whoever appends, unless the append says it itself
    /// ([`AppendBatch::buffered`](super::AppendBatch::buffered)).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use headwater::{Client, Durability, Result};
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let client = Client::local().await?;
    /// let gauge = client.channel::<u32>("gauge").await?;
    /// gauge.set_durability(Durability::buffered(Duration::from_millis(100))).await?;
    /// for reading in 1..=3 {
    ///     gauge.append_value(&reading).await?; // Waits for no disk.
    /// }
    /// gauge.flush().await?; // Now it is all on the disk.
    /// let kept = gauge.batch().value(&4).fsynced().append().await?; // This was, when it returned.
    /// assert_eq!(kept.durability, Durability::Fsynced);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// For a time of 0 or over a minute, and when the channel was deleted.
    pub async fn set_durability(&self, durability: Durability) -> Result<ChannelInfo> {
        self.change(Command::SetDurability { log: self.log(), durability }).await
    }

    /// Lets the channel keep so much from now on. What is over that goes at once, and futures among it are released.
    ///
    /// # Errors
    /// For a bound of 0, and when the channel was deleted.
    pub async fn set_retention(&self, retention: Retention) -> Result<ChannelInfo> {
        self.change(Command::Retain { log: self.log(), retention }).await
    }

    /// Keeps no more what is before an offset: the futures there are released, and who reads from there is told that they
    /// are gone. Cursors do not hold this back.
    ///
    /// # Errors
    /// For an offset past the head, and when the channel was deleted.
    pub async fn trim(&self, before: u64) -> Result<ChannelInfo> {
        self.change(Command::Trim { log: self.log(), before: Some(before) }).await
    }

    /// Keeps no more what there is now, as [`Self::trim`] at the head.
    ///
    /// # Errors
    /// When the channel was deleted.
    pub async fn clear(&self) -> Result<ChannelInfo> {
        self.change(Command::Trim { log: self.log(), before: None }).await
    }

    /// Lets a channel that was stopped take elements again. Streams that ended there do not go on.
    ///
    /// # Errors
    /// When the channel was deleted.
    pub async fn resume(&self) -> Result<ChannelInfo> {
        self.change(Command::Resume { log: self.log() }).await
    }

    async fn change(&self, command: Command) -> Result<ChannelInfo> {
        match self.client().connection().command(command).await? {
            Answer::Channel(info) => Ok(info),
            _ => Err(wrong_answer("a change of a channel")),
        }
    }

    /// Deletes the channel, with its cursors: what was on it is gone, its futures are released, and streams of it end. A
    /// channel of that name can be made again; its offsets go on where they ended here.
    ///
    /// # Errors
    /// When it was deleted before.
    pub async fn delete(&self) -> Result<()> {
        match self.client().connection().command(Command::Delete { log: self.log() }).await? {
            Answer::Deleted => Ok(()),
            _ => Err(wrong_answer("the deletion of a channel")),
        }
    }

    /// The cursor of this name: a place up to which the channel has been read, which the scheduler remembers. It is there
    /// once it was set.
    ///
    /// # Errors
    /// [`Error::BadName`](super::Error::BadName).
    pub fn cursor(&self, name: &str) -> Result<Cursor<T>> {
        Ok(Cursor { channel: self.clone(), name: CursorName::new(name)?, pin: Duration::ZERO })
    }

    /// All cursors of the channel, by name.
    ///
    /// # Errors
    /// When the channel was deleted.
    pub async fn cursors(&self) -> Result<Vec<CursorInfo>> {
        let after = |last: &CursorInfo| last.name.clone();
        let ask = |last: Option<&CursorInfo>| Query::Cursors { log: self.log(), after: last.map(after) };
        let rows = |answer| if let Answer::Cursors(rows) = answer { Some(rows) } else { None };
        self.client().all_pages("a question for cursors", ask, rows).await
    }

    /// How many subscriptions read the channel now.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn subscribers(&self) -> Result<u64> {
        match self.client().query(Query::Subscribers { log: self.log() }).await? {
            Answer::Subscribers(count) => Ok(count),
            _ => Err(wrong_answer("a question for subscribers")),
        }
    }
}

/// A named place in a channel, durable: [`Channel::cursor`]. Cheap to clone.
#[derive(Debug)]
pub struct Cursor<T> {
    channel: Channel<T>,
    name: CursorName,
    pin: Duration,
}

impl<T> Cursor<T> {
    /// While it is set again within this time, at most 30 days, the channel keeps what the cursor has not passed, whatever
    /// its bounds: a reader that is gone holds nothing back for longer.
    #[must_use]
    pub fn pinned_for(self, pin: Duration) -> Self {
        Cursor { pin, ..self }
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The offset of the record that is to be read next: 0 for a cursor that was never set.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn position(&self) -> Result<u64> {
        let cursors = self.channel.cursors().await?;
        Ok(cursors.iter().find(|info| info.name == self.name).map_or(0, |info| info.offset))
    }

    /// Sets it: everything before this offset is done with. It is durable when this returns.
    ///
    /// # Errors
    /// For an offset past the head, and when the channel was deleted.
    pub async fn commit(&self, offset: u64) -> Result<()> {
        self.set(offset, None).await
    }

    /// Sets it, only if it is at `from`: so that of two readers who take turns by mistake one is told.
    ///
    /// # Errors
    /// As [`Self::commit`]; [`Error::Rejected`](super::Error::Rejected) with where it is when it is not at `from`.
    pub async fn advance(&self, from: u64, offset: u64) -> Result<()> {
        self.set(offset, Some(from)).await
    }

    async fn set(&self, offset: u64, from: Option<u64>) -> Result<()> {
        match self.channel.client().connection().command(Command::SetCursor(self.to(offset, from))).await? {
            Answer::CursorSet => Ok(()),
            _ => Err(wrong_answer("the setting of a cursor")),
        }
    }

    pub(super) fn to(&self, offset: u64, from: Option<u64>) -> CursorMove {
        let pin_ms = millis(self.pin);
        CursorMove { log: self.channel.log(), name: self.name.clone(), offset, from, pin_ms }
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the channel was deleted.
    pub async fn delete(&self) -> Result<()> {
        let (log, name) = (self.channel.log(), self.name.clone());
        match self.channel.client().connection().command(Command::DeleteCursor { log, name }).await? {
            Answer::Deleted => Ok(()),
            _ => Err(wrong_answer("the deletion of a cursor")),
        }
    }
}

impl<T> Clone for Cursor<T> {
    fn clone(&self) -> Self {
        Cursor { channel: self.channel.clone(), name: self.name.clone(), pin: self.pin }
    }
}
