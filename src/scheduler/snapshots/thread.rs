//! Who writes snapshots while the scheduler runs: a thread for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::{Options, Schedule, Written, write};
use crate::log::{Error, Log};
use crate::protocol::batch::Commit;
use crate::scheduler::recovery::Recovered;

/// Holds snapshots back while there is too little room for them. Cheap to clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub(in crate::scheduler) struct Hold(Arc<AtomicBool>);

impl Hold {
    /// Holds them back, or no longer. One that is under way is broken off, and what there is of it removed.
    pub fn set(&self, held: bool) {
        self.0.store(held, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Writes snapshots when they are due. The log's writer tells it of commits.
pub(in crate::scheduler) struct Snapshots {
    log: Arc<dyn Log>,
    options: Options,
    schedule: Schedule,
    stop: Arc<AtomicBool>,
    held: Hold,
    writing: Option<JoinHandle<Result<Written, Error>>>,
}

impl Snapshots {
    /// Goes on after a start.
    pub fn new(log: Arc<dyn Log>, options: Options, recovered: &Recovered) -> Self {
        let items = recovered.state.tasks.len() as u64;
        let schedule = Schedule::new(options.every_records, items, recovered.records);
        Snapshots { log, options, schedule, stop: Arc::default(), held: Hold::default(), writing: None }
    }

    /// What holds them back.
    pub fn hold(&self) -> Hold {
        self.held.clone()
    }

    /// Whether one is being written, or what is behind it trimmed: that may hold up who writes to the log.
    pub fn is_writing(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| !writing.is_finished())
    }

    /// Counts a commit that is durable, and begins a snapshot when one is due.
    pub fn committed(&mut self, commit: &Commit) {
        let is_due = self.schedule.counted(commit);
        if let Some(writing) = self.writing.take_if(|writing| writing.is_finished()) {
            self.ended(writing);
        }
        if is_due && self.writing.is_none() && !self.held.is_set() {
            self.schedule.begun();
            self.begin(commit);
        }
    }

    fn begin(&mut self, commit: &Commit) {
        let (log, history) = (self.log.clone(), self.options.history);
        let (stop, held) = (self.stop.clone(), self.held.clone());
        let now = commit.batches.last().map_or(0, |batch| batch.header().time_ms);
        let write = move || {
            let goes_on = || match (stop.load(Ordering::Relaxed), held.is_set()) {
                (true, _) => Err(Error::Refused("the scheduler stops".to_owned())),
                (_, true) => Err(Error::Refused("the disk is nearly full".to_owned())),
                _ => Ok(()),
            };
            let written = write(log.as_ref(), history, now, &goes_on);
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
        self.writing = Some(thread.spawn(write).expect("a thread can be started"));
    }

    fn ended(&mut self, writing: JoinHandle<Result<Written, Error>>) {
        match writing.join() {
            Ok(Ok(written)) => self.schedule.written(written.items),
            // It has said why.
            Ok(Err(_)) => {}
            Err(_) => tracing::error!("the thread that writes snapshots panicked"),
        }
    }
}

impl Drop for Snapshots {
    /// Breaks off what is under way and waits for that: then nobody has the log any more.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(writing) = self.writing.take() {
            // It says that it was broken off.
            let _ = writing.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Memory;
    use crate::protocol::batch::OpenBatch;
    use crate::protocol::{Epoch, LogId, Seq};
    use crate::scheduler::recovery;

    fn commit(records: u64) -> Commit {
        let mut open = OpenBatch::new(LogId::TASKS, 0, 0);
        (0..records).for_each(|_| assert!(open.push(&0u8, false)));
        Commit { seq: Seq(1), epoch: Epoch(1), batches: vec![open.seal(Seq(1), Epoch(1), 0)] }
    }

    #[test]
    fn one_that_is_due_is_held_back_until_there_is_room() {
        let log = Memory::new();
        let recovered = recovery::recover(&log, &mut |_| Ok(())).unwrap();
        let options = Options { every_records: 10, ..Options::default() };
        let mut snapshots = Snapshots::new(Arc::new(log.clone()), options, &recovered);
        let hold = snapshots.hold();
        hold.set(true);
        snapshots.committed(&commit(20));
        assert!(snapshots.writing.is_none());
        // One that was begun before is broken off.
        snapshots.begin(&commit(1));
        let broken_off = snapshots.writing.take().unwrap().join().unwrap().unwrap_err();
        assert!(broken_off.to_string().contains("nearly full"), "{broken_off}");
        assert_eq!(log.snapshots().unwrap(), []);
        hold.set(false);
        snapshots.committed(&commit(1));
        snapshots.writing.take().unwrap().join().unwrap().unwrap();
        assert_eq!(log.snapshots().unwrap(), [Seq(0)]);
    }

    #[test]
    fn one_is_written_when_the_tail_has_grown() {
        let log = Memory::new();
        let recovered = recovery::recover(&log, &mut |_| Ok(())).unwrap();
        let mut snapshots = Snapshots::new(Arc::new(log.clone()), Options::default(), &recovered);
        for _ in 0..4 {
            snapshots.committed(&commit(60_000));
            assert!(snapshots.writing.is_none());
        }
        snapshots.committed(&commit(10_000));
        let written = snapshots.writing.take().unwrap().join().unwrap().unwrap();
        assert_eq!((written.at, written.records, log.snapshots().unwrap()), (Seq(0), 0, vec![Seq(0)]));
        snapshots.committed(&commit(1));
        assert!(snapshots.writing.is_none(), "it counts anew");
    }
}
