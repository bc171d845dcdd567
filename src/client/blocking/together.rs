//! Waiting for several tasks: as [`gather`](crate::client::gather) and its neighbours, for code that is not async.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde::de::DeserializeOwned;

use super::{Shared, TaskFuture};
use crate::client::{self, Completed, Result, Waited};

/// The same futures for async code, and where to wait for them; nowhere when there are none.
fn async_ones<'a, T: 'a>(
    futures: impl IntoIterator<Item = &'a TaskFuture<T>>,
) -> (Vec<client::TaskFuture<T>>, Option<Arc<Shared>>) {
    let mut place = None;
    let future = |future: &TaskFuture<T>| {
        place.get_or_insert_with(|| future.shared.clone());
        future.future.clone()
    };
    (futures.into_iter().map(future).collect(), place)
}

/// As [`client::gather`].
///
/// # Errors
/// As there.
pub fn gather<'a, T>(futures: impl IntoIterator<Item = &'a TaskFuture<T>>) -> Result<Vec<T>>
where
    T: DeserializeOwned + 'static,
{
    let (futures, place) = async_ones(futures);
    place.map_or(Ok(Vec::new()), |place| place.wait(client::gather(&futures)))
}

/// As [`client::gather_all`].
pub fn gather_all<'a, T>(futures: impl IntoIterator<Item = &'a TaskFuture<T>>) -> Vec<Result<T>>
where
    T: DeserializeOwned + 'static,
{
    let (futures, place) = async_ones(futures);
    place.map_or(Vec::new(), |place| place.wait(client::gather_all(&futures)))
}

/// As [`client::as_completed`], by an iterator that waits.
pub fn as_completed<'a, T>(futures: impl IntoIterator<Item = &'a TaskFuture<T>>) -> AsCompleted<T>
where
    T: DeserializeOwned + 'static,
{
    let (futures, place) = async_ones(futures);
    AsCompleted { ended: client::as_completed(&futures), place }
}

/// As [`client::AsCompleted`].
#[derive(Debug)]
pub struct AsCompleted<T> {
    ended: client::AsCompleted<T>,
    place: Option<Arc<Shared>>,
}

impl<T> Iterator for AsCompleted<T> {
    type Item = Completed<T>;

    fn next(&mut self) -> Option<Completed<T>> {
        self.place.as_ref()?.wait(self.ended.next())
    }
}

/// As [`client::wait()`]; [`Wait::wait`] waits.
pub fn wait<'a, T: 'a>(futures: impl IntoIterator<Item = &'a TaskFuture<T>>) -> Wait<T> {
    let (futures, place) = async_ones(futures);
    Wait { wait: client::wait(&futures), place }
}

/// As [`client::Wait`].
#[must_use = "it is waited for by `wait`"]
#[derive(Debug)]
pub struct Wait<T> {
    wait: client::Wait<T>,
    place: Option<Arc<Shared>>,
}

impl<T: 'static> Wait<T> {
    /// As [`client::Wait::first`].
    pub fn first(self) -> Self {
        Wait { wait: self.wait.first(), ..self }
    }

    /// As [`client::Wait::timeout`].
    pub fn timeout(self, timeout: Duration) -> Self {
        Wait { wait: self.wait.timeout(timeout), ..self }
    }

    /// Waits.
    ///
    /// # Errors
    /// As awaiting [`client::Wait`].
    pub fn wait(self) -> Result<Waited> {
        let nobody = Waited { ended: Vec::new(), open: Vec::new() };
        self.place.map_or(Ok(nobody), |place| place.wait(self.wait.into_future()))
    }
}
