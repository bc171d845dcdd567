//! How far tasks have come, as they say themselves.

use headwater::protocol::AttemptNumber;
use headwater::protocol::command::Command;
use headwater::protocol::limits::ADVANCE_BYTES_MAX;
use headwater::protocol::task::Advance;

use crate::scene::*;

fn advance(name: &str, attempt: u32, done: u64) -> Command {
    let advance = Advance::new(done, 10, "reading");
    Command::Advance { task: id(name), attempt: AttemptNumber(attempt), advance }
}

#[test]
fn it_is_on_the_tasks_channels_until_the_attempt_is_over() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, open("a"));
    scene.ask(client, submit("x"));
    scene.ask(client, append(1, "x"));
    scene.told();
    scene.ask(worker, advance("x", 1, 3));
    scene.then(&[
        "advanced x attempt 1: 3 of 10: reading",
        "a: x advanced: 3 of 10: reading",
        "→ to 2: reported",
    ]);
    assert_eq!(scene.task(client, "x").advance, Some(Advance::new(3, 10, "reading")));
    scene.ask(worker, fail("x", 1));
    scene.told();
    assert_eq!(scene.task(client, "x").advance, None);
    // It comes too late.
    scene.ask(worker, advance("x", 1, 4));
    scene.then(&["→ to 2: reported"]);
}

#[test]
fn what_an_older_attempt_or_another_worker_says_is_not_heard() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    let mut submission = submission("x", vec![]);
    submission.options.retries = 1;
    scene.ask(client, Command::Submit(submission));
    scene.ask(worker, fail("x", 1));
    scene.told();
    for (connection, attempt) in [(worker, 1), (client, 2), (worker, 3)] {
        scene.ask(connection, advance("x", attempt, 3));
        assert_eq!(scene.told().len(), 1, "an answer, and nothing else");
    }
    assert_eq!(scene.task(client, "x").advance, None);
}

#[test]
fn a_message_that_is_too_long_is_cut_and_with_little_room_nothing_is_written() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, submit("x"));
    let message = "m".repeat(ADVANCE_BYTES_MAX + 1).into();
    let long = Advance { done: 1, total: 0, message };
    scene.ask(worker, Command::Advance { task: id("x"), attempt: AttemptNumber(1), advance: long });
    let advance_now = scene.task(client, "x").advance.expect("it has said so");
    assert_eq!(advance_now.message.len(), ADVANCE_BYTES_MAX);
    scene.step(|core, out| core.free_space(Some(0), out));
    scene.told();
    scene.ask(worker, advance("x", 1, 9));
    scene.then(&["→ to 2: reported"]);
}
