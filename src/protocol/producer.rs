//! Named producers: those who append to a channel under a name that outlives their sessions.
//!
//! A session's commands enter once, however often they are sent; a program that is started anew has a new session. So one
//! that reads from some source names itself a *named producer* of the channel, and gives each append a number that grows:
//! an offset, the number of a line. The channel remembers the newest number of each name, for as long as it is there. What
//! is not above it is not appended again. (A [`Producer`](super::Producer) is something else: a session's short number.)

use serde::{Deserialize, Serialize};

use super::ids::Seq;
use super::name::name;

name! {
    /// The name of a named producer, of those of its channel: 1 to [`NAME_BYTES_MAX`](super::limits::NAME_BYTES_MAX) bytes
    /// of letters, digits, and `. _ - / :`.
    ProducerName, "producer", |name| name
}

/// An append is a named producer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducedBy {
    /// Whose; it is made when it is not there.
    pub name: ProducerName,
    /// The append's number. It is made only if this is above the producer's newest. With the newest itself it brings what
    /// that brought, with a lower one [`Answer::AppendedBefore`](super::command::Answer::AppendedBefore).
    pub number: u64,
    /// Only if the producer's newest number is this one, where the append would be made; a producer that is not there is
    /// at 0. Else [`Rejection::ProducerMoved`](super::rejection::Rejection::ProducerMoved): so nothing is made behind an
    /// append that was refused.
    pub from: Option<u64>,
}

/// What is known of a named producer: its newest append.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerInfo {
    /// Which producer.
    pub name: ProducerName,
    /// The number.
    pub number: u64,
    /// The offset of the first element.
    pub first: u64,
    /// How many elements there were.
    pub count: u32,
    /// Their commit.
    pub seq: Seq,
}
