//! Trying again what has failed.

use headwater::log::{Log, Memory};
use headwater::protocol::batch::{Batch, Commit, OpenBatch};
use headwater::protocol::command::Command;
use headwater::protocol::event::{Origin, TaskResult};
use headwater::protocol::message::Hello;
use headwater::protocol::result::StoredResult;
use headwater::protocol::session::{Role, SessionKind};
use headwater::protocol::task::{Argument, ErrorKind, TaskError, TaskStatus};
use headwater::protocol::terms::{Term, Terms};
use headwater::protocol::{AttemptNumber, Codec, Digest, LogId, Producer, Seq, SessionId, TaskEvent, TaskId};
use headwater::scheduler::core::{Core, LogFacts, Output, Phase, Settings};
use headwater::scheduler::{ConnectionId, Request, recovery};

use crate::scene::*;

fn retry(task: TaskId) -> Command {
    Command::Retry { task }
}

#[test]
fn a_task_that_failed_is_tried_again_with_those_that_it_needs_and_that_have_failed() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 2));
    scene.ask(client, open("a"));
    scene.ask(client, submit("good"));
    scene.ask(client, submit("x"));
    scene.ask(client, submit_on("y", &["x", "good"]));
    scene.ask(client, submit_on("z", &["y"]));
    scene.ask(client, submit_on("other", &["x"]));
    scene.ask(client, append(1, "z"));
    scene.ask(worker, finish("good", 1, 7));
    scene.ask(worker, fail("x", 1));
    scene.told();
    scene.ask(client, retry(id("z")));
    // Each behind what it needs. What else had failed for that stays as it is.
    scene.then(&[
        "renewed x y z",
        "a: z renewed",
        "started x attempt 2 on 2",
        "→ to 1: retried",
        "→ to 2: run x attempt 2 ()",
    ]);
    assert_eq!(scene.task(client, "other").status, TaskStatus::Error);
    scene.ask(worker, finish("x", 2, 1));
    scene.ask(worker, finish("y", 1, 2));
    scene.ask(worker, finish("z", 1, 3));
    let told = scene.told();
    assert!(told.contains(&"finished z attempt 1".to_owned()), "{told:?}");
    assert!(told.iter().any(|line| line.starts_with("a: z finished")), "{told:?}");
    // It can be tried still, and needs nothing that has failed.
    scene.ask(client, retry(id("other")));
    let told = scene.told();
    assert_eq!(told[..2], ["renewed other", "started other attempt 1 on 2"], "{told:?}");
}

#[test]
fn retries_and_deaths_count_anew_and_a_deadline_begins_anew() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    let mut submission = submission("x", vec![]);
    submission.options.retries = 1;
    let terms = Terms(vec![Term::Deadline { ms: 100 }]);
    scene.ask(client, Command::SubmitUnder { submission, terms });
    scene.ask(worker, fail("x", 1));
    scene.ask(worker, fail("x", 2));
    scene.told();
    scene.pass(50);
    assert_eq!(scene.core.state().moments.next(), None);
    scene.ask(client, retry(id("x")));
    assert_eq!(scene.core.state().moments.next(), Some(150));
    scene.ask(worker, fail("x", 3));
    assert!(scene.told().contains(&"retried x after attempt 3".to_owned()));
    scene.pass(100);
    let told = scene.told();
    assert!(told.iter().any(|line| line.starts_with("failed x: it was not done within")), "{told:?}");
}

#[test]
fn what_was_cancelled_can_be_tried_again_and_what_has_not_failed_cannot() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, submit("x"));
    scene.ask(client, Command::Cancel { task: id("x") });
    scene.told();
    let number = scene.ask(client, retry(id("x")));
    scene.then(&["renewed x", "started x attempt 2 on 2", "→ to 1: retried", "→ to 2: run x attempt 2 ()"]);
    // Its answer was lost: it is not tried once more.
    scene.ask_again(client, number, retry(id("x")));
    scene.then(&["→ to 1: retried"]);
    scene.ask(client, retry(id("x")));
    let told = scene.told();
    assert!(
        told[0].contains(" is running: only what has failed or was cancelled can be tried again"),
        "{told:?}"
    );
    // The answer to one that was refused was lost, and it comes when it could be done: behind others.
    let late = scene.ask(client, retry(id("x")));
    scene.ask(client, submit("y"));
    scene.ask(worker, fail("x", 2));
    scene.told();
    scene.ask_again(client, late, retry(id("x")));
    assert!(scene.told()[0].contains("later ones of its session"));
    scene.ask(worker, finish("y", 1, 7));
    scene.told();
    scene.ask(client, retry(id("y")));
    assert!(scene.told()[0].contains(" is finished: only what has failed"));
    scene.ask(client, retry(id("nobody")));
    assert!(scene.told()[0].contains("is not known"));
}

