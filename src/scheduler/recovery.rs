//! From a store to a state: the newest whole snapshot, and the records behind it, by the same fold as
//! live, with the effects dropped.
//!
//! A snapshot that cannot be used is left out for the one before it, and in the end for the first record.
//! So what a start costs is live state and the tail behind a snapshot, not history.

use std::collections::{BTreeMap, BTreeSet};

use super::core::{Channel, Event, Restoring, State};
use crate::log::{Error, Log};
use crate::protocol::batch::{BadBatch, Batch, Damage, Header};
use crate::protocol::event::Appended;
use crate::protocol::snapshot::SnapshotItem;
use crate::protocol::start::RecoveryProgress;
use crate::protocol::version::FAILED_KEEP_CALLS_SINCE;
use crate::protocol::{ChannelEvent, Element, LogId, Seq, TaskEvent, TaskId, TaskKey};

/// How many bytes of batches are read at a time.
pub(super) const READ_BYTES: usize = 1024 * 1024;

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
    /// What it met of lost records.
    pub lost: Lost,
}

/// Records that are lost, and what is known of what they said.
#[derive(Debug, Default)]
pub struct Lost {
    /// Which they are, in the order of logs and offsets.
    pub ranges: Vec<(LogId, Damage)>,
    /// Records of channels that were trimmed, and that the snapshot does not know: trims wait for the two newest that there are,
    /// so those were lost. Whoever looks back from older ones misses no more than was trimmed.
    trimmed: Vec<(LogId, Damage)>,
    /// Tasks that channels name and of which nothing else is known.
    pub tasks: BTreeMap<TaskId, TaskKey>,
}

/// Most ranges, and most tasks, that a receipt names.
const NAMED_MAX: usize = 8;

/// Why records are lost that are trimmed.
const TRIMMED: &str = "they were trimmed, and the snapshot that knew them cannot be used";

impl Lost {
    /// What was trimmed and is not known is lost, too.
    fn tell_trimmed(&mut self) {
        self.ranges.append(&mut self.trimmed);
        self.ranges.sort_by_key(|(log, damage)| (*log, damage.from));
    }

    /// The first log that was trimmed behind what the snapshot knows.
    pub(super) fn unknown(&self) -> Option<LogId> {
        self.ranges.iter().find(|(_, damage)| damage.why == TRIMMED).map(|(log, _)| *log)
    }

    /// All of it in words, if there is any.
    pub fn in_words(&self) -> Option<String> {
        if self.ranges.is_empty() {
            return None;
        }
        let ranges =
            self.ranges.iter().map(|(log, Damage { from, to, .. })| format!("log {log} {from}..{to}"));
        let mut words = format!("lost records: {}", named(ranges));
        if !self.tasks.is_empty() {
            let tasks = self.tasks.values().map(ToString::to_string);
            words.push_str(&format!("; tasks of which nothing else is known: {}", named(tasks)));
        }
        Some(words)
    }
}

fn named(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED_MAX);
    let mut words = all.take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 {
        words.push_str(&format!(" and {more} more"));
    }
    words
}

/// What is done with progress, piece by piece: an error breaks off.
pub type Watch<'a> = &'a mut dyn FnMut(RecoveryProgress) -> Result<(), Error>;

/// The state after all durable commits.
///
/// # Errors
/// When the store cannot be read, or a batch is damaged; or what `watch` says.
pub fn recover(log: &dyn Log, watch: Watch<'_>) -> Result<Recovered, Error> {
    let mut recovered = recover_to(log, log.last().seq, watch)?;
    recovered.lost.tell_trimmed();
    Ok(recovered)
}

