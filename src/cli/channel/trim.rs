//! `headwater channel trim`, `clear`, `resume` and `delete`.

use serde_json::json;

use super::on::On;
use crate::cli::ask;

/// Keep no more what is before an offset.
///
/// Futures there are released; who reads from there is told that they are gone. Cursors do not hold this back.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel trim readings --before 1000")]
pub struct Trim {
    #[command(flatten)]
    on: On,

    /// The first offset that is kept
    #[arg(long, value_name = "OFFSET")]
    before: u64,
}

impl Trim {
    pub async fn run(self) -> anyhow::Result<()> {
        let Trim { on, before } = self;
        on.change(async |channel| channel.trim(before).await).await
    }
}

/// Keep no more what there is in a channel now.
///
/// As `trim` at the head: the channel goes on, and its offsets with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel clear readings")]
pub struct Clear {
    #[command(flatten)]
    on: On,
}

impl Clear {
    pub async fn run(self) -> anyhow::Result<()> {
        self.on.change(async |channel| channel.clear().await).await
    }
}

/// Let a channel that was stopped take elements again.
///
/// Resuming a channel that is not stopped changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel resume adds")]
pub struct Resume {
    #[command(flatten)]
    on: On,
}

impl Resume {
    pub async fn run(self) -> anyhow::Result<()> {
        self.on.change(async |channel| channel.resume().await).await
    }
}

/// Delete a channel, with its cursors.
///
/// What was on it is gone, its futures are released, and those who follow it come to an end. A channel of that
/// name can be made again; its offsets go on where they ended.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel delete readings")]
pub struct Delete {
    #[command(flatten)]
    on: On,
}

impl Delete {
    pub async fn run(self) -> anyhow::Result<()> {
        self.on
            .tell(async |client, name| {
                ask::channel(client, name).await?.delete().await?;
                Ok((json!({ "name": name, "deleted": true }), format!("{name} is deleted")))
            })
            .await
    }
}
