//! What is sent: the messages, and all that is in them and not in the facts.

use bytes::Bytes;
use headwater::protocol::channel::{ChannelInfo, ChannelOptions};
use headwater::protocol::command::{Answer, AppendOptions, Command, Overview, Query, Rejection, Stored};
use headwater::protocol::cursor::{CursorInfo, CursorMove};
use headwater::protocol::equipment::{Amount, Equipment, Label};
use headwater::protocol::group::{GroupEnd, GroupId, GroupInfo, Leased, LeasedRun, MemberInfo};
use headwater::protocol::limits::TooLarge;
use headwater::protocol::message::{
    Assignment, ClientMessage, Closing, Filling, Given, Hello, Position, Reads, ServerMessage,
};
use headwater::protocol::producer::{ProducedBy, ProducerInfo};
use headwater::protocol::result::{Fetch, Fetched, Holder, Located, Replication};
use headwater::protocol::session::{
    EndReason, FunctionOffer, HeldAttempt, Retire, Role, RunningAttempt, WorkerInfo, WorkerOffer,
    WorkerStatus,
};
use headwater::protocol::start::{RecoveryProgress, Regress, Seen, Start};
use headwater::protocol::task::{Explanation, Point, TaskInfo, TaskStatus};
use headwater::protocol::terms::Tag;
use headwater::protocol::transaction::{AppendedPart, Part, Transaction};
use headwater::protocol::{
    Digest, Element, Epoch, Headers, LogId, Outcome, Producer, Seq, SessionId, StartId, TaskId,
};

use super::facts::{
    ATTEMPT, BUFFERED, RETENTION, TASK, advance, cursor, error, grants, group_name, group_options, key, name,
    of_group, payload, producer, receipt, stored as kept, submission, template, terms,
};
use super::{Lines, variants};

const LOG: LogId = LogId(7);

fn start() -> Start {
    Start { epoch: Epoch(4), id: StartId(0x0123_4567_89ab_cdef), after: Seq(1001) }
}

fn hello() -> Hello {
    Hello {
        token: Some("secret".to_owned()),
        session: SessionId([0x51; 16]),
        resume: true,
        role: Role::Client,
        seen: Some(Seen { start: start(), seq: Seq(1003) }),
    }
}

fn channel() -> ChannelInfo {
    ChannelInfo {
        name: name(),
        log: LOG,
        first: 200,
        head: 300,
        elements: 100,
        trimmed: 60,
        bytes: 4000,
        retention: RETENTION,
        stopped: true,
        digest: Digest(7),
        durability: BUFFERED,
    }
}

fn task() -> TaskInfo {
    TaskInfo {
        key: key(),
        function: "rust:m::add".into(),
        status: TaskStatus::Running,
        attempt: ATTEMPT,
        worker: Some("w1".into()),
        submitted_at: 1000,
        waits_for: Some("a worker".to_owned()),
        next_attempt_at: Some(1_795_000_000_000),
        advance: Some(advance()),
        deadline_at: None,
        tags: vec![Tag::new("nightly").unwrap()],
        kept_by: "channel a".to_owned(),
        outcome: Some(Outcome::Cancelled),
    }
}

fn group_info() -> GroupInfo {
    GroupInfo {
        id: GroupId(400),
        channel: name(),
        log: LOG,
        name: group_name(),
        options: group_options(),
        next: 300,
        lag: 200,
        leased: 2,
        waiting: 1,
        members: vec![MemberInfo { session: Producer(6), window: 64, leased: 2 }],
        holds_back: true,
    }
}

fn overview() -> Overview {
    let worker = WorkerInfo { name: "w1".into(), slots: 4, running: 2, connected: true };
    Overview {
        epoch: Epoch(4),
        seq: Seq(1001),
        receipt: receipt(),
        store: "sled store in here".to_owned(),
        tasks_head: 900,
        records: 70_001,
        pending: 1,
        running: 2,
        finished: 3,
        failed: 4,
        channels: 5,
        workers: vec![worker],
    }
}

fn stored() -> Stored {
    Stored {
        seq: Seq(1001),
        epoch: Epoch(4),
        digest: Digest(7),
        starts: vec![start()],
        snapshots: vec![Seq(900)],
        logs: vec![LOG],
    }
}

