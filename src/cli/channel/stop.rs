//! `headwater channel stop`.

use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::ChannelName;
use crate::protocol::command::{Answer, Command};

/// Stop a channel: it takes no more elements.
///
/// Its records stay and can be read as before; those who follow it come to an end. Stopping a channel that is
/// stopped already changes nothing. `channel resume` lets it take elements again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel stop adds")]
pub struct Stop {
    /// The channel
    name: ChannelName,

    #[command(flatten)]
    connect: Connect,
}

impl Stop {
    pub async fn run(self) -> anyhow::Result<()> {
        let Stop { name, connect } = self;
        let stopped = connect.with(async |client| {
            let log = ask::log(client, &name).await?;
            anyhow::Ok(client.connection().command(Command::Stop { log }).await?)
        });
        let mut output = Output::new();
        match stopped.await? {
            Answer::Stopped { count, digest } => {
                output.line(format!("{name} stopped at {count} elements, digest {digest}"))?;
            }
            other => return Err(ask::unexpected(&other)),
        }
        output.flush()
    }
}
