//! The worker: a client that also runs things.

pub mod call;
pub mod registry;
pub mod run;
