//! Which span is which. All ids follow from what the logs say.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::protocol::event::Origin;
use crate::protocol::{AttemptNumber, LogId, TaskId};

/// The tag by which a client says of which span a task's is a child: `traceparent:` and a value of the header of that name of
/// W3C's Trace Context.
pub const TRACEPARENT_TAG: &str = "traceparent:";

/// A trace's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// A span's identity in its trace; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// A span as others name it: in which trace, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Its trace.
    pub trace: TraceId,
    /// It.
    pub span: SpanId,
    /// Whether anybody wants the trace: who began it may have decided that nobody does.
    pub is_sampled: bool,
}

impl TraceId {
    /// Of a task that no attempt has submitted.
    pub fn of_root(task: TaskId) -> TraceId {
        TraceId(task.0)
    }
}

impl SpanId {
    /// Of a task, from its submission at this offset of the task log on, or from where it was tried again.
    pub fn of_task(task: TaskId, offset: u64) -> SpanId {
        SpanId::hashed(b"task", &[&task.0, &offset.to_le_bytes()])
    }

    /// Of an attempt.
    pub fn of_attempt(task: SpanId, attempt: AttemptNumber) -> SpanId {
        SpanId::hashed(b"attempt", &[&task.0, &attempt.0.to_le_bytes()])
    }

    /// Of a task's wait that ended with the record at this offset of the task log.
    pub fn of_wait(task: SpanId, offset: u64, kind: &str) -> SpanId {
        SpanId::hashed(b"wait", &[&task.0, &offset.to_le_bytes(), kind.as_bytes()])
    }

    /// Of what a command has appended to a channel; `of`: as far as it is the future of this task, or the output of an attempt at
    /// it, whose number is not 0.
    pub fn of_append(log: LogId, origin: Origin, of: Option<(TaskId, AttemptNumber)>) -> SpanId {
        let Origin { producer, number } = origin;
        let (log, producer, number) = (log.0.to_le_bytes(), producer.0.to_le_bytes(), number.to_le_bytes());
        let of = of.map(|(task, attempt)| [&task.0[..], &attempt.0.to_le_bytes()].concat());
        SpanId::hashed(b"append", &[&log, &producer, &number, &of.unwrap_or_default()])
    }

    fn hashed(kind: &[u8], parts: &[&[u8]]) -> SpanId {
        let hash = xxh3_64(&[kind, &parts.concat()].concat());
        SpanId(hash.max(1).to_be_bytes())
    }
}

impl Context {
    /// Reads `00-TRACE-SPAN-FLAGS`, as <https://www.w3.org/TR/trace-context/> has it. `None` for anything else.
    pub fn of_traceparent(text: &str) -> Option<Context> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = bytes(version)?;
        // Later versions may say more behind it, this one may not.
        if version == 0xff || version == 0 && parts.next().is_some() {
            return None;
        }
        let (trace, span, [flags]) = (TraceId(bytes(trace)?), SpanId(bytes(span)?), bytes(flags)?);
        let is_one = trace.0 != [0; 16] && span.0 != [0; 8];
        is_one.then_some(Context { trace, span, is_sampled: flags & 1 == 1 })
    }
}

/// The bytes that so many lower-case hexadecimal digits say.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_the_standard_has_it_and_nothing_else_is() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = Context::of_traceparent(text).unwrap();
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span.to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled);
        let unsampled = Context::of_traceparent(&text.replace("-01", "-00")).unwrap();
        assert!(!unsampled.is_sampled);
        // A later version may have more.
        let later = format!("cc{}-more", &text[2..]);
        assert_eq!(Context::of_traceparent(&later), Some(context));
        for bad in [
            "",
            "00",
            &text[3..],
            &text[..52],
            &format!("{text}-more"),
            &text.replace("4bf9", "4BF9"),
            &text.replace("4bf9", "4bfg"),
            &text.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(Context::of_traceparent(bad), None, "{bad}");
        }
    }
}