/// The state after a durable commit, for those who look back: from the newest snapshot that is as old, can be read, and knows
/// what is trimmed of the task log. One that does not would make done tasks ready again, and then an older one does neither.
/// Where channels were trimmed behind it, what was there is not in the state.
///
/// # Errors
/// As [`recover`].
pub(super) fn recover_to(log: &dyn Log, at: Seq, watch: Watch<'_>) -> Result<Recovered, Error> {
    let (mut state, mut snapshot, mut bad_snapshots) = (State::default(), Seq(0), Vec::new());
    for seq in log.snapshots()?.into_iter().filter(|seq| *seq <= at) {
        match restore(log, seq, watch) {
            Ok((restored, _)) if restored.tasks_head < log.bounds(LogId::TASKS).first => break,
            Ok((restored, without_kept)) => {
                (state, snapshot) = (restored, seq);
                recount_kept(log, &mut state, &without_kept, watch)?;
                break;
            }
            Err(error @ Error::BadSnapshot { .. }) => bad_snapshots.push(error),
            Err(error) => return Err(error),
        }
    }
    let tasks_from = state.tasks_head;
    let (records, lost) = fold_to(log, &mut state, at, watch)?;
    Ok(Recovered { state, snapshot, records, tasks_from, bad_snapshots, lost })
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

/// Tells what these channels keep from their records up to where the state knows them: a snapshot of an older version
/// does not say it.
fn recount_kept(
    log: &dyn Log,
    state: &mut State,
    channels: &BTreeSet<LogId>,
    watch: Watch<'_>,
) -> Result<(), Error> {
    if channels.is_empty() {
        return Ok(());
    }
    let mut folded = State::default();
    folded.channels.extend(channels.iter().map(|id| (*id, Channel::new(state.channels[id].name.clone()))));
    let mut fold = Fold { log, state: &mut folded, at: Seq(u64::MAX), records: 0, lost: Lost::default() };
    for id in channels {
        fold.to(*id, state.channels[id].head, watch)?;
    }
    state.recount_kept(folded);
    Ok(())
}

/// The state that a snapshot shows, and the channels of which it does not say what they keep.
fn restore(log: &dyn Log, at: Seq, watch: Watch<'_>) -> Result<(State, BTreeSet<LogId>), Error> {
    let mut restoring = Restoring::new(at);
    let (mut bytes, mut stopped, mut bad) = (0, Ok(()), None);
    log.read_snapshot(at, &mut |piece| {
        if stopped.is_err() || bad.is_some() {
            return;
        }
        bad = restore_piece(&mut restoring, piece).err();
        bytes += piece.len() as u64;
        stopped = watch(RecoveryProgress::Snapshot(bytes));
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
pub(super) fn fold_to(
    log: &dyn Log,
    state: &mut State,
    at: Seq,
    watch: Watch<'_>,
) -> Result<(u64, Lost), Error> {
    let mut fold = Fold { log, state, at, records: 0, lost: Lost::default() };
    let logs = log.logs();
    if logs.first() == Some(&LogId::TASKS) {
        fold.one(LogId::TASKS, watch)?;
    }
    // Also where no records are known to be lost: what the task log has lost at its end nothing else tells of.
    for id in logs.iter().copied().filter(|id| *id != LogId::TASKS) {
        if !fold.state.channels.contains_key(&id) && fold.has_begun(id)? {
            fold.state.name_lost_channel(id);
        }
    }
    for id in logs.into_iter().filter(|id| *id != LogId::TASKS) {
        fold.one(id, watch)?;
    }
    let Fold { state, records, lost, .. } = fold;
    if !lost.ranges.is_empty() {
        state.mend();
    }
    Ok((records, lost))
}

struct Fold<'a> {
    log: &'a dyn Log,
    state: &'a mut State,
    at: Seq,
    records: u64,
    lost: Lost,
}

impl Fold<'_> {
    fn one(&mut self, id: LogId, watch: Watch<'_>) -> Result<(), Error> {
        self.to(id, u64::MAX, watch)
    }

    /// Whether a log has a record of the commit that is folded to, or of one before, as far as that is known.
    fn has_begun(&self, id: LogId) -> Result<bool, Error> {
        let first = self.log.read(id, self.log.bounds(id).first, 0)?.into_iter().next();
        Ok(first.is_some_and(|batch| batch.header().seq <= self.at))
    }

    /// Whether all of what stands in the place of lost records had come by the commit that is folded to: they may be of any
    /// commit up to the next that is there, whichever the batch in their place names.
    fn has_come(&self, lost: &Header) -> Result<bool, Error> {
        let seq_at = |offset: u64| -> Result<Option<Seq>, Error> {
            let found = self.log.read(lost.log, offset, 0)?.into_iter().next();
            Ok(found.map(|batch| batch.header().seq))
        };
        if self.at >= self.log.last().seq
            || seq_at(lost.end_offset())?.is_some_and(|next| next <= self.at.next())
        {
            return Ok(true);
        }
        // It names that of the batch before it, unless it was put there by a start, behind what was lost.
        let before = lost.base_offset.checked_sub(1).map_or(Ok(None), seq_at)?.unwrap_or_default();
        Ok(before < lost.seq && lost.seq <= self.at)
    }

    /// Folds a log, up to an offset at most.
    fn to(&mut self, id: LogId, end: u64, watch: Watch<'_>) -> Result<(), Error> {
        let mut next = self.begin(id)?;
        // The commit that is being folded, and its time.
        let (mut commit, at) = (None, self.at);
        loop {
            let batches = self.log.read(id, next, READ_BYTES)?;
            let mut is_end = batches.is_empty();
            for batch in &batches {
                let header = *batch.header();
                let Header { seq, time_ms, base_offset, base_index, .. } = header;
                if let Some(damage) = batch.damage()
                    && base_offset < end
                    && !self.has_come(&header)?
                {
                    self.lost.ranges.push((id, damage));
                    is_end = true;
                }
                is_end |= seq > at || base_offset >= end;
                if is_end {
                    break;
                }
                if base_offset > next && id != LogId::TASKS && self.log.bounds(id).first > next {
                    // Not lost, but trimmed meanwhile: whoever looks back folds beside those who trim.
                    self.state.begin_channel_at(id, base_offset, base_index);
                }
                if let Some((_, time_ms)) =
                    commit.replace((seq, time_ms)).filter(|(before, _)| *before != seq)
                {
                    self.state.end_commit([id], time_ms);
                }
                next = header.end_offset();
                self.records += u64::from(header.count);
                self.apply(id, batch).map_err(|why| {
                    let offset = batch.header().base_offset;
                    Error::Damaged { log: id, offset, why }
                })?;
            }
            watch(RecoveryProgress::Records(self.records))?;
            if is_end {
                if let Some((_, time_ms)) = commit {
                    self.state.end_commit([id], time_ms);
                }
                return Ok(());
            }
        }
    }

    /// Where to begin in a log: behind what the state knows, or where it begins when that was trimmed.
    fn begin(&mut self, id: LogId) -> Result<u64, Error> {
        let first = self.log.bounds(id).first;
        let (known, elements) = self.state.head_of(id);
        if known >= first {
            return Ok(known);
        }
        let Some(batch) = self.log.read(id, first, 0)?.into_iter().next() else { return Ok(first) };
        let header = batch.header();
        let trimmed = Damage { from: known, to: first, why: TRIMMED.to_owned() };
        if id == LogId::TASKS {
            // It was trimmed because a snapshot knew it all, and none can be read.
            self.lost.ranges.push((id, trimmed));
            let count = u32::try_from(first - known).unwrap_or(u32::MAX);
            let base_offset = first - u64::from(count);
            self.state.skip_lost(id, &Header { base_offset, count, ..*header });
        } else if header.seq <= self.at {
            self.lost.trimmed.push((id, trimmed));
            self.state.begin_channel_at(id, header.base_offset, header.base_index);
        } else if known > 0 {
            // What was kept then is trimmed since.
            self.state.begin_channel_at(id, known, elements);
        }
        // What is kept may all have come behind the commit that is folded to. Then nothing is known of how far it was, but
        // what a snapshot says.
        Ok(first)
    }

    fn apply(&mut self, log: LogId, batch: &Batch) -> Result<(), BadBatch> {
        let seq = batch.header().seq;
        if let Some(damage) = batch.damage() {
            self.lost.ranges.push((log, damage));
            self.state.skip_lost(log, batch.header());
        } else if log == LogId::TASKS {
            self.state.failed_lose_calls = batch.version() < FAILED_KEEP_CALLS_SINCE;
            for record in batch.records::<TaskEvent>() {
                self.state.apply(seq, &Event::Task(record?.1));
            }
            self.state.failed_lose_calls = false;
        } else {
            for record in batch.records::<ChannelEvent>() {
                let event = record?.1;
                if let Some(Appended { element: Element::Future(key), .. }) = event.appended()
                    && !self.lost.ranges.is_empty()
                    && !self.state.tasks.contains_key(&key.id)
                {
                    self.lost.tasks.insert(key.id, key.clone());
                }
                self.state.apply(seq, &Event::Channel(log, event));
            }
        }
        Ok(())
    }
}
