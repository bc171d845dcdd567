//! The scheduler.
pub mod handle;
pub use handle::{Connected, ConnectionId, Handle, Outgoing, Request};
