//! `headwater channel trim`, `clear`, `resume` and `delete`.

use crate::cli::ask;
use crate::cli::connect::Connect;
use crate::cli::output::Output;
use crate::protocol::ChannelName;

/// Keep no more what is before an offset.
///
/// Futures there are released; who reads from there is told that they are gone. Cursors do not hold this back.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel trim readings --before 1000")]
pub struct Trim {
    /// The channel
    name: ChannelName,

    /// The first offset that is kept
    #[arg(long, value_name = "OFFSET")]
    before: u64,

    #[command(flatten)]
    connect: Connect,
}

impl Trim {
    pub async fn run(self) -> anyhow::Result<()> {
        let Trim { name, before, connect } = self;
        super::change(connect, &name, async |channel| channel.trim(before).await).await
    }
}

/// Keep no more what there is in a channel now.
///
/// As `trim` at the head: the channel goes on, and its offsets with it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel clear readings")]
pub struct Clear {
    /// The channel
    name: ChannelName,

    #[command(flatten)]
    connect: Connect,
}

impl Clear {
    pub async fn run(self) -> anyhow::Result<()> {
        let Clear { name, connect } = self;
        super::change(connect, &name, async |channel| channel.clear().await).await
    }
}

/// Let a channel that was stopped take elements again.
///
/// Resuming a channel that is not stopped changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel resume adds")]
pub struct Resume {
    /// The channel
    name: ChannelName,

    #[command(flatten)]
    connect: Connect,
}

impl Resume {
    pub async fn run(self) -> anyhow::Result<()> {
        let Resume { name, connect } = self;
        super::change(connect, &name, async |channel| channel.resume().await).await
    }
}

/// Delete a channel, with its cursors.
///
/// What was on it is gone, its futures are released, and those who follow it come to an end. A channel of that
/// name can be made again; its offsets go on where they ended.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater channel delete readings")]
pub struct Delete {
    /// The channel
    name: ChannelName,

    #[command(flatten)]
    connect: Connect,
}

impl Delete {
    pub async fn run(self) -> anyhow::Result<()> {
        let Delete { name, connect } = self;
        let deleted =
            connect.with(async |client| anyhow::Ok(ask::channel(client, &name).await?.delete().await?));
        deleted.await?;
        let mut output = Output::new();
        output.line(format!("{name} is deleted"))?;
        output.flush()
    }
}
