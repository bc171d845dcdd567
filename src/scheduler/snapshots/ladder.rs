//! Which older snapshots stay, for those who look back: the rungs of a ladder, from the first record up to the two
//! snapshots that starts go on from.
//!
//! ```text
//!   first record                                                      the one before   newest
//!   │           ○               ○           ○             ○       ○         ●             ●
//!   └───────────┴───────────────┴───────────┴─────────────┴───────┴─────────┴─────────────┴──▶ records
//!    what is between two rungs is folded from the lower one
//! ```
//!
//! A snapshot that is no longer one of the two becomes the topmost rung. Are there too many, or are they too large, that one
//! goes whose neighbours are closest to each other, and so on. Of the last [`RUNGS_MAX`] + 1 some neighbours are no further apart
//! than a seventh of the history; so wherever a rung was taken out, no more than that is folded, and elsewhere no more than
//! lies between two snapshots as they are taken.
//!
//! They are a convenience: the bytes that they take are bounded by those of the logs and by the room that there is, and when
//! that is short, they go first.

use std::collections::BTreeMap;

use super::Usable;
use crate::log::{Error, Log};
use crate::protocol::{LogId, Seq};
use crate::scheduler::names;

/// Most rungs, 14: with the two newest there are 16 snapshots, each of which is opened by whoever copies a store, and a
/// history of 10,000,000 records is folded from a million and a half at most, in a second or two.
pub const RUNGS_MAX: usize = 14;

/// All rungs together take at most this part of what the logs take, and of what is free: a quarter.
const PART: u64 = 4;

/// A snapshot, and how far it knows the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rung {
    at: Seq,
    /// The offset of the first record of the task log that it does not know.
    tasks_head: u64,
    /// How many records of all logs it knows: to fold as many takes about as long everywhere.
    records: u64,
    bytes: u64,
}

impl Rung {
    fn of(log: &dyn Log, at: Seq) -> Result<Rung, Error> {
        let names::Beginning { tasks_head, records, .. } = names::of_snapshot(log, at)?;
        Ok(Rung { at, tasks_head, records, bytes: log.snapshot_bytes(at)? })
    }
}

/// What is known of the rungs, so that each is read only once.
#[derive(Debug, Default)]
pub(super) struct Ladder {
    known: BTreeMap<Seq, Rung>,
}

impl Ladder {
    /// Lets go of the rungs that do not stay: of the snapshots before `before`, the older one of the two that starts go on
    /// from. When there is no room, of all.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn thin(&mut self, log: &dyn Log, before: &Usable, has_room: bool) -> Result<(), Error> {
        let (mut rungs, mut gone) = (Vec::new(), Vec::new());
        for at in log.snapshots()?.into_iter().filter(|at| *at < before.at) {
            match self.rung(log, at) {
                Ok(rung) => rungs.push(rung),
                Err(error) => {
                    tracing::warn!(%error, "it is removed: nobody can look back from it");
                    gone.push(at);
                }
            }
        }
        rungs.reverse();
        if !rungs.is_empty() {
            let of_before = self.rung(log, before.at).ok();
            let records = of_before.or(rungs.last().copied()).map_or(0, |rung| rung.records);
            let top = Rung { at: before.at, tasks_head: before.tasks_head, records, bytes: 0 };
            let first = log.bounds(LogId::TASKS).first;
            let bytes_max = if has_room { bytes_max(log)? } else { 0 };
            gone.extend(choose(&mut rungs, top, first, bytes_max));
        }
        let known = |at: &Seq| *at == before.at || rungs.iter().any(|rung| rung.at == *at);
        self.known.retain(|at, _| known(at));
        gone.into_iter().try_for_each(|at| log.drop_snapshot(at))
    }

    fn rung(&mut self, log: &dyn Log, at: Seq) -> Result<Rung, Error> {
        if let Some(rung) = self.known.get(&at) {
            return Ok(*rung);
        }
        let rung = Rung::of(log, at)?;
        self.known.insert(at, rung);
        Ok(rung)
    }
}

/// Lets go of all rungs: of the snapshots before `newest`, from which a start goes on, all but the one before.
///
/// # Errors
/// When the store cannot be read or written.
pub(super) fn give_up(log: &dyn Log, newest: Seq) -> Result<(), Error> {
    let older = log.snapshots()?.into_iter().filter(|at| *at < newest).skip(1);
    older.into_iter().try_for_each(|at| log.drop_snapshot(at))
}

