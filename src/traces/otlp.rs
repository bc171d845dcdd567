//! Spans as OTLP has them, in JSON: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.
//!
//! One request is one object without line ends, so that requests under each other are a file as the collector's own exporter to files
//! writes it. Identities are in hexadecimal digits, 64-bit numbers are texts, and enumerations are numbers.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::spans::{Attribute, Context, Kind, Span, Status, Value};

/// Bits of a span's flags: it is known whether its parent, or what it links to, is of another process; and it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
/// It is wanted.
const SAMPLED: u32 = 0x1;

/// A request that exports these spans, as of a service of this name.
pub fn request(service: &str, spans: &[Span]) -> String {
    let resource: [Attribute; 2] =
        [("service.name", service.into()), ("service.version", env!("CARGO_PKG_VERSION").into())];
    let scope = Scope { name: "headwater", version: env!("CARGO_PKG_VERSION") };
    let request = Request {
        resource_spans: [ResourceSpans {
            resource: Resource { attributes: Attributes(&resource) },
            scope_spans: [ScopeSpans { scope, spans: Spans(spans) }],
        }],
    };
    serde_json::to_string(&request).expect("there are no maps but those with names")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Attributes<'a>,
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Spans<'a>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

struct Spans<'a>(&'a [Span]);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneSpan<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    flags: u32,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    links: Vec<OneLink>,
    status: OneStatus<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneLink {
    trace_id: String,
    span_id: String,
    flags: u32,
}

#[derive(Serialize)]
struct OneStatus<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
}

struct Attributes<'a>(&'a [Attribute]);

#[derive(Serialize)]
struct OneAttribute<'a> {
    key: &'static str,
    value: OneValue<'a>,
}

#[derive(Serialize)]
enum OneValue<'a> {
    #[serde(rename = "stringValue")]
    Text(&'a str),
    #[serde(rename = "intValue")]
    Number(String),
    #[serde(rename = "arrayValue")]
    Texts(Values<'a>),
}

#[derive(Serialize)]
struct Values<'a> {
    values: Vec<OneValue<'a>>,
}

impl Serialize for Spans<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_seq(Some(self.0.len()))?;
        for span in self.0 {
            all.serialize_element(&OneSpan::of(span))?;
        }
        all.end()
    }
}

impl<'a> OneSpan<'a> {
    fn of(span: &'a Span) -> OneSpan<'a> {
        let kind = match span.kind {
            Kind::Internal => 1,
            Kind::Producer => 4,
            Kind::Consumer => 5,
        };
        let (message, code) = match &span.status {
            Status::Unset => (None, None),
            Status::Error(why) => (Some(why.as_str()), Some(2)),
        };
        let is_remote = if span.is_parent_remote { IS_REMOTE } else { 0 };
        OneSpan {
            trace_id: span.context.trace.to_string(),
            span_id: span.context.span.to_string(),
            parent_span_id: span.parent.map(|parent| parent.to_string()),
            flags: flags(&span.context) | is_remote,
            name: &span.name,
            kind,
            start_time_unix_nano: nanoseconds(span.start_ms),
            // A clock that was set back makes no span that ends before it begins.
            end_time_unix_nano: nanoseconds(span.end_ms.max(span.start_ms)),
            attributes: Attributes(&span.attributes),
            links: span.links.iter().map(OneLink::of).collect(),
            status: OneStatus { message, code },
        }
    }
}

impl OneLink {
    fn of(context: &Context) -> OneLink {
        let (trace_id, span_id) = (context.trace.to_string(), context.span.to_string());
        OneLink { trace_id, span_id, flags: flags(context) }
    }
}

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = self.0.iter().map(|(key, value)| OneAttribute { key, value: OneValue::of(value) });
        serializer.collect_seq(all)
    }
}

impl<'a> OneValue<'a> {
    fn of(value: &'a Value) -> OneValue<'a> {
        match value {
            Value::Text(text) => OneValue::Text(text),
            Value::Number(number) => OneValue::Number(number.to_string()),
            Value::Texts(texts) => {
                OneValue::Texts(Values { values: texts.iter().map(|text| OneValue::Text(text)).collect() })
            }
        }
    }
}

fn flags(context: &Context) -> u32 {
    HAS_IS_REMOTE | if context.is_sampled { SAMPLED } else { 0 }
}

fn nanoseconds(ms: u64) -> String {
    ms.saturating_mul(1_000_000).to_string()
}
