//! Appends to several channels and moves of cursors, in one commit, for synchronous code.

use std::sync::Arc;

use super::group::Delivery;
use super::keeping::Cursor;
use super::{AppendBatch, Channel, Client, Shared, TaskFuture};
use crate::client::error::Result;
use crate::client::transaction::{self, Committed};

/// As [`transaction::Transaction`].
#[must_use = "nothing is done before `commit`"]
#[derive(Debug)]
pub struct Transaction {
    transaction: transaction::Transaction,
    shared: Arc<Shared>,
}

impl Client {
    /// As [`crate::client::Client::transaction`].
    pub fn transaction(&self) -> Transaction {
        Transaction { transaction: self.shared.client.transaction(), shared: self.shared.clone() }
    }
}

impl Transaction {
    /// Appends a future.
    pub fn append<T>(self, channel: &Channel<T>, future: &TaskFuture<T>) -> Self {
        self.batch(channel.batch().future(future))
    }

    /// As [`transaction::Transaction::batch`].
    pub fn batch<T>(self, batch: AppendBatch<T>) -> Self {
        Transaction { transaction: self.transaction.batch(batch.batch), ..self }
    }

    /// As [`transaction::Transaction::advance`].
    pub fn advance<T>(self, cursor: &Cursor<T>, from: u64, offset: u64) -> Self {
        Transaction { transaction: self.transaction.advance(&cursor.cursor, from, offset), ..self }
    }

    /// As [`transaction::Transaction::set`].
    pub fn set<T>(self, cursor: &Cursor<T>, offset: u64) -> Self {
        Transaction { transaction: self.transaction.set(&cursor.cursor, offset), ..self }
    }

    /// As [`transaction::Transaction::done`].
    pub fn done<T>(self, delivery: &Delivery<T>) -> Self {
        Transaction { transaction: self.transaction.done(&delivery.delivery), ..self }
    }

    /// As [`transaction::Transaction::commit`].
    ///
    /// # Errors
    /// As there.
    pub fn commit(self) -> Result<Committed> {
        self.shared.wait(self.transaction.commit())
    }
}
