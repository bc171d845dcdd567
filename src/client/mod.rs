//! What a program has of a cluster: submit tasks, wait for them, append to channels and read them.
//!
//! ```text
//!   handle: Client ──▶ submit, channel ──▶ holds ──▶ connection ──▶ scheduler
//!   future, elements ◀── reading ◀───────────────────┘ (link: its pure part)
//!     └── settled ──▶ fetch ──▶ workers that keep large results
//! ```
//!
//! Everything a client asks has its place in its session's order when it is called, not when it is
//! first polled; only appends to different channels that follow each other may change places. A connection that breaks
//! is made again, and nobody who waits notices more than a delay.
//!
//! Appends and submissions can be on their way several at a time. Those to one channel keep their order, and so
//! do submissions. Values that wait to be sent share a command, so that a program which does not wait for
//! each append before it makes the next is many times as fast:
//!
//! ```
//! use headwater::client::{Client, Item, Offset, Result};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<()> {
//! let client = Client::local().await?;
//! let numbers = client.channel::<u64>("numbers").await?;
//! let one = numbers.append_value(&1);
//! let two = numbers.append_value(&2);
//! assert_eq!((two.await?.offset, one.await?.offset), (1, 0));
//!
//! // All records with their times, and the marker where history ends.
//! let mut records = numbers.from(Offset::At(1)).records();
//! let Some(Ok(Item::Record(record))) = records.next().await else { panic!() };
//! assert_eq!((record.offset, record.index), (1, Some(1)));
//! assert_eq!(records.next().await.transpose()?, Some(Item::CaughtUp { head: 2 }));
//! # Ok(()) }
//! ```
//!
//! It is no worker: a worker is a client that also runs things. It never imports `log`, `scheduler`,
//! `server` or `worker`.

pub mod ack;
mod backoff;
pub mod batch;
pub mod blob;
pub mod blocking;
mod bound;
pub mod channel;
mod collections;
pub mod connection;
pub mod delivery;
pub mod elements;
pub mod error;
pub mod fetch;
#[cfg(test)]
pub(crate) mod fixture;
mod fold;
pub mod function;
pub mod future;
pub mod group;
pub mod handle;
pub(crate) mod holds;
pub mod keeping;
pub mod link;
mod lists;
pub mod map;
pub mod marked;
pub mod member;
pub(crate) mod millis;
pub mod nested;
pub mod nth;
pub mod producer;
pub mod reading;
pub mod results;
pub mod scatter;
mod settled;
pub mod streams;
pub mod submit;
#[cfg(test)]
mod tests;
pub mod together;
pub mod transaction;
pub mod view;
pub mod workers;

pub use ack::{Ack, Produced};
pub use batch::AppendBatch;
pub use blob::{Blob, BlobReader, BlobWriter};
pub use bound::Until;
pub use channel::{Channel, Entry};
pub use connection::{CLOCKS_APART_MS_MAX, Connection};
pub use delivery::Delivery;
pub use elements::{Element, Elements, Futures, Values};
pub use error::{Error, Result};
pub use future::TaskFuture;
/// For `zip`, `take`, `map` and the like on the streams of this crate.
pub use futures_util::StreamExt;
pub use group::Group;
pub use handle::{Builder, Client};
pub use keeping::Cursor;
pub use map::Map;
pub use marked::{InPlace, Marked, Marking, Placed, WithMarkers, Zip};
pub use member::Member;
pub use nested::{Nested, nested};
pub use nth::Nth;
pub use producer::{NamedProducer, ProducedBatch};
pub use reading::{Item, Offset, Record, Records};
pub use results::{Ended, Results, ResultsAsCompleted};
pub use scatter::Scatter;
pub use streams::Reading;
pub use submit::{Submission, Submit};
pub use together::{AsCompleted, Completed, Wait, Waited, as_completed, gather, gather_all, wait};
pub use transaction::{Committed, Transaction};
pub use view::{View, ViewState};
pub use workers::Retirement;
