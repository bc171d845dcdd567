//! What was leased to a member and has not been brought yet: it waits in order, and its lease is extended meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::connection::Connection;
use crate::protocol::command::Command;
use crate::protocol::group::{GroupId, Leased, LeasedRun, OfGroup, stretches};

/// What was leased and has not been brought yet.
#[derive(Debug)]
pub(in crate::client) struct Waiting {
    runs: VecDeque<LeasedRun>,
    lease: Duration,
    /// Until when all of it is leased.
    until: Instant,
    /// When something was asked for last, and whether it still is: who is stuck shall not keep what waits behind it from
    /// others.
    asked_at: Instant,
    is_asking: bool,
}

impl Waiting {
    /// Nothing yet, of a group that leases for so long.
    pub fn new(lease: Duration) -> Self {
        let now = Instant::now();
        Waiting { runs: VecDeque::new(), lease, until: now, asked_at: now, is_asking: false }
    }

    /// Takes all of it out.
    pub fn clear(&mut self) {
        self.runs.clear();
    }

    pub fn indexes(&self) -> impl Iterator<Item = u64> + '_ {
        self.runs.iter().flat_map(|run| run.index..run.index + u64::from(run.count))
    }

    /// Takes in what was leased at a time, but for what was told before, on another connection.
    pub fn take_in(&mut self, leased: Leased, at: Instant, known: &mut BTreeMap<u64, u32>) {
        self.let_go(known);
        self.lease = Duration::from_millis(leased.lease_ms);
        if self.runs.is_empty() {
            self.until = at + self.lease;
        }
        for run in leased.runs {
            for place in 0..u64::from(run.count) {
                let (index, offset) = (run.index + place, run.offset + place);
                if known.get(&index).is_some_and(|leases| *leases >= run.leases) {
                    continue;
                }
                known.insert(index, run.leases);
                let one = LeasedRun { offset, index, count: 1, ..run };
                if !self.runs.back_mut().is_some_and(|last| last.take_in(one)) {
                    self.runs.push_back(one);
                }
            }
        }
    }

    /// Whether nobody has asked for more for so long that what is here may be another's.
    pub fn is_stuck(&self) -> bool {
        !self.is_asking && self.asked_at.elapsed() >= self.lease
    }

    /// Lets go of what may be another's by now. Where it is not, since the scheduler was away meanwhile, it is told again,
    /// and is news then.
    fn let_go(&mut self, known: &mut BTreeMap<u64, u32>) {
        if Instant::now() >= self.until {
            for index in self.indexes() {
                known.remove(&index);
            }
            self.runs.clear();
        }
    }

    /// The run to bring from next; none that may be another's by now.
    pub fn next(&mut self, known: &mut BTreeMap<u64, u32>) -> Option<LeasedRun> {
        self.let_go(known);
        self.runs.front().copied()
    }

    /// Whoever is at work on something says so: it is not stuck.
    pub fn goes_on(&mut self) {
        self.asked_at = Instant::now();
    }

    /// The first element is taken out.
    pub fn advance(&mut self) {
        if let Some(run) = self.runs.front_mut() {
            (run.offset, run.index, run.count) = (run.offset + 1, run.index + 1, run.count - 1);
            if run.count == 0 {
                self.runs.pop_front();
            }
        }
    }

    /// Takes out an element, wherever it waits.
    pub fn take_out(&mut self, index: u64) -> Option<LeasedRun> {
        let holds = |run: &LeasedRun| (run.index..run.index + u64::from(run.count)).contains(&index);
        let at = self.runs.iter().position(holds)?;
        let run = self.runs.remove(at)?;
        let before = (index - run.index) as u32;
        let part = |first: u32, count: u32| LeasedRun {
            offset: run.offset + u64::from(first),
            index: run.index + u64::from(first),
            count,
            ..run
        };
        let parts = [part(0, before), part(before + 1, run.count - before - 1)];
        for part in parts.into_iter().rev().filter(|part| part.count > 0) {
            self.runs.insert(at, part);
        }
        Some(part(before, 1))
    }

    /// Takes out the first elements, as far as they are at these offsets, where all is gone.
    pub fn take_gone(&mut self, offsets: Range<u64>) -> BTreeSet<u64> {
        let mut gone = BTreeSet::new();
        while let Some(run) = self.runs.front().copied().filter(|run| offsets.contains(&run.offset)) {
            gone.insert(run.index);
            self.advance();
        }
        gone
    }
}

