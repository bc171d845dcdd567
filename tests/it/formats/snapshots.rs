//! What snapshots hold, and what they are wrapped in.

use headwater::log::{Log, SledLog, SledOptions};
use headwater::protocol::group::GroupId;
use headwater::protocol::session::{EndReason, FunctionOffer, SessionKind};
use headwater::protocol::snapshot::{CallItem, KeptFrom, Mark, PhaseItem, SnapshotItem, TaskItem};
use headwater::protocol::task::{Argument, ErrorKind, TaskError, TaskOptions};
use headwater::protocol::transaction::AppendedPart;
use headwater::protocol::{
    AttemptNumber, ChannelName, Digest, LogId, Payload, Producer, Seq, SessionId, TaskId, TaskKey,
};

use super::envelopes::fields;
use super::facts::{BUFFERED, RETENTION, cursor, grants, group_name, group_options, producer, stored, terms};
use super::{Lines, variants};

const TASK: TaskId = TaskId([0xa7; 16]);
const PRODUCER: Producer = Producer(5);

fn call() -> CallItem {
    CallItem {
        arguments: vec![Argument::Future(TASK)],
        options: TaskOptions { retries: 1, priority: -1, detach: true },
        failures: 2,
        deaths: 3,
        newest_deaths: vec![(AttemptNumber(4), "w1".into(), EndReason::LeaseExpired)],
    }
}

fn task() -> TaskItem {
    TaskItem {
        key: TaskKey { id: TASK, label: "label".into() },
        function: 6,
        submitted_at: 300,
        attempt: AttemptNumber(4),
        phase: PhaseItem::Cancelled,
        channels: vec![(LogId(7), 8)],
        detached: true,
    }
}

#[test]
fn snapshots_are_stored_as_version_7_does() {
    let mut lines = Lines::default();
    variants!(lines, SnapshotItem {
        Head = SnapshotItem::Head { tasks_head: 300, last_producer: PRODUCER, last_log: LogId(7) },
        Session = SnapshotItem::Session {
            producer: PRODUCER,
            session: SessionId([0x5e; 16]),
            kind: SessionKind::Client,
            lease_ms: 30_000,
        },
        Answered = SnapshotItem::Answered { producer: PRODUCER, answers: vec![(1, None), (2, Some((300, 4)))] },
        Channel = SnapshotItem::Channel {
            log: LogId(7),
            name: ChannelName::new("sums").unwrap(),
            head: 300,
            elements: 4,
            digest: Digest(9),
            stopped: true,
        },
        Function = SnapshotItem::Function(FunctionOffer { name: "rust:m::f".into(), version: 1 }),
        Task = SnapshotItem::Task(Box::new(task())),
        Held = SnapshotItem::Held { producer: PRODUCER, tasks: vec![TASK] },
        Retired = SnapshotItem::Retired(vec![(TASK, AttemptNumber(4), 300)]),
        End = SnapshotItem::End { items: 8 },
        Kept = SnapshotItem::Kept {
            log: LogId(7),
            first: KeptFrom { offset: 200, index: 60, bytes: 5000 },
            bytes: 9000,
            retention: RETENTION,
            written_to: 299,
            deleted: false,
            marks: vec![Mark { end: KeptFrom { offset: 300, index: 100, bytes: 9000 }, time_ms: 1_795_000_000_000 }],
        },
        Runs = SnapshotItem::Runs(LogId(7), vec![(60, 201), (70, 212)]),
        Futures = SnapshotItem::Futures(LogId(7), vec![(65, TASK)]),
        Cursor = SnapshotItem::Cursor { log: LogId(7), name: cursor(), offset: 300, pin_ms: 60_000 },
        Acknowledged = SnapshotItem::Acknowledged { producer: PRODUCER, appends: vec![(3, 300, 4, Seq(1001))] },
        Transacted = SnapshotItem::Transacted {
            producer: PRODUCER,
            number: 3,
            seq: Seq(1001),
            appended: vec![AppendedPart { log: LogId(7), first: 300, count: 2 }],
        },
        Group = SnapshotItem::Group {
            id: GroupId(400),
            log: LogId(7),
            name: group_name(),
            options: group_options(),
            next: 300,
        },
        Leased = SnapshotItem::Leased(GroupId(400), vec![(300, PRODUCER, 2)]),
        Waiting = SnapshotItem::Waiting(GroupId(400), vec![(300, 2)]),
        Producers = SnapshotItem::Producers(LogId(7), vec![(producer(), 70_000, 300, 2, Seq(1001))]),
        Durability = SnapshotItem::Durability(LogId(7), BUFFERED),
        Tries = SnapshotItem::Tries(GroupId(400), vec![(300, 2, true)]),
        Conditions = SnapshotItem::Conditions {
            task: TASK,
            terms: terms(),
            deadline_at: Some(1_795_000_000_000),
            next_attempt_at: None,
        },
        Granted = SnapshotItem::Granted { task: TASK, grants: grants() },
    });
    variants!(lines, PhaseItem {
        Pending = PhaseItem::Pending(call()),
        Running = PhaseItem::Running(call(), PRODUCER),
        Finished = PhaseItem::Finished(Payload::raw(vec![1])),
        Failed = PhaseItem::Failed(Box::new(TaskError::new(ErrorKind::Returned, "no", vec![]))),
        Cancelled = PhaseItem::Cancelled,
        Stored = PhaseItem::Stored(call(), stored(), vec![PRODUCER, Producer(6)]),
        Lost = PhaseItem::Lost(call()),
        FailedOf = PhaseItem::FailedOf(call(), Box::new(TaskError::new(ErrorKind::Returned, "no", vec![]))),
        CancelledOf = PhaseItem::CancelledOf(call()),
    });
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = SledLog::open(dir.path(), SledOptions::default()).unwrap();
    log.write_snapshot(Seq(0x0102), &mut [b"piece".to_vec()].into_iter()).unwrap();
    let file = std::fs::read(dir.path().join("snapshots/00000000000000000258")).unwrap();
    let of_file = [
        (0, "magic"),
        (4, "version"),
        (6, "zero"),
        (8, "seq"),
        (16, "checksum"),
        (20, "piece-length"),
        (24, "piece-checksum"),
        (28, "piece-body"),
        (33, "end-length"),
        (37, "end-checksum"),
    ];
    fields(&mut lines, "snapshot", &file, &of_file);
    lines.check(include_str!("../../../migrations/0007/snapshots.txt"));
}
