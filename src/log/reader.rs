//! What everyone who reads the logs holds: the durable batches, and a way to wait for more.
//!
//! This module never imports `scheduler`, `server`, `client` or `worker`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{Bounds, Error, Log};
use crate::protocol::LogId;
use crate::protocol::batch::{Batch, Commit};

/// Reads a store of logs. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn Log>,
    heads: Arc<Mutex<HashMap<LogId, watch::Sender<u64>>>>,
}

impl Reader {
    /// A reader of this store.
    pub fn new(store: Arc<dyn Log>) -> Self {
        Reader { store, heads: Arc::default() }
    }

    /// As [`Log::read`].
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn read(&self, log: LogId, from: u64, bytes_max: usize) -> Result<Vec<Batch>, Error> {
        self.store.read(log, from, bytes_max)
    }

    /// As [`Log::find_element`].
    ///
    /// # Errors
    /// As [`Log::find_element`].
    pub fn find_element(&self, log: LogId, index: u64) -> Result<Option<Batch>, Error> {
        self.store.find_element(log, index)
    }

    /// As [`Log::bounds`].
    pub fn bounds(&self, log: LogId) -> Bounds {
        self.store.bounds(log)
    }

    /// The durable head of a log, and every move of it.
    pub fn head(&self, log: LogId) -> watch::Receiver<u64> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.entry(log).or_insert_with(|| watch::Sender::new(self.store.bounds(log).head)).subscribe()
    }

    /// Says that a commit is durable: moves the heads of its logs.
    pub fn publish(&self, commit: &Commit) {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        for batch in &commit.batches {
            if let Some(head) = heads.get(&batch.header().log) {
                head.send_replace(batch.header().end_offset());
            }
        }
    }
}
