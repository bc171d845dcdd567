//! One record of a log as one line, for people and for programs.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::counted;
use super::time;
use crate::protocol::channel::{Durability, Progress, Retention, TrimCause};
use crate::protocol::result::StoredResult;
use crate::protocol::size::Bytes;
use crate::protocol::task::Advance;
use crate::protocol::{ChannelEvent, Element, Headers, TaskError, TimeMs};

/// How wide keys are shown: a short label, a hyphen, and 32 digits.
const KEY_WIDTH: usize = 40;

/// The width of the longest word for a record of a channel, `cancelled`, and of `$tasks`,
/// `channel_created`.
pub const CHANNEL_WORD_WIDTH: usize = 9;
pub const TASKS_WORD_WIDTH: usize = 15;

/// A record as `channel tail --json` prints it. What a record does not have is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Row {
    pub offset: u64,
    /// RFC 3339, in UTC.
    pub time: String,
    /// For a channel: `appended`, `progress`, `stopped` or another change. For `$tasks`: the event's name.
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// An element's headers; left out when it has none.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub headers: Map<String, Value>,
    /// In place of the value of a result that workers keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
    /// What became of a future: `started`, `finished`, `failed`, `cancelled` or `lost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// The error's message and its causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<Box<str>>,
    /// What else the records of `$tasks` say, and of an append of a named producer which and its number.
    #[serde(flatten)]
    pub details: Map<String, Value>,
    /// For people only.
    #[serde(skip)]
    pub note: Option<String>,
    #[serde(skip)]
    pub time_ms: TimeMs,
}

/// What is seen of a log between records, with `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "marker", rename_all = "snake_case")]
pub enum Marker {
    CaughtUp { offset: u64 },
    Trimmed { from: u64, first: u64 },
    Damaged { from: u64, to: u64, why: String },
}

/// A result that workers keep, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stored {
    pub bytes: u64,
    pub digest: String,
}

impl Stored {
    pub fn of(result: &StoredResult) -> Self {
        Stored { bytes: result.bytes, digest: result.digest.to_string() }
    }
}

impl std::fmt::Display for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on workers, digest {}", Bytes(self.bytes), self.digest)
    }
}

/// A part of the line for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its offset.
    Offset,
    /// Its time.
    Time,
    /// What happened.
    Word,
    /// The task's key.
    Key,
    /// All else.
    Rest,
}

impl Row {
    /// A record of which only its place is known yet.
    pub fn at(offset: u64, time_ms: TimeMs) -> Self {
        Row { offset, time: time::rfc3339(time_ms), time_ms, ..Row::default() }
    }

    /// A record of a channel.
    pub fn of_channel(offset: u64, time_ms: TimeMs, event: ChannelEvent) -> Self {
        let mut row = Row::at(offset, time_ms);
        row.set_asked_by(&event);
        match event {
            ChannelEvent::Appended { element, .. } => row.set_element(&Headers::new(), &element),
            ChannelEvent::AppendedWith { headers, element, .. } => row.set_element(&headers, &element),
            ChannelEvent::Produced { producer, number, headers, element, .. } => {
                row.set_element(&headers, &element);
                row.details.insert("producer".to_owned(), producer.as_str().into());
                row.details.insert("number".to_owned(), number.into());
            }
            ChannelEvent::ProducerForgotten { producer, .. } => {
                row.kind = "forgotten";
                row.details.insert("producer".to_owned(), producer.as_str().into());
            }
            ChannelEvent::Progress { key, progress } => {
                (row.kind, row.key) = ("progress", Some(key.to_string()));
                row.set_progress(progress);
            }
            ChannelEvent::Stopped { count, digest, .. } => {
                (row.kind, row.note) =
                    ("stopped", Some(format!("at {}, digest {digest}", counted(count, "element"))));
            }
            ChannelEvent::Deleted { count, digest, .. } => {
                (row.kind, row.note) =
                    ("deleted", Some(format!("at {}, digest {digest}", counted(count, "element"))));
            }
            ChannelEvent::Resumed { .. } => row.kind = "resumed",
            ChannelEvent::Trimmed { cause, before, index } => {
                row.kind = "trimmed";
                row.details.insert("before".to_owned(), before.into());
                row.details.insert("before_index".to_owned(), index.into());
                row.details.insert("cause".to_owned(), cause_word(cause).into());
            }
            ChannelEvent::Changed { retention, .. } => {
                row.kind = "changed";
                row.details.extend(retention_details(retention));
            }
            ChannelEvent::DurabilityChanged { durability, .. } => {
                row.kind = "changed";
                row.details.insert("durability".to_owned(), durability_word(durability).into());
            }
        }
        row
    }

