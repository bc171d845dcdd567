//! Values as futures, for synchronous code.

use std::sync::Arc;

use super::{Client, Shared, TaskFuture};
use crate::client::error::Result;
use crate::client::function::Value;

/// As [`Scatter`](crate::client::Scatter).
#[must_use = "a value is scattered by `send`"]
#[derive(Debug)]
pub struct Scatter<T> {
    scatter: crate::client::Scatter<T>,
    shared: Arc<Shared>,
}

impl Client {
    /// As [`scatter`](crate::client::Client::scatter); [`Scatter::send`] does it.
    pub fn scatter<T: Value>(&self, value: &T) -> Scatter<T> {
        Scatter { scatter: self.shared.client.scatter(value), shared: self.shared.clone() }
    }
}

impl<T: 'static> Scatter<T> {
    /// As [`Scatter::key`](crate::client::Scatter::key).
    pub fn key(self, name: impl Into<Box<str>>) -> Self {
        Scatter { scatter: self.scatter.key(name), ..self }
    }

    /// As [`Scatter::detach`](crate::client::Scatter::detach).
    pub fn detach(self) -> Self {
        Scatter { scatter: self.scatter.detach(), ..self }
    }

    /// Scatters the value.
    ///
    /// # Errors
    /// As awaiting [`Scatter`](crate::client::Scatter).
    pub fn send(self) -> Result<TaskFuture<T>> {
        let future = self.shared.wait(self.scatter.into_future())?;
        Ok(TaskFuture { future, shared: self.shared })
    }
}
