//! `headwater channel list`.

use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::size::Bytes;
use crate::rows::channel::Listed;

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

impl List {
    pub async fn run(self) -> anyhow::Result<()> {
        let channels = self.connect.with(ask::channels).await?;
        let mut output = Output::new();
        if self.json {
            channels.iter().try_for_each(|info| output.json(&Listed::of(info)))?;
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