fn worker() -> WorkerStatus {
    WorkerStatus {
        session: Producer(300),
        name: "w1".into(),
        slots: 4,
        running: 2,
        connected: true,
        retiring: false,
        results: 3,
        result_bytes: 300_000,
        runs: vec![RunningAttempt { key: key(), attempt: ATTEMPT, is_client: true, has_paused: false }],
        equipment: equipment(),
        free: vec![Amount(25_000), Amount::ONE],
    }
}

fn equipment() -> Equipment {
    Equipment {
        host: "rack-7".into(),
        labels: vec![Label::new("zone:eu").unwrap()],
        resources: vec!["cpus=4".parse().unwrap(), "gpus=[0,2]".parse().unwrap()],
    }
}

fn held() -> HeldAttempt {
    HeldAttempt { task: TASK, attempt: ATTEMPT }
}

fn located() -> Located {
    let holders = vec![Holder { worker: "w1".into(), address: "127.0.0.1:4000".into() }];
    Located { key: key(), attempt: ATTEMPT, result: kept(), holders }
}

fn offer() -> WorkerOffer {
    WorkerOffer {
        name: "w1".into(),
        slots: 4,
        functions: vec![FunctionOffer { name: "rust:m::add".into(), version: 2 }],
        held: vec![held()],
        results_at: "127.0.0.1:4000".into(),
        equipment: equipment(),
    }
}

fn assignment() -> Assignment {
    Assignment {
        key: key(),
        attempt: ATTEMPT,
        function: "rust:m::add".into(),
        version: 2,
        arguments: vec![Given::Value(payload()), Given::Stored(located())],
        timeout_ms: Some(300),
        grants: grants(),
    }
}

fn too_large() -> TooLarge {
    TooLarge { what: "value".to_owned(), size: 70_000, max: 61_440, hint: "less".to_owned() }
}

