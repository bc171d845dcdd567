//! What the commands that change a channel, or list what belongs to it, have in common: which one, and how it is told.

use serde_json::{Value, json};

use super::retention;
use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::client::{Channel, Client, Result};
use crate::protocol::ChannelName;
use crate::protocol::channel::ChannelInfo;
use crate::rows::record::{durability_word, retention_details};

/// A channel that is changed, or whose belongings are listed.
#[derive(Debug, clap::Args)]
pub struct On {
    /// The channel
    pub name: ChannelName,

    #[command(flatten)]
    connect: Connect,

    /// Print JSON: one object, or one a line
    #[arg(long)]
    json: bool,
}

impl On {
    /// Changes the channel, which is there, and prints how it stands then.
    pub async fn change(
        self,
        change: impl AsyncFnOnce(&Channel<()>) -> Result<ChannelInfo>,
    ) -> anyhow::Result<()> {
        self.print(async |client, name| Ok(change(&ask::channel(client, name).await?).await?)).await
    }

    /// Does something, and prints how the channel stands then.
    pub async fn print(
        self,
        act: impl AsyncFnOnce(&Client, &ChannelName) -> anyhow::Result<ChannelInfo>,
    ) -> anyhow::Result<()> {
        self.tell(async |client, name| {
            let info = act(client, name).await?;
            Ok((object(&info), retention::line(&info)))
        })
        .await
    }

    /// Prints what belongs to the channel: one JSON object a line, or a table.
    pub async fn list<T, const N: usize>(
        self,
        ask: impl AsyncFnOnce(&Channel<()>) -> Result<Vec<T>>,
        print: impl Fn(&T, &mut Output) -> anyhow::Result<()>,
        (columns, cells): ([&str; N], impl Fn(&T) -> [String; N]),
    ) -> anyhow::Result<()> {
        let On { name, connect, json } = self;
        let listed = connect.with(async |client| anyhow::Ok(ask(&ask::channel(client, &name).await?).await?));
        let listed = listed.await?;
        let mut output = Output::new();
        match json {
            true => listed.iter().try_for_each(|row| print(row, &mut output))?,
            false => output.table(columns, listed.iter().map(cells))?,
        }
        output.flush()
    }

    /// Does something, and prints what it brings: as JSON, and in words.
    pub async fn tell(
        self,
        act: impl AsyncFnOnce(&Client, &ChannelName) -> anyhow::Result<(Value, String)>,
    ) -> anyhow::Result<()> {
        let On { name, connect, json } = self;
        let (object, words) = connect.with(async |client| act(client, &name).await).await?;
        let mut output = Output::new();
        if json {
            output.json(&object)?
        } else {
            output.line(words)?
        }
        output.flush()
    }
}

/// How a channel stands, for programs.
fn object(info: &ChannelInfo) -> Value {
    json!({
        "name": info.name,
        "first": info.first,
        "head": info.head,
        "elements": info.elements,
        "trimmed": info.trimmed,
        "bytes": info.bytes,
        "stopped": info.stopped,
        "digest": info.digest.to_string(),
        "durability": durability_word(info.durability),
        "retention": retention_details(info.retention),
    })
}
