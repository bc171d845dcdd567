//! The client.

pub mod function;
pub mod future;
