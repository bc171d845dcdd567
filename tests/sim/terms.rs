//! Terms: how long a task waits between attempts, and how long it may take.

use std::collections::BTreeMap;

use fastrand::Rng;
use headwater::log::{Log, Memory};
use headwater::protocol::command::Command;
use headwater::protocol::result::StoredResult;
use headwater::protocol::task::{Argument, ErrorKind, TaskStatus};
use headwater::protocol::terms::{Backoff, Tag, Term, Terms};
use headwater::protocol::{AttemptNumber, Codec, Digest, LogId, Submission, TaskEvent, TaskId, TimeMs};
use headwater::scheduler::core::{Phase, State};
use headwater::scheduler::{ConnectionId, Request};

use crate::grants;
use crate::scene::*;

/// Those of a task of the simulator: none, mostly.
pub fn some(rng: &mut Rng) -> Terms {
    let mut terms = Terms::default();
    if rng.bool() {
        grants::some(rng).into_iter().for_each(|term| terms.set(term));
    }
    if rng.u8(..4) > 0 {
        return terms;
    }
    if rng.bool() {
        let (first_ms, factor, max_ms) = (rng.u64(..50), rng.u32(1..4), rng.u64(..200));
        terms.set(Term::Backoff(Backoff { first_ms, factor, max_ms, is_jittered: rng.bool() }));
    }
    if rng.u8(..3) == 0 {
        terms.set(Term::Deadline { ms: rng.u64(1..2_000) });
    }
    if rng.bool() {
        terms.set(Term::Timeout { ms: rng.u64(1..100) });
    }
    if rng.bool() {
        terms.set(Term::Tag(Tag::new("simulated").expect("a good tag")));
    }
    terms
}

/// Panics if a task was tried again before its time, or failed for its deadline before that had passed, or is open behind
/// it when everything has come to rest.
pub fn audit(log: &Memory, state: &State, now: TimeMs) {
    let (mut waits, mut deadlines): (BTreeMap<TaskId, TimeMs>, BTreeMap<TaskId, TimeMs>) = Default::default();
    let mut of: BTreeMap<TaskId, u64> = BTreeMap::new();
    for batch in log.read(LogId::TASKS, 0, usize::MAX).expect("the log can be read") {
        let time_ms = batch.header().time_ms;
        for record in batch.records::<TaskEvent>() {
            match record.expect("records decode").1 {
                TaskEvent::SubmittedUnder { submission, terms, .. } => {
                    let deadline = terms.deadline_ms().map(|ms| (submission.key.id, time_ms + ms));
                    deadlines.extend(deadline);
                    of.remove(&submission.key.id);
                    of.extend(terms.deadline_ms().map(|ms| (submission.key.id, ms)));
                }
                TaskEvent::Submitted { submission, .. } => drop(of.remove(&submission.key.id)),
                TaskEvent::Renewed { tasks, .. } => {
                    deadlines.extend(tasks.iter().filter_map(|task| Some((*task, time_ms + of.get(task)?))));
                }
                TaskEvent::RetriedAfter { task, wait_ms, .. } => {
                    assert!(wait_ms > 0, "{task} waits for nothing");
                    waits.insert(task, time_ms + wait_ms);
                }
                TaskEvent::Awaited { task } => {
                    let due = waits.remove(&task);
                    assert!(
                        due.is_some_and(|due| due <= time_ms),
                        "{task} waited until {due:?}, not {time_ms}"
                    );
                }
                TaskEvent::Started { task, .. } | TaskEvent::StartedWith { task, .. } => {
                    assert!(!waits.contains_key(&task), "{task} was to wait")
                }
                TaskEvent::Failed { task, error } => {
                    let deadline = deadlines.remove(&task);
                    if error.kind == ErrorKind::DeadlinePassed {
                        assert!(deadline.is_some_and(|deadline| deadline <= time_ms), "{task}: {deadline:?}");
                    }
                    waits.remove(&task);
                }
                TaskEvent::Finished { task, .. }
                | TaskEvent::CancelledBy { task, .. }
                | TaskEvent::Forgotten { task } => {
                    deadlines.remove(&task);
                    waits.remove(&task);
                }
                _ => {}
            }
        }
    }
    for (id, task) in state.tasks.iter().filter(|(_, task)| task.phase.is_open()) {
        let past = deadlines.get(id).filter(|deadline| **deadline < now);
        assert_eq!(past, None, "{id} is open at {now}: {task:?}");
    }
}

