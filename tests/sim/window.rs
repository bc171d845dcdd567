//! Workers that want more than they run at a time: who is given what, what comes back, and who is to blame.

use headwater::protocol::AttemptNumber;
use headwater::protocol::command::Command;
use headwater::protocol::session::Role;

use crate::scene::*;

fn window(attempts: u32) -> Command {
    Command::Window { attempts }
}

fn give_back(name: &str, attempt: u32) -> Command {
    Command::Return { task: id(name), attempt: AttemptNumber(attempt) }
}

/// Who was given what, of the lines since last time: `a on 2`.
fn given(scene: &mut Scene) -> Vec<String> {
    let told = scene.told();
    let started = told.iter().filter_map(|line| line.strip_prefix("started "));
    started.map(|line| line.replace(" attempt 1", "").replace(" attempt 2", "")).collect()
}

fn submit_all(scene: &mut Scene, client: u64, names: &[&str]) {
    for name in names {
        scene.ask(client, submit(name));
    }
}

#[test]
fn free_slots_come_first_and_then_those_who_want_more() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    scene.worker(3, "two", 1);
    scene.ask(one, window(3));
    scene.told();
    submit_all(&mut scene, client, &["a", "b", "c", "d", "e"]);
    assert_eq!(given(&mut scene), ["a on 2", "b on 3", "c on 2", "d on 2"]);
    // It wants no more than it runs, and keeps what it has.
    scene.ask(one, window(0));
    scene.then(&["→ to 2: reported"]);
    scene.ask(one, finish("a", 1, 7));
    scene.ask(one, finish("c", 1, 7));
    assert_eq!(given(&mut scene), Vec::<String>::new());
    scene.ask(one, finish("d", 1, 7));
    assert_eq!(given(&mut scene), ["e on 2"]);
}

#[test]
fn a_worker_says_it_on_each_connection_and_not_when_it_retires() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    scene.ask(one, window(9));
    scene.drop_connection(one);
    let one = scene.connect(2, true, worker("one", 1, vec![]));
    scene.told();
    submit_all(&mut scene, client, &["a", "b"]);
    assert_eq!(given(&mut scene), ["a on 2"]);
    scene.ask(one, Command::Retire);
    scene.ask(one, window(9));
    assert_eq!(given(&mut scene), Vec::<String>::new());
}

#[test]
fn what_is_given_back_is_run_by_others() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    scene.ask(one, window(3));
    submit_all(&mut scene, client, &["a", "b", "c"]);
    scene.worker(3, "two", 1);
    scene.ask(one, window(1));
    scene.told();
    scene.ask(one, give_back("b", 1));
    scene.then(&[
        "returned b attempt 1",
        "started b attempt 2 on 3",
        "→ to 2: reported",
        "→ to 3: run b attempt 2 ()",
    ]);
    // What is over is not given back.
    scene.ask(one, give_back("b", 1));
    scene.then(&["→ to 2: reported"]);
    scene.ask(one, give_back("c", 1));
    scene.then(&["returned c attempt 1", "→ to 2: reported"]);
    assert_eq!(scene.core.state().tasks[&id("c")].call.as_ref().map(|call| call.failures), Some(0));
}

#[test]
fn what_waited_for_its_turn_is_not_to_blame_for_a_death() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 2));
    scene.ask(one, window(9));
    submit_all(&mut scene, client, &["a", "b", "c", "d"]);
    // The first is over, so the third has begun.
    scene.ask(one, finish("a", 1, 7));
    scene.told();
    scene.drop_connection(one);
    scene.pass(10_000);
    let mut told = scene.told();
    told.sort();
    assert_eq!(
        told,
        [
            "died b attempt 1 with one",
            "died c attempt 1 with one",
            "requeued b after attempt 1",
            "requeued c after attempt 1",
            "requeued d after attempt 1",
            "session 2 ended: it was not heard of for its lease",
        ]
    );
}

#[test]
fn a_client_takes_no_slot_and_may_be_to_blame() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    scene.ask(one, window(9));
    submit_all(&mut scene, client, &["a", "b", "c"]);
    scene.connect(4, false, Role::Attempt { task: id("a"), attempt: AttemptNumber(1) });
    scene.told();
    scene.drop_connection(one);
    scene.pass(10_000);
    let told = scene.told();
    let died: Vec<_> = told.iter().filter(|line| line.starts_with("died")).collect();
    assert_eq!(died.len(), 2, "{died:?}");
    assert!(!died.iter().any(|line| line.starts_with("died c")), "{died:?}");
}

#[test]
fn who_has_paused_leaves_its_slot_to_one_that_may_be_to_blame() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    submit_all(&mut scene, client, &["a", "b"]);
    // It kept its slot for a while, or its session is over: it is no client.
    scene.ask(one, Command::Occupy { task: id("a"), attempt: AttemptNumber(1), occupies: false });
    assert_eq!(given(&mut scene), ["a on 2", "b on 2"]);
    scene.drop_connection(one);
    scene.pass(10_000);
    let told = scene.told();
    let died: Vec<_> = told.iter().filter(|line| line.starts_with("died")).collect();
    assert_eq!(died.len(), 2, "{told:?}");
}

#[test]
fn a_client_takes_no_slot_only_while_its_worker_says_that_it_waits() {
    let occupy =
        |name: &str, occupies| Command::Occupy { task: id(name), attempt: AttemptNumber(1), occupies };
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    submit_all(&mut scene, client, &["a", "b", "c"]);
    assert_eq!(given(&mut scene), ["a on 2"]);
    let attempt = Role::Attempt { task: id("a"), attempt: AttemptNumber(1) };
    scene.connect(4, false, attempt);
    assert_eq!(given(&mut scene), Vec::<String>::new(), "it is a client now, and computes");
    scene.ask(one, occupy("a", false));
    scene.ask(one, occupy("a", false));
    assert_eq!(given(&mut scene), ["b on 2"], "it waits now");
    // The worker gives it the slot when `b` is over.
    scene.ask(one, occupy("a", true));
    scene.ask(one, occupy("a", true));
    scene.ask(one, finish("b", 1, 7));
    assert_eq!(given(&mut scene), Vec::<String>::new());
    scene.ask(one, occupy("a", false));
    assert_eq!(given(&mut scene), ["c on 2"]);
    // That it has paused ends with its attempt, and is said anew on each connection.
    scene.ask(one, finish("c", 1, 7));
    scene.drop_connection(one);
    let held = vec![headwater::protocol::session::HeldAttempt { task: id("a"), attempt: AttemptNumber(1) }];
    let one = scene.connect(2, true, worker("one", 1, held));
    submit_all(&mut scene, client, &["d", "e"]);
    assert_eq!(given(&mut scene), Vec::<String>::new());
    scene.ask(one, occupy("a", false));
    assert_eq!(given(&mut scene), ["d on 2"]);
    scene.ask(one, finish("a", 1, 7));
    assert_eq!(given(&mut scene), Vec::<String>::new(), "it took no slot");
    scene.ask(one, occupy("a", false));
    scene.ask(one, finish("d", 1, 7));
    assert_eq!(given(&mut scene), ["e on 2"]);
}
