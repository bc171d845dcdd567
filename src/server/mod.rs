//! The server: sockets on one side, calls on the scheduler's [`Handle`](crate::scheduler::Handle) and
//! reads of the logs on the other.
//!
//! ```text
//!             frames                  requests
//!  socket ───────────────▶ session ───────────────▶ driver
//!    ▲                        │ subscribe, credit     │
//!    │                        ▼                       │
//!    │       replies     one feed for each            │
//!    │     ┌───────────  subscription, reads the log  │
//!    │     │                  │ pieces, at most 8     │ answers, assignments, outcomes
//!    └── outbox ◀─────────────┴───────────────────────┘
//! ```
//!
//! It is *not* where anything is decided: it knows no task and no channel, only what a frame is and who
//! gets it.
//!
//! Invariants:
//! - A connection costs a bounded amount of memory, whatever its peer does or leaves undone. Readers
//!   pull: a batch is read only once there is room for it on its way out.
//! - One connection's trouble is its own: nobody waits for a peer but its own session.
//! - A strand of a trunk is a connection like any other: what is wrong on it ends it, and not the trunk.
//! - What the driver says goes out before what a subscription reads.
//! - Every connection that the driver was told of is also told as gone, once.
//!
//! The transport is named in `listener` only. This module never imports `client` or `worker`.

mod early;
mod listener;
mod session;
mod trunk;

mod farewell;
mod handshake;
mod outbox;

mod feed;
mod finds;
mod stored;
pub mod subscription;
pub mod view;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use listener::{BindError, CONNECTIONS_MAX, Options, Server, listen, reachable};
pub use subscription::{Search, Step, Subscription};
pub use view::View;
