//! What logs have lost at their ends, as far as a snapshot knows that it was there.
//!
//! ```text
//!   task log    ───────────────▶ 95            a repair found no more of it
//!   channel 1   ──────────────────────▶ 40     and of this one all
//!   snapshot    knows the task log up to 100
//! ```
//!
//! A start that goes on from that snapshot has a state in which those records have happened: what comes next has the offsets
//! behind them. So in their place comes a commit of its own, of batches that say that they are lost, before any other. Without it
//! nothing could be written; and were the snapshot left out instead, what comes would have their offsets, and the snapshot would
//! speak of other records than the log.

use crate::log::{Error, Log, Reader, lost};
use crate::protocol::batch::Damage;
use crate::protocol::{LogId, TimeMs};

use super::names;
use super::recovery::Recovered;

/// Why those records are lost.
const WHY: &str = "they were lost at the end of the log: a snapshot knows that they were there";

/// Writes the commit that stands in the place of what the recovered state knows and the logs do not have, if there is any, shows
/// it to readers, and tells of it in what was recovered. Then nothing is left that knows more than the logs: of the snapshots that
/// the recovery could not use those that may are removed.
///
/// # Errors
/// When the store cannot be read or written.
pub(super) fn fill(
    log: &dyn Log,
    reader: &Reader,
    recovered: &mut Recovered,
    now: TimeMs,
) -> Result<(), Error> {
    let state = &recovered.state;
    let known = [LogId::TASKS].into_iter().chain(state.channels.keys().copied());
    let known = known.map(|id| (id, state.head_of(id)));
    let short: Vec<_> = known.filter(|(id, (head, _))| log.bounds(*id).head < *head).collect();
    if !short.is_empty() {
        let commit = lost::at_ends(log, &short, WHY, now);
        tracing::warn!(seq = %commit.seq, "logs are shorter than a snapshot knows them: what is gone is lost in its place");
        log.append(&commit)?;
        log.flush()?;
        reader.publish(&commit);
        let lost = commit.batches.iter().filter_map(|batch| Some((batch.header().log, batch.damage()?)));
        recovered.lost.ranges.extend(lost.collect::<Vec<(LogId, Damage)>>());
        recovered.lost.ranges.sort_by_key(|(log, damage)| (*log, damage.from));
    }
    for at in log.snapshots()?.into_iter().take_while(|at| *at > recovered.snapshot) {
        let is_known = names::of_snapshot(log, at).is_ok_and(|beginning| !beginning.is_ahead_of(log));
        if !is_known {
            tracing::warn!(seq = %at, "a snapshot may know more than the logs, and cannot be used: it is removed");
            log.drop_snapshot(at)?;
        }
    }
    Ok(())
}
