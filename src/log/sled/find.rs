//! Where the logs of a store begin and end, and its newest commit: found once, when it is opened.

use super::trees::Trees;
use super::{decode, first_key, starts};
use crate::log::Last;
use crate::log::failure::Failure;
use crate::log::heads::{End, Heads};
use crate::protocol::batch::{Batch, Commit};
use crate::protocol::{Epoch, LogId};

/// Finds where all logs begin and end, by their first and last keys, and the newest commit. `known` is what
/// the head file says: no epoch is begun twice.
pub(super) fn heads(trees: &Trees, known: Last) -> Result<Heads, Failure> {
    let mut heads = Heads::default();
    let mut newest: Vec<Batch> = Vec::new();
    let mut from = Some(LogId(0));
    while let Some(log) = from.map(|from| trees.first_log(from)).transpose()?.flatten() {
        from = log.0.checked_add(1).map(LogId);
        let commit = last_commit(trees, log)?;
        let (Some(base), Some(last)) = (commit.first(), commit.last()) else { continue };
        let end = End {
            commit_base: base.header().base_offset,
            offset: last.header().end_offset(),
            elements: last.header().end_index(),
        };
        // What is missing before the first batch and was not trimmed is lost, and found so by readers.
        heads.found_log(log, trees.number(&first_key(log))?.unwrap_or(0), end);
        let newest_seq = newest.first().map(|batch| batch.header().seq);
        if newest_seq < Some(last.header().seq) {
            newest = commit;
        } else if newest_seq == Some(last.header().seq) {
            newest.extend(commit);
        }
    }
    let last = newest.first().map_or(Last::default(), |batch| Last {
        seq: batch.header().seq,
        epoch: batch.header().epoch,
        digest: Commit::digest(&newest),
    });
    let epoch = trees.number(b"epoch")?.unwrap_or(0);
    let epoch = Epoch(epoch).max(last.epoch).max(known.epoch);
    heads.found_last(last, epoch);
    heads.found_starts(starts::find(trees, epoch)?);
    Ok(heads)
}

/// The batches of the newest commit on a log. Places behind them that were made and never filled are removed.
fn last_commit(trees: &Trees, log: LogId) -> Result<Vec<Batch>, Failure> {
    let (mut commit, mut unfilled): (Vec<Batch>, Vec<u64>) = Default::default();
    for entry in trees.values(log, 0..u64::MAX).rev() {
        let (offset, value) = entry?;
        if value.is_empty() && commit.is_empty() {
            unfilled.push(offset);
            continue;
        }
        let batch = decode(log, offset, value)
            .map_err(|why| Failure::Broken(format!("the end of log {log} at offset {offset}: {why}")))?;
        if commit.last().is_some_and(|later| later.header().seq != batch.header().seq) {
            break;
        }
        commit.push(batch);
    }
    commit.reverse();
    if !unfilled.is_empty() {
        trees.remove(log, &unfilled)?;
    }
    Ok(commit)
}
