//! `headwater channel producer …`.

use serde::Serialize;
use serde_json::json;

use super::on::On;
use crate::cli::ask;
use crate::protocol::producer::{ProducerInfo, ProducerName};

/// See and forget named producers: who has appended up to which number
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(List),
    Delete(Delete),
}

impl Command {
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Command::List(list) => list.run().await,
            Command::Delete(delete) => delete.run().await,
        }
    }
}

/// A producer, as programs read it.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    number: u64,
    offset: u64,
    count: u32,
    seq: u64,
}

impl<'a> Row<'a> {
    fn of(info: &'a ProducerInfo) -> Self {
        let ProducerInfo { name, number, first, count, seq } = info;
        Row { name: name.as_str(), number: *number, offset: *first, count: *count, seq: seq.0 }
    }
}

/// List the named producers of a channel.
///
/// Each is shown with its newest append: the number, the offset of the first element, and how many elements there are. It is
/// remembered for as long as the channel is there, whatever is trimmed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel producer list lines --json

With --json, each line is one object: {\"name\",\"number\",\"offset\",\"count\",\"seq\"}")]
pub struct List {
    #[command(flatten)]
    on: On,
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let cells = |info: &ProducerInfo| {
            let ProducerInfo { name, number, first, count, .. } = info;
            [name.to_string(), number.to_string(), first.to_string(), count.to_string()]
        };
        self.on
            .list(
                async |channel| channel.producers().await,
                |info, output| output.json(&Row::of(info)),
                (["PRODUCER", "NUMBER", "OFFSET", "ELEMENTS"], cells),
            )
            .await
    }
}

/// Forget a named producer.
///
/// What it has appended stays. Its numbers may begin anew, so that the same input, appended again under its name, is there
/// twice.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel producer delete lines import")]
pub struct Delete {
    #[command(flatten)]
    on: On,

    /// The producer
    producer: ProducerName,
}

impl Delete {
    async fn run(self) -> anyhow::Result<()> {
        let Delete { on, producer } = self;
        on.tell(async |client, channel| {
            ask::channel(client, channel).await?.producer(producer.as_str())?.forget().await?;
            let words = format!("{producer} of {channel} is forgotten");
            Ok((json!({ "name": producer, "deleted": true }), words))
        })
        .await
    }
}
