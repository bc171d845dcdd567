//! What is stored: the events, all that is in them, and what identifies tasks and histories.

use headwater::protocol::channel::{Durability, Progress, Retention, TrimCause};
use headwater::protocol::cursor::CursorName;
use headwater::protocol::equipment::{Amount, Grant, Label, ResourceName, Target};
use headwater::protocol::event::{Appended, Origin, Receipt, TaskResult};
use headwater::protocol::group::{DeadLetters, GroupId, GroupName, GroupOptions, LeaseEnd, OfGroup};
use headwater::protocol::producer::ProducerName;
use headwater::protocol::result::{LossReason, StoredResult};
use headwater::protocol::session::{EndReason, SessionKind};
use headwater::protocol::task::{Advance, Argument, ErrorKind, TaskOptions};
use headwater::protocol::terms::{Backoff, Tag, Term, Terms};
use headwater::protocol::transaction::AppendedPart;
use headwater::protocol::{
    AttemptNumber, ChannelEvent, ChannelName, Codec, Digest, Element, Epoch, LogId, Payload, Producer, Seq,
    SessionId, Submission, TaskError, TaskEvent, TaskId, TaskKey, Template, template,
};

use super::{Lines, variants};

pub const TASK: TaskId = TaskId([0xa7; 16]);
pub const ATTEMPT: AttemptNumber = AttemptNumber(3);
pub const RETENTION: Retention =
    Retention { max_elements: Some(300), max_age_ms: Some(60_000), max_bytes: None };
pub const BUFFERED: Durability = Durability::Buffered { flush_ms: 300 };

pub fn key() -> TaskKey {
    TaskKey { id: TASK, label: "add".into() }
}

pub fn payload() -> Payload {
    Payload::encode(&(1.5, "text")).unwrap()
}

/// `[1.5, a future]`
pub fn template() -> Template {
    let mut bytes = vec![0x92];
    bytes.extend(Payload::encode(&1.5).unwrap().bytes);
    template::add_hole(&mut bytes, TASK);
    Template::new(bytes)
}

pub fn stored() -> StoredResult {
    StoredResult { codec: Codec::MessagePack, bytes: 300_000, digest: Digest(0x0123_4567_89ab_cdef) }
}

pub fn name() -> ChannelName {
    ChannelName::new("größe/a-1").unwrap()
}

pub fn group_name() -> GroupName {
    GroupName::new("packers").expect("a good name")
}

pub fn group_options() -> GroupOptions {
    let channel = ChannelName::new("dead").expect("a good name");
    GroupOptions {
        lease_ms: 30_000,
        dead_letters: Some(DeadLetters { channel, attempts_max: 5 }),
        pin_ms: 60_000,
    }
}

pub fn of_group() -> OfGroup {
    OfGroup { group: GroupId(400), elements: vec![(300, 2)] }
}

pub fn cursor() -> CursorName {
    CursorName::new("reader").unwrap()
}

pub fn producer() -> ProducerName {
    ProducerName::new("importer").unwrap()
}

pub fn submission() -> Submission {
    Submission {
        key: key(),
        function: "rust:m::add".into(),
        version: 2,
        arguments: vec![Argument::Value(payload()), Argument::Future(TaskId([1; 16]))],
        options: TaskOptions { retries: 300, priority: -5, detach: true },
    }
}

const BACKOFF: Term = Term::Backoff(Backoff { first_ms: 300, factor: 2, max_ms: 70_000, is_jittered: true });

fn tag() -> Term {
    Term::Tag(Tag::new("nightly").unwrap())
}

pub fn terms() -> Terms {
    Terms(vec![BACKOFF, tag()])
}

pub fn grants() -> Vec<Grant> {
    let resource = ResourceName::new("gpus").expect("a good name");
    vec![Grant {
        resource,
        amount: Amount(15_000),
        parts: vec![("0".into(), Amount::ONE), ("2".into(), Amount(5_000))],
    }]
}

pub fn advance() -> Advance {
    Advance::new(300, 70_000, "reading")
}

pub fn error() -> Box<TaskError> {
    Box::new(TaskError {
        kind: ErrorKind::Panicked,
        message: "disk on fire".to_owned(),
        causes: vec!["spark".to_owned(), "match".to_owned()],
        worker: "w1".into(),
        attempt: ATTEMPT,
        path: vec![key()],
    })
}

pub fn receipt() -> Receipt {
    Receipt {
        epoch: Epoch(4),
        seq: Seq(1000),
        digest: Digest(0x0123_4567_89ab_cdef),
        records: 70_000,
        tasks_kept: 12,
        tasks_requeued: 2,
        tasks_running: 1,
        channels: 3,
        damage: Some("a page is gone".to_owned()),
    }
}

const ORIGIN: Origin = Origin { producer: Producer(5), number: 300 };

