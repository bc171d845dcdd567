//! What is seen of logs, channels, tasks and workers: each as one row, the same at the command line (`--json`), over HTTP and in
//! what people read.
//!
//! What a row does not have is left out of its JSON. Moments are RFC 3339 in UTC, durations milliseconds, sizes bytes.

pub mod channel;
pub mod history;
pub mod range;
pub mod record;
pub mod task;
pub mod task_record;
pub mod time;
pub mod worker;

pub(crate) use crate::protocol::counted::counted;
