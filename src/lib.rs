//! Headwater: a cluster task scheduler whose memory is a log.

// The way of the data: `protocol ← log ← scheduler ← server ← cli` and
// `protocol ← client ← worker ← cli`; `tests/it/tidy.rs` holds the directions.
pub mod client;
#[cfg(feature = "scheduler")]
pub mod log;
pub mod protocol;
#[cfg(feature = "scheduler")]
pub mod scheduler;
pub mod worker;

pub use headwater_macros::task;

/// For the code that `#[task]` writes, and nobody else.
#[doc(hidden)]
pub mod __private {
    pub use crate::client::function::{Registered, Run};
    pub use crate::worker::call::{Decoder, FallibleKind, PlainKind, Probe, type_id_of};
    pub use inventory;
}

// So that the code that `#[task]` writes works in this crate too.
extern crate self as headwater;
