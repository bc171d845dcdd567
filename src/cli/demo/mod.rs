//! `headwater demo`: the main job in one command. It runs the scheduler in its own process and the workers
//! as processes of their own, submits the [`tasks`], and follows their channel as any other client would.

mod follow;
mod tasks;

use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::anyhow;

use self::follow::{Follower, receipt_line};
use super::ask;
use super::connect::client;
use super::output::note;
use super::serve::{Serve, note_http, start};
use super::signals::Signals;
use super::supervise::{Recipe, Supervised};
use super::worker::equipped_with;
use crate::client::{Client, Item, Offset, TaskFuture};
use crate::local::Local;
use crate::protocol::event::Appended;
use crate::protocol::{Element, Outcome};
use crate::rows::time::duration;
use crate::server::reachable;
use crate::worker::detect;

/// How long the demo and its workers wait for its own scheduler to let them in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Watch it work: numbers emitted, combined and read back, on a durable log.
///
/// Starts a scheduler and worker processes. Two tasks emit random numbers, as futures, to the channels `a`
/// and `b`; a third pairs them, submits a task that adds each pair, and appends its future to the channel
/// `adds`. The demo reads `adds` from its start and prints each result as it comes: offset, time, task,
/// value.
///
/// Stop it with Ctrl-C, or kill it, and run it again: it says what it found in the log, replays all
/// results, says where history ends, and goes on where it was. It may be killed as often as you like: here
/// `--deaths-max` is 0 unless it is given.
#[derive(Debug, clap::Args)]
#[command(mut_arg("deaths_max", |argument| argument.default_value("0")))]
#[command(after_help = "Examples:
  headwater demo
  headwater demo --interval 0 --count 1000 --json
  headwater channel append interval 0.2    while it runs: a new interval, in seconds

With --json, each line is one object:
  {\"offset\",\"time\",\"key\",\"value\"}    a result (\"error\" in place of \"value\" if it has failed)
  {\"marker\":\"fresh\"|\"recovered\",…}   what was found at the start
  {\"marker\":\"caught_up\",\"offset\"}    here history ends, once")]
pub struct Demo {
    /// The pause between two numbers; 0 for as fast as it goes
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    interval: Duration,

    /// End after so many results, replayed ones included
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,

    /// How many worker processes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    serve: Serve,
}

impl Demo {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        let options = self.serve.options()?;
        let token = options.token.clone();
        let local = tokio::select! {
            started = start(options) => started?,
            () = signals.next() => return Ok(()),
        };
        let address = reachable(local.address()).to_string();
        if !self.json {
            note(format_args!("listening on {address}; in another terminal:"));
            note(format_args!("  headwater channel tail adds --from 0 --follow --connect {address}"));
            note_http(&local);
        }
        let client = client(&address, token.clone(), CONNECT_TIMEOUT).await?;
        let equipment = detect::equipment();
        let recipe = |n: u32| Recipe {
            name: format!("demo-{n}"),
            address: address.clone(),
            token: token.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            grace: Duration::ZERO,
            options: equipped_with(&equipment.part(n as usize - 1, self.workers as usize)),
            quiet: true,
        };
        let mut supervised = Supervised::start((1..=self.workers).map(recipe).collect()).await?;
        let shown = tokio::select! {
            shown = self.show(&client, &local) => shown,
            () = signals.next() => Ok(()),
            // The workers end by themselves: their stdin closes.
            error = local.failed() => return Err(error.into()),
            never = supervised.note_ends() => never,
        };
        let stop = async {
            supervised.stop().await;
            client.close().await;
            local.stop().await;
        };
        signals.finish(stop).await?;
        shown
    }

    /// Prints what was found, submits the tasks, and prints the results: until there are enough.
    async fn show(&self, client: &Client, local: &Local) -> anyhow::Result<()> {
        let mut follower = Follower::new(self.json, self.count);
        let channels = ask::channels(client).await?;
        match self.json {
            true => follower.print_json(&receipt_line(local.receipt(), local.fresh(), &channels))?,
            false => follower.print_found(&self.serve.found(local), &channels)?,
        }
        set_interval(client, self.interval).await?;
        let submitted = [
            client.submit(tasks::emit, ("a",)).key("emit-a").detach().await?,
            client.submit(tasks::emit, ("b",)).key("emit-b").detach().await?,
            client.submit(tasks::combine, ()).key("combine").detach().await?,
        ];
        let adds = client.channel::<f64>("adds").await?;
        let [a, b, combine] = &submitted;
        tokio::select! {
            followed = follower.follow(adds.records()) => followed,
            error = unexpected_end(a) => Err(error),
            error = unexpected_end(b) => Err(error),
            error = unexpected_end(combine) => Err(error),
        }
    }
}

/// Waits for the end of a task that is to run for ever, and says what ended it.
async fn unexpected_end(future: &TaskFuture<()>) -> anyhow::Error {
    let name = &future.key().label;
    let hint =
        format!("`headwater task show {name}` shows its history; with another --data, the demo begins anew");
    match future.outcome().await {
        Ok(Outcome::Failed(error)) => anyhow!("task {name} has failed: {error}: {hint}"),
        Ok(Outcome::Finished(_) | Outcome::Stored(_)) => {
            anyhow!("task {name} has ended, as a channel of it was stopped: {hint}")
        }
        Ok(Outcome::Cancelled) => anyhow!("task {name} was cancelled: {hint}"),
        Err(error) => error.into(),
    }
}

/// Appends the interval, in seconds, unless it is the newest that was appended already.
async fn set_interval(client: &Client, interval: Duration) -> anyhow::Result<()> {
    let channel = client.channel::<f64>(tasks::INTERVAL).await?;
    let mut newest = None;
    let mut records = channel.from(Offset::Start).records();
    while let Some(item) = records.next().await {
        match item? {
            Item::Record(record) => {
                if let Some(Appended { element: Element::Value(payload), .. }) = record.event.appended() {
                    newest = payload.decode::<f64>().ok();
                }
            }
            Item::CaughtUp { .. } => break,
            Item::Trimmed { .. } | Item::Damaged { .. } => {}
        }
    }
    if newest != Some(interval.as_secs_f64()) {
        channel.append_value(&interval.as_secs_f64()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        demo: Demo,
    }

    #[test]
    fn the_demo_may_be_killed_as_often_as_one_likes() {
        let deaths_max = |line: &[&str]| Line::parse_from(line).demo.serve.deaths_max;
        assert_eq!(deaths_max(&["x"]), 0);
        assert_eq!(deaths_max(&["x", "--deaths-max", "4"]), 4);
    }
}
