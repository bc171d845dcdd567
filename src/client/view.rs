//! A channel as it stands, here in this program: kept up to date by reading its records.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::channel::{Channel, Entry};
use super::elements::{Element, typed};
use super::error::{Error, Result};
use super::fold::{Fold, Keep};
use super::future::TaskFuture;
use super::marked::Placed;
use super::reading::{Offset, Records};
use crate::protocol::message::Reads;
use crate::protocol::{self, Digest};

/// The elements of a channel as they are here now, and where the futures among them stand: [`Channel::view`],
/// [`Channel::view_of_last`].
///
/// A task of its own reads the channel for as long as a clone of this lives. So looking at it asks nobody; it shows what
/// was read by then, which is a moment behind. A bounded one keeps the newest elements and takes no more memory than
/// those: who looks too seldom misses some, and sees by [`ViewState::first_index`] and [`ViewState::trimmed`] that it
/// has. Who must have each of them reads a stream.
///
/// ```
/// # use headwater::{Client, Result};
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// let client = Client::local().await?;
/// let numbers = client.channel::<u64>("numbers").await?;
/// numbers.append_values(&[1, 2, 3, 4, 5]).await?;
///
/// let mut view = numbers.view_of_last(2);
/// view.caught_up().await?;
/// assert_eq!((view.len(), view.values()?), (2, vec![4, 5]));
///
/// numbers.append_value(&6).await?;
/// while view.state().next_index < 6 {
///     view.changed().await?;
/// }
/// assert_eq!((view.values()?, view.state().first_index), (vec![5, 6], 4));
/// # Ok(()) }
/// ```
pub struct View<T> {
    channel: Channel<T>,
    shared: Arc<Shared>,
    changes: watch::Receiver<()>,
    /// What reads for all clones.
    reading: Arc<Reading>,
    element: PhantomData<fn() -> T>,
}

/// How a [`View`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewState {
    /// The index of the first element that is in view; where none is, of the one that comes next.
    pub first_index: u64,
    /// The index of the element that comes next: between this and the first, all are in view but those that are gone.
    pub next_index: u64,
    /// How many elements the view has let go of since it began, or did not get because they are gone.
    pub trimmed: u64,
    /// Whether it has read what was there when it began.
    pub is_caught_up: bool,
    /// With how many elements the channel was stopped, and the digest of them all, once it is. What becomes of its
    /// futures is still seen.
    pub stopped: Option<(u64, Digest)>,
}

#[derive(Debug)]
struct Shared {
    fold: Mutex<Fold>,
    /// Why nothing comes any more.
    ended: Mutex<Option<Error>>,
}

/// The task that reads. Dropped, it ends.
#[derive(Debug)]
struct Reading(AbortHandle);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> View<T> {
    /// Begins to read, on the runtime that this is called in.
    pub(super) fn new(channel: &Channel<T>, maxlen: Option<u64>) -> Self {
        // From the start it is known where the first element was.
        let (from, first_index) = match maxlen {
            None => (Offset::Start, Some(0)),
            Some(count) => (Offset::Last(count), None),
        };
        let fold = Mutex::new(Fold::new(Keep::Elements(maxlen), first_index));
        let shared = Arc::new(Shared { fold, ended: Mutex::new(None) });
        let (changed, changes) = watch::channel(());
        let records = channel.records_from(from, Reads::Durable);
        let reading = tokio::spawn(read(records, Arc::clone(&shared), changed)).abort_handle();
        let (channel, reading) = (channel.clone(), Arc::new(Reading(reading)));
        View { channel, shared, changes, reading, element: PhantomData }
    }

    /// How many elements are in view.
    pub fn len(&self) -> u64 {
        self.fold().len()
    }

    /// Whether no element is in view.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How it stands.
    pub fn state(&self) -> ViewState {
        state_of(&self.fold())
    }

    /// The futures in view, and where their tasks stand.
    pub fn futures(&self) -> Vec<Entry<T>> {
        entries(&self.channel, &self.fold())
    }

    /// Waits until something has changed since the last call, or since the view was made.
    ///
    /// # Errors
    /// Why nothing changes any more: the session is over, say.
    pub async fn changed(&mut self) -> Result<()> {
        match self.changes.changed().await {
            Ok(()) => Ok(()),
            Err(_) => {
                let ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
                Err(ended.clone().unwrap_or(Error::Stopped))
            }
        }
    }

    /// Waits until it has read what was there when it began.
    ///
    /// # Errors
    /// As [`Self::changed`].
    pub async fn caught_up(&mut self) -> Result<()> {
        while !self.state().is_caught_up {
            self.changed().await?;
        }
        Ok(())
    }

    fn fold(&self) -> MutexGuard<'_, Fold> {
        self.shared.fold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: DeserializeOwned> View<T> {
    /// The values in view; futures are left out.
    ///
    /// # Errors
    /// [`Error::Decode`] when one of them is of another type; [`Self::elements`] has the others.
    pub fn values(&self) -> Result<Vec<T>> {
        let fold = self.fold();
        let values = fold.elements().filter_map(|(placed, _)| match &placed.item {
            protocol::Element::Value(_) => Some(placed),
            protocol::Element::Future(_) => None,
        });
        values.map(|placed| self.typed(placed)).filter_map(|it| it.map(Element::value).transpose()).collect()
    }

    fn typed(&self, placed: &Placed<protocol::Element>) -> Result<Element<T>> {
        typed(self.channel.client(), self.channel.channel_name(), placed)
    }

    /// The elements in view, each in its place; [`Error::Decode`] for a value of another type.
    pub fn elements(&self) -> Vec<Placed<Result<Element<T>>>> {
        let fold = self.fold();
        let placed = fold.elements().map(|(placed, _)| {
            let Placed { index, offset, time_ms, .. } = *placed;
            Placed { index, offset, time_ms, item: self.typed(placed) }
        });
        placed.collect()
    }
}

impl<T> Clone for View<T> {
    fn clone(&self) -> Self {
        View {
            channel: self.channel.clone(),
            shared: Arc::clone(&self.shared),
            changes: self.changes.clone(),
            reading: Arc::clone(&self.reading),
            element: PhantomData,
        }
    }
}

impl<T> fmt::Debug for View<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({}, {:?})", self.channel.name(), self.state())
    }
}

async fn read(mut records: Records, shared: Arc<Shared>, changed: watch::Sender<()>) {
    while let Some(item) = records.next().await {
        match item {
            Ok(item) => shared.fold.lock().unwrap_or_else(PoisonError::into_inner).take(item),
            Err(error) => {
                *shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        }
        changed.send_replace(());
    }
}

fn state_of(fold: &Fold) -> ViewState {
    ViewState {
        first_index: fold.first_index(),
        next_index: fold.next_index(),
        trimmed: fold.trimmed(),
        is_caught_up: fold.caught_up_at().is_some(),
        stopped: fold.stopped(),
    }
}

/// The futures of a channel among these, and where they stand.
pub(super) fn entries<T>(channel: &Channel<T>, fold: &Fold) -> Vec<Entry<T>> {
    let entries = fold.elements().filter_map(|(placed, status)| {
        let protocol::Element::Future(key) = &placed.item else { return None };
        let Placed { index, offset, time_ms, .. } = *placed;
        let future = TaskFuture::new(key.clone(), channel.client().clone(), None);
        Some(Entry { index, offset, time_ms, future, status: status? })
    });
    entries.collect()
}
