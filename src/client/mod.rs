//! The client.

pub mod connection;
pub mod error;
#[cfg(test)]
mod fixture;
pub mod function;
pub mod future;
pub mod link;
