//! `headwater top`: what the cluster does, live, on the whole terminal.
//!
//! ```text
//!   scheduler ◀──queries, $tasks── watch ──what was seen──▶ model ──▶ view ──▶ screen
//!                                                            ▲
//!                                         keys ──────────────┘
//! ```
//!
//! - It reads what every client can read, and changes nothing; the model is a fold over what was seen and which keys were
//!   pressed, and the view a function of the model. Neither knows a terminal.
//! - The terminal is as it was before, however this ends.

mod json;
mod model;
mod screen;
mod table;
#[cfg(test)]
mod tests;
mod view;
mod watch;

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::ensure;
use tokio::sync::mpsc;

use self::model::{Model, Pane};
use super::connect::Connect;
use super::logs;
use super::output::Output;
use super::signals::Signals;
use crate::rows::time::duration;

/// The least time between two looks at the scheduler: 100 ms.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How much that was seen may wait to be shown.
const WAITING_MAX: usize = 4;

/// Watch tasks, workers and channels, live.
///
/// Shows how many tasks wait, run and have ended, and how many of each come per second; which tasks there are, those that run
/// first; the workers, with their slots, resources, and what they run; and the channels, the busiest first.
/// Of the tasks it shows those that run, and those that were submitted last.
///
/// Keys: Tab changes what is listed, the arrows and Page Up and Page Down scroll, / filters, Escape ends the filter, q quits. While the
/// scheduler is away it says so, shows what it saw last, and goes on when it is back.
///
/// Where stdout is no terminal, or with --once, it prints one view as text and ends. With --json that is one JSON object: address, epoch
/// and records; tasks, by how they stand, of all that are known; per_second, how many were submitted, started, finished, failed and
/// cancelled; workers, as `headwater worker list --json` has them; and channels, the busiest first, as `headwater channel list
/// --json` has them, with records_per_second.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater top
  headwater top --interval 5s --connect scheduler.example:8786
  headwater top --once | mail -s headwater me@example.org
  headwater top --once --json | jq .tasks.pending")]
pub struct Top {
    /// How often it looks, and over how long rates are taken
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    interval: Duration,

    /// Print one view as text, after one interval, and end
    #[arg(long)]
    once: bool,

    /// Print it as one JSON object; as --once, it prints one view and ends
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    connect: Connect,
}

impl Top {
    pub async fn run(self) -> anyhow::Result<()> {
        ensure!(self.interval >= INTERVAL_MIN, "an --interval below 100ms is too much to read: give more");
        let mut signals = Signals::listen()?;
        let model = Model::new(&self.connect.connect);
        let (sender, seen) = mpsc::channel(WAITING_MAX);
        let watch = watch::watch(&self.connect, self.interval, sender);
        if self.once || self.json || !io::stdout().is_terminal() {
            return tokio::select! {
                watched = watch => watched,
                printed = print_once(model, seen, self.json) => printed,
                () = signals.next() => Ok(()),
            };
        }
        // Before the terminal is taken: who cannot reach a scheduler is told so as by every other command.
        let _muted = logs::mute_on_terminal();
        tokio::select! {
            watched = watch => watched,
            shown = screen::show(model, seen) => shown,
            () = signals.next() => Ok(()),
        }
    }
}

/// Prints what was seen once rates are known.
async fn print_once(
    mut model: Model,
    mut seen: mpsc::Receiver<model::Input>,
    json: bool,
) -> anyhow::Result<()> {
    while model.rates().is_none() {
        let Some(input) = seen.recv().await else { return std::future::pending().await };
        model.fold(input);
    }
    let mut output = Output::new();
    if json {
        model.shown().iter().try_for_each(|shown| output.json(shown))?;
        return output.flush();
    }
    model.head().iter().try_for_each(|parts| output.line(parts.join(", ")))?;
    for pane in Pane::ALL {
        output.line("")?;
        let table = model.table(pane);
        let is_empty = table.rows.is_empty();
        output.rows(&table.header, table.rows)?;
        if is_empty {
            output.line(table.none)?;
        }
    }
    output.flush()
}
