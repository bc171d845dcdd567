//! `headwater channel list`.

use serde::Serialize;

use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::channel::ChannelInfo;

/// List all channels.
///
/// Shows for each channel its head (the offset that its next record gets), how many elements (futures and
/// values) were ever appended, and whether it was stopped. The scheduler's own log is not in the list:
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
    head: u64,
    elements: u64,
    stopped: bool,
    digest: String,
}

impl List {
    pub async fn run(self) -> anyhow::Result<()> {
        let channels = self.connect.with(ask::channels).await?;
        let mut output = Output::new();
        if self.json {
            for ChannelInfo { name, head, elements, stopped, digest, .. } in &channels {
                let (name, digest) = (name.as_str(), digest.to_string());
                output.json(&Line { name, head: *head, elements: *elements, stopped: *stopped, digest })?;
            }
        } else {
            let rows = channels.iter().map(|info| {
                let state = if info.stopped { "stopped" } else { "open" };
                [info.name.to_string(), info.head.to_string(), info.elements.to_string(), state.to_owned()]
            });
            output.table(["CHANNEL", "HEAD", "ELEMENTS", "STATE"], rows)?;
        }
        output.flush()
    }
}