#[test]
fn a_task_that_failed_keeps_what_it_needs_and_no_longer_than_it_is_kept() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, submit("x"));
    scene.ask(client, submit_on("y", &["x"]));
    scene.ask(worker, finish("x", 1, 7));
    scene.ask(worker, fail("y", 1));
    scene.ask(client, release("x"));
    scene.told();
    scene.restart();
    scene.told();
    let worker = scene.worker(3, "v", 1);
    let client = scene.client(4);
    scene.told();
    scene.ask(client, retry(id("y")));
    let told = scene.told();
    assert!(told.iter().any(|line| line.starts_with("→ to 3: run y attempt 2 (")), "{told:?}");
    scene.ask(worker, fail("y", 2));
    scene.told();
    // The client that held it is gone.
    scene.pass(60_000);
    assert!(scene.core.state().tasks.is_empty(), "{:?}", scene.core.state().tasks);
}

#[test]
fn a_long_chain_that_failed_is_tried_again_as_a_whole() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, submit("0"));
    for n in 1..40 {
        scene.ask(client, submit_on(&n.to_string(), &[&(n - 1).to_string()]));
    }
    scene.ask(worker, fail("0", 1));
    assert_eq!(scene.core.state().counts.failed, 40);
    scene.ask(client, retry(id("39")));
    let state = scene.core.state();
    assert_eq!((state.counts.failed, state.counts.pending, state.counts.running), (0, 39, 1));
    assert!(matches!(state.tasks[&id("39")].phase, Phase::Waiting { missing: 1 }));
}

/// Many depend on x, which fails: they are failed some thousands in a step.
fn in_a_cascade(then: Command) -> Core {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    let mut core = std::mem::replace(&mut scene.core, Scene::new().core);
    let mut number = 100;
    let mut ask = |core: &mut Core, connection, command| {
        number += 1;
        core.request(ConnectionId(connection), number, Request::Command(command), &mut Output::default());
    };
    ask(&mut core, client, submit("x"));
    (0..5_000).for_each(|n| ask(&mut core, client, submit_on(&format!("d{n}"), &["x"])));
    match then {
        Command::Fail { .. } => ask(&mut core, worker, then),
        then => ask(&mut core, client, then),
    }
    assert!(core.has_more_upkeep(), "not all have failed yet");
    ask(&mut core, client, retry(id("x")));
    while core.has_more_upkeep() {
        core.tick(1, &mut Output::default());
    }
    core
}

#[test]
fn a_retry_while_those_that_need_it_are_still_being_failed_lets_the_rest_wait_again() {
    for then in [fail("x", 1), Command::Cancel { task: id("x") }] {
        let core = in_a_cascade(then);
        core.check();
        let state = core.state();
        assert!(state.doomed.is_empty() && state.counts.pending > 0 && state.counts.failed > 4_000);
    }
}

/// A log of task events, one batch for each part, some of them lost, written by this version of the store.
fn log_of(version: u16, parts: &[(bool, Vec<TaskEvent>)]) -> Memory {
    let log = Memory::new();
    let epoch = log.begin_epoch().expect("a log in memory takes it");
    let mut offset = 0;
    for (number, (is_lost, events)) in (1..).zip(parts) {
        let mut open = OpenBatch::new(LogId::TASKS, offset, 0);
        events.iter().for_each(|event| assert!(open.push(event, false)));
        offset += events.len() as u64;
        let mut batch = open.seal(Seq(number), epoch, 0);
        if *is_lost {
            batch = Batch::lost(*batch.header(), "on purpose");
        }
        let batches = vec![of_version(&batch, version)];
        log.append(&Commit { seq: Seq(number), epoch, batches }).expect("a log in memory takes it");
        log.flush().expect("a log in memory takes it");
    }
    log
}

/// A batch as this version of the store wrote it: `src/protocol/batch.rs` says where its version and its checksum are.
fn of_version(batch: &Batch, version: u16) -> Batch {
    let mut bytes = batch.bytes().to_vec();
    bytes[4..6].copy_from_slice(&version.to_le_bytes());
    let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..64]), &bytes[68..]);
    bytes[64..68].copy_from_slice(&sum.to_le_bytes());
    Batch::read(bytes).expect("its checksum fits")
}

fn origin(number: u64) -> Origin {
    Origin { producer: Producer(1), number }
}

fn opened() -> Vec<TaskEvent> {
    let kinds = [SessionKind::Client, SessionKind::Worker { name: "w".into() }];
    let open = |(number, kind): (u8, SessionKind)| TaskEvent::SessionOpened {
        producer: Producer(number.into()),
        session: SessionId([number; 16]),
        kind,
        lease_ms: 1_000,
    };
    (1..).zip(kinds).map(open).collect()
}

fn submitted(name: &str, on: &[&str]) -> TaskEvent {
    let on = on.iter().map(|name| Argument::Future(id(name))).collect();
    TaskEvent::Submitted { origin: origin(1), submission: submission(name, on) }
}

