//! Takes snapshots while the scheduler runs: the driver turns the crank, and a thread for each writes it.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::ladder::{self, Ladder};
use super::{Keeping, Options, Schedule, Usable, Written, tidy, write_items};
use crate::log::{Error, Log};
use crate::protocol::batch::Commit;
use crate::protocol::snapshot::SnapshotItem;
use crate::protocol::{Seq, TimeMs};
use crate::scheduler::Pipeline;
use crate::scheduler::core::State;
use crate::scheduler::recovery::Recovered;

/// How many tasks are put down at a time: as many as take about half a millisecond, for which everyone waits.
const TASKS_PER_STEP: usize = 1024;

/// Most steps' items that wait for the thread before the driver puts down no more: some megabytes.
const STEPS_WAITING_MAX: usize = 16;

/// How soon it is looked again whether the thread takes more, or has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Takes snapshots when they are due.
pub(in crate::scheduler) struct Snapshots {
    log: Arc<dyn Log>,
    options: Options,
    schedule: Schedule,
    newest: Usable,
    is_held: bool,
    /// The newest commit, and its time.
    last: Option<(Seq, TimeMs)>,
    taking: Option<Taking>,
    /// For the thread that takes one; there is one at a time.
    ladder: Arc<Mutex<Ladder>>,
    /// The thread that lets go of the rungs of the ladder for want of room.
    giving_up: Option<JoinHandle<()>>,
}

/// A snapshot that is being taken.
struct Taking {
    of: Usable,
    /// What the thread had no room for yet.
    items: Vec<SnapshotItem>,
    /// Whether those are the last.
    is_whole: bool,
    /// The way to the thread, until it has been given all and the commit is durable: its end is that of the snapshot.
    sender: Option<SyncSender<Vec<SnapshotItem>>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Written, Error>>,
}

impl Snapshots {
    /// Goes on after a start.
    pub fn new(log: Arc<dyn Log>, options: Options, recovered: &Recovered) -> Self {
        let items = recovered.state.tasks.len() as u64;
        let schedule = Schedule::new(options.every_records, items, recovered.records);
        let (at, tasks_head) = (recovered.snapshot, recovered.tasks_from);
        let newest = Usable { at, tasks_head, firsts: Vec::new() };
        let (ladder, giving_up) = Default::default();
        Snapshots {
            log,
            options,
            schedule,
            newest,
            is_held: false,
            last: None,
            taking: None,
            ladder,
            giving_up,
        }
    }

    /// Holds them back while there is too little room, or no longer, but for those that make room. One that is being taken
    /// is broken off, and what there is of it removed; and no start needs the rungs of the ladder, so they go.
    pub fn hold(&mut self, is_held: bool) {
        if is_held && !self.is_held {
            self.give_up_rungs();
        }
        self.is_held = is_held;
        if let Some(taking) = self.taking.as_mut().filter(|_| is_held) {
            taking.break_off();
        }
    }

    fn give_up_rungs(&mut self) {
        // One that is still at it has not seen what came since: that goes with the next snapshot.
        if self.giving_up.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let (log, newest) = (self.log.clone(), self.newest.at);
        let give_up = move || {
            if let Err(error) = ladder::give_up(log.as_ref(), newest) {
                tracing::warn!(%error, "the disk is nearly full, and snapshots that no start needs are left");
            }
        };
        let thread = std::thread::Builder::new().name("snapshot".to_owned());
        self.giving_up = Some(thread.spawn(give_up).expect("a thread can be started"));
    }

    /// Whether one is being taken, or what is behind it trimmed: that may hold up who writes to the log.
    pub fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// Counts a commit that was handed out just now, and begins a snapshot of it when one is due.
    pub fn committing(&mut self, commit: &Commit, pipeline: &mut Pipeline) {
        self.schedule.counted(commit);
        self.last = Some((commit.seq, commit.batches.last().map_or(0, |batch| batch.header().time_ms)));
        self.begin_if_due(pipeline);
    }

    /// Begins a snapshot of the newest commit when one is due, and nothing has happened since.
    pub fn begin_if_due(&mut self, pipeline: &mut Pipeline) {
        if let Some((at, now)) = self.last
            && self.schedule.is_due()
            && self.taking.is_none()
            && (!self.is_held || self.schedule.frees_space())
            && pipeline.open_records() == 0
        {
            pipeline.begin_snapshot();
            self.begin(at, now, pipeline.core().state());
        }
    }

    /// Counts what was trimmed of channels: a snapshot is due when there is much of it, so that it need not stay stored.
    pub fn trimmed(&mut self, bytes: u64) {
        self.schedule.trimmed(bytes);
    }

