//! `headwater channel cursor …`.

use std::time::Duration;

use serde_json::json;

use super::on::On;
use crate::cli::ask;
use crate::protocol::cursor::{CursorInfo, CursorName};
use crate::rows::channel::CursorRow;
use crate::rows::time;

/// See and set cursors: durable places up to which a channel was read
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(List),
    Commit(Commit),
    Delete(Delete),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::List(list) => list.run().await,
            Command::Commit(commit) => commit.run().await,
            Command::Delete(delete) => delete.run().await,
        }
    }
}

/// List the cursors of a channel.
///
/// `lag` is how many elements a cursor has still before it; one holds back when elements are kept for its sake that are
/// over the channel's bounds.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel cursor list readings --json

With --json, each line is one object: {\"name\",\"offset\",\"lag\",\"pin_ms\",\"holds_back\"}")]
pub struct List {
    #[command(flatten)]
    on: On,
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let cells = |info: &CursorInfo| {
            let holds = if info.holds_back { "yes" } else { "" };
            [info.name.to_string(), info.offset.to_string(), info.lag.to_string(), holds.to_owned()]
        };
        self.on
            .list(
                async |channel| channel.cursors().await,
                |info, output| output.json(&CursorRow::of(info)),
                (["CURSOR", "OFFSET", "LAG", "HOLDS BACK"], cells),
            )
            .await
    }
}

/// Set a cursor: everything before this offset is done with.
///
/// It is made when it is not there, and durable when this returns.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater channel cursor commit readings billing 1000
  headwater channel cursor commit readings billing 2000 --from 1000 --pin 1h")]
pub struct Commit {
    #[command(flatten)]
    on: On,

    /// The cursor
    cursor: CursorName,

    /// The offset of the record that is to be read next
    offset: u64,

    /// Only if it is here now
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,

    /// For how long the channel keeps what the cursor has not passed, whatever its bounds
    #[arg(long, value_name = "D", value_parser = time::duration, default_value = "0")]
    pin: Duration,
}

impl Commit {
    async fn run(self) -> anyhow::Result<()> {
        let Commit { on, cursor, offset, from, pin } = self;
        on.tell(async |client, channel| {
            let set = ask::channel(client, channel).await?.cursor(cursor.as_str())?.pinned_for(pin);
            match from {
                Some(from) => set.advance(from, offset).await?,
                None => set.commit(offset).await?,
            }
            let words = format!("{cursor} is at {offset} of {channel}");
            Ok((json!({ "name": cursor, "offset": offset }), words))
        })
        .await
    }
}

/// Forget a cursor.
///
/// What was kept for its sake and is over the channel's bounds is trimmed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel cursor delete readings billing")]
pub struct Delete {
    #[command(flatten)]
    on: On,

    /// The cursor
    cursor: CursorName,
}

impl Delete {
    async fn run(self) -> anyhow::Result<()> {
        let Delete { on, cursor } = self;
        on.tell(async |client, channel| {
            ask::channel(client, channel).await?.cursor(cursor.as_str())?.delete().await?;
            Ok((json!({ "name": cursor, "deleted": true }), format!("{cursor} of {channel} is forgotten")))
        })
        .await
    }
}
