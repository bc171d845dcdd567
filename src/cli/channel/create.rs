//! `headwater channel create` and `set`.

use super::durability::Acknowledged;
use super::on::On;
use super::retention::Bounds;
use crate::protocol::channel::{ChannelOptions, Retention};

/// Make a channel, and say what it keeps and when appends to it are acknowledged.
///
/// Without a bound it keeps everything, and without --buffered appends are acknowledged once they are on the disk. Channels
/// are made by the first append, too; this is for those that are not to keep everything. It is an error when the channel is there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater channel create readings --max-elements 1000 --max-age 7d
  headwater channel create pictures --max-bytes 256MiB
  headwater channel create gauge --buffered 100ms")]
pub struct Create {
    #[command(flatten)]
    on: On,

    #[command(flatten)]
    bounds: Bounds,

    #[command(flatten)]
    acknowledged: Acknowledged,
}

impl Create {
    pub async fn run(self) -> anyhow::Result<()> {
        let Create { on, bounds, acknowledged } = self;
        let (retention, durability) = (bounds.over(Retention::ALL), acknowledged.named().unwrap_or_default());
        let options = ChannelOptions { retention, durability };
        on.print(async |client, name| {
            Ok(client.create_channel::<()>(name.as_str(), options).await?.info().await?)
        })
        .await
    }
}

/// Change what a channel keeps, or when appends to it are acknowledged.
///
/// What is not named stays as it is. What is over the new ones is trimmed at once, but for what cursors
/// hold back; futures that are trimmed are released.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater channel set readings --max-elements 100
  headwater channel set readings --max-age none
  headwater channel set gauge --fsynced")]
pub struct Set {
    #[command(flatten)]
    on: On,

    #[command(flatten)]
    bounds: Bounds,

    #[command(flatten)]
    acknowledged: Acknowledged,
}

impl Set {
    pub async fn run(self) -> anyhow::Result<()> {
        let Set { on, bounds, acknowledged } = self;
        let durability = acknowledged.named();
        anyhow::ensure!(
            !bounds.is_empty() || durability.is_some(),
            "nothing to set: name a bound, like --max-elements 1000, or --buffered 100ms, or --fsynced"
        );
        on.change(async |channel| {
            if let Some(durability) = durability {
                channel.set_durability(durability).await?;
            }
            if !bounds.is_empty() {
                let before = channel.info().await?.retention;
                channel.set_retention(bounds.over(before)).await?;
            }
            // With what was trimmed by it.
            channel.info().await
        })
        .await
    }
}
