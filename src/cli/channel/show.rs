//! `headwater channel show`.

use serde::Serialize;
use serde_json::{Map, Value};

use super::cursor::Row;
use super::group;
use super::retention::in_words;
use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::cli::row::{durability_word, retention_details};
use crate::protocol::ChannelName;
use crate::protocol::channel::ChannelInfo;
use crate::protocol::cursor::CursorInfo;
use crate::protocol::group::GroupInfo;
use crate::protocol::size::Bytes;

/// Show a channel: what it has, what it keeps and why, and who reads it.
///
/// `lag` is how many elements a cursor has still before it. A cursor that was set with a pin keeps what it has not passed
/// for that long; `pinned_by` names those for whose sake elements are kept that are over the channel's bounds, groups among them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel show readings --json

With --json, one object:
  {\"name\",\"log\",\"first\",\"head\",\"elements\",\"trimmed\",\"bytes\",\"stopped\",\"digest\",\"subscribers\",
   \"retention\":{\"max_elements\"?,\"max_age_ms\"?,\"max_bytes\"?},
   \"cursors\":[{\"name\",\"offset\",\"lag\",\"pin_ms\",\"holds_back\"}],
   \"groups\":[as `channel group list`],\"pinned_by\":[NAME]}")]
pub struct Show {
    /// The channel
    name: ChannelName,

    #[command(flatten)]
    connect: Connect,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    log: u32,
    first: u64,
    head: u64,
    elements: u64,
    trimmed: u64,
    bytes: u64,
    stopped: bool,
    digest: String,
    subscribers: u64,
    durability: String,
    retention: Map<String, Value>,
    cursors: Vec<Row<'a>>,
    groups: Vec<group::Row<'a>>,
    pinned_by: Vec<&'a str>,
}

impl Show {
    pub async fn run(self) -> anyhow::Result<()> {
        let Show { name, connect, json } = self;
        let shown = connect.with(async |client| {
            let channel = ask::channel(client, &name).await?;
            let (cursors, groups) = (channel.cursors().await?, channel.groups().await?);
            anyhow::Ok((channel.info().await?, cursors, groups, channel.subscribers().await?))
        });
        let (info, cursors, groups, subscribers) = shown.await?;
        let mut output = Output::new();
        let shown = Shown::of(&info, &cursors, &groups, subscribers);
        if json {
            output.json(&shown)?;
        } else {
            shown.lines(&info).iter().try_for_each(|line| output.line(line))?;
        }
        output.flush()
    }
}

impl<'a> Shown<'a> {
    fn of(
        info: &'a ChannelInfo,
        cursors: &'a [CursorInfo],
        groups: &'a [GroupInfo],
        subscribers: u64,
    ) -> Shown<'a> {
        let holding = cursors.iter().filter(|cursor| cursor.holds_back).map(|cursor| cursor.name.as_str());
        let groups_holding = groups.iter().filter(|group| group.holds_back).map(|group| group.name.as_str());
        Shown {
            name: info.name.as_str(),
            log: info.log.0,
            first: info.first,
            head: info.head,
            elements: info.elements,
            trimmed: info.trimmed,
            bytes: info.bytes,
            stopped: info.stopped,
            digest: info.digest.to_string(),
            subscribers,
            durability: durability_word(info.durability),
            retention: retention_details(info.retention),
            cursors: cursors.iter().map(Row::of).collect(),
            groups: groups.iter().map(group::Row::of).collect(),
            pinned_by: holding.chain(groups_holding).collect(),
        }
    }

    fn lines(&self, info: &ChannelInfo) -> Vec<String> {
        let (kept, bytes) = (self.elements - self.trimmed, Bytes(self.bytes));
        let state = if self.stopped { "stopped" } else { "open" };
        let mut lines = vec![
            format!("channel      {} (log {}), {state}", self.name, self.log),
            format!("offsets      {} to {}", self.first, self.head),
            format!("elements     {} ever, {kept} kept, {bytes}", self.elements),
            format!("digest       {}", self.digest),
            format!("keeps        {}", in_words(info.retention)),
            format!("appends      {}", self.durability),
            format!("subscribers  {}", self.subscribers),
        ];
        lines.extend(self.cursors.iter().map(Row::line));
        lines.extend(self.groups.iter().map(group::Row::line));
        if !self.pinned_by.is_empty() {
            lines.push(format!("not trimmed  for the sake of {}", self.pinned_by.join(", ")));
        }
        lines
    }
}
