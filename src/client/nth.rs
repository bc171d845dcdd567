//! Waiting for the element of a channel with a certain index.

use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::channel::Channel;
use super::elements::{Element, Raw};
use super::error::{Error, Result, within};
use super::marked::Marked;
use super::reading::Offset;
use crate::protocol::message::Reads;

/// The element of a channel with this index, soon or late: [`Channel::element`]. It is waited for when this is awaited;
/// before that, a timeout can be set.
///
/// It brings [`Error::TimedOut`] when the timeout has passed, [`Error::NoElement`] when the channel was stopped with fewer
/// elements, [`Error::ElementGone`] when it was trimmed, [`Error::Damaged`] when it is lost, and [`Error::Decode`] for a
/// value of another type.
#[must_use = "an element is waited for when this is awaited"]
#[derive(Debug)]
pub struct Nth<T> {
    channel: Channel<T>,
    index: u64,
    timeout: Option<Duration>,
    element: PhantomData<fn() -> T>,
}

impl<T> Nth<T> {
    pub(super) fn new(channel: Channel<T>, index: u64) -> Self {
        Nth { channel, index, timeout: None, element: PhantomData }
    }

    /// Waits no longer than this.
    pub fn timeout(self, timeout: Duration) -> Self {
        Nth { timeout: Some(timeout), ..self }
    }
}

impl<T: DeserializeOwned + 'static> IntoFuture for Nth<T> {
    type Output = Result<Element<T>>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let wait = find(&self.channel, self.index);
            let Some(patience) = self.timeout else { return wait.await };
            let what = || format!("element {} of channel `{}`", self.index, self.channel.name());
            within(patience, what, wait).await
        })
    }
}

async fn find<T: DeserializeOwned>(channel: &Channel<T>, index: u64) -> Result<Element<T>> {
    let name = || channel.channel_name().clone();
    loop {
        let mut raw = Raw::new(channel.records_from(Offset::Index(index), Reads::Durable), None);
        let mut is_first = true;
        loop {
            match raw.next().await.transpose()? {
                Some(Marked::Item(placed)) if placed.index == index => return raw.typed(&placed),
                Some(Marked::Item(_)) => return Err(Error::ElementGone { channel: name(), index }),
                Some(Marked::Stopped { count, .. }) if index < count => {
                    return Err(Error::ElementGone { channel: name(), index });
                }
                Some(Marked::Stopped { count, .. }) => {
                    return Err(Error::NoElement { channel: name(), index, count });
                }
                // Looked up, it was gone.
                Some(Marked::Trimmed { .. }) if is_first => {
                    return Err(Error::ElementGone { channel: name(), index });
                }
                // Something was trimmed while it was waited for: it is looked up once more.
                Some(Marked::Trimmed { .. }) => break,
                Some(Marked::Damaged { from, to, why }) => {
                    return Err(Error::Damaged { channel: name(), from, to, why });
                }
                Some(Marked::CaughtUp { .. }) => is_first = false,
                None => return Err(Error::Stopped),
            }
        }
    }
}
