//! Traces: what happened to tasks, as spans for a collector of OpenTelemetry's.
//!
//! ```text
//!   task log ──▶ spans: tasks, attempts, waits ─┐
//!   channels ──▶ spans: appends ────────────────┴─▶ otlp: JSON ─▶ collector: HTTP
//! ```
//!
//! They are read off the logs, as everything is that is told of the past: the scheduler's core, the wire and the store know
//! nothing of them. [`spans`] is pure, and each span's identity follows from what the log says, so that a stretch of it that is
//! read again gives the same spans. [`live`] reads along beside a scheduler. It holds one batch of spans at a time: while no
//! collector takes that, it reads no further, and what is to be exported waits where it is durable anyway.
//!
//! Imports `protocol`, `log`, and of `scheduler` what is measured and how channels are named; nothing of who asks.

pub mod collector;
pub mod live;
pub mod otlp;
pub mod spans;

pub use collector::{Collector, Endpoint};
pub use live::{Live, Options};