    /// Whose session has asked for it, where somebody changed the channel: `$tasks` says whose that is.
    fn set_asked_by(&mut self, event: &ChannelEvent) {
        let origin = match event {
            ChannelEvent::Stopped { origin, .. }
            | ChannelEvent::Resumed { origin }
            | ChannelEvent::Trimmed { cause: TrimCause::Asked(origin), .. }
            | ChannelEvent::Changed { origin, .. }
            | ChannelEvent::Deleted { origin, .. }
            | ChannelEvent::ProducerForgotten { origin, .. }
            | ChannelEvent::DurabilityChanged { origin, .. } => origin,
            ChannelEvent::Trimmed { .. }
            | ChannelEvent::Appended { .. }
            | ChannelEvent::AppendedWith { .. }
            | ChannelEvent::Produced { .. }
            | ChannelEvent::Progress { .. } => return,
        };
        self.details.insert("session".to_owned(), origin.producer.0.into());
    }

    /// It is an element with these headers.
    pub fn set_element(&mut self, headers: &Headers, element: &Element) {
        self.kind = "appended";
        self.headers = headers.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        match element {
            Element::Future(key) => self.key = Some(key.to_string()),
            Element::Value(payload) => self.value = Some(payload.to_json()),
        }
    }

    fn set_progress(&mut self, progress: Progress) {
        match progress {
            Progress::Started { attempt, worker } => {
                (self.state, self.worker) = (Some("started"), Some(worker));
                self.note = (attempt.0 > 1).then(|| format!("attempt {attempt}"));
            }
            Progress::Finished { result } => {
                (self.state, self.value) = (Some("finished"), Some(result.to_json()));
            }
            Progress::Failed { error } => {
                self.state = Some("failed");
                self.set_error(&error);
            }
            Progress::Cancelled => self.state = Some("cancelled"),
            Progress::Stored { result } => {
                (self.state, self.stored) = (Some("finished"), Some(Stored::of(&result)));
            }
            Progress::Renewed => self.state = Some("renewed"),
            Progress::Advanced(advance) => {
                self.state = Some("advanced");
                self.details = of_advance(&advance);
            }
            Progress::Lost { worker } => (self.state, self.worker) = (Some("lost"), Some(worker)),
        }
    }

    /// The error, and the worker it comes from.
    pub fn set_error(&mut self, error: &TaskError) {
        self.error = Some(error.to_string());
        self.worker = (!error.worker.is_empty()).then(|| error.worker.clone());
    }

    /// The line for people: offset, local time, what happened (in a column of `word_width`), the key,
    /// and the rest.
    pub fn for_people(&self, word_width: usize) -> String {
        self.line(word_width, Some(&time::local(self.time_ms)), |_, text| text.to_owned())
    }

    /// The same with its time as it is given, or without; each part as `paint` has it, which adds nothing that is seen.
    pub fn line(
        &self,
        word_width: usize,
        time: Option<&str>,
        paint: impl Fn(Part, &str) -> String,
    ) -> String {
        let (word, rest) = (self.word(), self.rest().join("  "));
        let mut parts = vec![(Part::Offset, format!("{:>8}", self.offset))];
        parts.extend(time.map(|time| (Part::Time, time.to_owned())));
        parts.push((Part::Word, format!("{word:<word_width$}")));
        parts.extend(self.key.as_ref().map(|key| (Part::Key, format!("{key:<KEY_WIDTH$}"))));
        parts.push((Part::Rest, rest));
        // Nothing stands behind the last part that says something.
        while let Some((_, text)) = parts.last_mut() {
            text.truncate(text.trim_end().len());
            if !text.is_empty() {
                break;
            }
            parts.pop();
        }
        parts.iter().map(|(part, text)| paint(*part, text)).collect::<Vec<_>>().join("  ")
    }

