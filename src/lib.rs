//! Headwater is a cluster task scheduler whose memory is a log.
//!
//! Clients submit tasks and get futures. Futures, and small values, are appended to named **channels**
//! that many clients share. Every channel is an append-only durable log: anyone may read it from any
//! offset, today or after a crash. The scheduler itself is nothing but a fold over its logs, so a
//! restart goes on where the log ends.
//!
//! It is no store for large data: an argument, and a value on a channel, is at most
//! [60 KiB](protocol::limits::PAYLOAD_BYTES_MAX). A task's result may be larger, up to
//! [4 GiB](protocol::limits::RESULT_BYTES_MAX): then the worker that computed it keeps it, for those who await it
//! and for other tasks, and it is computed again when it is lost with its worker. And it is no sandbox: workers run functions that are linked into their program.
//!
//! # First steps
//!
//! A task is a function with [`#[task]`](macro@task). [`Client::local`] brings a scheduler, a log in
//! memory and a worker, all in this process:
//!
//! ```
//! use headwater::{Client, Offset, Result, task};
//!
//! #[task(pure)]
//! fn add(a: f64, b: f64) -> f64 {
//!     a + b
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<()> {
//!     let client = Client::local().await?;
//!
//!     // An argument is a value, or the future of one: then the task waits for it.
//!     let three = client.submit(add, (1.0, 2.0)).await?;
//!     let six = client.submit(add, (&three, 3.0)).await?;
//!
//!     // An append is durable when it returns; the channel keeps what is on it.
//!     let sums = client.channel::<f64>("sums").await?;
//!     assert_eq!(sums.append(&three).await?.offset, 0);
//!     sums.append(&six).await?;
//!     sums.stop().await?;
//!
//!     // Anyone can read it, from the start or from anywhere else, until it is stopped or for ever.
//!     let mut futures = sums.from(Offset::Start).futures();
//!     let mut results = Vec::new();
//!     while let Some(future) = futures.next().await {
//!         results.push(future?.await?);
//!     }
//!     assert_eq!(results, [3.0, 6.0]);
//!
//!     client.close().await;
//!     Ok(())
//! }
//! ```
//!
//! With [`Client::connect`] in place of [`Client::local`] the same program uses a cluster. What is kept
//! then outlives it, on the disk of the scheduler.
//!
//! # What there is
//!
//! - [`Client`]: a program's session. It reconnects by itself; what was asked is sent again until it is
//!   answered, and carried out once. [`blocking`] has the same calls for synchronous code.
//! - [`task`](macro@task): which functions can be tasks, and what `pure` means. [`Client::submit`]
//!   checks the arguments' types when it is compiled. Collections of futures are [arguments](client::function::IntoArgument),
//!   too, and whatever else has futures in it by [`nested`](fn@nested). [`Client::scatter`] makes a value a future.
//! - [`TaskFuture`]: a task's outcome, soon or late. While it lives, its task is kept.
//! - [`Channel`]: append to it, and read its [elements](Channel::elements), its [futures](Channel::futures),
//!   [what they bring](Channel::results), its [values](Channel::values) or all of its
//!   [records](Channel::records), from any [`Offset`], for ever or [until](Until) there is no more
//!   ([`Channel::scan`]). An [`Item`] is a record, the marker where history ends, or the notice that a range is
//!   gone. A [`View`] is a channel as it stands.
//! - [`local_client`], and [`blocking::local_client`]: make a running task a client of the scheduler that
//!   runs it.
//! - [`Error`]: what can go wrong, by what one can do about it. A task may return it, too.
//!
//! # Features
//!
//! | feature | brings | on |
//! |---|---|---|
//! | `cli` | the `headwater` command, and `headwater::cli::main()`, which gives a program of one's own every subcommand with its own tasks linked in; needs `scheduler` | by default |
//! | `otel` | [`traces`]: the export of traces to a collector of OpenTelemetry's; needs `scheduler` | with `cli` |
//! | `scheduler` | [`log`], [`scheduler`], [`server`], [`local`] and [`Client::local`]; the engine on disk is sled | with `cli` |
//!
//! With `default-features = false` the crate is a client and a [`worker`], and has no engine in it.
//!
//! # Where to go next
//!
//! - `examples/first.rs` is the above and a little more; `examples/blob.rs` has results that are larger than
//!   memory; `examples/pipeline.rs` is a user's crate in one file, which is scheduler, worker and client.
//! - `docs/reliability.md` says what is promised, and which test holds it.
//! - `ARCHITECTURE.md` has the words, the way of the data, and the reasons. [`protocol`] is where to
//!   begin to read.

// The way of the data: `protocol ← log ← scheduler ← server ← cli` and
// `protocol ← client ← worker ← cli`, with `trunk` between `protocol` and both of `server` and `client`; `tests/it/tidy.rs` holds the directions.
pub mod protocol;
pub mod trunk;

#[cfg(feature = "scheduler")]
pub mod log;
#[cfg(feature = "scheduler")]
pub mod scheduler;
#[cfg(feature = "scheduler")]
pub mod server;

pub mod client;
pub mod worker;

#[cfg(feature = "otel")]
pub mod traces;

#[cfg(feature = "scheduler")]
pub mod local;

#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "http")]
mod proc;
#[cfg(feature = "http")]
#[cfg_attr(not(feature = "cli"), allow(dead_code, reason = "its lines for people are the command line's"))]
mod rows;

#[cfg(feature = "cli")]
pub mod cli;

pub use client::{
    Ack, Blob, BlobReader, BlobWriter, Channel, Client, Cursor, Delivery, Error, Group, Item, Member,
    NamedProducer, Offset, Produced, Result, StreamExt, TaskFuture, Transaction, Until, View, as_completed,
    gather, gather_all, nested, wait,
};
pub use headwater_macros::task;
pub use protocol::channel::{ChannelOptions, Durability, Retention};
pub use protocol::terms::Backoff;
pub use worker::context::{Context, local_client};
pub use worker::pause::KeptSlot;

/// The same for code that is not async.
pub mod blocking {
    pub use crate::client::blocking::*;
    pub use crate::worker::context::blocking_local_client as local_client;
}

/// For the code that `#[task]` writes, and nobody else.
#[doc(hidden)]
pub mod __private {
    pub use crate::client::function::{Registered, Run};
    pub use crate::worker::call::{Decoder, FallibleKind, PlainKind, Probe, type_id_of};
    pub use inventory;
}

// So that the code that `#[task]` writes works in this crate too.
extern crate self as headwater;

/// The README's program is compiled and run with the doctests.
#[cfg(all(doctest, feature = "scheduler"))]
#[doc = include_str!("../README.md")]
struct Readme;
