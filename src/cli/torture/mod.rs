//! `headwater torture`: real processes on a real disk, killed and stopped at random moments, and a check of
//! the whole history from outside.
//!
//! ```text
//!   plan ──strikes──▶ run ──▶ processes: a scheduler, workers (tasks), clients (client) ─┐
//!                      │                                          acks, in files (life) ─┤
//!                      └──every few rounds──▶ reading: new readers, and the follower ────┴──▶ check
//! ```
//!
//! Pure: [`plan`], and [`check`], which is told what was acknowledged and what the logs hold. What the seed
//! fixes is who is struck, how, and when; not how far each process is by then.

mod check;
mod client;
mod end;
mod history;
mod life;
mod place;
mod plan;
mod processes;
mod reading;
mod report;
mod run;
mod tasks;

use std::path::PathBuf;
use std::time::Duration;

use self::place::Place;
use self::plan::Plan;
use self::report::{Report, RoundRow, Verdict};
use self::run::{Options, Run};
use super::output::{Output, note};
use super::progress::{self, Progress};
use super::signals::Signals;
use crate::rows::time::duration;

pub use self::client::TortureClient;

/// What a round may take on the average, unless told: about three times what it takes on an idle machine.
const ROUND_MEAN: Duration = Duration::from_secs(10);

/// What comes before the first round and after the last.
const BEGIN_AND_END: Duration = Duration::from_secs(60);

/// Kill it again and again, on this disk, and check that it keeps its promises.
///
/// Starts a scheduler on a store of its own, workers and clients, all as processes. The clients append
/// numbered values and futures of tasks to channels that they share, and each notes what was acknowledged.
/// In each round one of the processes, or two after each other, is killed with SIGKILL, or stopped with
/// SIGSTOP for longer than two leases, at a random moment; then it comes back, and work must go on.
///
/// Every few rounds and at the end the whole history is read from outside, by two new readers and one that
/// has followed since the start, and checked. What was acknowledged must be there, where it was said to be,
/// once, and in each session's order. Offsets must be dense, and readers agree. Each task's outcome must
/// have entered the log once, of its newest attempt, and be what its function gives and what the channels say
/// of it. Tasks that write themselves must have written each number once, whichever of their attempts were
/// killed. No start may have found damage. In the end everything wanted must settle, all must stop in order,
/// and the store must be whole.
///
/// The seed decides who is struck, how and when; processes keep their own time, so a second run with the
/// same seed strikes the same and may meet them elsewhere. It listens on loopback only, and no process but
/// its own is touched. A broken promise is printed with its seed and round, everything is kept, and the
/// exit code is 1; otherwise the directory is removed. It does not cut the power: see docs/reliability.md.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headwater torture
  headwater torture --rounds 1000 --data /mnt/disk/torture
  headwater torture --rounds 25 --seed 7 --json

With --json, each line is one object:
  {\"round\",\"strikes\":[{\"victim\",\"action\",\"after_ms\",\"away_ms\"}],\"served_ms\"?,\"checked\"?}   a round
  {\"verdict\":\"held\"|\"violated\"|\"unfinished\",\"seed\",\"rounds\",…,\"violations\":[…]}            at the end, once")]
pub struct Torture {
    /// How many rounds
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rounds: u64,

    /// What the strikes follow from; a random one unless given
    #[arg(long, value_name = "S")]
    seed: Option<u64>,

    /// A directory on the disk that is to be tried: empty, new, or torture's own
    #[arg(long, value_name = "DIR", default_value = "./headwater-torture")]
    data: PathBuf,

    /// How many workers
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,

    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: u32,

    /// How long a worker or client that cannot be heard keeps what it has
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    lease: Duration,

    /// Check the whole history after so many rounds each, and at the end
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    check_every: u64,

    /// Begin no more rounds after this time; 10 s for each round and a minute unless given
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    time_limit: Option<Duration>,

    /// Keep the directory, also when everything held
    #[arg(long)]
    keep: bool,

    /// Print one JSON object per round, and a last one that sums up
    #[arg(long)]
    json: bool,
}

impl Torture {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        anyhow::ensure!(
            self.lease >= Duration::from_millis(200),
            "a --lease below 200ms is no lease: give more"
        );
        let place = Place::take(&self.data)?;
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
        let (workers, clients) = (self.workers as usize, self.clients as usize);
        let plan = Plan { seed, workers, clients, lease: self.lease };
        let time_limit = self.time_limit.unwrap_or(BEGIN_AND_END + ROUND_MEAN * self.rounds as u32);
        if !self.json {
            note(format_args!(
                "torture with seed {seed} in {}: {} rounds, none begun after {time_limit:?}, each at most {:?}; \
                 leases {:?}; the whole history is checked every {} rounds",
                place.dir().display(),
                self.rounds,
                run::ROUND_MAX,
                self.lease,
                self.check_every
            ));
        }
        let options = Options { plan, rounds: self.rounds, check_every: self.check_every, time_limit };
        let mut output = Output::new();
        let mut progress = Progress::begin("torture");
        let say = |row: &RoundRow, text: String| {
            match self.json {
                true => output.json(row).and_then(|()| output.flush())?,
                false => progress::say(text),
            }
            let (round, rounds) = (row.round as usize, self.rounds as usize);
            progress.draw(round, Some(rounds), format_args!("{round} of {rounds} rounds"));
            Ok(())
        };
        let (report, place) = tokio::select! {
            ended = run(options, place, say) => ended?,
            () = signals.next() => anyhow::bail!("interrupted: with --seed {seed} it begins anew"),
        };
        self.finish(report, place, output)
    }

    fn finish(&self, mut report: Report, place: Place, mut output: Output) -> anyhow::Result<()> {
        let (seed, rounds, dir) = (report.seed, report.rounds, place.dir().display().to_string());
        if self.keep || report.verdict == Verdict::Violated {
            report.data = Some(dir.clone());
        }
        match report.verdict {
            Verdict::Violated => place.keep_as_evidence(&serde_json::to_string(&report)?)?,
            Verdict::Held | Verdict::Unfinished if self.keep => {}
            Verdict::Held | Verdict::Unfinished => place.remove()?,
        }
        match self.json {
            true => output.json(&report)?,
            false => report.lines().iter().try_for_each(|line| output.line(line))?,
        }
        output.flush()?;
        match report.verdict {
            Verdict::Held => Ok(()),
            Verdict::Violated => {
                let first = report.violations.first().map(|row| format!("{}: {}", row.violation, row.what));
                anyhow::bail!(
                    "a promise was broken in round {rounds} of seed {seed}: {}: what is in {dir} shows it; keep it",
                    first.unwrap_or_default()
                )
            }
            Verdict::Unfinished => anyhow::bail!(
                "only {rounds} of {} rounds were done in time: give it more with --time-limit",
                self.rounds
            ),
        }
    }
}

/// A run from its start to its report. When it is dropped, its processes are killed.
async fn run(
    options: Options,
    place: Place,
    mut say: impl FnMut(&RoundRow, String) -> anyhow::Result<()>,
) -> anyhow::Result<(Report, Place)> {
    let mut run = Run::start(options, place).await?;
    let report = run.run(&mut say).await?;
    Ok((report, run.into_place()))
}
