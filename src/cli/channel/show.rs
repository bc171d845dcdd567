//! `headwater channel show`.

use super::retention::in_words;
use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::ChannelName;
use crate::protocol::channel::ChannelInfo;
use crate::protocol::size::Bytes;
use crate::rows::channel::{CursorRow, GroupRow, Shown};

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
        let shown = Shown::of(&info, &cursors, &groups, Some(subscribers));
        if json {
            output.json(&shown)?;
        } else {
            lines(&shown, &info).iter().try_for_each(|line| output.line(line))?;
        }
        output.flush()
    }
}

/// For people.
fn lines(shown: &Shown, info: &ChannelInfo) -> Vec<String> {
    let (kept, bytes) = (shown.elements - shown.trimmed, Bytes(shown.bytes));
    let state = if shown.stopped { "stopped" } else { "open" };
    let mut lines = vec![
        format!("channel      {} (log {}), {state}", shown.name, shown.log),
        format!("offsets      {} to {}", shown.first, shown.head),
        format!("elements     {} ever, {kept} kept, {bytes}", shown.elements),
        format!("digest       {}", shown.digest),
        format!("keeps        {}", in_words(info.retention)),
        format!("appends      {}", shown.durability),
        format!("subscribers  {}", shown.subscribers.unwrap_or_default()),
    ];
    lines.extend(shown.cursors.iter().map(CursorRow::line));
    lines.extend(shown.groups.iter().map(GroupRow::line));
    if !shown.pinned_by.is_empty() {
        lines.push(format!("not trimmed  for the sake of {}", shown.pinned_by.join(", ")));
    }
    lines
}
