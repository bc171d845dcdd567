//! Named producers, for synchronous code.

use std::sync::Arc;

use serde::Serialize;

use super::{AppendBatch, Channel, Shared, TaskFuture};
use crate::client;
use crate::client::ack::Produced;
use crate::client::error::Result;
use crate::protocol::producer::ProducerInfo;

impl<T> Channel<T> {
    /// As [`client::Channel::producer`].
    ///
    /// # Errors
    /// As there.
    pub fn producer(&self, name: &str) -> Result<NamedProducer<T>> {
        Ok(NamedProducer { producer: self.channel.producer(name)?, shared: self.shared.clone() })
    }

    /// As [`client::Channel::producers`].
    ///
    /// # Errors
    /// As there.
    pub fn producers(&self) -> Result<Vec<ProducerInfo>> {
        self.shared.wait(self.channel.producers())
    }
}

/// As [`client::NamedProducer`].
///
/// ```
/// use headwater::blocking::Client;
/// # use headwater::{Produced, Result};
///
/// # fn main() -> Result<()> {
/// let client = Client::local()?;
/// let notes = client.channel::<String>("notes")?;
/// let importer = notes.producer("importer")?;
/// importer.append_value(1, &"one".into())?;
/// notes.batch().value(&"two".into()).value(&"three".into()).produced_by(&importer, 3).append()?;
/// assert_eq!(importer.append_value(2, &"two".into())?, Produced::Before { newest: 3 });
/// assert_eq!((importer.last()?, notes.len()?), (Some(3), 3));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct NamedProducer<T> {
    producer: client::NamedProducer<T>,
    shared: Arc<Shared>,
}

impl<T> NamedProducer<T> {
    /// The name.
    pub fn name(&self) -> &str {
        self.producer.name()
    }

    /// As [`client::NamedProducer::last`].
    ///
    /// # Errors
    /// As there.
    pub fn last(&self) -> Result<Option<u64>> {
        self.shared.wait(self.producer.last())
    }

    /// Appends a future under this number: see [`client::NamedProducer::append`].
    ///
    /// # Errors
    /// As there.
    pub fn append(&self, number: u64, future: &TaskFuture<T>) -> Result<Produced> {
        self.shared.wait(self.producer.append(number, &future.future))
    }

    /// As [`client::NamedProducer::forget`].
    ///
    /// # Errors
    /// As there.
    pub fn forget(&self) -> Result<()> {
        self.shared.wait(self.producer.forget())
    }
}

impl<T: Serialize> NamedProducer<T> {
    /// Appends a value under this number: see [`client::NamedProducer::append_value`].
    ///
    /// # Errors
    /// As there.
    pub fn append_value(&self, number: u64, value: &T) -> Result<Produced> {
        self.shared.wait(self.producer.append_value(number, value))
    }
}

impl<T> Clone for NamedProducer<T> {
    fn clone(&self) -> Self {
        NamedProducer { producer: self.producer.clone(), shared: self.shared.clone() }
    }
}

/// As [`client::ProducedBatch`].
#[must_use = "nothing is appended before `append`"]
#[derive(Debug)]
pub struct ProducedBatch<T> {
    batch: client::ProducedBatch<T>,
    shared: Arc<Shared>,
}

impl<T> AppendBatch<T> {
    /// As [`client::AppendBatch::produced_by`].
    pub fn produced_by(self, producer: &NamedProducer<T>, number: u64) -> ProducedBatch<T> {
        ProducedBatch { batch: self.batch.produced_by(&producer.producer, number), shared: self.shared }
    }
}

impl<T> ProducedBatch<T> {
    /// As [`client::ProducedBatch::append`].
    ///
    /// # Errors
    /// As there.
    pub fn append(self) -> Result<Produced> {
        self.shared.wait(self.batch.append())
    }
}