fn submit_under(submission: Submission, terms: &[Term]) -> Command {
    Command::SubmitUnder { submission, terms: Terms(terms.to_vec()) }
}

fn retried(name: &str, retries: u32, terms: &[Term]) -> Command {
    let mut submission = submission(name, vec![]);
    submission.options.retries = retries;
    submit_under(submission, terms)
}

const DOUBLING: Term = Term::Backoff(Backoff { first_ms: 10, factor: 2, max_ms: 15, is_jittered: false });

#[test]
fn an_attempt_that_failed_is_followed_by_the_next_one_when_its_time_has_come() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, retried("x", 3, &[DOUBLING]));
    scene.ask(client, submit("next"));
    scene.told();
    scene.pass(5);
    scene.ask(worker, fail("x", 1));
    // Its slot is another one's meanwhile.
    scene.then(&[
        "retried x 10 ms after attempt 1",
        "started next attempt 1 on 2",
        "→ to 2: reported",
        "→ to 2: run next attempt 1 ()",
    ]);
    scene.ask(worker, finish("next", 1, 7));
    scene.told();
    assert_eq!(scene.core.next_deadline(), Some(15));
    let info = scene.task(client, "x");
    assert_eq!((info.status, info.next_attempt_at), (TaskStatus::Pending, Some(15)));
    assert_eq!(info.waits_for.as_deref(), Some("its next attempt, since attempt 1 has failed"));
    scene.pass(9);
    scene.then(&[]);
    scene.pass(1);
    scene.then(&["awaited x", "started x attempt 2 on 2", "→ to 2: run x attempt 2 ()"]);
    // Twice as long, and no more than the cap.
    scene.ask(worker, fail("x", 2));
    scene.then(&["retried x 15 ms after attempt 2", "→ to 2: reported"]);
    scene.pass(15);
    scene.told();
    scene.ask(worker, finish("x", 3, 7));
    scene.then(&["finished x attempt 3", "→ to 2: reported"]);
    assert_eq!(scene.core.state().moments.next(), None);
}

#[test]
fn a_wait_goes_on_over_a_restart_of_the_scheduler_and_so_does_a_deadline() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, retried("x", 3, &[DOUBLING]));
    scene.ask(client, retried("late", 0, &[Term::Deadline { ms: 400 }]));
    scene.ask(worker, fail("x", 1));
    scene.told();
    scene.pass(6);
    scene.restart();
    scene.told();
    assert_eq!(scene.core.state().moments.next(), Some(10), "it does not begin anew");
    scene.pass(4);
    assert!(scene.told().contains(&"awaited x".to_owned()));
    // The scheduler is away when it passes.
    scene.restart();
    scene.told();
    scene.pass(500);
    let told = scene.told();
    let failed = "failed late: it was not done within its deadline of 400 ms: attempt 1 was under way";
    assert!(told.contains(&failed.to_owned()), "{told:?}");
}

#[test]
fn a_task_that_waits_for_its_next_attempt_can_be_cancelled() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, retried("x", 3, &[DOUBLING]));
    scene.ask(worker, fail("x", 1));
    scene.told();
    scene.ask(client, Command::Cancel { task: id("x") });
    scene.then(&["cancelled x", "→ to 1: ended: cancelled"]);
    scene.pass(20);
    scene.then(&[]);
}