    fn begin(&mut self, at: Seq, now: TimeMs, state: &State) {
        let of = Usable::of(at, state);
        let (log, before, history) = (self.log.clone(), self.newest.clone(), self.options.history);
        let (records, has_room, ladder) = (self.schedule.begun(), !self.is_held, self.ladder.clone());
        let (sender, given) = mpsc::sync_channel::<Vec<SnapshotItem>>(STEPS_WAITING_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let write = move || {
            let goes_on = || if stopped.load(Ordering::Relaxed) { Err(broken_off()) } else { Ok(()) };
            let written =
                write_items(log.as_ref(), at, given.into_iter().flatten(), &goes_on).and_then(|items| {
                    let ladder = &mut ladder.lock().unwrap_or_else(PoisonError::into_inner);
                    tidy(log.as_ref(), at, &before, Keeping { history, ladder, has_room }, now, &goes_on)?;
                    Ok(Written { at, items, records })
                });
            match &written {
                Ok(Written { at, items, records }) => {
                    tracing::info!(seq = %at, items, records, "snapshot written");
                }
                Err(error) => {
                    tracing::warn!(%error, "no snapshot: a start will take longer, and the next one is tried later");
                }
            }
            written
        };
        let thread = std::thread::Builder::new().name("snapshot".to_owned());
        let thread = thread.spawn(write).expect("a thread can be started");
        let (items, sender) = (Vec::new(), Some(sender));
        self.taking = Some(Taking { of, items, is_whole: false, sender, stop, thread });
    }

    /// Goes on with the snapshot that is being taken, for half a millisecond or so.
    pub fn step(&mut self, pipeline: &mut Pipeline) {
        let Some(taking) = &mut self.taking else { return };
        taking.step(pipeline);
        if taking.thread.is_finished()
            && let Some(taking) = self.taking.take()
        {
            // What it would have brought more is wanted by nobody, if it has failed.
            pipeline.end_snapshot();
            self.ended(taking);
        }
    }

    /// How soon the next step is due, if one is being taken.
    pub fn next_step_in(&self) -> Option<Duration> {
        self.taking.as_ref().map(|taking| if taking.can_put_down() { Duration::ZERO } else { LOOK_AGAIN })
    }

    fn ended(&mut self, taking: Taking) {
        match taking.thread.join() {
            Ok(Ok(written)) => {
                self.schedule.written(written.items);
                self.newest = taking.of;
            }
            // It has said why.
            Ok(Err(_)) => {}
            Err(_) => tracing::error!("the thread that writes snapshots panicked"),
        }
    }
}

impl Taking {
    fn can_put_down(&self) -> bool {
        !self.is_whole && self.sender.is_some() && self.items.is_empty()
    }

    fn step(&mut self, pipeline: &mut Pipeline) {
        if self.can_put_down() {
            match pipeline.next_items(TASKS_PER_STEP) {
                Some(items) => self.items = items,
                None => self.is_whole = true,
            }
        }
        if let Some(sender) = &self.sender
            && !self.items.is_empty()
        {
            match sender.try_send(mem::take(&mut self.items)) {
                Ok(()) => {}
                Err(TrySendError::Full(items)) => self.items = items,
                // It has failed, and says so itself.
                Err(TrySendError::Disconnected(_)) => self.sender = None,
            }
        }
        if self.is_whole && self.items.is_empty() && pipeline.durable() >= self.of.at {
            self.sender = None;
        }
    }

