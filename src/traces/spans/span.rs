//! A span, in the words of OpenTelemetry.

use std::borrow::Cow;

use super::ids::{Context, SpanId};
use crate::protocol::TimeMs;

/// A stretch of time in which something was done or waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Which it is.
    pub context: Context,
    /// Of which span it is a part; none for the root of a trace.
    pub parent: Option<SpanId>,
    /// Whether that is a span of another program's.
    pub is_parent_remote: bool,
    /// What is done, in few words: one for many spans.
    pub name: Cow<'static, str>,
    /// What part it has in a conversation.
    pub kind: Kind,
    /// When it began, by the scheduler's clock.
    pub start_ms: TimeMs,
    /// When it ended.
    pub end_ms: TimeMs,
    /// What else is known, by the names in `docs/traces.md`.
    pub attributes: Vec<Attribute>,
    /// Spans that it has to do with, and that it is no part of.
    pub links: Vec<Context>,
    /// Whether it went well.
    pub status: Status,
}

/// What part a span has in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// None.
    Internal,
    /// It gives something to others, and does not wait for them.
    Producer,
    /// It does what others gave.
    Consumer,
}

/// Whether it went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nobody says that it did not.
    Unset,
    /// It did not, and this is why.
    Error(String),
}

/// What is known of a span: a name, and what it is.
pub type Attribute = (&'static str, Value);

/// What an attribute is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// Several texts.
    Texts(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Number(number.into())
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Value {
        Value::Number(number.into())
    }
}
