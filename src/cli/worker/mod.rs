//! `headwater worker`, and `headwater worker …`: see and retire the workers that there are.

mod equipment;
mod list;
mod results;
mod retire;

use std::ffi::OsString;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::connect::{Connect, token};
use super::programs::Programs;
use super::report::Silently;
use super::signals::Signals;
use super::supervise::{self, End, Recipe, Supervised};
use crate::client::Error;
use crate::protocol::command::Rejection;
use crate::protocol::limits::SLOTS_PER_WORKER_MAX;
use crate::protocol::message::Closing;
use crate::protocol::session::EndReason;
use crate::rows::time::duration;
use crate::worker::{self, results::At};

pub use self::equipment::{Machine, arguments as equipped_with};
pub use self::list::free;
pub use self::results::Results;

/// How many slots a worker may have.
pub const SLOTS: RangeInclusive<i64> = 1..=SLOTS_PER_WORKER_MAX as i64;

/// Run a worker; or see the workers there are, and retire them.
///
/// It offers the tasks that are linked into this program to the scheduler, and any program for `headwater submit` (unless
/// --no-exec says no), and runs what it is given. When
/// the connection breaks or the scheduler restarts, it goes on with what it runs and comes back by itself.
///
/// SIGINT (Ctrl-C) and SIGTERM stop it: what it still runs is then started again on other workers. With
/// `--grace`, it takes nothing new and finishes what it runs first, for up to that long; a second signal cuts
/// that short. Large results that it keeps are copied to other workers within that time, too; those that are lost
/// with it are computed again where they are needed. `headwater worker retire` has it finish from elsewhere, for as long as it takes.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  headwater worker --slots 8
  headwater worker --connect scheduler.example:8786 --token-file token --name rack-7
  headwater worker --resource gpus=[0,1] --label zone:eu
  headwater worker --results-at rack-7.example:8787    # where others reach it for large results
  headwater worker --supervise        # it comes back when a task takes it down
  headwater worker --grace 30s        # where there are 40 s between SIGTERM and SIGKILL
  headwater worker list
  headwater worker retire rack-7")]
pub struct Worker {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    connect: Connect,

    /// How many tasks it runs at a time; as many as there are cores unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(SLOTS))]
    slots: Option<u32>,

    /// Its name; a worker that joins under the name of another takes its place
    #[arg(long)]
    name: Option<String>,

    /// When it is told to stop: how long it may take to finish what it runs
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    grace: Duration,

    #[command(flatten)]
    results: Results,

    #[command(flatten)]
    programs: Programs,

    #[command(flatten)]
    machine: Machine,

    /// Where other workers and clients fetch its large results; they must reach it
    ///
    /// Unless given, the address by which it reaches the scheduler, and any port that is free. Give it where a
    /// firewall wants a fixed port, or where others reach this machine by another name: the port 0 takes any, the
    /// host 0.0.0.0 listens everywhere. Whoever asks there must show the cluster's token, if there is one.
    #[arg(long, value_name = "HOST:PORT")]
    results_at: Option<String>,

    /// Run it as a process of its own, and start it again when it dies
    ///
    /// A task that aborts, or overflows its stack, takes its process with it: then another one takes its place, under
    /// the same name, and what else ran there is started again at once. Between two that die soon after each other are
    /// 100 ms, then longer, up to 5 s. A worker that is refused, that is retired, or that is told to stop is not
    /// started again: this process ends as it does, and it ends with this one, however that ends.
    #[arg(long)]
    supervise: bool,

    /// Stop when stdin is closed: whoever holds its other end may die in any way
    #[arg(long, hide = true)]
    until_stdin_closes: bool,

    /// Take the token and all orders from stdin, and tell by the exit code how it ended
    #[arg(long, hide = true, conflicts_with = "supervise")]
    supervised: bool,

    /// Where its large results are had, on the machine of its scheduler: as `At::Beside`
    #[arg(long, value_name = "IP", hide = true, conflicts_with = "results_at")]
    results_beside: Option<IpAddr>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    List(list::List),
    Retire(retire::Retire),
}

