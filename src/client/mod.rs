//! The client.

pub mod function;
pub mod future;
pub mod link;
