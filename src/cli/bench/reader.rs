//! Readers that read a channel from its start to its end, again and again: a process of its own, so that
//! what they compute can be told apart from what the scheduler does for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::cli::connect;
use crate::cli::output::note;
use crate::cli::signals::Signals;
use crate::client::{Channel, Item};

/// What it says once all readers are connected, and before the number in the end.
pub const READING: &str = "reading";
pub const READ: &str = "records read: ";

/// Read a channel again and again.
///
/// Each reader has a connection of its own, and begins anew with offset 0 when it has caught up, until stdin
/// closes or a signal comes. `headwater bench replayers` starts it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  headwater bench reader --connect 127.0.0.1:8786 --channel values --readers 10")]
pub struct Reader {
    /// Where the scheduler listens
    #[arg(long, value_name = "HOST:PORT")]
    connect: String,

    /// A file that holds the cluster's token
    #[arg(long, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,

    /// The channel
    #[arg(long, value_name = "NAME")]
    channel: String,

    /// How many readers
    #[arg(long, value_name = "N", default_value_t = 1)]
    readers: u32,

    /// It always does; it is said, as to all processes of its kind
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

impl Reader {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        signals.or_stdin_asks();
        let token = connect::token(self.token_file.as_deref())?;
        let (read, mut readers) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
        for _ in 0..self.readers {
            let client = connect::client(&self.connect, token.clone(), Duration::from_secs(10)).await?;
            readers.spawn(replay(client.existing_channel(&self.channel).await?, read.clone()));
        }
        note(READING);
        tokio::select! {
            () = signals.next() => {}
            Some(ended) = readers.join_next() => ended??,
        }
        note(format_args!("{READ}{}", read.load(Ordering::Relaxed)));
        Ok(())
    }
}

async fn replay(channel: Channel<String>, read: Arc<AtomicU64>) -> anyhow::Result<()> {
    loop {
        let mut records = channel.records();
        while let Some(item) = records.next().await {
            match item? {
                Item::CaughtUp { .. } => break,
                _ => read.fetch_add(1, Ordering::Relaxed),
            };
        }
    }
}
