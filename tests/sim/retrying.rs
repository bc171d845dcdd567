//! Trying again what has failed.

use headwater::protocol::TaskId;
use headwater::protocol::command::Command;
use headwater::protocol::task::TaskStatus;
use headwater::protocol::terms::{Term, Terms};
use headwater::scheduler::core::Phase;

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