/// How many bytes the rungs may take: none where it is not known what the logs take.
fn bytes_max(log: &dyn Log) -> Result<u64, Error> {
    let of_logs = log.logs_bytes()?.unwrap_or(0);
    let free = log.free_bytes()?.unwrap_or(u64::MAX);
    Ok(of_logs.min(free) / PART)
}

/// Leaves of these rungs, oldest first, those that stay under `top`, and answers the others. The task log begins at `first`.
fn choose(rungs: &mut Vec<Rung>, top: Rung, first: u64, bytes_max: u64) -> Vec<Seq> {
    let mut gone = Vec::new();
    // From one that does not reach to what is kept nothing can be folded; and of two that know as much of the task log the
    // upper one is as near to each of its offsets.
    let mut at = 0;
    while at < rungs.len() {
        let next = rungs.get(at + 1).map_or(top.tasks_head, |next| next.tasks_head);
        match rungs[at].tasks_head < first || rungs[at].tasks_head >= next {
            true => gone.push(rungs.remove(at).at),
            false => at += 1,
        }
    }
    let mut bytes: u64 = rungs.iter().map(|rung| rung.bytes).sum();
    while rungs.len() > RUNGS_MAX || bytes > bytes_max {
        let Some(least) = (0..rungs.len()).min_by_key(|at| span(rungs, *at, top, first)) else { break };
        let rung = rungs.remove(least);
        bytes -= rung.bytes;
        gone.push(rung.at);
    }
    gone
}

