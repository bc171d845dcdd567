//! A store with a history, written as a scheduler would have written it, but without one: ten million
//! records in seconds instead of minutes.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::log::{Log, SledLog, SledOptions};
use crate::protocol::batch::{Commit, OpenBatch};
use crate::protocol::event::{Origin, TaskResult};
use crate::protocol::session::SessionKind;
use crate::protocol::task::{Argument, TaskOptions};
use crate::protocol::{
    AttemptNumber, Epoch, LogId, Payload, Producer, SessionId, Submission, TaskEvent, TaskKey, TimeMs,
};
use crate::scheduler::snapshots::{self, EVERY_RECORDS, History, Schedule};

/// Records of a commit, as a busy scheduler makes them.
const COMMIT_RECORDS: usize = 4096;

const CLIENT: Producer = Producer(1);
const WORKER: Producer = Producer(2);
const ATTEMPT: AttemptNumber = AttemptNumber(1);

/// So long a lease that nothing is released while it is measured.
const LEASE_MS: u64 = 24 * 60 * 60 * 1000;

/// Writes a store with so many live tasks, half of them finished and half of them not, and then tasks that
/// came and went, until the task log has so many records. Snapshots are written when the scheduler would
/// have written them; behind the newest there is as much as there can be.
pub fn write(dir: &Path, live_tasks: u64, records: u64) -> anyhow::Result<()> {
    let (log, _) = SledLog::open(dir, SledOptions::default()).context("the store cannot be made")?;
    let mut writer = Writer::begin(Arc::new(log))?;
    let session = |id, kind| (SessionId([id; 16]), kind);
    let sessions = [
        (CLIENT, session(1, SessionKind::Client)),
        (WORKER, session(2, SessionKind::Worker { name: "bench".into() })),
    ];
    for (producer, (session, kind)) in sessions {
        writer.push(TaskEvent::SessionOpened { producer, session, kind, lease_ms: LEASE_MS })?;
    }
    for task in 0..live_tasks {
        writer.submit(task, true)?;
        if task % 2 == 1 {
            writer.run(task)?;
        }
    }
    // The tail is longest right before the next snapshot.
    while writer.records < records || !writer.schedule.is_nearly_due() {
        let task = live_tasks + writer.records;
        writer.submit(task, false)?;
        writer.run(task)?;
        let (origin, id) = (writer.origin(), key(task).id);
        writer.push(TaskEvent::Released { origin, tasks: vec![id] })?;
        writer.push(TaskEvent::Forgotten { task: id })?;
    }
    writer.commit()
}

fn key(task: u64) -> TaskKey {
    let mut id = [7; 16];
    id[8..].copy_from_slice(&task.to_be_bytes());
    TaskKey::unique("noop", id)
}

struct Writer {
    log: Arc<dyn Log>,
    epoch: Epoch,
    schedule: Schedule,
    pending: Vec<TaskEvent>,
    records: u64,
    numbers: u64,
    now: TimeMs,
}

impl Writer {
    fn begin(log: Arc<dyn Log>) -> anyhow::Result<Writer> {
        let epoch = log.begin_epoch()?;
        let now = jiff::Timestamp::now().as_millisecond().unsigned_abs();
        let (schedule, pending) = (Schedule::new(EVERY_RECORDS, 0, 0), Vec::with_capacity(COMMIT_RECORDS));
        Ok(Writer { log, epoch, schedule, pending, records: 0, numbers: 0, now })
    }

    fn origin(&mut self) -> Origin {
        self.numbers += 1;
        Origin { producer: CLIENT, number: self.numbers }
    }

    fn submit(&mut self, task: u64, detach: bool) -> anyhow::Result<()> {
        let origin = self.origin();
        let submission = Submission {
            key: key(task),
            function: "rust:bench::noop".into(),
            version: 1,
            arguments: vec![Argument::Value(Payload::raw(task.to_be_bytes().to_vec()))],
            options: TaskOptions { detach, ..TaskOptions::default() },
        };
        self.push(TaskEvent::Submitted { origin, submission })
    }

    fn run(&mut self, task: u64) -> anyhow::Result<()> {
        let result = TaskResult::Inline(Payload::raw(task.to_be_bytes().to_vec()));
        let task = key(task).id;
        self.push(TaskEvent::Started { task, attempt: ATTEMPT, worker: WORKER })?;
        self.push(TaskEvent::Finished { task, attempt: ATTEMPT, result })
    }

    fn push(&mut self, event: TaskEvent) -> anyhow::Result<()> {
        self.pending.push(event);
        self.records += 1;
        if self.pending.len() < COMMIT_RECORDS {
            return Ok(());
        }
        self.commit()
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        let seq = self.log.last().seq.next();
        let mut batches = Vec::new();
        let mut open = OpenBatch::new(LogId::TASKS, self.log.bounds(LogId::TASKS).head, 0);
        for event in self.pending.drain(..) {
            if !open.push(&event, false) {
                let next = OpenBatch::new(LogId::TASKS, open.next_offset(), 0);
                batches.push(std::mem::replace(&mut open, next).seal(seq, self.epoch, self.now));
                open.push(&event, false);
            }
        }
        if !open.is_empty() {
            batches.push(open.seal(seq, self.epoch, self.now));
        }
        if batches.is_empty() {
            return Ok(());
        }
        self.append(Commit { seq, epoch: self.epoch, batches })
    }

    fn append(&mut self, commit: Commit) -> anyhow::Result<()> {
        self.log.append(&commit)?;
        self.log.flush()?;
        self.schedule.counted(&commit);
        if self.schedule.is_due() {
            self.schedule.begun();
            let written = snapshots::write(self.log.as_ref(), History::All, self.now, &|| Ok(()))?;
            self.schedule.written(written.items);
        }
        Ok(())
    }
}
