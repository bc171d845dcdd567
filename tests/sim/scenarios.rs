//! Given, when, then: what the core makes of a few commands, as readable lines. After every step the
//! invariants are checked, and the logs so far are folded anew, each on its own: the state must be the
//! same.

use headwater::protocol::command::Command;
use headwater::protocol::session::{HeldAttempt, Role};
use headwater::protocol::task::Argument;
use headwater::protocol::{AttemptNumber, Element, Elements, LogId, Payload};
use headwater::scheduler::{ConnectionId, Request};

use crate::scene::*;

#[test]
fn a_task_runs_and_its_watcher_hears_of_it() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.told();
    scene.ask(client, submit("x"));
    scene.then(&[
        "submitted x",
        "started x attempt 1 on 2",
        "→ to 1: submitted",
        "→ to 2: run x attempt 1 ()",
    ]);
    scene.step(|core, out| core.request(ConnectionId(client), 2, Request::Watch(vec![id("x")]), out));
    scene.ask(worker, finish("x", 1, 7));
    scene.then(&["finished x attempt 1", "→ to 1: x finished with 7", "→ to 2: reported"]);
    scene.ask(client, release("x"));
    scene.then(&["released x by 1", "forgotten x", "→ to 1: released"]);
}

#[test]
fn a_dependent_waits_and_gets_the_result() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, submit("x"));
    scene.ask(client, submit_on("y", &["x", "x"]));
    scene.ask(client, release("x"));
    scene.told();
    scene.ask(worker, finish("x", 1, 7));
    scene.then(&[
        "finished x attempt 1",
        "started y attempt 1 on 2",
        "→ to 2: reported",
        "→ to 2: run y attempt 1 (7, 7)",
    ]);
    scene.ask(worker, finish("y", 1, 8));
    scene.then(&["finished y attempt 1", "forgotten x", "→ to 2: reported"]);
}

#[test]
fn a_failure_reaches_everyone_behind_it_by_name() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, submit("x"));
    scene.ask(client, submit_on("y", &["x"]));
    scene.ask(client, submit_on("z", &["y"]));
    scene.told();
    scene.ask(worker, fail("x", 1));
    let told = scene.told();
    assert_eq!(told[0], "failed x: boom: spark");
    assert!(
        told[1].starts_with("failed y: dependency x-") && told[1].ends_with("failed: boom: spark"),
        "{told:?}"
    );
    assert!(told[2].starts_with("failed z: dependency y-") && told[2].contains("through x-"), "{told:?}");
    scene.ask(client, submit_on("late", &["y"]));
    assert!(
        scene.told()[1].starts_with("failed late: dependency y-"),
        "one that is submitted later fails at once"
    );
}

#[test]
fn a_task_with_retries_is_tried_again() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    let mut once_more = submission("x", vec![]);
    once_more.options.retries = 1;
    scene.ask(client, Command::Submit(once_more));
    scene.told();
    scene.ask(worker, fail("x", 1));
    scene.then(&[
        "retried x after attempt 1",
        "started x attempt 2 on 2",
        "→ to 2: reported",
        "→ to 2: run x attempt 2 ()",
    ]);
    scene.ask(worker, fail("x", 1));
    scene.then(&["→ to 2: reported"]);
    scene.ask(worker, fail("x", 2));
    scene.then(&["failed x: boom: spark", "→ to 2: reported"]);
}

#[test]
fn priority_goes_first_then_age() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    for (name, priority) in [("old", 0), ("young", 0), ("urgent", 5), ("idle", -5)] {
        let mut submission = submission(name, vec![]);
        submission.options.priority = priority;
        scene.ask(client, Command::Submit(submission));
    }
    scene.told();
    let worker = scene.worker(2, "w", 1);
    for name in ["urgent", "old", "young", "idle"] {
        assert!(
            scene.told().iter().any(|line| line.starts_with(&format!("started {name} "))),
            "{name} is next"
        );
        scene.ask(worker, finish(name, 1, 0));
    }
}

