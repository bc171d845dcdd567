//! `headwater up`.

use std::time::Duration;

use super::programs::Programs;
use super::serve::Serve;
use super::signals::Signals;
use super::time::duration;
use super::worker::{Equipped, Results, SLOTS, cores};
use crate::worker::results::At;

/// Run a scheduler and workers in one process.
///
/// All that one machine needs. More workers can join from elsewhere with `headwater worker`. Large results are
/// fetched from the workers, here at ports of the system's choice on the address that the scheduler listens on. SIGINT (Ctrl-C) and
/// SIGTERM stop it in order: first its workers, which have `--grace` to finish what they run, then the scheduler.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  headwater up --workers 2 --slots 8")]
pub struct Up {
    #[command(flatten)]
    serve: Serve,

    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: u32,

    /// How many tasks each worker runs at a time; as many as there are cores unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(SLOTS))]
    slots: Option<u32>,

    #[command(flatten)]
    results: Results,

    #[command(flatten)]
    programs: Programs,

    #[command(flatten)]
    equipped: Equipped,

    /// When it is told to stop: how long its workers may take to finish what they run
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    grace: Duration,
}

impl Up {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut options = self.serve.options()?;
        // Where these are to be had follows from where the scheduler listens.
        options.results = self.results.options(At::Local);
        options.programs = self.programs.offered()?;
        options.equipment = self.equipped.equipment()?;
        (options.workers, options.slots) = (self.workers, self.slots.unwrap_or_else(cores));
        self.serve.run(options, Signals::listen()?, self.grace).await
    }
}