fn of_clients(lines: &mut Lines) {
    variants!(lines, ClientMessage {
        Hello = ClientMessage::Hello(hello()),
        Command = ClientMessage::Command(Command::Stop { log: LOG }),
        Query = ClientMessage::Query(Query::Overview),
        Watch = ClientMessage::Watch { tasks: vec![TASK] },
        Subscribe = ClientMessage::Subscribe {
            log: LOG,
            from: Position::Offset(300),
            credit_bytes: 70_000,
            reads: Reads::Durable,
        },
        Credit = ClientMessage::Credit { bytes: 70_000 },
        Unsubscribe = ClientMessage::Unsubscribe,
        Ping = ClientMessage::Ping,
        Goodbye = ClientMessage::Goodbye,
        FindLog = ClientMessage::FindLog { name: name() },
        OpenTrunk = ClientMessage::OpenTrunk { token: Some("secret".to_owned()) },
    });
    variants!(lines, Role {
        Client = Role::Client,
        Worker = Role::Worker(offer()),
        Attempt = Role::Attempt { task: TASK, attempt: ATTEMPT },
    });
    variants!(lines, Reads {
        Durable = Reads::Durable,
        Appended = Reads::Appended { seen: Some(Seen { start: start(), seq: Seq(1003) }) },
    });
    variants!(lines, Position {
        Offset = Position::Offset(300),
        Index = Position::Index(300),
        End = Position::End,
        Stored = Position::Stored(300),
        Last = Position::Last(300),
        Time = Position::Time(1_700_000_000_000),
    });
    variants!(lines, Command {
        Submit = Command::Submit(submission()),
        Hold = Command::Hold { task: TASK, detach: true },
        Release = Command::Release { tasks: vec![TASK] },
        OpenChannel = Command::OpenChannel { name: name() },
        Append = Command::append(LOG, vec![Element::Value(payload()), Element::Future(key())].into()),
        Stop = Command::Stop { log: LOG },
        Finish = Command::Finish { task: TASK, attempt: ATTEMPT, result: payload() },
        Fail = Command::Fail { task: TASK, attempt: ATTEMPT, error: error() },
        Retire = Command::Retire,
        RetireWorker = Command::RetireWorker { worker: Producer(300), retire: Retire::HandOver },
        Store = Command::Store { task: TASK, attempt: ATTEMPT, result: kept() },
        Copied = Command::Copied { task: TASK, attempt: ATTEMPT },
        Lack = Command::Lack { task: TASK, attempt: ATTEMPT },
        Defer = Command::Defer { task: TASK, attempt: ATTEMPT, missing: TaskId([1; 16]) },
        Window = Command::Window { attempts: 300 },
        Return = Command::Return { task: TASK, attempt: ATTEMPT },
        CreateChannel = Command::CreateChannel {
            name: name(),
            options: ChannelOptions { retention: RETENTION, durability: BUFFERED },
        },
        Retain = Command::Retain { log: LOG, retention: RETENTION },
        Trim = Command::Trim { log: LOG, before: Some(300) },
        Resume = Command::Resume { log: LOG },
        Delete = Command::Delete { log: LOG },
        SetCursor = Command::SetCursor(CursorMove { log: LOG, name: cursor(), offset: 300, from: Some(200), pin_ms: 60_000 }),
        DeleteCursor = Command::DeleteCursor { log: LOG, name: cursor() },
        Transact = Command::Transact(Transaction {
            appends: vec![Part { log: LOG, elements: vec![Element::Value(payload())].into(), expect: Some(300) }],
            cursors: vec![CursorMove { log: LOG, name: cursor(), offset: 300, from: Some(200), pin_ms: 60_000 }],
            acknowledges: vec![of_group()],
        }),
        OpenGroup = Command::OpenGroup { log: LOG, name: group_name(), options: Some(group_options()), from_end: true },
        Join = Command::Join { group: GroupId(400), window: 64 },
        Leave = Command::Leave { group: GroupId(400), untried: vec![(300, 2)] },
        Try = Command::Try(of_group()),
        Acknowledge = Command::Acknowledge(of_group()),
        GiveBack = Command::GiveBack(of_group()),
        Extend = Command::Extend(of_group()),
        DeleteGroup = Command::DeleteGroup { log: LOG, name: group_name() },
        ForgetProducer = Command::ForgetProducer { log: LOG, name: producer() },
        SetDurability = Command::SetDurability { log: LOG, durability: BUFFERED },
        Cancel = Command::Cancel { task: TASK },
        SubmitUnder = Command::SubmitUnder { submission: submission(), terms: terms() },
        Retry = Command::Retry { task: TASK },
        Advance = Command::Advance { task: TASK, attempt: ATTEMPT, advance: advance() },
        Occupy = Command::Occupy { task: TASK, attempt: ATTEMPT, occupies: true },
        Replicate = Command::Replicate { task: TASK, copies: 3 },
        Scatter = Command::Scatter { key: key(), value: payload(), detach: true },
    });
    let headed = [("unit", "°C")].into_iter().collect();
    let elements =
        vec![(headed, Element::Value(payload())), (Headers::new(), Element::Value(payload()))].into();
    let produced = Some(ProducedBy { name: producer(), number: 70_000, from: Some(300) });
    let options = AppendOptions { expect: Some(300), durability: Some(BUFFERED), ..AppendOptions::default() };
    let expecting = Command::Append { log: LOG, elements, options };
    lines.add("Command::Append.headers", &expecting);
    let elements = vec![Element::Value(payload())].into();
    let options = AppendOptions { producer: produced, ..AppendOptions::default() };
    let produced = Command::Append { log: LOG, elements, options };
    lines.add("Command::Append.producer", &produced);
    variants!(lines, Query {
        Channels = Query::Channels { after: Some(name()) },
        Channel = Query::Channel { name: name() },
        Tasks = Query::Tasks { from: 300 },
        Task = Query::Task { task: TASK },
        Overview = Query::Overview,
        Stored = Query::Stored { after: Some(LOG) },
        SnapshotPieces = Query::SnapshotPieces { at: Seq(1001), from: 300 },
        Workers = Query::Workers { after: Producer(300) },
        Worker = Query::Worker { worker: Producer(300) },
        Unwanted = Query::Unwanted { results: vec![held()] },
        Cursors = Query::Cursors { log: LOG, after: Some(cursor()) },
        Subscribers = Query::Subscribers { log: LOG },
        Groups = Query::Groups { log: LOG, after: Some(group_name()) },
        Producers = Query::Producers { log: LOG, after: Some(producer()) },
        Durable = Query::Durable { acked: Seen { start: start(), seq: Seq(1003) } },
        Explain = Query::Explain { task: TASK },
    });
    variants!(lines, Retire {
        Finish = Retire::Finish,
        HandOver = Retire::HandOver,
    });
}