#[test]
fn a_command_that_comes_again_finds_its_first_answer() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.ask(client, open("a"));
    let submitted = scene.ask(client, submit("x"));
    let appended = scene.ask(client, append_value(1, 5));
    let released = scene.ask(client, release("x"));
    scene.drop_connection(client);
    let client = scene.connect(1, true, Role::Client);
    scene.told();
    scene.ask_again(client, submitted, submit("x"));
    scene.ask_again(client, appended, append_value(1, 5));
    scene.ask_again(client, released, release("x"));
    scene.then(&["→ to 2: submitted", "→ to 2: appended", "→ to 2: released"]);
    scene.restart();
    let client = scene.connect(1, true, Role::Client);
    scene.told();
    scene.ask_again(client, submitted, submit("x"));
    scene.ask_again(client, appended, append_value(1, 5));
    scene.then(&["→ to 3: submitted", "→ to 3: appended"]);
    assert_eq!(scene.core.state().channels[&LogId(1)].elements, 1);
}

#[test]
fn a_channel_tells_all_that_happens_to_its_futures() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, open("a"));
    scene.ask(client, submit("x"));
    scene.told();
    scene.ask(client, append(1, "x"));
    scene.then(&["a: future x", "a: x started, attempt 1 on w", "→ to 1: appended"]);
    scene.ask(worker, finish("x", 1, 7));
    scene.then(&["finished x attempt 1", "a: x finished with 7", "→ to 2: reported"]);
    scene.ask(client, append(1, "x"));
    scene.then(&["a: future x", "a: x finished with 7", "→ to 1: appended"]);
    scene.leave(client);
    scene.then(&["session 1 ended: it left"]);
    assert!(scene.core.state().tasks.contains_key(&id("x")), "the channel keeps what is on it");
}

#[test]
fn a_stopped_channel_refuses_elements_and_takes_progress() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, open("a"));
    scene.ask(client, submit("x"));
    scene.ask(client, append(1, "x"));
    scene.ask(client, Command::Stop { log: LogId(1) });
    scene.told();
    scene.ask(client, Command::Stop { log: LogId(1) });
    scene.then(&["→ to 1: stopped"]);
    scene.ask(client, append_value(1, 1));
    scene.then(&["→ to 1: refused: channel `a` is stopped at 1 element: append to another one, or let it go on with `headwater channel resume`"]);
    scene.ask(worker, finish("x", 1, 7));
    scene.then(&["finished x attempt 1", "a: x finished with 7", "→ to 2: reported"]);
}

#[test]
fn the_running_task_of_a_lost_worker_starts_anew_after_its_lease() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    scene.ask(client, submit("x"));
    scene.worker(3, "two", 1);
    scene.drop_connection(one);
    scene.told();
    scene.pass(9_999);
    scene.then(&[]);
    scene.pass(1);
    scene.then(&[
        "session 2 ended: it was not heard of for its lease",
        "died x attempt 1 with one",
        "requeued x after attempt 1",
        "started x attempt 2 on 3",
        "→ to 3: run x attempt 2 ()",
    ]);
    let back = scene.connect(2, true, worker("one", 1, vec![]));
    assert_eq!(back, 4);
    scene.then(&["→ close 4: the session has ended because it was not heard of for its lease: connect again to get a new one"]);
}

#[test]
fn after_a_restart_a_worker_that_still_runs_a_task_goes_on_with_it() {
    let mut scene = Scene::new();
    let (client, _) = (scene.client(1), scene.worker(2, "w", 2));
    scene.ask(client, submit("x"));
    scene.ask(client, submit("y"));
    scene.restart();
    scene.told();
    // It has x, and never got y.
    let held = vec![HeldAttempt { task: id("x"), attempt: AttemptNumber(1) }];
    let back = scene.connect(2, true, worker("w", 2, held));
    scene.then(&["→ accept 3", "→ to 3: run y attempt 1 ()"]);
    scene.ask(back, finish("x", 1, 7));
    scene.then(&["finished x attempt 1", "→ to 3: reported"]);
}