#[test]
fn a_deadline_passes_wherever_the_task_stands() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    let soon = Term::Deadline { ms: 100 };
    let on = |name, needed| submission(name, vec![Argument::Future(id(needed))]);
    scene.ask(client, open("a"));
    scene.ask(
        client,
        retried(
            "failing",
            9,
            &[
                soon.clone(),
                Term::Backoff(Backoff { first_ms: 500, factor: 1, max_ms: 500, is_jittered: false }),
            ],
        ),
    );
    scene.ask(worker, fail("failing", 1));
    scene.ask(client, submit_under(submission("running", vec![]), std::slice::from_ref(&soon)));
    scene.ask(client, submit_under(submission("ready", vec![]), std::slice::from_ref(&soon)));
    scene.ask(client, submit_under(on("waiting", "running"), std::slice::from_ref(&soon)));
    scene.ask(client, submit("other"));
    scene.ask(client, append(1, "running"));
    scene.step(|core, out| core.request(ConnectionId(client), 99, Request::Watch(vec![id("running")]), out));
    scene.told();
    assert_eq!(scene.task(client, "ready").deadline_at, Some(100));
    scene.pass(99);
    scene.then(&[]);
    scene.pass(1);
    let told = scene.told();
    let failed = |name: &str, why: &str| {
        let words = format!("failed {name}: it was not done within its deadline of 100 ms: {why}");
        assert!(told.contains(&words), "{words} in {told:#?}");
    };
    failed("failing", "it waited for its next attempt, after attempt 1 had failed");
    failed("running", "attempt 1 was under way");
    failed("ready", "it waited for a worker");
    for expected in [
        "→ to 2: abort running attempt 1",
        "started other attempt 1 on 2",
        "a: running failed: it was not done within its deadline of 100 ms: attempt 1 was under way",
    ] {
        assert!(told.contains(&expected.to_owned()), "{expected} in {told:#?}");
    }
    let watched =
        "→ to 1: running failed: it was not done within its deadline of 100 ms: attempt 1 was under way";
    assert!(told.contains(&watched.to_owned()), "{told:#?}");
    assert!(told.iter().any(|line| line.starts_with("failed waiting: ")), "{told:#?}");
    // What comes of it is of no interest any more.
    scene.ask(worker, finish("running", 1, 7));
    scene.then(&["→ to 2: reported"]);
    assert_eq!(scene.core.state().moments.next(), None);
}

#[test]
fn a_deadline_that_is_kept_means_nothing() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.told();
    scene.ask(
        client,
        submit_under(submission("x", vec![]), &[Term::Deadline { ms: 100 }, Term::Timeout { ms: 30 }]),
    );
    scene.then(&[
        "submitted x",
        "started x attempt 1 on 2",
        "→ to 1: submitted",
        "→ to 2: run x attempt 1 () within 30 ms",
    ]);
    scene.ask(worker, finish("x", 1, 7));
    scene.told();
    scene.pass(100);
    scene.then(&[]);
    // Of one that is forgotten nothing is left, either.
    scene.ask(client, release("x"));
    scene.ask(client, submit_under(submission("y", vec![]), &[Term::Deadline { ms: 100 }]));
    scene.ask(client, release("y"));
    scene.told();
    assert_eq!(scene.core.state().moments.next(), None);
    scene.pass(100);
    scene.then(&[]);
}

#[test]
fn while_it_waits_what_it_needs_may_be_lost_and_fail() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, submit("large"));
    let result = StoredResult { codec: Codec::Raw, bytes: 1 << 20, digest: Digest(7) };
    scene.ask(worker, Command::Store { task: id("large"), attempt: AttemptNumber(1), result });
    let needs = Argument::Future(id("large"));
    let mut needing = submission("x", vec![needs]);
    needing.options.retries = 1;
    scene.ask(client, submit_under(needing, &[DOUBLING]));
    scene.ask(worker, fail("x", 1));
    scene.told();
    scene.leave(worker);
    let worker = scene.worker(3, "v", 1);
    assert!(scene.told().contains(&"started large attempt 2 on 3".to_owned()));
    scene.pass(10);
    scene.then(&["awaited x"]);
    assert!(matches!(scene.core.state().tasks[&id("x")].phase, Phase::Waiting { missing: 1 }));
    scene.ask(worker, fail("large", 2));
    let told = scene.told();
    assert!(told.iter().any(|line| line.starts_with("failed x: dependency large-")), "{told:?}");
}

#[test]
fn terms_that_make_no_sense_are_refused_and_those_of_a_task_that_is_there_stay() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.told();
    scene.ask(client, retried("x", 0, &[Term::Timeout { ms: 0 }]));
    let told = scene.told();
    assert!(told[0].contains("the timeout of an attempt, in ms, is 0: give one from 1 to "), "{told:?}");
    scene.ask(client, retried("x", 0, &[Term::Deadline { ms: 100 }]));
    scene.ask(client, retried("x", 0, &[Term::Deadline { ms: 5 }]));
    scene.then(&["submitted x", "→ to 1: submitted", "held x by 1", "→ to 1: submitted"]);
    assert_eq!(scene.task(client, "x").deadline_at, Some(100));
    // None are as good as no terms.
    scene.ask(client, retried("y", 0, &[]));
    scene.then(&["submitted y", "→ to 1: submitted"]);
    assert_eq!(scene.core.state().tasks[&id("y")].conditions, None);
}
