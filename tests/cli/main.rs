//! The `headwater` command as a user meets it: real processes, their output, their ends, their refusals.
#![allow(clippy::unwrap_used)]

mod appending;
mod backup;
mod bench;
mod cluster;
mod config;
mod container;
mod definitions;
mod demo;
#[cfg(target_os = "linux")]
mod disk;
mod endings;
mod examples;
mod following;
mod groups;
#[cfg(target_os = "linux")]
mod http;
mod keeping;
mod looks;
#[cfg(target_os = "linux")]
mod memory;
mod output;
mod process;
#[cfg(target_os = "linux")]
mod progress;
mod refusals;
#[cfg(unix)]
mod repairing;
mod retiring;
mod snapshots;
mod stopping;
#[cfg(target_os = "linux")]
mod submit;
#[cfg(target_os = "linux")]
mod supervising;
mod tasks;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(target_os = "linux")]
mod top;
#[cfg(target_os = "linux")]
mod traces;
mod workers;