/// One of each record of the task log. Those of version 1 are in the stored fixture, in this order.
pub fn task_events(lines: &mut Lines) {
    variants!(lines, TaskEvent {
        Recovered = TaskEvent::Recovered(receipt()),
        SessionOpened = TaskEvent::SessionOpened {
            producer: Producer(5),
            session: SessionId([0x51; 16]),
            kind: SessionKind::Client,
            lease_ms: 30_000,
        },
        SessionEnded = TaskEvent::SessionEnded { producer: Producer(5), reason: EndReason::LeaseExpired },
        ChannelCreated = TaskEvent::ChannelCreated { origin: ORIGIN, log: LogId(7), name: name() },
        Submitted = TaskEvent::Submitted { origin: ORIGIN, submission: submission() },
        Held = TaskEvent::Held { origin: ORIGIN, task: TASK, detached: true },
        Released = TaskEvent::Released { origin: ORIGIN, tasks: vec![TASK, TaskId([1; 16])] },
        Started = TaskEvent::Started { task: TASK, attempt: ATTEMPT, worker: Producer(6) },
        Finished = TaskEvent::Finished {
            task: TASK,
            attempt: ATTEMPT,
            result: TaskResult::Inline(payload()),
        },
        Failed = TaskEvent::Failed { task: TASK, error: error() },
        Retried = TaskEvent::Retried { task: TASK, attempt: ATTEMPT, error: error() },
        Requeued = TaskEvent::Requeued { task: TASK, attempt: ATTEMPT, reason: EndReason::Left },
        Cancelled = TaskEvent::Cancelled { task: TASK },
        Forgotten = TaskEvent::Forgotten { task: TASK },
        Died = TaskEvent::Died {
            task: TASK,
            attempt: ATTEMPT,
            worker: "w1".into(),
            reason: EndReason::Superseded,
            counts: true,
        },
        Copied = TaskEvent::Copied { task: TASK, worker: Producer(6) },
        Dropped = TaskEvent::Dropped { task: TASK, worker: Producer(6) },
        Lost = TaskEvent::Lost {
            task: TASK,
            worker: "w1".into(),
            why: LossReason::SessionEnded(EndReason::LeaseExpired),
        },
        Reopened = TaskEvent::Reopened { task: TASK },
        Deferred = TaskEvent::Deferred { task: TASK, attempt: ATTEMPT, missing: TaskId([1; 16]) },
        Returned = TaskEvent::Returned { task: TASK, attempt: ATTEMPT },
        CursorSet = TaskEvent::CursorSet {
            origin: ORIGIN,
            log: LogId(7),
            name: cursor(),
            offset: 300,
            pin_ms: 60_000,
        },
        CursorDeleted = TaskEvent::CursorDeleted { origin: ORIGIN, log: LogId(7), name: cursor() },
        Transacted = TaskEvent::Transacted {
            origin: ORIGIN,
            appended: vec![AppendedPart { log: LogId(7), first: 300, count: 2 }],
        },
        GroupCreated = TaskEvent::GroupCreated {
            origin: ORIGIN,
            log: LogId(7),
            name: group_name(),
            options: group_options(),
            next: 300,
        },
        GroupChanged = TaskEvent::GroupChanged { origin: ORIGIN, group: GroupId(400), options: group_options() },
        GroupDeleted = TaskEvent::GroupDeleted { origin: ORIGIN, group: GroupId(400) },
        Leased = TaskEvent::Leased { group: GroupId(400), member: Producer(6), elements: vec![(300, 2)] },
        Acknowledged = TaskEvent::Acknowledged { origin: ORIGIN, of: of_group() },
        LeaseEnded = TaskEvent::LeaseEnded { origin: Some(ORIGIN), of: of_group(), why: LeaseEnd::GivenBack },
        Tried = TaskEvent::Tried { origin: ORIGIN, of: of_group() },
        CancelledBy = TaskEvent::CancelledBy { origin: ORIGIN, task: TASK },
        SubmittedUnder = TaskEvent::SubmittedUnder { origin: ORIGIN, submission: submission(), terms: terms() },
        RetriedAfter = TaskEvent::RetriedAfter { task: TASK, attempt: ATTEMPT, error: error(), wait_ms: 300 },
        Awaited = TaskEvent::Awaited { task: TASK },
        Renewed = TaskEvent::Renewed { origin: ORIGIN, tasks: vec![TASK] },
        Advanced = TaskEvent::Advanced { task: TASK, attempt: ATTEMPT, advance: advance() },
        StartedWith = TaskEvent::StartedWith { task: TASK, attempt: ATTEMPT, worker: Producer(6), grants: grants() },
        Scattered = TaskEvent::Scattered { origin: ORIGIN, key: key(), value: payload(), detach: true },
    });
}

