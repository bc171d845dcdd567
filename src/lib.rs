//! Headwater: a cluster task scheduler whose memory is a log.

// The way of the data: `protocol ← log ← scheduler ← server ← cli` and
// `protocol ← client ← worker ← cli`; `tests/it/tidy.rs` holds the directions.
pub mod protocol;

#[cfg(feature = "scheduler")]
pub mod log;
#[cfg(feature = "scheduler")]
pub mod scheduler;
#[cfg(feature = "scheduler")]
pub mod server;

pub mod client;
pub mod worker;

#[cfg(feature = "scheduler")]
pub mod local;

#[cfg(feature = "cli")]
pub mod cli;

pub use client::{Channel, Client, Error, Item, Offset, Result, StreamExt, TaskFuture};
pub use headwater_macros::task;
pub use worker::context::local_client;

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
