//! `headwater worker`.

use std::ops::RangeInclusive;

use anyhow::anyhow;

use super::connect::{Connect, token};
use super::signals::Signals;
use crate::client::Error;
use crate::protocol::command::Rejection;
use crate::protocol::limits::SLOTS_PER_WORKER_MAX;
use crate::protocol::message::Closing;
use crate::protocol::session::EndReason;
use crate::worker;

/// How many slots a worker may have.
pub const SLOTS: RangeInclusive<i64> = 1..=SLOTS_PER_WORKER_MAX as i64;

/// Run a worker.
///
/// It offers the tasks that are linked into this program to the scheduler, and runs what it is given. When
/// the connection breaks or the scheduler restarts, it goes on with what it runs and comes back by itself.
/// SIGINT (Ctrl-C) and SIGTERM stop it: what it still runs is then given to other workers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater worker --slots 8
  headwater worker --connect scheduler.example:8786 --token-file token --name rack-7")]
pub struct Worker {
    #[command(flatten)]
    connect: Connect,

    /// How many tasks it runs at a time; as many as there are cores unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(SLOTS))]
    slots: Option<u32>,

    /// Its name; a worker that joins under the name of another takes its place
    #[arg(long)]
    name: Option<String>,

    /// Stop when stdin is closed: whoever holds its other end may die in any way
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

impl Worker {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        if self.until_stdin_closes {
            signals.or_stdin_closes();
        }
        let options = worker::Options {
            address: self.connect.connect,
            name: self.name,
            slots: self.slots.unwrap_or_else(cores),
            token: token(self.connect.token_file.as_deref())?,
            connect_timeout: self.connect.connect_timeout,
        };
        worker::run(options, signals.next()).await.map_err(in_words)
    }
}

/// A worker's end, for the one who started it.
fn in_words(error: Error) -> anyhow::Error {
    match error {
        Error::Closed(Closing::Rejected(Rejection::SessionEnded(EndReason::Superseded))) => {
            anyhow!("another worker has joined under the name of this one: give each a --name of its own")
        }
        other => other.into(),
    }
}

/// How many cores there are.
pub fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores).unwrap_or(u32::MAX).min(SLOTS_PER_WORKER_MAX)
}
