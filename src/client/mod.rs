//! What a program has of a cluster: submit tasks, wait for them, append to channels and read them.
//!
//! ```text
//!   handle: Client ──▶ submit, channel ──▶ holds ──▶ connection ──▶ scheduler
//!   future, elements ◀── reading ◀───────────────────┘ (link: its pure part)
//! ```
//!
//! Everything a client asks has its place in its session's order when it is called, not when it is
//! first polled. A connection that breaks is made again, and nobody who waits notices more than a delay.
//!
//! It is no worker: a worker is a client that also runs things. It never imports `log`, `scheduler`,
//! `server` or `worker`.

pub mod blocking;
pub mod channel;
pub mod connection;
pub mod elements;
pub mod error;
#[cfg(test)]
mod fixture;
pub mod function;
pub mod future;
pub mod handle;
mod holds;
pub mod link;
pub mod reading;
pub mod submit;
#[cfg(test)]
mod tests;

pub use channel::{Channel, Entry, Reading};
pub use connection::Connection;
pub use elements::{Futures, Values, Zip};
pub use error::{Error, Result};
pub use future::TaskFuture;
/// For `zip`, `take`, `map` and the like on the streams of this crate.
pub use futures_util::StreamExt;
pub use handle::{Builder, Client};
pub use reading::{Item, Offset, Record, Records};
pub use submit::{Submission, Submit};
