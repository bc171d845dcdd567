//! The rounds: strike, let it go on, look whether it does, and check.

use std::time::Duration;

use anyhow::anyhow;
use tokio::time::{Instant, sleep, timeout};

use super::check::{Kind, Moment, Sums, Violated, Violation};
use super::client::{Session, is_session_over};
use super::history;
use super::life::LifeFile;
use super::place::{COUNTS, Place, VALUES};
use super::plan::{Action, Plan, Strike, Victim};
use super::processes::Processes;
use super::reading::{Follower, connect};
use super::report::{Report, RoundRow, Strikes, Verdict};
use super::tasks;
use crate::client::millis::millis;
use crate::client::{Client, Error, TaskFuture};
use crate::server::{self, Server};

/// What a round may take, its check apart.
pub const ROUND_MAX: Duration = Duration::from_secs(60);

/// What a check of the whole history may take.
const CHECK_MAX: Duration = Duration::from_secs(600);

/// How long it is let run after a strike, in milliseconds.
const CALM_MS: std::ops::Range<u64> = 200..600;

/// The client that looks whether it is served is none of the others.
const PROBE: u32 = 0;

/// Where the scheduler listens: below the ports that systems give to outgoing connections, one of which
/// could take it while nobody listens.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
const PORT_TRIES_MAX: u32 = 100;

/// What a run is to be.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub plan: Plan,
    pub rounds: u64,
    pub check_every: u64,
    /// No round begins after it.
    pub time_limit: Duration,
}

/// A run, as far as it is.
pub struct Run {
    options: Options,
    pub(super) place: Place,
    pub(super) processes: Processes,
    pub(super) address: String,
    follower: Follower,
    begun: Instant,
    round: u64,
    strikes: Strikes,
    seen: Sums,
    checks: u64,
    served_ms_max: u64,
}

impl Run {
    /// Starts all processes, and the tasks that count.
    pub async fn start(options: Options, place: Place) -> anyhow::Result<Self> {
        let address = free_address().await?;
        let mut processes = Processes::new(options.plan, &place, address.clone())?;
        let begun = Instant::now();
        processes.start(Victim::Scheduler, &place)?;
        let started = timeout(ROUND_MAX, async {
            let client = connect(&address).await?;
            for name in VALUES {
                client.channel::<u64>(name).await?;
            }
            for name in COUNTS {
                client.channel::<u64>(name).await?;
                submit_count(&client, name).await?;
            }
            client.close().await;
            Ok::<_, Error>(())
        });
        match started.await {
            Ok(started) => started?,
            Err(_) => {
                return Err(anyhow!("the scheduler did not start: its log is in {}", place.dir().display()));
            }
        }
        for victim in processes.workers().into_iter().chain(processes.clients()) {
            processes.start(victim, &place)?;
        }
        let follower = Follower::start(&address);
        let (strikes, seen) = Default::default();
        let (round, checks, served_ms_max) = (0, 0, 0);
        Ok(Run {
            options,
            place,
            processes,
            address,
            follower,
            begun,
            round,
            strikes,
            seen,
            checks,
            served_ms_max,
        })
    }

    /// Runs all rounds and the end. `say` is told of each round.
    pub async fn run(
        &mut self,
        say: &mut impl FnMut(&RoundRow, String) -> anyhow::Result<()>,
    ) -> anyhow::Result<Report> {
        let ended = match self.rounds(say).await {
            Ok(()) => self.end().await,
            Err(error) => Err(error),
        };
        let violations = match ended {
            Ok(()) => Vec::new(),
            Err(error) => error.downcast::<Violated>()?.0,
        };
        let verdict = match (violations.is_empty(), self.round == self.options.rounds) {
            (false, _) => Verdict::Violated,
            (true, true) => Verdict::Held,
            (true, false) => Verdict::Unfinished,
        };
        Ok(Report {
            verdict,
            seed: self.options.plan.seed,
            rounds: self.round,
            rounds_wanted: self.options.rounds,
            seconds: self.begun.elapsed().as_secs_f64(),
            strikes: self.strikes,
            seen: self.seen,
            checks: self.checks,
            follower_sessions_renewed: self.follower.sessions_renewed(),
            served_ms_max: self.served_ms_max,
            data: None,
            violations: violations.iter().map(Into::into).collect(),
        })
    }

    /// What is left of a run.
    pub fn into_place(self) -> Place {
        self.place
    }