#[test]
fn a_worker_that_comes_back_is_told_what_nobody_wants_any_more() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 2));
    scene.ask(client, submit("x"));
    scene.ask(client, submit("y"));
    scene.drop_connection(worker);
    scene.ask(client, release("x"));
    scene.told();
    let attempt = AttemptNumber(1);
    let held = ["x", "y"].map(|name| HeldAttempt { task: id(name), attempt }).to_vec();
    scene.connect(2, true, crate::scene::worker("w", 2, held));
    let told = scene.told();
    assert!(told.len() == 2 && told[1].starts_with("→ to 3: abort "), "x, and not y: {told:?}");
}

#[test]
fn only_the_worker_that_was_given_an_attempt_reports_it() {
    let mut scene = Scene::new();
    let (client, worker, other) = (scene.client(1), scene.worker(2, "w", 1), scene.worker(3, "other", 1));
    scene.ask(client, submit("x"));
    scene.told();
    for connection in [other, client] {
        scene.ask(connection, finish("x", 1, 6));
        scene.ask(connection, fail("x", 1));
        let reported = format!("→ to {connection}: reported");
        scene.then(&[&reported, &reported]);
    }
    scene.ask(worker, finish("x", 1, 7));
    scene.then(&["finished x attempt 1", "→ to 2: reported"]);
}

#[test]
fn while_the_scheduler_stands_still_nobodys_lease_runs() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    scene.ask(client, submit("x"));
    scene.drop_connection(one);
    scene.pass(4_000);
    scene.stand_still(60_000);
    scene.told();
    scene.pass(5_999);
    scene.then(&[]);
    scene.pass(1);
    assert_eq!(scene.told()[0], "session 2 ended: it was not heard of for its lease");
}

#[test]
fn a_worker_takes_the_place_of_its_namesake() {
    let mut scene = Scene::new();
    let (client, _) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, submit("x"));
    scene.told();
    scene.worker(3, "w", 1);
    scene.then(&[
        "session 2 ended: another worker joined under its name",
        "died x attempt 1 with w",
        "requeued x after attempt 1",
        "session 3 of worker w",
        "started x attempt 2 on 3",
        "→ close 2: the session has ended because another worker joined under its name: connect again to get a new one",
        "→ accept 3",
        "→ to 3: run x attempt 2 ()",
    ]);
}

#[test]
fn an_older_attempt_is_fenced() {
    let mut scene = Scene::new();
    let (client, _) = (scene.client(1), scene.worker(2, "one", 1));
    scene.ask(client, open("adds"));
    scene.ask(client, submit("combine"));
    let first = Role::Attempt { task: id("combine"), attempt: AttemptNumber(1) };
    let inside = scene.connect(3, false, first.clone());
    scene.ask(inside, append_value(1, 1));
    // Its worker is replaced while the attempt lives on behind a slow network.
    let two = scene.worker(4, "one", 1);
    assert!(scene.told().contains(&"started combine attempt 2 on 4".to_owned()));
    scene.ask(inside, append_value(1, 2));
    scene.then(&[]);
    scene.connect(3, true, first.clone());
    let told = scene.told();
    assert!(
        told[0].starts_with("→ close 5: attempt 1 of task") && told[0].ends_with("is refused"),
        "{told:?}"
    );
    scene.connect(6, false, first);
    assert!(scene.told()[0].starts_with("→ close 6: attempt 1 of task"), "not under another session either");
    assert_eq!(scene.core.state().channels[&LogId(1)].elements, 1);
    scene.connect(7, false, Role::Attempt { task: id("combine"), attempt: AttemptNumber(2) });
    scene.told();
    scene.ask(two, finish("combine", 2, 0));
    scene.then(&[
        "finished combine attempt 2",
        "session 5 ended: the attempt that it belonged to is over",
        "→ to 4: reported",
        "→ close 7: the session has ended because the attempt that it belonged to is over: connect again to get a new one",
    ]);
}

#[test]
fn a_task_that_waits_as_a_client_gives_up_its_slot() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    let worker = scene.worker(2, "w", 1);
    scene.ask(client, submit("outer"));
    scene.ask(client, submit("inner"));
    scene.told();
    let attempt = AttemptNumber(1);
    scene.connect(3, false, Role::Attempt { task: id("outer"), attempt });
    scene.then(&["session 3 of attempt 1 at outer", "→ accept 3"]);
    scene.ask(worker, Command::Occupy { task: id("outer"), attempt, occupies: false });
    scene.then(&["started inner attempt 1 on 2", "→ to 2: reported", "→ to 2: run inner attempt 1 ()"]);
}

