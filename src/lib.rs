//! Headwater: a cluster task scheduler whose memory is a log.

// The way of the data: `protocol ← log ← scheduler ← server ← cli` and
// `protocol ← client ← worker ← cli`; `tests/it/tidy.rs` holds the directions.
#[cfg(feature = "scheduler")]
pub mod log;
pub mod protocol;
#[cfg(feature = "scheduler")]
pub mod scheduler;
#[cfg(feature = "scheduler")]
pub mod server;

// So that the code that `#[task]` writes works in this crate too.
extern crate self as headwater;
