//! `headwater channel list`.

use serde::Serialize;

use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::channel::ChannelInfo;
use crate::protocol::size::Bytes;

/// List all channels.
///
/// Shows for each channel the offset of its first record that is kept, its head (the offset that its next record
/// gets), how many elements (futures and values) were ever appended, how many bytes the values take that are kept, and
/// whether it was stopped. The scheduler's own log is not in the list:
/// read it as the channel `$tasks`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel list --json")]
pub struct List {
    #[command(flatten)]
    connect: Connect,

    /// Print one JSON object per channel and line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    first: u64,
    head: u64,
    elements: u64,
    bytes: u64,
    stopped: bool,
    digest: String,
}

impl List {
    pub async fn run(self) -> anyhow::Result<()> {
        let channels = self.connect.with(ask::channels).await?;
        let mut output = Output::new();
        if self.json {
            for ChannelInfo { name, first, head, elements, bytes, stopped, digest, .. } in &channels {
                let (name, digest) = (name.as_str(), digest.to_string());
                let (first, head, elements, bytes, stopped) = (*first, *head, *elements, *bytes, *stopped);
                output.json(&Line { name, first, head, elements, bytes, stopped, digest })?;
            }
        } else {
            let rows = channels.iter().map(|info| {
                let state = if info.stopped { "stopped" } else { "open" };
                let (first, head, elements) = (info.first, info.head, info.elements);
                let numbers = [first, head, elements].map(|number| number.to_string());
                let [first, head, elements] = numbers;
                [
                    info.name.to_string(),
                    first,
                    head,
                    elements,
                    Bytes(info.bytes).to_string(),
                    state.to_owned(),
                ]
            });
            output.table(["CHANNEL", "FIRST", "HEAD", "ELEMENTS", "BYTES", "STATE"], rows)?;
        }
        output.flush()
    }
}