    fn break_off(&mut self) {
        // First: an end without it would be that of a whole one.
        self.stop.store(true, Ordering::Relaxed);
        self.sender = None;
    }
}

impl Drop for Snapshots {
    /// Breaks off what is under way and waits for that: then nobody has the log any more.
    fn drop(&mut self) {
        if let Some(mut taking) = self.taking.take() {
            taking.break_off();
            // It says that it was broken off.
            let _ = taking.thread.join();
        }
        if let Some(thread) = self.giving_up.take() {
            // It has said what it could not remove.
            let _ = thread.join();
        }
    }
}

fn broken_off() -> Error {
    Error::Refused("it was broken off: the scheduler stops, or the disk is nearly full".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::rig::Rig;
    use super::*;
    use crate::protocol::channel::Retention;
    use crate::protocol::command::Command;
    use crate::protocol::{ChannelName, Element, LogId, Payload, TaskKey};
    use crate::scheduler::recovery;

    #[test]
    fn one_is_taken_when_the_tail_has_grown_and_is_of_the_moment_when_it_began() {
        let mut rig = Rig::new(10_000);
        rig.submit(9_000);
        rig.commit(true);
        assert!(!rig.snapshots.is_taking());
        rig.submit(1_000);
        rig.commit(true);
        assert!(rig.snapshots.is_taking());
        // Before it comes to most of them half of them go, and others come.
        let is_let_go = |n: u64| TaskKey::named(&n.to_string()).id;
        for first in (0..5_000).step_by(500) {
            rig.ask(Command::Release { tasks: (first..first + 500).map(is_let_go).collect() });
        }
        rig.submit(1_000);
        rig.snapshots.step(&mut rig.pipeline);
        rig.commit(true);
        rig.finish();
        assert_eq!(rig.log.snapshots().unwrap(), [Seq(2)]);
        let recovered = rig.recover();
        assert_eq!(recovered.snapshot, Seq(2));
        assert!(recovered.records > 0, "the third commit is behind it");
        assert!(recovered.state == recovery::fold(rig.log.as_ref()).unwrap());
        assert!(recovered.state == *rig.pipeline.core().state());
    }

    #[test]
    fn it_is_none_before_its_commit_is_durable() {
        let mut rig = Rig::new(10);
        rig.submit(20);
        rig.commit(false);
        for _ in 0..100 {
            rig.snapshots.step(&mut rig.pipeline);
        }
        std::thread::sleep(Duration::from_millis(20));
        assert!(rig.snapshots.is_taking());
        assert_eq!(rig.log.snapshots().unwrap(), []);
        rig.pipeline.committed(Seq(1));
        rig.finish();
        assert_eq!(rig.log.snapshots().unwrap(), [Seq(1)]);
    }

    #[test]
    fn what_a_slow_thread_has_no_room_for_waits_and_is_given_in_its_turn() {
        let mut rig = Rig::new(u64::MAX);
        rig.submit(5_000);
        rig.commit(true);
        rig.pipeline.begin_snapshot();
        let (sender, given) = mpsc::sync_channel(1);
        let thread = std::thread::spawn(|| Err(broken_off()));
        let (of, stop) = Default::default();
        let mut taking =
            Taking { of, items: Vec::new(), is_whole: false, sender: Some(sender), stop, thread };
        let mut items = Vec::new();
        while taking.sender.is_some() {
            // Three steps for each that the thread takes.
            (0..3).for_each(|_| taking.step(&mut rig.pipeline));
            items.extend(given.try_iter().take(1).flatten());
        }
        items.extend(given.into_iter().flatten());
        let last = items.len() as u64 - 1;
        assert_eq!(items.last(), Some(&SnapshotItem::End { items: last }));
        let tasks = items.iter().filter(|item| matches!(item, SnapshotItem::Task(_)));
        assert_eq!(tasks.count(), 5_000);
    }

    #[test]
    fn one_that_is_due_is_held_back_until_there_is_room_and_one_that_was_begun_is_broken_off() {
        let mut rig = Rig::new(10);
        rig.snapshots.hold(true);
        rig.submit(20);
        rig.commit(true);
        assert!(!rig.snapshots.is_taking());
        rig.snapshots.hold(false);
        rig.submit(1);
        rig.commit(true);
        assert!(rig.snapshots.is_taking());
        rig.snapshots.hold(true);
        rig.finish();
        assert_eq!(rig.log.snapshots().unwrap(), []);
        assert_eq!(rig.pipeline.next_items(1), None, "the core is rid of it");
        rig.snapshots.hold(false);
        rig.submit(10);
        rig.commit(true);
        rig.finish();
        assert_eq!(rig.log.snapshots().unwrap(), [Seq(3)]);
    }

    #[test]
    fn the_one_before_is_kept_and_older_ones_only_while_the_disk_has_room() {
        let mut rig = Rig::new(10);
        for _ in 0..4 {
            rig.come_and_go(100);
            rig.commit(true);
            rig.finish();
        }
        assert_eq!(rig.log.snapshots().unwrap(), [4, 3, 2, 1].map(Seq));
        rig.submit(200);
        rig.commit(true);
        // It is broken off, and so is what is behind it.
        rig.snapshots.hold(true);
        rig.finish();
        rig.snapshots.giving_up.take().unwrap().join().unwrap();
        assert_eq!(rig.log.snapshots().unwrap(), [Seq(4), Seq(3)], "those that a start goes on from");
        rig.log.drop_snapshot(Seq(4)).unwrap();
        assert!(rig.recover().state == *rig.pipeline.core().state());
        rig.submit(200);
        rig.commit(true);
        drop(rig.snapshots);
        assert_eq!(rig.log.snapshots().unwrap(), [Seq(3)], "the scheduler stops");
    }

    #[test]
    fn what_is_trimmed_of_a_channel_goes_once_two_snapshots_know_it_and_any_of_them_is_enough() {
        let mut rig = Rig::new(10);
        let retention = Retention::ALL.with_elements(4);
        let name = ChannelName::new("a").unwrap();
        rig.ask(Command::CreateChannel { name, options: retention.into() });
        rig.commit(true);
        let log = LogId(1);
        let mut firsts = Vec::new();
        for _ in 0..4 {
            // Two appends, each of them a commit, and the second with a snapshot.
            for _ in 0..2 {
                let values = (0..6).map(|_| Element::Value(Payload::raw(vec![7; 10]))).collect::<Vec<_>>();
                rig.ask(Command::append(log, values.into()));
                rig.commit(true);
            }
            rig.finish();
            let kept = rig.pipeline.core().state().channels[&log].kept.first.offset;
            firsts.push((rig.log.bounds(log).first, kept));
            assert!(rig.recover().state == *rig.pipeline.core().state());
        }
        assert_eq!(
            firsts,
            [(0, 10), (1, 24), (15, 38), (29, 52)],
            "whole batches, and where it begins for readers"
        );
        let newest = rig.log.snapshots().unwrap()[0];
        rig.log.drop_snapshot(newest).unwrap();
        let recovered = rig.recover();
        assert!(recovered.snapshot < newest && recovered.lost.ranges.is_empty());
        assert!(recovered.state == *rig.pipeline.core().state(), "the one before is enough");
    }
}
