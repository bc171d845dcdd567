//! The end of a run: everybody stops in order, everything wanted settles, and the store is whole.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::check::{Kind, Moment, Violation};
use super::place::{COUNTS, VALUES};
use super::plan::Victim;
use super::processes::END_TIMEOUT;
use super::reading::connect;
use super::run::{Run, submit_count};
use crate::client::{Client, Error};

/// What the last tasks may take.
const SETTLE_MAX: Duration = Duration::from_secs(60);

impl Run {
    /// Ends it, and checks everything a last time.
    pub(super) async fn end(&mut self) -> anyhow::Result<()> {
        for client in self.processes.clients() {
            self.end_in_order(client).await?;
        }
        let refused = |error: Error| Violation::error(Kind::Refused, format!("at the end: {error}"));
        let client = connect(&self.address).await.map_err(refused)?;
        for name in VALUES.into_iter().chain(COUNTS) {
            client.channel::<u64>(name).await.map_err(refused)?.stop().await.map_err(refused)?;
        }
        settle(&client).await?;
        for name in COUNTS {
            let counted = submit_count(&client, name).await.map_err(refused)?.await.map_err(refused)?;
            let elements =
                client.channel::<u64>(name).await.map_err(refused)?.len().await.map_err(refused)?;
            if counted != elements {
                let what = format!("the task that counts on {name} brought {counted}: {elements} are there");
                return Err(Violation::error(Kind::WrongResult, what));
            }
        }
        client.close().await;
        self.check(Moment::Settled).await?;
        for worker in self.processes.workers() {
            self.end_in_order(worker).await?;
        }
        self.end_in_order(Victim::Scheduler).await?;
        if !self.processes.verify(&self.place).await? {
            let what = "`headwater log verify` does not find the store whole: see logs/verify";
            return Err(Violation::error(Kind::Damage, what));
        }
        Ok(())
    }

    /// Asks a process to end, which must do so with exit code 0.
    async fn end_in_order(&mut self, victim: Victim) -> anyhow::Result<()> {
        let what = match self.processes.end(victim).await? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => format!("the {victim} was asked to stop and ended with {}", in_words(status)),
            None => format!("the {victim} was asked to stop and did not for {END_TIMEOUT:?}"),
        };
        Err(Violation::error(Kind::Ended, what))
    }
}

fn in_words(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"))
}

/// Waits until no task waits or runs.
async fn settle(client: &Client) -> anyhow::Result<()> {
    let until = Instant::now() + SETTLE_MAX;
    loop {
        let overview = client.overview().await;
        let overview =
            overview.map_err(|error| Violation::error(Kind::Refused, format!("at the end: {error}")))?;
        if overview.pending + overview.running == 0 {
            return Ok(());
        }
        if Instant::now() >= until {
            let (pending, running) = (overview.pending, overview.running);
            let what = format!("{SETTLE_MAX:?} after all stopped {pending} tasks wait and {running} run");
            return Err(Violation::error(Kind::Unsettled, what));
        }
        sleep(Duration::from_millis(100)).await;
    }
}
