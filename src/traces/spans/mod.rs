//! From records to spans. Pure: it is told records, and gives the spans that have ended with them.
//!
//! ```text
//!   Submitted          Started              Retried       Started        Finished
//!   ├─ task ───────────────────────────────────────────────────────────────────┤   one trace for each task that
//!   ├─ wait (worker) ──┼─ attempt (error) ─┼─ wait ──────┼─ attempt ────────────┤   no attempt has submitted
//!                             ├ append              nested task ─┤
//! ```
//!
//! - A task's span begins with its submission and ends with its end. It is the child of the attempt that has submitted it,
//!   or of the span that its tag `traceparent:…` names; else it is the root of a trace whose id is the task's own.
//! - An attempt's span is the task's child, and so are the waits before it: for other tasks, for a worker, or between
//!   attempts.
//! - An append's span is the child of the attempt that has appended. The future of a task that a program, which no task is,
//!   has appended is a child of that task's.
//! - A task's span links to the tasks whose results it takes, and that of an append to the tasks whose futures it appended.
//!
//! The order of the records matters within each log, and a channel's come after those of the task log that are as old. Spans
//! are given once they have ended, so that what never ends is never told, but its parts are.
//!
//! Memory is bounded: see [`fold`].

mod appends;
pub mod fold;
pub mod ids;
mod open;
mod recent;
pub mod span;

pub use fold::Fold;
pub use ids::{Context, SpanId, TraceId};
pub use span::{Attribute, Kind, Span, Status, Value};

#[cfg(test)]
mod tests;
