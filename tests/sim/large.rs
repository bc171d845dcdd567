//! Large numbers of tasks, straight into a core. Nothing here looks at a clock: each test is over in a
//! blink, and would take minutes if a step cost what grows with all that there is.

use headwater::protocol::command::{Answer, Command, Query};
use headwater::protocol::equipment::Equipment;
use headwater::protocol::limits::LISTING_ROWS_MAX;
use headwater::protocol::message::{Hello, ServerMessage};
use headwater::protocol::session::{FunctionOffer, HeldAttempt, Role, WorkerOffer};
use headwater::protocol::task::{Argument, ErrorKind, TaskError, TaskInfo, TaskOptions};
use headwater::protocol::{
    AttemptNumber, ChannelName, Payload, Seq, SessionId, Submission, TaskId, TaskKey, frame,
};
use headwater::scheduler::core::{Core, Effect, LogFacts, Output, Restoring, Settings, State};
use headwater::scheduler::{ConnectionId, Request};

const CLIENT: u64 = 1;
const FIRST: AttemptNumber = AttemptNumber(1);

struct Large {
    core: Core,
    number: u64,
}

impl Large {
    fn new() -> Self {
        let core = Core::new(State::default(), Settings::default(), LogFacts::default(), 0);
        let mut large = Large { core, number: 0 };
        large.connect(CLIENT, false, Role::Client);
        large
    }

    fn connect(&mut self, connection: u64, resume: bool, role: Role) -> Output {
        // A worker's connections are a thousand apart.
        let session = SessionId(u128::from(connection % 1000).to_be_bytes());
        let hello = Hello { token: None, session, resume, role, seen: None };
        let mut out = Output::default();
        self.core.connect(ConnectionId(connection), &hello, &mut out);
        out
    }

    fn worker(&mut self, connection: u64, slots: u32, held: Vec<HeldAttempt>) -> Output {
        let functions = vec![FunctionOffer { name: "f".into(), version: 1 }];
        let name = format!("w{}", connection % 1000).into();
        self.connect(
            connection,
            connection > 1000,
            Role::Worker(WorkerOffer {
                name,
                slots,
                functions,
                held,
                results_at: "".into(),
                equipment: Equipment::default(),
            }),
        )
    }

    fn ask(&mut self, connection: u64, request: Request) -> Output {
        self.number += 1;
        let mut out = Output::default();
        self.core.request(ConnectionId(connection), self.number, request, &mut out);
        out
    }

    fn submit(&mut self, n: u32, function: &str, arguments: Vec<Argument>) {
        let (key, function) = (TaskKey { id: task(n), label: "t".into() }, function.into());
        let options = TaskOptions::default();
        let submission = Submission { key, function, version: 1, arguments, options };
        self.ask(CLIENT, Request::Command(Command::Submit(submission)));
    }

    fn rest(&mut self) {
        while self.core.has_more_upkeep() {
            self.core.tick(0, &mut Output::default());
        }
        self.core.check();
    }
}

fn task(n: u32) -> TaskId {
    TaskId(u128::from(n).to_be_bytes())
}

#[test]
fn many_tasks_that_wait_for_the_same_ones_fail_or_are_forgotten() {
    for forgotten in [false, true] {
        let mut large = Large::new();
        large.submit(0, "f", vec![]);
        large.submit(1, "g", vec![]);
        for n in 2..60_000 {
            large.submit(n, "f", vec![Argument::Future(task(0)), Argument::Future(task(1))]);
        }
        if forgotten {
            large.core.disconnect(0, ConnectionId(CLIENT), true, &mut Output::default());
            large.rest();
            assert!(large.core.state().tasks.is_empty());
        } else {
            large.worker(2, 1, vec![]);
            let error = Box::new(TaskError::new(ErrorKind::Returned, "boom", vec![]));
            large.ask(2, Request::Command(Command::Fail { task: task(0), attempt: FIRST, error }));
            large.rest();
            assert_eq!(large.core.state().counts.failed, 59_999);
        }
    }
}

#[test]
fn many_tasks_run_on_many_workers_while_others_are_ready() {
    let mut large = Large::new();
    for connection in 2..1000 {
        large.worker(connection, 60, vec![]);
    }
    (0..70_000).for_each(|n| large.submit(n, "f", vec![]));
    assert_eq!(large.core.state().counts.running, 998 * 60);
    for n in 0..10_000 {
        let worker = large.core.state().worker_of(task(n)).expect("it runs");
        let finish = Command::Finish { task: task(n), attempt: FIRST, result: Payload::raw("") };
        large.ask(1 + worker.0 - 1, Request::Command(finish));
    }
    assert_eq!(large.core.state().counts.finished, 10_000);
    assert_eq!(large.core.state().counts.running, 998 * 60);
    large.rest();
}

