//! What an append brings.

use std::ops::Range;

use crate::protocol::channel::Durability;
use crate::protocol::{Epoch, Seq};

/// Elements are in the log: as durable as [`Ack::durability`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The offset of the first of them, which is that of the record to read it at.
    pub offset: u64,
    /// How many they are; their offsets follow each other.
    pub count: u64,
    /// The commit that holds them, if not an older one: the answer to an append that was given under a store before
    /// version 5, and lost with its connection, names a later one.
    pub seq: Seq,
    /// The scheduler's epoch in which that commit was made: one for each of its starts.
    pub epoch: Epoch,
    /// What held when they were acknowledged: they are on the disk; or they are written and will be, within a time for
    /// which a power failure may take them away. An append that was to be buffered may be on the disk all the same.
    pub durability: Durability,
}

/// What an append of a named producer brings: [`NamedProducer`](super::NamedProducer).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Produced {
    /// The elements are in the log, as durable as [`Ack::durability`] says: since now, or since this number was appended
    /// first, with as many elements as there were then.
    Appended(Ack),
    /// Nothing was appended: the producer had come further before.
    Before {
        /// Its newest number.
        newest: u64,
    },
}

impl Produced {
    /// What was acknowledged, if the number was the producer's newest or has become it.
    pub fn ack(self) -> Option<Ack> {
        if let Produced::Appended(ack) = self { Some(ack) } else { None }
    }
}

impl Ack {
    /// The offsets of all of them.
    pub fn offsets(&self) -> Range<u64> {
        self.offset..self.offset + self.count
    }

    /// Of a part of them: so many, behind so many others.
    pub(super) fn part(self, behind: u64, count: u64) -> Ack {
        Ack { offset: self.offset + behind, count, ..self }
    }
}