/// How many records would be folded at most to get to what is above a rung, if it were gone.
fn span(rungs: &[Rung], at: usize, top: Rung, first: u64) -> u64 {
    let above = rungs.get(at + 1).unwrap_or(&top).records;
    match at.checked_sub(1).map(|below| rungs[below].records) {
        Some(below) => above.saturating_sub(below),
        None if first == 0 => above,
        // What is between it and the next one could not be told at all.
        None => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::rig::Rig;
    use super::super::told::{CHANNEL, Told};
    use super::*;
    use crate::protocol::channel::Retention;
    use crate::protocol::command::Command;
    use crate::protocol::{ChannelName, Element, Payload, TaskId};
    use crate::scheduler::core::State;

    fn rung(at: u64, records: u64, bytes: u64) -> Rung {
        Rung { at: Seq(at), tasks_head: records, records, bytes }
    }

    #[test]
    fn where_one_was_taken_out_no_more_is_folded_than_a_seventh_of_the_history() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (step, bytes_max) = (rng.u64(2..1000), rng.u64(1000..100_000));
            let (mut rungs, mut all, mut records) = (Vec::new(), vec![0], 0);
            for at in 1..200 {
                let top = rung(at, records + rng.u64(1..step), rng.u64(1..2 * bytes_max / 20));
                choose(&mut rungs, top, 0, bytes_max);
                assert!(rungs.len() <= RUNGS_MAX, "seed {seed}");
                assert!(rungs.iter().map(|rung| rung.bytes).sum::<u64>() <= bytes_max, "seed {seed}");
                let is_bounded =
                    rungs.iter().map(|rung| rung.bytes).max() < Some(bytes_max / RUNGS_MAX as u64);
                let ends = rungs.iter().map(|rung| rung.records).chain([top.records]);
                let starts = [0].into_iter().chain(rungs.iter().map(|rung| rung.records));
                for (start, end) in starts.zip(ends) {
                    let was_taken_out = all.iter().any(|taken| *taken > start && *taken < end);
                    let bound = top.records / (RUNGS_MAX as u64 / 2);
                    assert!(
                        !(was_taken_out && rungs.len() == RUNGS_MAX && is_bounded)
                            || end - start <= bound + 1
                    );
                }
                records = top.records;
                all.push(records);
                rungs.push(top);
            }
        }
    }

    #[test]
    fn those_from_which_nothing_can_be_folded_go_and_the_lowest_of_a_trimmed_log_stays() {
        let top = rung(9, 90, 0);
        let mut rungs = vec![rung(1, 10, 1), rung(2, 20, 1), rung(3, 30, 1), rung(4, 30, 1), rung(5, 90, 1)];
        assert_eq!(choose(&mut rungs, top, 20, 100), [1, 3, 5].map(Seq));
        assert_eq!(rungs.iter().map(|rung| rung.at).collect::<Vec<_>>(), [2, 4].map(Seq));
        // From the first record on all is there, or nothing below the lowest rung.
        assert_eq!(choose(&mut rungs.clone(), top, 0, 1), [Seq(2)]);
        assert_eq!(choose(&mut rungs.clone(), top, 20, 1), [Seq(4)]);
        assert_eq!(choose(&mut rungs, top, 20, 0), [4, 2].map(Seq), "there is no room");
        assert_eq!(rungs, []);
    }

    fn ids(state: &State) -> BTreeSet<TaskId> {
        state.tasks.iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn from_every_rung_the_state_is_told_that_the_core_had_then() {
        let mut rungs = 0;
        for seed in 0..24 {
            let told = Told::new(seed, Retention::ALL);
            rungs = rungs.max(told.rig.log.snapshots().unwrap().len());
            let warm = told.rig.hindsight();
            for offset in told.offsets(&mut fastrand::Rng::with_seed(seed)) {
                for hindsight in [&warm, &told.rig.hindsight()] {
                    let as_of = hindsight.before(offset, &|| Ok(())).unwrap();
                    let then = &told.states[&as_of.seq];
                    assert!(as_of.offset <= offset && as_of.state() == then, "seed {seed}, offset {offset}");
                }
            }
        }
        assert!(rungs > 8, "{rungs} in the longest history");
    }

    #[test]
    fn of_a_channel_that_was_trimmed_behind_a_rung_no_more_is_told_than_is_known() {
        let (mut exact, mut less) = (0, 0);
        for seed in 0..24 {
            let told = Told::new(seed, Retention::ALL.with_elements(4));
            let snapshots = told.rig.log.snapshots().unwrap();
            let first = told.rig.log.bounds(CHANNEL).first;
            let kept = told.rig.log.read(CHANNEL, first, 0).unwrap().swap_remove(0);
            for offset in told.offsets(&mut fastrand::Rng::with_seed(seed)) {
                let as_of = told.rig.hindsight().before(offset, &|| Ok(())).unwrap();
                let (state, then) = (as_of.state(), &told.states[&as_of.seq]);
                let from = snapshots.iter().find(|at| **at <= as_of.seq).map_or(Seq(0), |at| *at);
                if told.states[&from].head_of(CHANNEL).0 >= first {
                    exact += 1;
                    assert!(state == then, "seed {seed}, offset {offset}");
                    continue;
                }
                less += 1;
                state.check();
                assert_eq!((state.tasks_head, ids(state)), (then.tasks_head, ids(then)));
                let is_left = kept.header().seq <= as_of.seq;
                let known = if is_left { then } else { &told.states[&from] }.head_of(CHANNEL);
                assert_eq!(state.head_of(CHANNEL), known, "seed {seed}, offset {offset}");
                if !is_left && let Some(channel) = state.channels.get(&CHANNEL) {
                    assert_eq!(channel.kept.first.offset, channel.head, "seed {seed}, offset {offset}");
                }
            }
        }
        assert!(exact > 100 && less > 100, "{exact}, {less}");
    }

    #[test]
    fn a_channel_that_was_stopped_is_not_where_elements_came_behind_a_gap() {
        let mut rig = Rig::new(1);
        let (name, options) = (ChannelName::new("a").unwrap(), Retention::ALL.into());
        rig.ask(Command::CreateChannel { name, options });
        rig.commit(true);
        rig.finish();
        let values = |count| vec![Element::Value(Payload::raw(vec![7])); count].into();
        rig.ask(Command::append(CHANNEL, values(20)));
        rig.ask(Command::Stop { log: CHANNEL });
        rig.commit(true);
        rig.finish();
        rig.snapshots.hold(true);
        rig.ask(Command::Resume { log: CHANNEL });
        rig.commit(true);
        // The record of the trim is left, and no element.
        for command in [Command::append(CHANNEL, values(1)), Command::Trim { log: CHANNEL, before: None }] {
            rig.ask(command);
            rig.submit(1);
            rig.commit(true);
        }
        rig.log.trim(CHANNEL, 23).unwrap();
        let as_of = rig.hindsight().before(rig.log.bounds(LogId::TASKS).head, &|| Ok(())).unwrap();
        assert_eq!(rig.log.snapshots().unwrap()[0], Seq(2));
        let channel = &as_of.state().channels[&CHANNEL];
        assert_eq!((channel.head, channel.elements, channel.stopped), (24, 21, false));
    }
}