fn started(name: &str) -> TaskEvent {
    TaskEvent::Started { task: id(name), attempt: AttemptNumber(1), worker: Producer(2) }
}

fn failed(name: &str) -> TaskEvent {
    let error = Box::new(TaskError::new(ErrorKind::Returned, "boom", vec![]));
    TaskEvent::Failed { task: id(name), error }
}

const NEWEST: u16 = headwater::protocol::version::STORE_VERSION;

#[test]
fn a_start_behind_a_retry_in_a_cascade_goes_on_with_it() {
    let mut events = opened();
    events.extend([submitted("x", &[]), submitted("y", &["x"]), submitted("z", &["x"]), started("x")]);
    events.extend([failed("x"), failed("y"), TaskEvent::Renewed { origin: origin(8), tasks: vec![id("x")] }]);
    let log = log_of(NEWEST, &[(false, events)]);
    let state = recovery::recover(&log, &mut |_| Ok(())).unwrap().state;
    let mut core = Core::new(state, Settings::default(), LogFacts::default(), 0);
    core.recovered(&mut Output::default());
    core.check();
    assert!(matches!(core.state().tasks[&id("z")].phase, Phase::Waiting { missing: 1 }));
}

#[test]
fn under_an_older_version_what_failed_let_go_of_what_it_needed() {
    let result = TaskResult::Inline(number(7));
    let mut events = opened();
    events.extend([submitted("d", &[]), submitted("t", &["d"]), started("d")]);
    events.push(TaskEvent::Finished { task: id("d"), attempt: AttemptNumber(1), result });
    events.extend([started("t"), failed("t")]);
    events.push(TaskEvent::Released { origin: origin(9), tasks: vec![id("d")] });
    // So that it was forgotten, and the same call was another task.
    events.extend([TaskEvent::Forgotten { task: id("d") }, submitted("d", &[])]);
    let log = log_of(5, &[(false, events)]);
    let state = recovery::fold(&log).unwrap();
    state.check();
    assert!(!state.failed_lose_calls && state.tasks[&id("t")].call.is_none());
    let mut scene = Scene::new();
    scene.core = Core::new(state, Settings::default(), LogFacts::default(), 0);
    let mut out = Output::default();
    let hello =
        Hello { token: None, session: SessionId([9; 16]), resume: false, role: Role::Client, seen: None };
    scene.core.connect(ConnectionId(1), &hello, &mut out);
    out.effects.clear();
    scene.core.request(ConnectionId(1), 1, Request::Command(retry(id("t"))), &mut out);
    let told = format!("{:?}", out.effects);
    assert!(told.contains("ended under an older version"), "{told}");
}

#[test]
fn behind_lost_records_what_it_needs_may_be_submitted_anew_and_it_is_told() {
    let parts = [(false, opened()), (true, vec![submitted("d", &[])]), (false, vec![submitted("t", &["d"])])];
    let state = recovery::recover(&log_of(NEWEST, &parts), &mut |_| Ok(())).unwrap().state;
    let (mut core, mut out) =
        (Core::new(state, Settings::default(), LogFacts::default(), 0), Output::default());
    core.recovered(&mut out);
    for (session, role) in [(1, Role::Client), (2, worker("w", 2, vec![]))] {
        let hello = Hello { token: None, session: SessionId([session; 16]), resume: false, role, seen: None };
        core.connect(ConnectionId(session.into()), &hello, &mut out);
    }
    for (number, command) in [(50, submit("d")), (51, retry(id("t")))] {
        core.request(ConnectionId(1), number, Request::Command(command), &mut out);
    }
    let attempt = core.state().tasks[&id("d")].attempt.0;
    core.request(ConnectionId(2), 50, Request::Command(finish("d", attempt, 7)), &mut out);
    core.check();
    assert!(matches!(core.state().tasks[&id("t")].phase, Phase::Running { .. }));
}

#[test]
fn what_it_needs_is_found_behind_a_result_that_is_lost_too() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 4));
    let result = StoredResult { codec: Codec::Raw, bytes: 1 << 20, digest: Digest(7) };
    let store = |name| Command::Store { task: id(name), attempt: AttemptNumber(1), result };
    scene.ask(client, submit("e"));
    scene.ask(client, submit_on("d", &["e"]));
    scene.ask(worker, store("e"));
    scene.ask(worker, store("d"));
    scene.ask(client, submit_on("t", &["d"]));
    scene.ask(worker, fail("t", 1));
    scene.ask(client, release("d"));
    scene.leave(worker);
    let worker = scene.worker(3, "v", 4);
    scene.ask(worker, fail("e", 2));
    scene.told();
    scene.ask(client, retry(id("t")));
    let told = scene.told();
    assert_eq!(told[..2], ["renewed e t", "reopened d"], "{told:#?}");
    assert!(!told.iter().any(|line| line.starts_with("failed")), "{told:#?}");
}
