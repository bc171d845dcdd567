//! The demo's own reading of `adds`: one line per result.

use std::num::NonZeroU64;

use futures_util::FutureExt;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::output::Output;
use crate::client::{Item, Record, Records};
use crate::protocol::ChannelEvent;
use crate::protocol::channel::{ChannelInfo, Progress};
use crate::protocol::event::Receipt;
use crate::rows::counted;
use crate::rows::record::Stored;
use crate::rows::time;

/// Prints results until there are enough.
pub struct Follower {
    output: Output,
    json: bool,
    /// How many are still wanted; `None`: all that come.
    wanted: Option<u64>,
}

/// A result, or the error in its place.
#[derive(Debug, PartialEq, Serialize)]
struct Line {
    offset: u64,
    time: String,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A line that is no result, with `--json`.
#[derive(Debug, Serialize)]
#[serde(tag = "marker", rename_all = "snake_case")]
pub enum Marker<'a> {
    Fresh { epoch: u64 },
    Recovered(Recovered<'a>),
    CaughtUp { offset: u64 },
    Trimmed { from: u64, first: u64 },
    Damaged { from: u64, to: u64, why: &'a str },
}

/// What was found in the store.
#[derive(Debug, Serialize)]
pub struct Recovered<'a> {
    epoch: u64,
    seq: u64,
    tasks_kept: u64,
    tasks_requeued: u64,
    tasks_running: u64,
    channels: Vec<ChannelHead<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ChannelHead<'a> {
    name: &'a str,
    head: u64,
}

/// The line that tells what was found.
pub fn receipt_line<'a>(receipt: &'a Receipt, fresh: bool, channels: &'a [ChannelInfo]) -> Marker<'a> {
    if fresh {
        return Marker::Fresh { epoch: receipt.epoch.0 };
    }
    let channels = channels.iter().map(|info| ChannelHead { name: info.name.as_str(), head: info.head });
    Marker::Recovered(Recovered {
        epoch: receipt.epoch.0,
        seq: receipt.seq.0,
        tasks_kept: receipt.tasks_kept,
        tasks_requeued: receipt.tasks_requeued,
        tasks_running: receipt.tasks_running,
        channels: channels.collect(),
        damage: receipt.damage.as_deref(),
    })
}

impl Follower {
    pub fn new(json: bool, count: Option<NonZeroU64>) -> Self {
        Follower { output: Output::new(), json, wanted: count.map(NonZeroU64::get) }
    }

    pub fn print_json(&mut self, marker: &Marker<'_>) -> anyhow::Result<()> {
        self.output.json(marker)?;
        self.output.flush()
    }

    /// Says what was found, for people.
    pub fn print_found(&mut self, found: &str, channels: &[ChannelInfo]) -> anyhow::Result<()> {
        self.output.line(found)?;
        let width = channels.iter().map(|info| info.name.as_str().chars().count()).max().unwrap_or(0);
        for ChannelInfo { name, head, elements, .. } in channels {
            let elements = counted(*elements, "element");
            self.output.line(format!("  {:<width$}  head {head}, {elements}", name.as_str()))?;
        }
        self.output.flush()
    }

    /// Prints what comes, at once: what was printed waits for nothing but what is there already.
    pub async fn follow(&mut self, mut records: Records<ChannelEvent>) -> anyhow::Result<()> {
        while self.wanted != Some(0) {
            let item = match records.next().now_or_never() {
                Some(item) => item,
                None => {
                    self.output.flush()?;
                    records.next().await
                }
            };
            let Some(item) = item else { break };
            self.take(item?)?;
        }
        self.output.flush()
    }

    fn take(&mut self, item: Item) -> anyhow::Result<()> {
        match item {
            Item::Record(record) => self.print(record),
            Item::CaughtUp { head } => {
                self.mark(&Marker::CaughtUp { offset: head }, &format!("caught up at offset {head}"))
            }
            Item::Trimmed { from, first } => {
                let text = format!("offsets {from} to {first} are trimmed: their records are gone");
                self.mark(&Marker::Trimmed { from, first }, &text)
            }
            Item::Damaged { from, to, why } => {
                let text = format!("records {from} to {to} are lost: {why}");
                self.mark(&Marker::Damaged { from, to, why: &why }, &text)
            }
        }
    }

    fn mark(&mut self, marker: &Marker<'_>, text: &str) -> anyhow::Result<()> {
        match self.json {
            true => self.output.json(marker),
            false => self.output.line(text),
        }
    }

    fn print(&mut self, record: Record) -> anyhow::Result<()> {
        let Record { offset, time_ms, event: ChannelEvent::Progress { key, progress }, .. } = record else {
            return Ok(());
        };
        let (value, error) = match progress {
            Progress::Finished { result } => (Some(result.to_json()), None),
            Progress::Failed { error } => (None, Some(error.to_string())),
            Progress::Cancelled => (None, Some("cancelled".to_owned())),
            // No sum is that large: these are of others who append here.
            Progress::Stored { result } => (Some(json!({ "stored": Stored::of(&result) })), None),
            Progress::Started { .. } | Progress::Lost { .. } | Progress::Renewed | Progress::Advanced(_) => {
                return Ok(());
            }
        };
        self.wanted = self.wanted.map(|wanted| wanted - u64::from(value.is_some()));
        let line = Line { offset, time: time::rfc3339(time_ms), key: key.to_string(), value, error };
        if self.json {
            return self.output.json(&line);
        }
        let end = line.value.map(|value| value.to_string()).or(line.error).unwrap_or_default();
        self.output.line(format!("{offset:>8}  {}  {}  {end}", time::local(time_ms), line.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{AttemptNumber, ChannelName, LogId, Payload, TaskKey};

    fn record(progress: Progress) -> Item {
        let event = ChannelEvent::Progress { key: TaskKey::unique("add", [1; 16]), progress };
        Item::Record(Record { offset: 2, time_ms: 0, index: None, event })
    }

    #[test]
    fn results_are_counted_and_nothing_else() {
        let mut follower = Follower { output: Output::unread(), ..Follower::new(true, NonZeroU64::new(2)) };
        follower.take(Item::CaughtUp { head: 0 }).unwrap();
        let started = Progress::Started { attempt: AttemptNumber(1), worker: "w".into() };
        follower.take(record(started)).unwrap();
        follower.take(record(Progress::Cancelled)).unwrap();
        assert_eq!(follower.wanted, Some(2));
        follower.take(record(Progress::Finished { result: Payload::encode(&1.5).unwrap() })).unwrap();
        assert_eq!(follower.wanted, Some(1));
    }

    #[test]
    fn a_receipt_is_a_marker() {
        let name = ChannelName::new("a").unwrap();
        let info = ChannelInfo { elements: 3, ..ChannelInfo::of_records(name, LogId(1), 0, 7) };
        let receipt = Receipt { tasks_kept: 4, ..Receipt::default() };
        let line = |fresh| {
            serde_json::to_string(&receipt_line(&receipt, fresh, std::slice::from_ref(&info))).unwrap()
        };
        assert_eq!(line(true), r#"{"marker":"fresh","epoch":0}"#);
        assert_eq!(
            line(false),
            concat!(
                r#"{"marker":"recovered","epoch":0,"seq":0,"tasks_kept":4,"tasks_requeued":0,"#,
                r#""tasks_running":0,"channels":[{"name":"a","head":7}]}"#
            )
        );
    }
}
