//! Many calls of one function at once, without async.

use std::sync::Arc;

use super::{Shared, TaskFuture};
use crate::client::{self, Result, Submit};

/// As [`client::Map`].
#[must_use = "calls are submitted by `send`"]
#[derive(Debug)]
pub struct Map<T> {
    pub(super) map: client::Map<T>,
    pub(super) shared: Arc<Shared>,
}

impl<T: 'static> Map<T> {
    /// As [`client::Map::each`]: the options are those of a call that is not blocking.
    pub fn each(self, options: impl FnMut(Submit<T>) -> Submit<T>) -> Self {
        Map { map: self.map.each(options), ..self }
    }

    /// Submits the calls.
    ///
    /// # Errors
    /// As awaiting [`client::Map`].
    pub fn send(self) -> Result<Vec<TaskFuture<T>>> {
        let futures = self.shared.wait(self.map.into_future())?;
        let blocking = |future| TaskFuture { future, shared: self.shared.clone() };
        Ok(futures.into_iter().map(blocking).collect())
    }
}