#[test]
fn a_worker_comes_back_with_much_that_runs() {
    let mut large = Large::new();
    large.worker(2, 60_000, vec![]);
    (0..60_000).for_each(|n| large.submit(n, "f", vec![]));
    // It lost the newest ones, and has others that nobody wants.
    let held = (10_000..70_000).rev().map(|n| HeldAttempt { task: task(n), attempt: FIRST }).collect();
    let effects = large.worker(1002, 60_000, held).effects;
    let count = |wanted: fn(&ServerMessage) -> bool| {
        effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Send { message, .. } if wanted(message)))
            .count()
    };
    assert_eq!(count(|message| matches!(message, ServerMessage::Abort { .. })), 10_000);
    assert_eq!(count(|message| matches!(message, ServerMessage::Assign(_))), 10_000);
}

#[test]
fn a_listing_of_any_tasks_fits_a_frame_and_goes_on_where_it_ended() {
    let mut large = Large::new();
    let functions = |name: &str| vec![FunctionOffer { name: name.repeat(200).into(), version: 1 }];
    for connection in 2..100 {
        let name = format!("{connection:0200}").into();
        let offer = WorkerOffer {
            name,
            slots: 1,
            functions: functions("x"),
            held: vec![],
            results_at: "".into(),
            equipment: Equipment::default(),
        };
        large.connect(connection, false, Role::Worker(offer));
    }
    (0..15_000).for_each(|n| large.submit(n, &"y".repeat(200), vec![]));
    let (mut seen, mut from) = (0, 0);
    loop {
        let out = large.ask(CLIENT, Request::Query(Query::Tasks { from }));
        let [Effect::Send { message, .. }] = &out.effects[..] else { panic!("{:?}", out.effects) };
        frame::encode(&mut Vec::new(), 1, message).expect("it fits a frame");
        let ServerMessage::Answer(Ok(Answer::Tasks(rows))) = message else { panic!("{message:?}") };
        let Some(last) = rows.last() else { break };
        (seen, from) = (seen + rows.len(), last.submitted_at + 1);
    }
    assert_eq!(seen, 15_000);
    let out = large.ask(CLIENT, Request::Query(Query::Task { task: task(7) }));
    let [Effect::Send { message: ServerMessage::Answer(Ok(Answer::Task(info))), .. }] = &out.effects[..]
    else {
        panic!("{:?}", out.effects)
    };
    let TaskInfo { waits_for: Some(words), .. } = &**info else { panic!("{info:?}") };
    assert!(words.contains("none of the 98 connected has it; they have xxx"), "{words}");
}

#[test]
fn many_channels_are_listed_to_the_last_and_take_little_of_a_snapshot() {
    const CHANNELS: usize = 100_000;
    let mut large = Large::new();
    let name = |n: usize| ChannelName::new(&format!("c{n:06}")).unwrap();
    for n in 0..CHANNELS {
        large.ask(CLIENT, Request::Command(Command::OpenChannel { name: name(n) }));
    }
    large.rest();
    let (mut seen, mut after, mut pages) = (0, None, 0);
    loop {
        let out = large.ask(CLIENT, Request::Query(Query::Channels { after }));
        let [Effect::Send { message, .. }] = &out.effects[..] else { panic!("{:?}", out.effects) };
        frame::encode(&mut Vec::new(), 1, message).expect("it fits a frame");
        let ServerMessage::Answer(Ok(Answer::Channels(rows))) = message else { panic!("{message:?}") };
        assert!(rows.iter().zip(seen..).all(|(row, n)| row.name == name(n)), "none is left out");
        let Some(last) = rows.last() else { break };
        assert!(rows.len() <= LISTING_ROWS_MAX);
        (seen, pages) = (seen + rows.len(), pages + 1);
        after = Some(last.name.clone());
    }
    assert_eq!((seen, pages), (CHANNELS, CHANNELS / LISTING_ROWS_MAX));
    // A start begins with these.
    let mut restoring = Restoring::new(Seq(1));
    let mut bytes = 0;
    for item in large.core.state().clone().into_items() {
        bytes += postcard::to_stdvec(&item).unwrap().len();
        restoring.add(item).unwrap();
    }
    let (restored, _) = restoring.finish().unwrap();
    assert_eq!(restored.channels, large.core.state().channels);
    assert!(bytes < CHANNELS * 64, "{bytes} bytes");
}