/// One of each record of a channel.
pub fn channel_events(lines: &mut Lines) {
    variants!(lines, ChannelEvent {
        Appended = ChannelEvent::Appended { origin: ORIGIN, element: Element::Future(key()) },
        Progress = ChannelEvent::Progress { key: key(), progress: Progress::Finished { result: payload() } },
        Stopped = ChannelEvent::Stopped { origin: ORIGIN, count: 99, digest: Digest(7) },
        Resumed = ChannelEvent::Resumed { origin: ORIGIN },
        Trimmed = ChannelEvent::Trimmed { cause: TrimCause::Age, before: 300, index: 200 },
        Changed = ChannelEvent::Changed { origin: ORIGIN, retention: RETENTION },
        Deleted = ChannelEvent::Deleted { origin: ORIGIN, count: 99, digest: Digest(7) },
        AppendedWith = ChannelEvent::AppendedWith {
            origin: ORIGIN,
            headers: [("source", "gauge 7"), ("unit", "°C")].into_iter().collect(),
            element: Element::Value(payload()),
        },
        Produced = ChannelEvent::Produced {
            origin: ORIGIN,
            producer: producer(),
            number: 70_000,
            count: 2,
            headers: [("unit", "°C")].into_iter().collect(),
            element: Element::Value(payload()),
        },
        ProducerForgotten = ChannelEvent::ProducerForgotten { origin: ORIGIN, producer: producer() },
        DurabilityChanged = ChannelEvent::DurabilityChanged { origin: ORIGIN, durability: BUFFERED },
    });
    variants!(lines, Durability {
        Fsynced = Durability::Fsynced,
        Buffered = BUFFERED,
    });
    variants!(lines, TrimCause {
        Asked = TrimCause::Asked(ORIGIN),
        Elements = TrimCause::Elements,
        Age = TrimCause::Age,
        Bytes = TrimCause::Bytes,
    });
}

fn parts(lines: &mut Lines) {
    variants!(lines, Element {
        Future = Element::Future(key()),
        Value = Element::Value(payload()),
    });
    variants!(lines, Progress {
        Started = Progress::Started { attempt: ATTEMPT, worker: "w1".into() },
        Finished = Progress::Finished { result: payload() },
        Failed = Progress::Failed { error: error() },
        Cancelled = Progress::Cancelled,
        Stored = Progress::Stored { result: stored() },
        Lost = Progress::Lost { worker: "w1".into() },
        Renewed = Progress::Renewed,
        Advanced = Progress::Advanced(advance()),
    });
    variants!(lines, LossReason {
        SessionEnded = LossReason::SessionEnded(EndReason::Left),
        Lacking = LossReason::Lacking,
        Retired = LossReason::Retired,
        Unneeded = LossReason::Unneeded,
    });
    variants!(lines, SessionKind {
        Client = SessionKind::Client,
        Worker = SessionKind::Worker { name: "w1".into() },
        Attempt = SessionKind::Attempt { task: TASK, attempt: ATTEMPT },
    });
    variants!(lines, EndReason {
        Left = EndReason::Left,
        LeaseExpired = EndReason::LeaseExpired,
        Superseded = EndReason::Superseded,
        AttemptOver = EndReason::AttemptOver,
    });
    variants!(lines, TaskResult {
        Inline = TaskResult::Inline(payload()),
        Stored = TaskResult::Stored(stored()),
    });
    variants!(lines, Argument {
        Value = Argument::Value(payload()),
        Future = Argument::Future(TASK),
        Nested = Argument::Nested(template()),
    });
    variants!(lines, ErrorKind {
        Returned = ErrorKind::Returned,
        Panicked = ErrorKind::Panicked,
        BadArguments = ErrorKind::BadArguments,
        UnknownFunction = ErrorKind::UnknownFunction,
        BadResult = ErrorKind::BadResult,
        Dependency = ErrorKind::Dependency,
        Poison = ErrorKind::Poison,
        TimedOut = ErrorKind::TimedOut,
        DeadlinePassed = ErrorKind::DeadlinePassed,
    });
    variants!(lines, Term {
        Backoff = BACKOFF,
        Timeout = Term::Timeout { ms: 300 },
        Deadline = Term::Deadline { ms: 70_000 },
        Tag = tag(),
        Needs = Term::Needs("gpus=1.5".parse().expect("a need")),
        On = Term::On(Target::Label(Label::new("zone:eu").expect("a good name"))),
        Prefers = Term::Prefers(Target::Worker("w1".into())),
    });
    variants!(lines, Target {
        Worker = Target::Worker("w1".into()),
        Host = Target::Host("rack-7".into()),
        Label = Target::Label(Label::new("zone:eu").expect("a good name")),
    });
    variants!(lines, Codec {
        MessagePack = Codec::MessagePack,
        Raw = Codec::Raw,
    });
}

#[test]
fn facts_are_stored_as_version_1_does() {
    let mut lines = Lines::default();
    task_events(&mut lines);
    channel_events(&mut lines);
    parts(&mut lines);
    lines.add("TaskKey.named", &TaskKey::named("nightly"));
    lines.add("TaskKey.pure", &TaskKey::pure("add", "rust:m::add", 2, b"arguments"));
    let digest = Digest::default().with(b"piece").with_element(&Element::Future(key()));
    lines.add("Digest", &digest.with_element(&Element::Value(payload())));
    let headers = [("source", "gauge 7")].into_iter().collect();
    let headed = Appended { origin: ORIGIN, headers: &headers, element: &Element::Value(payload()) };
    lines.add("Digest.headers", &Digest::default().with_appended(&headed));
    lines.check(include_str!("../../../migrations/0001/facts.txt"));
}
