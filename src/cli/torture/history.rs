//! A check of the whole history: everything is read anew by two readers that begin at different places,
//! held against what clients were told, and against what the follower saw.

use std::path::Path;

use fastrand::Rng;

use super::check::{Checker, Kind, Moment, Sums, Violated, Violation};
use super::client::is_session_over;
use super::life;
use super::reading::{Ended, Follower, Trace, channels, compare, connect, read_channel, read_tasks};
use crate::protocol::channel::TASKS_CHANNEL;

/// How often it is begun anew because a reader's session was over: on a machine that is too busy for the
/// leases, nothing would ever be read.
const TRIES_MAX: u32 = 5;

/// Reads and checks everything.
///
/// # Errors
/// [`Violated`], or why nothing could be read.
pub async fn check(
    address: &str,
    acks: &Path,
    follower: &Follower,
    rng: &mut Rng,
    moment: Moment,
) -> anyhow::Result<Sums> {
    for _ in 0..TRIES_MAX {
        match read(address, acks, rng, moment).await {
            Ok((sums, traces)) => return agree(sums, &traces, follower).await,
            Err(Read::Ended(Ended::Failed(error))) if is_session_over(&error) => {}
            Err(Read::Ended(Ended::Failed(error))) => {
                return Err(Violation::error(Kind::Refused, format!("a reader was refused: {error}")));
            }
            Err(Read::Ended(Ended::Violated(violation))) => return Err(Violated(vec![violation]).into()),
            Err(Read::Failed(error)) => return Err(error),
        }
    }
    Err(Violation::error(Kind::Stuck, format!("the session of a reader was over {TRIES_MAX} times")))
}

/// Why a reading came to nothing.
enum Read {
    Ended(Ended),
    Failed(anyhow::Error),
}

impl From<Ended> for Read {
    fn from(ended: Ended) -> Self {
        Read::Ended(ended)
    }
}

/// What both readers saw of each log.
type Traces = Vec<(&'static str, Trace)>;

/// The order of reading is the one that [`Checker`] needs.
async fn read(address: &str, acks: &Path, rng: &mut Rng, moment: Moment) -> Result<(Sums, Traces), Read> {
    let lives = life::read_all(acks).map_err(Read::Failed)?;
    let (first, second) =
        (connect(address).await.map_err(Ended::Failed)?, connect(address).await.map_err(Ended::Failed)?);
    let (mut checker, mut traces) = (Checker::new(lives), Traces::new());
    for name in channels() {
        traces.push((
            name,
            read_channel(&first, name, (0, None), |record| checker.channel(name, record)).await?,
        ));
    }
    traces.push((TASKS_CHANNEL, read_tasks(&first, (0, None), |record| checker.task(record)).await?));
    for (name, trace) in &traces {
        // From somewhere to the end, and then the beginning.
        let head = trace.len() as u64;
        let middle = rng.u64(..=head);
        let (mut begin, mut rest) = (Trace::new(), Trace::new());
        for (into, from, to) in [(&mut rest, middle, head), (&mut begin, 0, middle)] {
            *into = match *name {
                TASKS_CHANNEL => read_tasks(&second, (from, Some(to)), |_| {}).await?,
                _ => read_channel(&second, name, (from, Some(to)), |_| {}).await?,
            };
        }
        begin.append(&mut rest);
        if let Some(violation) = compare(name, ("a reader from 0", trace), ("a reader in two parts", &begin))
        {
            return Err(Ended::Violated(violation).into());
        }
    }
    first.close().await;
    second.close().await;
    let (sums, found) = checker.finish(moment);
    if !found.is_empty() {
        return Err(Read::Failed(Violated(found).into()));
    }
    Ok((sums, traces))
}

async fn agree(sums: Sums, traces: &Traces, follower: &Follower) -> anyhow::Result<Sums> {
    for (name, trace) in traces {
        if let Some(violation) = follower.compare(name, trace).await {
            return Err(Violated(vec![violation]).into());
        }
    }
    Ok(sums)
}
