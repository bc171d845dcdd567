//! From a store to a state: the newest whole snapshot, and the records behind it, by the same fold as
//! live, with the effects dropped.
//!
//! A snapshot that cannot be used is left out for the one before it, and in the end for the first record.
//! So what a start costs is live state and the tail behind a snapshot, not history.

use std::time::{Duration, Instant};

use super::core::{Event, Restoring, State};
use crate::log::{Error, Log};
use crate::protocol::batch::{BadBatch, Batch};
use crate::protocol::snapshot::SnapshotItem;
use crate::protocol::{ChannelEvent, LogId, Seq, TaskEvent};

/// How many bytes of batches are read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// A state and how it came about.
#[derive(Debug)]
pub struct Recovered {
    /// The state.
    pub state: State,
    /// The commit of the snapshot that it began with; 0 when it began with the first record.
    pub snapshot: Seq,
    /// The records that were folded on top of it.
    pub records: u64,
    /// The offset of the first of them in the task log.
    pub tasks_from: u64,
    /// The snapshots that could not be used, newest first, and why.
    pub bad_snapshots: Vec<Error>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Bytes of a snapshot that were read.
    Snapshot(u64),
    /// Records that were folded.
    Records(u64),
}

/// What is done with progress, piece by piece: an error breaks off.
pub type Watch<'a> = &'a mut dyn FnMut(Progress) -> Result<(), Error>;

/// How often a long start says how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Says how far a start is in log lines, once a second.
pub fn told() -> impl FnMut(Progress) -> Result<(), Error> {
    let mut told_at = Instant::now();
    move |progress| {
        if told_at.elapsed() >= TOLD_EVERY {
            told_at = Instant::now();
            match progress {
                Progress::Snapshot(bytes) => tracing::info!(mebibytes = bytes >> 20, "reading the snapshot"),
                Progress::Records(records) => tracing::info!(records, "folding the records behind it"),
            }
        }
        Ok(())
    }
}

/// The state after all durable commits.
///
/// # Errors
/// When the store cannot be read, or a batch is damaged; or what `watch` says.
pub fn recover(log: &dyn Log, watch: Watch<'_>) -> Result<Recovered, Error> {
    recover_to(log, log.last().seq, watch)
}

/// The state after a durable commit.
///
/// # Errors
/// As [`recover`].
pub(super) fn recover_to(log: &dyn Log, at: Seq, watch: Watch<'_>) -> Result<Recovered, Error> {
    let (mut state, mut snapshot, mut bad_snapshots) = (State::default(), Seq(0), Vec::new());
    for seq in log.snapshots()?.into_iter().filter(|seq| *seq <= at) {
        match restore(log, seq, watch) {
            Ok(restored) => {
                (state, snapshot) = (restored, seq);
                break;
            }
            Err(error @ Error::BadSnapshot { .. }) => bad_snapshots.push(error),
            Err(error) => return Err(error),
        }
    }
    let tasks_from = state.tasks_head;
    let records = fold_to(log, &mut state, at, watch)?;
    Ok(Recovered { state, snapshot, records, tasks_from, bad_snapshots })
}

/// Folds all logs from their first records.
///
/// # Errors
/// When the store cannot be read, or a batch is damaged.
pub fn fold(log: &dyn Log) -> Result<State, Error> {
    let mut state = State::default();
    fold_to(log, &mut state, log.last().seq, &mut |_| Ok(()))?;
    Ok(state)
}

/// The state that a snapshot shows.
fn restore(log: &dyn Log, at: Seq, watch: Watch<'_>) -> Result<State, Error> {
    let mut restoring = Restoring::default();
    let (mut bytes, mut stopped, mut bad) = (0, Ok(()), None);
    log.read_snapshot(at, &mut |piece| {
        if stopped.is_err() || bad.is_some() {
            return;
        }
        bad = restore_piece(&mut restoring, piece).err();
        bytes += piece.len() as u64;
        stopped = watch(Progress::Snapshot(bytes));
    })?;
    stopped?;
    let bad_snapshot = |why: String| Error::BadSnapshot { at, why };
    match bad {
        Some(why) => Err(bad_snapshot(why)),
        None => restoring.finish().map_err(|why| bad_snapshot(why.to_string())),
    }
}

fn restore_piece(restoring: &mut Restoring, mut piece: &[u8]) -> Result<(), String> {
    while !piece.is_empty() {
        let (item, rest) =
            postcard::take_from_bytes::<SnapshotItem>(piece).map_err(|error| error.to_string())?;
        restoring.add(item).map_err(|error| error.to_string())?;
        piece = rest;
    }
    Ok(())
}

/// Folds what each log has behind what the state knows, up to a commit, the task log first. Answers how
/// many records that were.
fn fold_to(log: &dyn Log, state: &mut State, at: Seq, watch: Watch<'_>) -> Result<u64, Error> {
    let mut records = 0;
    for id in log.logs() {
        let first = log.bounds(id).first;
        let (mut next, _) = state.head_of(id);
        if next < first {
            next = first;
            if let Some(batch) = log.read(id, next, 0)?.first() {
                state.begin_channel_at(id, batch.header().base_offset, batch.header().base_index);
            }
        }
        'log: loop {
            let batches = log.read(id, next, READ_BYTES)?;
            if batches.is_empty() {
                break;
            }
            for batch in &batches {
                if batch.header().seq > at {
                    break 'log;
                }
                next = batch.header().end_offset();
                records += u64::from(batch.header().count);
                apply(state, id, batch).map_err(|why| {
                    let offset = batch.header().base_offset;
                    Error::Damaged { log: id, offset, why }
                })?;
            }
            watch(Progress::Records(records))?;
        }
    }
    Ok(records)
}

fn apply(state: &mut State, log: LogId, batch: &Batch) -> Result<(), BadBatch> {
    if batch.damage().is_some() {
        state.skip_lost(log, batch.header());
    } else if log == LogId::TASKS {
        for record in batch.records::<TaskEvent>() {
            state.apply(&Event::Task(record?.1));
        }
    } else {
        for record in batch.records::<ChannelEvent>() {
            state.apply(&Event::Channel(log, record?.1));
        }
    }
    Ok(())
}