    /// What happened, in a word.
    pub fn word(&self) -> &'static str {
        self.state.unwrap_or(self.kind)
    }

    /// What there is to say beside the word and the key.
    pub fn rest(&self) -> Vec<String> {
        let mut rest = Vec::new();
        rest.extend(self.value.as_ref().map(Value::to_string));
        rest.extend(self.stored.as_ref().map(Stored::to_string));
        rest.extend(self.error.as_ref().map(|error| error.lines().collect::<Vec<_>>().join(" ")));
        rest.extend(self.worker.as_ref().map(|worker| format!("on {worker}")));
        rest.extend(self.note.clone());
        rest.extend(self.headers.iter().chain(&self.details).map(|(name, value)| match value {
            Value::String(text) => format!("{name}={}", text.lines().collect::<Vec<_>>().join(" ")),
            other => format!("{name}={other}"),
        }));
        rest
    }
}

/// How far an attempt has come, by name.
pub fn of_advance(Advance { done, total, message }: &Advance) -> Map<String, Value> {
    let mut all: Map<_, _> = [("done".to_owned(), json!(done))].into_iter().collect();
    all.extend((*total > 0).then(|| ("total".to_owned(), json!(total))));
    all.extend((!message.is_empty()).then(|| ("message".to_owned(), json!(message))));
    all
}

/// Why elements were trimmed, in a word.
fn cause_word(cause: TrimCause) -> &'static str {
    match cause {
        TrimCause::Asked(_) => "asked",
        TrimCause::Elements => "max_elements",
        TrimCause::Age => "max_age",
        TrimCause::Bytes => "max_bytes",
    }
}

/// When appends are acknowledged, in a word: `fsynced` or `buffered 100ms`.
pub fn durability_word(durability: Durability) -> String {
    match durability {
        Durability::Fsynced => "fsynced".to_owned(),
        Durability::Buffered { flush_ms } => {
            format!("buffered {}", time::in_units(Duration::from_millis(flush_ms.into())))
        }
    }
}