#[test]
fn a_task_that_was_forgotten_and_submitted_again_is_fenced_from_its_former_attempts() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, submit("x"));
    scene.ask(client, release("x"));
    scene.told();
    scene.ask(client, submit("x"));
    scene.then(&[
        "submitted x",
        "started x attempt 2 on 2",
        "→ to 1: submitted",
        "→ to 2: run x attempt 2 ()",
    ]);
    scene.restart();
    // The report of the former one was on its way, and what it spawned becomes a client.
    let held = vec![HeldAttempt { task: id("x"), attempt: AttemptNumber(1) }];
    let back = scene.connect(2, true, crate::scene::worker("w", 1, held));
    scene.told();
    scene.ask(worker, finish("x", 1, 6));
    scene.ask(back, finish("x", 1, 6));
    scene.then(&["→ to 3: reported"]);
    scene.connect(3, false, Role::Attempt { task: id("x"), attempt: AttemptNumber(1) });
    assert!(scene.told()[0].starts_with("→ close 4: attempt 1 of task"));
    scene.ask(back, finish("x", 2, 7));
    scene.then(&["finished x attempt 2", "→ to 3: reported"]);
}

#[test]
fn what_nobody_wants_any_more_is_forgotten_and_stopped() {
    let mut scene = Scene::new();
    let (client, _) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, submit("x"));
    scene.ask(client, submit_on("y", &["x"]));
    scene.told();
    scene.leave(client);
    scene.then(&["session 1 ended: it left", "forgotten y", "forgotten x", "→ to 2: abort x attempt 1"]);
}

#[test]
fn a_client_that_comes_back_in_its_lease_finds_everything_as_it_was() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.ask(client, submit("x"));
    scene.drop_connection(client);
    scene.pass(29_000);
    let client = scene.connect(1, true, Role::Client);
    scene.pass(60_000);
    assert!(scene.core.state().tasks.contains_key(&id("x")));
    scene.drop_connection(client);
    scene.told();
    scene.pass(30_000);
    scene.then(&["session 1 ended: it was not heard of for its lease", "forgotten x"]);
}

#[test]
fn a_detached_task_outlives_its_client() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    let mut detached = submission("x", vec![]);
    detached.options.detach = true;
    scene.ask(client, Command::Submit(detached));
    scene.told();
    scene.leave(client);
    scene.then(&["session 1 ended: it left"]);
}

#[test]
fn refusals_say_what_to_do() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.ask(client, submit("x"));
    scene.ask(client, open("a"));
    scene.told();
    let mut other = submission("x", vec![]);
    other.function = "rust:m::g".into();
    for (command, expected) in [
        (submit_on("y", &["gone"]), "is not known: nobody kept it, or it never was; submit it again"),
        (Command::Submit(other), "key `x` already names a task of `rust:m::f`: choose another key"),
        (open("$tasks"), "channel `$tasks` is the scheduler's own: it can be read, not written"),
        (append_value(0, 1), "channel `$tasks` is the scheduler's own: it can be read, not written"),
        (
            append_value(9, 1),
            "there is no channel with log 9: `headwater channel list` shows those there are",
        ),
        (append(1, "gone"), "is not known: nobody kept it, or it never was; submit it again"),
        (Command::append(LogId(1), Elements::default()), "an append needs at least one element"),
        (
            Command::append(LogId(1), vec![Element::Value(Payload::raw(vec![0; 61_441]))].into()),
            "the value is 61441, over the limit of 61440: append a path or a key to where the data lie",
        ),
        (
            Command::Submit(submission("y", vec![Argument::Value(Payload::raw(vec![0; 61_441]))])),
            "argument 1 is 61441, over the limit of 61440: pass a path or a key to where the data lie",
        ),
    ] {
        scene.ask(client, command);
        let told = scene.told();
        assert_eq!(told.len(), 1, "a refusal changes nothing: {told:?}");
        assert!(told[0].starts_with("→ to 1: refused: ") && told[0].ends_with(expected), "{told:?}");
    }
}
