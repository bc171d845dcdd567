//! From where to where a channel is read, and as what.

use serde::de::DeserializeOwned;

use super::bound::Until;
use super::channel::Channel;
use super::elements::{Elements, Futures, Values};
use super::reading::{Offset, Records};
use super::results::{Results, ResultsAsCompleted};
use crate::protocol::ChannelEvent;
use crate::protocol::message::Reads;

/// Where to read a channel from, and up to where: [`Channel::from`] and [`Channel::scan`]. Reading begins when a stream
/// is made of it; any number can be made, and each reads on its own.
///
/// ```
/// # use headwater::{Client, Offset, Result};
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// let client = Client::local().await?;
/// let numbers = client.channel::<u64>("numbers").await?;
/// numbers.append_values(&[1, 2, 3, 4]).await?;
///
/// // What is there now, and then an end: no reader waits for what may never come.
/// let mut values = numbers.from(Offset::Last(2)).scan().values();
/// let mut seen = Vec::new();
/// while let Some(value) = values.next().await {
///     seen.push(value?);
/// }
/// assert_eq!(seen, [3, 4]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Reading<T> {
    channel: Channel<T>,
    from: Offset,
    until: Option<Until>,
    reads: Reads,
}

impl<T> Reading<T> {
    pub(super) fn new(channel: Channel<T>, from: Offset) -> Self {
        Reading { channel, from, until: None, reads: Reads::Durable }
    }

    /// Lets reading end there. Where the channel was stopped before, it ends there, or when all is read that the channel
    /// has then.
    #[must_use]
    pub fn until(self, until: Until) -> Self {
        Reading { until: Some(until), ..self }
    }

    /// Lets reading end with what is there now: [`Until::Now`].
    #[must_use]
    pub fn scan(self) -> Self {
        self.until(Until::Now)
    }

    /// Brings also what is written and not durable yet: what was appended as buffered comes at once, and not only when it is
    /// on the disk.
    ///
    /// What is read so may never have been: when the scheduler's machine fails before it is on the disk, it is gone, and its
    /// offsets may be given to other records. A reader that has such records in hand is then told, by an error with
    /// [`Rejection::Undone`](crate::protocol::command::Rejection::Undone), as soon as it is connected again, and before
    /// anything else comes. The end of the scheduler's process takes nothing away.
    ///
    /// So do not move a cursor by what is read so, nor expect an offset behind it: on the other side of such a failure it
    /// would pass over what others have written there.
    #[must_use]
    pub fn undurable(self) -> Self {
        Reading { reads: Reads::Appended { seen: None }, ..self }
    }

    /// The futures in order; values are left out. Ends where the channel was stopped.
    pub fn futures(&self) -> Futures<T> {
        Futures::new(self.unbounded(), self.until)
    }

    /// What the futures bring, in the order in which they lie in the channel: each is waited for in turn. Values are
    /// left out. Ends where the channel was stopped.
    pub fn results(&self) -> Results<T> {
        Results::new(self.unbounded(), self.until)
    }

    /// What the futures bring, in the order in which they ended, as the channel's records have it. Values are left out.
    /// Ends when the channel was stopped and all that were read have ended.
    pub fn results_as_completed(&self) -> ResultsAsCompleted<T> {
        ResultsAsCompleted::new(self.unbounded(), self.until)
    }

    /// All records in order, with the marker where history ends. Without a bound it never ends by itself: progress of
    /// futures may follow after the channel was stopped.
    pub fn records(&self) -> Records<ChannelEvent> {
        let records = self.unbounded();
        match self.until {
            Some(until) => records.until(until),
            None => records,
        }
    }

    fn unbounded(&self) -> Records<ChannelEvent> {
        self.channel.records_from(self.from, self.reads)
    }
}

impl<T: DeserializeOwned> Reading<T> {
    /// The elements in order, futures and values. Ends where the channel was stopped.
    pub fn elements(&self) -> Elements<T> {
        Elements::new(self.unbounded(), self.until)
    }

    /// The values in order; futures are left out. Ends where the channel was stopped.
    pub fn values(&self) -> Values<T> {
        Values::new(self.unbounded(), self.until)
    }
}