    async fn rounds(
        &mut self,
        say: &mut impl FnMut(&RoundRow, String) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Options { plan, rounds, check_every, time_limit } = self.options;
        for round in 1..=rounds {
            if self.begun.elapsed() >= time_limit {
                return Ok(());
            }
            self.round = round;
            let strikes = plan.strikes(round);
            let Ok(served) = timeout(ROUND_MAX, self.round(&strikes)).await else {
                let what = format!("nobody was served {ROUND_MAX:?} after round {round} began");
                return Err(Violation::error(Kind::Stuck, what));
            };
            let served_ms = served?.map(millis);
            self.served_ms_max = self.served_ms_max.max(served_ms.unwrap_or(0));
            let checked = match round % check_every == 0 {
                true => Some(self.check(Moment::Running).await?),
                false => None,
            };
            let row =
                RoundRow { round, strikes: strikes.iter().map(Into::into).collect(), served_ms, checked };
            say(&row, row.text(&strikes, rounds))?;
        }
        Ok(())
    }

    /// Strikes, and waits until everything goes on. Answers how long a scheduler that was killed last took
    /// from its new start to the first acknowledgement.
    async fn round(&mut self, strikes: &[Strike]) -> anyhow::Result<Option<Duration>> {
        let mut restarted = None;
        for strike in strikes {
            sleep(strike.after).await;
            self.look_who_ended()?;
            self.strike(strike).await?;
            self.strikes.count(strike);
            let is_restart = (strike.victim, strike.action) == (Victim::Scheduler, Action::Kill);
            restarted = is_restart.then(Instant::now);
        }
        let acked = self.probe().await?;
        let mut rng = self.options.plan.rng("calm", self.round);
        sleep(Duration::from_millis(rng.u64(CALM_MS))).await;
        self.look_who_ended()?;
        Ok(restarted.map(|restarted| acked - restarted))
    }

    async fn strike(&mut self, strike: &Strike) -> anyhow::Result<()> {
        let victim = strike.victim;
        match strike.action {
            Action::Kill => {
                self.processes.kill(victim).await?;
                sleep(strike.away).await;
                if strike.renamed {
                    self.processes.rename(victim);
                }
                self.processes.start(victim, &self.place)
            }
            Action::Stop => {
                self.processes.signal(victim, "STOP").await?;
                sleep(strike.away).await;
                self.processes.signal(victim, "CONT").await
            }
        }
    }

    fn look_who_ended(&mut self) -> anyhow::Result<()> {
        let Some((victim, status)) = self.processes.ended_by_itself()? else { return Ok(()) };
        let what = format!("the {victim} ended by itself ({status}): its log says why");
        Err(Violation::error(Kind::Ended, what))
    }

    /// A new client appends a value, and has a task run. Answers when the append was acknowledged.
    async fn probe(&mut self) -> anyhow::Result<Instant> {
        loop {
            match self.probe_once().await {
                Ok(acked) => return Ok(acked),
                Err(error) if is_session_over(&error) => self.look_who_ended()?,
                Err(error) => {
                    let what = format!("a new client was refused: {error}");
                    return Err(Violation::error(Kind::Refused, what));
                }
            }
        }
    }

    async fn probe_once(&self) -> Result<Instant, Error> {
        let file = LifeFile::begin(&self.place.acks(), PROBE)?;
        let rng = self.options.plan.rng("probe", self.round);
        let mut session = Session::open(connect(&self.address).await?, file, rng).await?;
        session.append_one().await?;
        let acked = Instant::now();
        session.call_one().await?;
        session.client.close().await;
        Ok(acked)
    }

    /// Checks the whole history.
    pub(super) async fn check(&mut self, moment: Moment) -> anyhow::Result<Sums> {
        let mut rng = self.options.plan.rng("check", self.round);
        let acks = self.place.acks();
        let check = history::check(&self.address, &acks, &self.follower, &mut rng, moment);
        let Ok(checked) = timeout(CHECK_MAX, check).await else {
            return Err(Violation::error(Kind::Stuck, format!("a check was not done after {CHECK_MAX:?}")));
        };
        self.seen = checked?;
        self.checks += 1;
        Ok(self.seen)
    }
}

/// The task that counts on a channel: the same one each time.
pub(super) async fn submit_count(client: &Client, channel: &str) -> Result<TaskFuture<u64>, Error> {
    client.submit(tasks::count, (channel,)).key(format!("torture/{channel}")).detach().await
}

/// An address on loopback that is free now, and is not taken while nobody listens on it for a moment.
async fn free_address() -> anyhow::Result<String> {
    for _ in 0..PORT_TRIES_MAX {
        let address = format!("127.0.0.1:{}", fastrand::u16(PORTS));
        let options = server::Options { token: None, insecure: false };
        if Server::bind(&address, options).await.is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no free port from {} to {} on 127.0.0.1: end what listens there", PORTS.start, PORTS.end)
}
