//! `headwater channel create` and `set`.

use super::retention::Bounds;
use crate::cli::connect::Connect;
use crate::protocol::ChannelName;
use crate::protocol::channel::Retention;

/// Make a channel, and say what it keeps.
///
/// Without a bound it keeps everything. Channels are made by the first append, too; this is for those that are
/// not to keep everything. It is an error when the channel is there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater channel create readings --max-elements 1000 --max-age 7d
  headwater channel create pictures --max-bytes 256MiB")]
pub struct Create {
    /// The channel
    name: ChannelName,

    #[command(flatten)]
    bounds: Bounds,

    #[command(flatten)]
    connect: Connect,
}

impl Create {
    pub async fn run(self) -> anyhow::Result<()> {
        let Create { name, bounds, connect } = self;
        let created = connect.with(async |client| {
            let channel = client.create_channel::<()>(name.as_str(), bounds.over(Retention::ALL)).await?;
            anyhow::Ok(channel.info().await?)
        });
        super::print(&created.await?)
    }
}

/// Change what a channel keeps.
///
/// Bounds that are not named stay as they are. What is over the new ones is trimmed at once, but for what cursors
/// hold back; futures that are trimmed are released.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater channel set readings --max-elements 100
  headwater channel set readings --max-age none")]
pub struct Set {
    /// The channel
    name: ChannelName,

    #[command(flatten)]
    bounds: Bounds,

    #[command(flatten)]
    connect: Connect,
}

impl Set {
    pub async fn run(self) -> anyhow::Result<()> {
        let Set { name, bounds, connect } = self;
        anyhow::ensure!(!bounds.is_empty(), "nothing to set: name a bound, like --max-elements 1000");
        super::change(connect, &name, async |channel| {
            let before = channel.info().await?.retention;
            channel.set_retention(bounds.over(before)).await?;
            // With what was trimmed by it.
            channel.info().await
        })
        .await
    }
}