/// Somebody asks for the next element.
pub struct Asking(Arc<Mutex<Waiting>>);

impl Asking {
    /// Somebody does, until this is dropped.
    pub fn of(waiting: &Arc<Mutex<Waiting>>) -> Self {
        lock(waiting).is_asking = true;
        Asking(waiting.clone())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut waiting = lock(&self.0);
        (waiting.is_asking, waiting.asked_at) = (false, Instant::now());
    }
}

/// Extends what was leased and has not been brought yet, as long as somebody asks for more: of nothing, too, since a member
/// that lets a lease pass is leased nothing until it says that it goes on.
pub async fn extend(connection: Connection, group: GroupId, waiting: Arc<Mutex<Waiting>>) {
    loop {
        let pause = lock(&waiting).lease / 3;
        sleep(pause).await;
        let elements = {
            let waiting = lock(&waiting);
            if waiting.is_stuck() {
                continue;
            }
            stretches(waiting.indexes())
        };
        let before = Instant::now();
        if connection.command(Command::Extend(OfGroup { group, elements })).await.is_ok() {
            let mut waiting = lock(&waiting);
            waiting.until = before + waiting.lease;
        }
    }
}

pub(in crate::client) fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    /// What waits, leased so long ago.
    fn waiting(runs: &[LeasedRun], known: &mut BTreeMap<u64, u32>, ago: Duration) -> Waiting {
        let now = Instant::now();
        let mut waiting = Waiting::new(LEASE);
        waiting.take_in(leased(runs), now.checked_sub(ago).expect("a clock that has run"), known);
        waiting
    }

    fn leased(runs: &[LeasedRun]) -> Leased {
        Leased { runs: runs.to_vec(), lease_ms: LEASE.as_millis() as u64, dead_letters: None }
    }

    fn run(offset: u64, count: u32) -> LeasedRun {
        LeasedRun { offset, index: offset, count, attempt: 1, leases: 1 }
    }

    #[test]
    fn what_is_lost_is_so_up_to_its_end_and_not_before_its_beginning() {
        let mut known = BTreeMap::new();
        // An older one comes again behind newer ones.
        let mut waiting = waiting(&[run(300, 5), run(10, 1)], &mut known, Duration::ZERO);
        assert_eq!(waiting.take_gone(300..350), (300..305).collect());
        assert_eq!(waiting.next(&mut known), Some(run(10, 1)));
        assert_eq!(waiting.take_gone(0..350), BTreeSet::from([10]));
    }

    #[test]
    fn what_is_told_again_is_brought_once_unless_it_was_let_go() {
        let (mut known, told) = (BTreeMap::new(), [run(0, 2)]);
        let mut fresh = waiting(&told, &mut known, Duration::ZERO);
        fresh.take_in(leased(&told), Instant::now(), &mut known);
        assert_eq!(fresh.indexes().collect::<Vec<_>>(), [0, 1]);
        // Leased to it once more, though nobody has tried it meanwhile.
        let again = LeasedRun { leases: 2, ..run(0, 2) };
        fresh.advance();
        fresh.advance();
        fresh.take_in(leased(&[again]), Instant::now(), &mut known);
        assert_eq!(fresh.next(&mut known), Some(again));
        // Its time is over, and the scheduler, which was away, says that it is this member's still.
        let mut known = BTreeMap::new();
        let mut old = waiting(&told, &mut known, LEASE);
        assert_eq!(old.runs.len(), 1);
        old.take_in(leased(&told), Instant::now(), &mut known);
        assert_eq!(old.next(&mut known), Some(run(0, 2)));
        // One of them is taken out, from between the others.
        let mut three = waiting(&[run(0, 3), run(7, 1)], &mut BTreeMap::new(), Duration::ZERO);
        assert_eq!((three.take_out(1), three.take_out(1)), (Some(run(1, 1)), None));
        assert_eq!(three.indexes().collect::<Vec<_>>(), [0, 2, 7]);
        // Nor is it brought when nobody says that.
        let mut old = waiting(&told, &mut BTreeMap::new(), LEASE);
        assert_eq!(old.next(&mut known), None);
    }
}