impl Worker {
    pub async fn run(self) -> anyhow::Result<()> {
        match self.action {
            Some(Action::List(list)) => return list.run().await,
            Some(Action::Retire(retire)) => return retire.run().await,
            None => {}
        }
        let mut signals = Signals::listen()?;
        if self.supervise {
            return self.supervise(signals).await;
        }
        if !self.supervised {
            if self.until_stdin_closes {
                signals.or_stdin_asks();
            }
            let token = token(self.connect.token_file.as_deref())?;
            return self.work(token, signals).await;
        }
        let token = supervise::token().await?;
        signals.or_stdin_asks();
        Err(supervise::end_with(&self.work(token, signals).await).into())
    }

    /// Runs it in this process.
    async fn work(self, token: Option<String>, mut signals: Signals) -> anyhow::Result<()> {
        let at = match (self.results_beside, self.results_at) {
            (Some(ip), _) => At::Beside(ip),
            (None, Some(address)) => At::Address(address),
            (None, None) => At::Local,
        };
        let options = worker::Options {
            address: self.connect.connect,
            name: self.name,
            slots: self.slots.unwrap_or_else(cores),
            token,
            connect_timeout: self.connect.connect_timeout,
            results: self.results.options(at),
            programs: self.programs.offered()?,
            equipment: self.machine.equipment()?,
        };
        let (retire, retires) = oneshot::channel::<()>();
        let (hand_over, hands_over) = oneshot::channel::<()>();
        let run = worker::run(options, async { drop(retires.await) }, async { drop(hands_over.await) });
        let told = async {
            signals.next().await;
            // A sender that is dropped is an order.
            drop(retire);
            if !self.grace.is_zero() {
                // Whether the time is over or another signal has come is the same.
                let _ = timeout(self.grace, signals.next()).await;
            }
            drop(hand_over);
            signals.next().await;
        };
        tokio::select! {
            ended = run => ended.map_err(in_words),
            () = told => Err(interrupted()),
        }
    }

    /// Runs it in a process of its own, and in another one when that dies.
    async fn supervise(self, mut signals: Signals) -> anyhow::Result<()> {
        let equipped = equipped_with(&self.machine.equipment()?);
        let mut options =
            [self.results.arguments(), self.programs.arguments(), equipped, slots(self.slots)].concat();
        options.extend(self.results_at.into_iter().flat_map(|at| ["--results-at".into(), at.into()]));
        let recipe = Recipe {
            name: self.name.unwrap_or_else(worker::own_name),
            address: self.connect.connect,
            token: token(self.connect.token_file.as_deref())?,
            connect_timeout: self.connect.connect_timeout,
            grace: self.grace,
            options,
            quiet: false,
        };
        let mut supervised = Supervised::start(vec![recipe]).await?;
        let mut times = 0;
        loop {
            tokio::select! {
                Some((_, end)) = supervised.ended() => return match end {
                    End::InOrder => Ok(()),
                    // It has said why.
                    End::Refused => Err(Silently(1).into()),
                    End::Died(_) if times > 2 => Err(interrupted()),
                    End::Died(how) => Err(anyhow!("it died while it was to stop: {how}: what it ran is given to others after its lease")),
                },
                () = signals.next() => {
                    times += 1;
                    supervised.tell(times);
                }
            }
        }
    }

    /// Whether it runs a worker, and is not about others.
    pub fn is_run(&self) -> bool {
        self.action.is_none()
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

/// The end of a worker that was told to stop once more than it takes.
fn interrupted() -> anyhow::Error {
    anyhow!("interrupted while leaving: what it ran is given to others after its lease")
}

/// The slots, if they were given, as an option for another worker.
pub fn slots(slots: Option<u32>) -> Vec<OsString> {
    slots.into_iter().flat_map(|slots| ["--slots".into(), slots.to_string().into()]).collect()
}

/// How many cores there are.
pub fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores).unwrap_or(u32::MAX).min(SLOTS_PER_WORKER_MAX)
}
