//! Tests of Headwater from the outside, in one binary.
#![allow(clippy::unwrap_used)]

mod ancestor;
mod buffered;
mod cancelling;
mod cluster;
mod conformance;
mod engines;
mod fanout;
mod faults;
mod flush;
mod formats;
mod groups;
mod local;
mod log_reader;
mod logging;
mod mapping;
mod memory;
mod nested;
mod pausing;
mod placement;
#[allow(dead_code)]
#[path = "../cli/process.rs"]
mod process;
mod producers;
mod reading;
mod recovering;
mod refusals;
mod regress;
mod results;
mod retention;
mod salvage;
mod scatter;
mod sled_store;
mod stops;
#[cfg(unix)]
#[allow(dead_code)]
#[path = "../cli/terminal.rs"]
mod terminal;
mod terms;
mod tidy;
mod traces;
mod transactions;
mod trunks;
mod verify;
mod waited;
mod wal;
mod windows;