/// What a channel keeps, as programs read it: the bounds there are, or none.
pub fn retention_details(retention: Retention) -> Map<String, Value> {
    let Retention { max_elements, max_age_ms, max_bytes } = retention;
    let bounds = [("max_elements", max_elements), ("max_age_ms", max_age_ms), ("max_bytes", max_bytes)];
    bounds.into_iter().filter_map(|(name, bound)| Some((name.to_owned(), bound?.into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::Origin;
    use crate::protocol::task::ErrorKind;
    use crate::protocol::{AttemptNumber, Codec, Digest, Payload, Producer, TaskKey};

    const TIME: TimeMs = 1_795_418_696_007;

    fn origin() -> Origin {
        Origin { producer: Producer(1), number: 1 }
    }

    fn json(event: ChannelEvent) -> String {
        serde_json::to_string(&Row::of_channel(7, TIME, event)).unwrap()
    }

    fn progress(progress: Progress) -> ChannelEvent {
        ChannelEvent::Progress { key: TaskKey::unique("add", [1; 16]), progress }
    }

    fn stored() -> StoredResult {
        StoredResult { codec: Codec::MessagePack, bytes: 5 << 20, digest: Digest(10) }
    }

    fn error() -> Box<TaskError> {
        let mut error = TaskError::new(ErrorKind::Returned, "disk\non fire", vec!["spark".into()]);
        (error.worker, error.attempt) = ("w1".into(), AttemptNumber(2));
        Box::new(error)
    }

    #[test]
    fn elements_have_a_key_or_a_value() {
        let begin = r#"{"offset":7,"time":"2026-11-23T07:24:56.007Z","kind":"appended","#;
        let element = Element::Future(TaskKey::unique("add", [1; 16]));
        assert_eq!(
            json(ChannelEvent::Appended { origin: origin(), element }),
            format!(r#"{begin}"key":"add-01010101010101010101010101010101"}}"#)
        );
        let headers = [("unit", "m"), ("by", "two\nlines")].into_iter().collect();
        let element = Element::Value(Payload::encode(&1).unwrap());
        let headed = ChannelEvent::AppendedWith { origin: origin(), headers, element };
        assert_eq!(
            json(headed.clone()),
            format!(r#"{begin}"value":1,"headers":{{"by":"two\nlines","unit":"m"}}}}"#)
        );
        let line = Row::of_channel(7, TIME, headed).for_people(9);
        assert!(line.ends_with("  appended   1  by=two lines  unit=m"), "{line}");
        let element = Element::Value(Payload::encode(&Option::<u8>::None).unwrap());
        assert_eq!(
            json(ChannelEvent::Appended { origin: origin(), element }),
            format!(r#"{begin}"value":null}}"#)
        );
    }

    #[test]
    fn progress_has_what_belongs_to_its_state() {
        let begin = concat!(
            r#"{"offset":7,"time":"2026-11-23T07:24:56.007Z","kind":"progress","#,
            r#""key":"add-01010101010101010101010101010101","#
        );
        let started = Progress::Started { attempt: AttemptNumber(1), worker: "w1".into() };
        assert_eq!(json(progress(started)), format!(r#"{begin}"state":"started","worker":"w1"}}"#));
        let finished = Progress::Finished { result: Payload::encode(&1.5).unwrap() };
        assert_eq!(json(progress(finished)), format!(r#"{begin}"value":1.5,"state":"finished"}}"#));
        let failed = Progress::Failed { error: error() };
        assert_eq!(
            json(progress(failed)),
            format!(r#"{begin}"state":"failed","error":"disk\non fire: spark","worker":"w1"}}"#)
        );
        assert_eq!(json(progress(Progress::Cancelled)), format!(r#"{begin}"state":"cancelled"}}"#));
        let stored = Progress::Stored { result: stored() };
        let shown = format!(
            r#"{begin}"stored":{{"bytes":5242880,"digest":"000000000000000a"}},"state":"finished"}}"#
        );
        assert_eq!(json(progress(stored)), shown);
        let lost = Progress::Lost { worker: "w1".into() };
        assert_eq!(json(progress(lost)), format!(r#"{begin}"state":"lost","worker":"w1"}}"#));
    }

    #[test]
    fn a_change_of_a_channel_is_a_record_too_and_says_who_asked_for_it() {
        let stopped = ChannelEvent::Stopped { origin: origin(), count: 3, digest: Digest(1) };
        assert_eq!(
            json(stopped),
            r#"{"offset":7,"time":"2026-11-23T07:24:56.007Z","kind":"stopped","session":1}"#
        );
        let session = |event| Row::of_channel(7, TIME, event).details.get("session").cloned();
        let retention = Retention::ALL.with_elements(1);
        assert_eq!(session(ChannelEvent::Changed { origin: origin(), retention }), Some(1.into()));
        let trimmed = |cause| ChannelEvent::Trimmed { cause, before: 1, index: 1 };
        assert_eq!(session(trimmed(TrimCause::Asked(origin()))), Some(1.into()));
        assert_eq!(session(trimmed(TrimCause::Age)), None, "by itself");
    }

    #[test]
    fn people_get_columns_on_one_line() {
        let line = |event| Row::of_channel(7, TIME, event).for_people(9);
        let failed = line(progress(Progress::Failed { error: error() }));
        assert!(failed.starts_with("       7  2026-11-2"), "{failed}");
        let end = "  failed     add-01010101010101010101010101010101      disk on fire: spark  on w1";
        assert!(failed.ends_with(end), "{failed}");
        let stored = line(progress(Progress::Stored { result: stored() }));
        assert!(stored.ends_with("      5 MiB on workers, digest 000000000000000a"), "{stored}");
        let element = Element::Value(Payload::encode(&serde_json::json!({ "a": 1 })).unwrap());
        let appended = line(ChannelEvent::Appended { origin: origin(), element });
        assert!(appended.ends_with(r#"  appended   {"a":1}"#), "{appended}");
    }
}