fn of_the_server(lines: &mut Lines) {
    variants!(lines, ServerMessage {
        Welcome = ServerMessage::Welcome { start: start(), seq: Seq(1003), lease_ms: 30_000, now_ms: 1_795_418_696_007 },
        Closing = ServerMessage::Closing(Closing::BadToken),
        Answer = ServerMessage::Answer(Ok(Answer::Submitted)),
        Settled = ServerMessage::Settled { task: TASK, outcome: Outcome::Finished(payload()) },
        Unknown = ServerMessage::Unknown { task: TASK },
        Subscribed = ServerMessage::Subscribed { from: 300, seq: Seq(1003) },
        SubscriptionRefused = ServerMessage::SubscriptionRefused(Rejection::ShuttingDown),
        Records = ServerMessage::Records,
        CaughtUp = ServerMessage::CaughtUp { head: 300 },
        Trimmed = ServerMessage::Trimmed { from: 3, first: 300 },
        Assign = ServerMessage::Assign(assignment()),
        Abort = ServerMessage::Abort { task: TASK, attempt: ATTEMPT },
        Pong = ServerMessage::Pong,
        Durable = ServerMessage::Durable { seq: Seq(1003) },
        Recovering = ServerMessage::Recovering { start: start(), newest: Seen { start: start(), seq: Seq(1003) }, progress: RecoveryProgress::Records(70_000) },
        Retire = ServerMessage::Retire(Retire::HandOver),
        Free = ServerMessage::Free { task: TASK, attempt: ATTEMPT },
        Copy = ServerMessage::Copy(located()),
        Leased = ServerMessage::Leased {
            group: GroupId(400),
            leased: Leased {
                runs: vec![LeasedRun { offset: 300, index: 200, count: 2, attempt: 1, leases: 2 }],
                lease_ms: 30_000,
                dead_letters: group_options().dead_letters,
            },
        },
        GroupEnded = ServerMessage::GroupEnded { group: GroupId(400), why: GroupEnd::Deleted },
        TrunkOpened = ServerMessage::TrunkOpened { strands_max: 8_000 },
    });
    lines.add("ServerMessage::Answer.Err", &ServerMessage::Answer(Err(Rejection::ShuttingDown)));
    variants!(lines, Answer {
        Submitted = Answer::Submitted,
        Held = Answer::Held(key()),
        Released = Answer::Released,
        Channel = Answer::Channel(channel()),
        Appended = Answer::Appended { first: 300, count: 2, seq: Seq(1001), epoch: Epoch(4), durability: BUFFERED },
        Stopped = Answer::Stopped { count: 99, digest: Digest(7) },
        Reported = Answer::Reported,
        Channels = Answer::Channels(vec![channel()]),
        Tasks = Answer::Tasks(vec![task()]),
        Task = Answer::Task(Box::new(task())),
        Overview = Answer::Overview(overview()),
        Stored = Answer::Stored(stored()),
        SnapshotPieces = Answer::SnapshotPieces { pieces: vec![Bytes::from_static(b"piece")], is_end: true },
        Retiring = Answer::Retiring,
        Workers = Answer::Workers(vec![worker()]),
        Unwanted = Answer::Unwanted(vec![held()]),
        Log = Answer::Log(LOG),
        Deleted = Answer::Deleted,
        CursorSet = Answer::CursorSet,
        Cursors = Answer::Cursors(vec![CursorInfo {
            channel: name(),
            name: cursor(),
            offset: 300,
            lag: 200,
            pin_ms: 60_000,
            holds_back: true,
        }]),
        Subscribers = Answer::Subscribers(300),
        Transacted = Answer::Transacted {
            seq: Seq(1001),
            epoch: Epoch(4),
            appended: vec![AppendedPart { log: LOG, first: 300, count: 2 }],
        },
        Group = Answer::Group(group_info()),
        Groups = Answer::Groups(vec![group_info()]),
        AppendedBefore = Answer::AppendedBefore { newest: 70_000 },
        Producers = Answer::Producers(vec![ProducerInfo {
            name: producer(),
            number: 70_000,
            first: 300,
            count: 2,
            seq: Seq(1001),
        }]),
        Durable = Answer::Durable,
        Ended = Answer::Ended(TaskStatus::Finished),
        Retried = Answer::Retried,
        Explained = Answer::Explained(Box::new(Explanation {
            key: key(),
            status: TaskStatus::Pending,
            because: "it waits".to_owned(),
            not_before: Some(300),
            points: vec![Point { of: "w1".to_owned(), words: "retires".to_owned() }],
            more: 300,
        })),
        Replicated = Answer::Replicated(Replication::Kept { by: 2, wanted: 3, under_way: true }),
    });
    variants!(lines, Outcome {
        Finished = Outcome::Finished(payload()),
        Failed = Outcome::Failed(error()),
        Cancelled = Outcome::Cancelled,
        Stored = Outcome::Stored(located()),
    });
    variants!(lines, Given {
        Value = Given::Value(payload()),
        Stored = Given::Stored(located()),
        Nested = Given::Nested { template: template(), results: vec![Filling::Stored(located())] },
    });
    variants!(lines, Filling {
        Value = Filling::Value(payload()),
        Stored = Filling::Stored(located()),
    });
    variants!(lines, TaskStatus {
        Pending = TaskStatus::Pending,
        Running = TaskStatus::Running,
        Finished = TaskStatus::Finished,
        Error = TaskStatus::Error,
        Cancelled = TaskStatus::Cancelled,
        Lost = TaskStatus::Lost,
    });
}

