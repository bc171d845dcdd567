//! `headwater up`.

use std::net::SocketAddr;
use std::time::Duration;

use super::programs::Programs;
use super::serve::Serve;
use super::signals::Signals;
use super::supervise::Recipe;
use super::worker::{Machine, Results, SLOTS, cores, equipped_with, slots};
use crate::protocol::equipment::Equipment;
use crate::rows::time::duration;
use crate::server::reachable;
use crate::worker::results::At;

/// How long a worker tries to reach the scheduler that is there already.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Run a scheduler and workers: all that one machine needs.
///
/// Each worker is a process of its own, which is started again when it dies: a task that aborts, or overflows its stack,
/// takes nothing down but what ran beside it there. They end with this process, however that ends. With
/// `--no-supervise` they are in it instead.
///
/// More workers can join from elsewhere with `headwater worker`. Large results are
/// fetched from the workers, here at ports of the system's choice on the address that the scheduler listens on. SIGINT (Ctrl-C) and
/// SIGTERM stop it in order: first its workers, which have `--grace` to finish what they run, then the scheduler.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater up --workers 2 --slots 8
  headwater up --no-supervise        # one process; a task that aborts ends all of it")]
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
    machine: Machine,

    /// When it is told to stop: how long its workers may take to finish what they run
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    grace: Duration,

    /// Have the workers in this process, not each in one of its own that is started again when it dies
    ///
    /// It saves the memory of a process for each, and a hop over loopback between processes. A task that aborts ends the
    /// scheduler, too, which can be started again as ever.
    #[arg(long)]
    no_supervise: bool,
}

impl Up {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut options = self.serve.options()?;
        let signals = Signals::listen()?;
        if !self.no_supervise {
            let (token, equipment) = (options.token.clone(), self.machine.equipment()?);
            let part = |n: u32| equipment.part(n as usize - 1, self.workers as usize);
            let recipe = |n, address| self.recipe(n, address, token.clone(), &part(n));
            let recipes = |address| (1..=self.workers).map(|n| recipe(n, address)).collect();
            return self.serve.run(options, signals, self.grace, recipes).await;
        }
        // Where these are to be had follows from where the scheduler listens.
        options.results = self.results.options(At::Local);
        options.programs = self.programs.offered()?;
        options.equipment = self.machine.equipment()?;
        (options.workers, options.slots) = (self.workers, self.slots.unwrap_or_else(cores));
        self.serve.run(options, signals, self.grace, |_| Vec::new()).await
    }

    fn recipe(&self, n: u32, listens: SocketAddr, token: Option<String>, equipment: &Equipment) -> Recipe {
        let beside = ["--results-beside".into(), listens.ip().to_string().into()].to_vec();
        Recipe {
            name: format!("local-{n}"),
            address: reachable(listens).to_string(),
            token,
            connect_timeout: CONNECT_TIMEOUT,
            grace: self.grace,
            options: [
                beside,
                slots(self.slots),
                self.results.arguments(),
                self.programs.arguments(),
                equipped_with(equipment),
            ]
            .concat(),
            quiet: false,
        }
    }
}
