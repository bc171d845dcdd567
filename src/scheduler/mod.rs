//! The scheduler: a pure core, the group commit around it, and the driver that owns both.
//!
//! Imports `protocol` and `log`; never `server`, `client` or `worker`.

pub mod core;
pub mod handle;
pub mod hindsight;
pub mod meters;
pub mod names;
pub mod opening;
pub mod pipeline;
pub mod receipts;
pub mod recovery;
pub mod snapshots;
pub mod tally;
pub mod verify;

mod driver;
mod ends;
mod histogram;
mod latencies;
mod start;
mod writer;

pub use handle::{Connected, ConnectionId, Departure, Handle, Outgoing, Request};
pub use hindsight::{AsOf, Hindsight, NotTold};
pub use meters::Meters;
pub use opening::{Opening, Opens};
pub use pipeline::Pipeline;
pub use receipts::Receipts;
pub use start::{Scheduler, start};
