//! Cancelling: a task ends where it is, and what needs it fails.

use headwater::protocol::Element;
use headwater::protocol::command::Command;
use headwater::protocol::{LogId, TaskId, TaskKey};
use headwater::scheduler::{ConnectionId, Request};

use crate::scene::*;

fn cancel(task: TaskId) -> Command {
    Command::Cancel { task }
}

#[test]
fn a_task_that_runs_is_aborted_and_its_slot_is_another_ones() {
    let mut scene = Scene::new();
    let (client, other, worker) = (scene.client(1), scene.client(2), scene.worker(3, "w", 1));
    scene.ask(client, submit("x"));
    scene.ask(client, submit("next"));
    scene.told();
    scene.step(|core, out| core.request(ConnectionId(client), 9, Request::Watch(vec![id("x")]), out));
    scene.told();
    // Whoever knows it may.
    scene.ask(other, cancel(id("x")));
    scene.then(&[
        "cancelled x",
        "started next attempt 1 on 3",
        "→ to 3: abort x attempt 1",
        "→ to 1: x cancelled",
        "→ to 2: ended: cancelled",
        "→ to 3: run next attempt 1 ()",
    ]);
    // Its outcome comes too late.
    scene.ask(worker, finish("x", 1, 7));
    scene.then(&["→ to 3: reported"]);
    scene.ask(client, release("x"));
    scene.then(&["released x by 1", "forgotten x", "→ to 1: released"]);
}

#[test]
fn what_needs_it_fails_by_name_and_its_channels_hear_of_it() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.ask(client, open("a"));
    scene.ask(client, submit("x"));
    scene.ask(client, submit_on("y", &["x"]));
    scene.ask(client, submit_on("z", &["y"]));
    scene.ask(client, Command::append(LogId(1), vec![Element::Future(TaskKey::named("x"))].into()));
    scene.told();
    // One that waits for another's result.
    scene.ask(client, cancel(id("z")));
    scene.then(&["cancelled z", "→ to 1: ended: cancelled"]);
    scene.ask(client, cancel(id("x")));
    let told = scene.told();
    assert_eq!(told[..2], ["cancelled x", "a: x cancelled"]);
    assert!(
        told[2].starts_with("failed y: dependency x-") && told[2].ends_with("it was cancelled"),
        "{told:?}"
    );
    scene.ask(client, submit_on("late", &["x"]));
    assert!(scene.told()[1].starts_with("failed late: dependency x-"));
}

#[test]
fn what_has_ended_stays_as_it_is_and_a_cancellation_that_comes_again_is_done_once() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.told();
    scene.ask(client, cancel(id("x")));
    let told = scene.told();
    assert!(told.len() == 1 && told[0].contains("is not known"), "{told:?}");
    scene.ask(client, submit("x"));
    scene.ask(worker, finish("x", 1, 7));
    scene.told();
    let late = scene.ask(client, cancel(id("x")));
    scene.then(&["→ to 1: ended: finished"]);
    scene.ask(client, submit("y"));
    scene.told();
    let done = scene.ask(client, cancel(id("y")));
    scene.told();
    scene.ask(client, release("x"));
    scene.ask(client, release("y"));
    scene.ask(client, submit("x"));
    scene.ask(client, submit("y"));
    scene.told();
    // Their answers were lost. The tasks of those names are others by now.
    scene.ask_again(client, done, cancel(id("y")));
    scene.then(&["→ to 1: ended: cancelled"]);
    scene.ask_again(client, late, cancel(id("x")));
    let told = scene.told();
    assert!(told.len() == 1 && told[0].contains("later ones of its session"), "{told:?}");
}
