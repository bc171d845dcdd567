//! An append of several elements, for synchronous code.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Channel, Shared, TaskFuture};
use crate::client::ack::Ack;
use crate::client::batch;
use crate::client::error::Result;

/// As [`super::super::AppendBatch`].
#[must_use = "nothing is appended before `append`"]
#[derive(Debug)]
pub struct AppendBatch<T> {
    pub(super) batch: batch::AppendBatch<T>,
    pub(super) shared: Arc<Shared>,
}

impl<T> Channel<T> {
    /// As [`super::super::Channel::batch`].
    pub fn batch(&self) -> AppendBatch<T> {
        AppendBatch { batch: self.channel.batch(), shared: self.shared.clone() }
    }
}

impl<T> AppendBatch<T> {
    /// Adds a future.
    pub fn future(self, future: &TaskFuture<T>) -> Self {
        AppendBatch { batch: self.batch.future(&future.future), ..self }
    }

    /// As [`batch::AppendBatch::header`].
    pub fn header(self, key: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
        AppendBatch { batch: self.batch.header(key, value), ..self }
    }

    /// As [`batch::AppendBatch::expect`].
    pub fn expect(self, offset: u64) -> Self {
        AppendBatch { batch: self.batch.expect(offset), ..self }
    }

    /// As [`batch::AppendBatch::buffered`].
    pub fn buffered(self, flush_within: Duration) -> Self {
        AppendBatch { batch: self.batch.buffered(flush_within), ..self }
    }

    /// As [`batch::AppendBatch::fsynced`].
    pub fn fsynced(self) -> Self {
        AppendBatch { batch: self.batch.fsynced(), ..self }
    }

    /// Appends all of it or nothing, and gives the offsets and the commit: it is durable then, or written if it is buffered.
    ///
    /// # Errors
    /// As [`batch::AppendBatch::append`].
    pub fn append(self) -> Result<Ack> {
        self.shared.wait(self.batch.append())
    }
}

impl<T: Serialize> AppendBatch<T> {
    /// Adds a value.
    pub fn value(self, value: &T) -> Self {
        AppendBatch { batch: self.batch.value(value), ..self }
    }
}