fn of_results(lines: &mut Lines) {
    lines.add("Fetch", &Fetch { token: Some("secret".to_owned()), result: held() });
    variants!(lines, Fetched {
        Found = Fetched::Found(kept()),
        Piece = Fetched::Piece,
        Missing = Fetched::Missing,
        Refused = Fetched::Refused(Closing::BadToken),
    });
}

fn refusals(lines: &mut Lines) {
    variants!(lines, Rejection {
        SessionEnded = Rejection::SessionEnded(EndReason::Left),
        Fenced = Rejection::Fenced { task: TASK, attempt: ATTEMPT },
        ChannelStopped = Rejection::ChannelStopped(name(), 99),
        UnknownChannel = Rejection::UnknownChannel("a".to_owned()),
        ReservedChannel = Rejection::ReservedChannel(name()),
        UnknownTask = Rejection::UnknownTask(TASK),
        KeyTaken = Rejection::KeyTaken { key: "nightly".into(), function: "rust:m::add".into() },
        PastHead = Rejection::PastHead { name: "channel a".to_owned(), offset: 301, head: 300 },
        TooLarge = Rejection::TooLarge(too_large()),
        Invalid = Rejection::Invalid("nonsense".to_owned()),
        LogFailed = Rejection::LogFailed("the disk is full".to_owned()),
        ShuttingDown = Rejection::ShuttingDown,
        UnknownWorker = Rejection::UnknownWorker("w1".to_owned()),
        DiskLow = Rejection::DiskLow {
            place: "sled store in here".to_owned(),
            free_bytes: 70_000,
            wanted_bytes: 301_989_888,
        },
        ChannelExists = Rejection::ChannelExists(name()),
        CursorMoved = Rejection::CursorMoved { name: cursor(), at: 300, from: 200 },
        Conflict = Rejection::Conflict { channel: name(), expected: 300, head: 301 },
        UnknownGroup = Rejection::UnknownGroup(GroupId(400)),
        LeaseOver = Rejection::LeaseOver { group: group_name(), index: 300 },
        ProducerMoved = Rejection::ProducerMoved { name: producer(), at: 70_000, from: 300 },
        Undone = Rejection::Undone(Regress { epoch: Epoch(4), from: Seq(1001), to: Seq(1003) }),
    });
    variants!(lines, Closing {
        NotHeadwater = Closing::NotHeadwater("checksum".to_owned()),
        WireVersion = Closing::WireVersion { client: 2, server: 1 },
        BadToken = Closing::BadToken,
        Rejected = Closing::Rejected(Rejection::ShuttingDown),
        Replaced = Closing::Replaced,
        TooSlow = Closing::TooSlow(70_000),
        ShuttingDown = Closing::ShuttingDown,
        Regressed = Closing::Regressed(Regress { epoch: Epoch(4), from: Seq(1001), to: Seq(1003) }),
    });
    variants!(lines, RecoveryProgress {
        Snapshot = RecoveryProgress::Snapshot(70_000),
        Records = RecoveryProgress::Records(70_000),
    });
}

#[test]
fn messages_are_sent_as_wire_version_11_does() {
    let mut lines = Lines::default();
    of_clients(&mut lines);
    of_the_server(&mut lines);
    of_results(&mut lines);
    refusals(&mut lines);
    lines.check(include_str!("../../../migrations/messages.txt"));
}
