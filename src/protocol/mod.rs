//! Every byte that leaves or outlives a process. Pure: no clock, no randomness, no socket, no file.
//!
//! Two kinds of bytes are defined here. **Facts** ([`event`], in the envelope of [`batch`]) are stored
//! in the logs and sent to readers exactly as they are stored. **Messages** ([`message`], in the
//! envelope of [`frame`]) travel between a client or worker and the server, and are forgotten.
//!
//! Both are postcard: compact and typed, but not self-describing. So enum variants are only ever
//! appended, never reordered, and a struct that changes is a new version (see [`version`]).
//! Users' own values travel inside as [`Payload`]s, which are self-describing MessagePack.
//!
//! This module imports nothing else of the crate.

pub mod batch;
pub mod channel;
pub mod command;
pub(crate) mod counted;
pub mod cursor;
pub mod digest;
pub mod elements;
pub mod equipment;
pub mod event;
pub mod frame;
pub mod group;
pub mod headers;
pub mod ids;
pub mod limits;
pub mod message;
pub mod name;
pub mod payload;
pub mod producer;
pub mod query;
pub mod rejection;
pub mod result;
pub mod secret;
pub mod session;
pub mod size;
pub mod snapshot;
pub mod start;
pub mod stock;
pub mod task;
pub mod task_map;
pub mod template;
pub mod terms;
pub mod transaction;
pub mod unread;
pub mod version;

pub use channel::{ChannelName, Element};
pub use digest::Digest;
pub use elements::Elements;
pub use event::{ChannelEvent, TaskEvent};
pub use headers::Headers;
pub use ids::{AttemptNumber, Epoch, LogId, Producer, Seq, SessionId, StartId, TaskId, TaskKey};
pub use payload::{Codec, Payload};
pub use stock::Stock;
pub use task::{Outcome, Submission, TaskError};
pub use task_map::{TaskMap, TaskSet};
pub use template::Template;

/// A moment as milliseconds since the Unix epoch, by the scheduler's clock.
pub type TimeMs = u64;
