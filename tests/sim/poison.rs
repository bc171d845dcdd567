//! Scenarios of tasks whose workers die: each death is counted, and one too many ends the task.

use headwater::protocol::AttemptNumber;
use headwater::protocol::command::Command;
use headwater::protocol::session::Role;
use headwater::protocol::task::{ErrorKind, TaskError};
use headwater::scheduler::core::{Phase, Settings};

use crate::scene::*;

/// The error of a task that has failed.
#[track_caller]
fn error_of(scene: &Scene, name: &str) -> TaskError {
    match &scene.core.state().tasks[&id(name)].phase {
        Phase::Failed(error) => (**error).clone(),
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn a_task_that_takes_three_workers_with_it_is_poison() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    scene.ask(client, open("a"));
    scene.ask(client, submit("x"));
    scene.ask(client, submit_on("y", &["x"]));
    scene.ask(client, append(1, "x"));
    scene.drop_connection(one);
    scene.pass(10_000);
    scene.worker(3, "two", 1);
    // Deaths are remembered by the log.
    scene.restart();
    scene.worker(4, "two", 1);
    scene.told();
    scene.worker(5, "two", 1);
    let told = scene.told();
    assert_eq!(told[0], "session 4 ended: another worker joined under its name");
    let error = "it ran on workers that died 3 times in a row, and 3 are too many (--deaths-max): find out why in \
                 their logs before it is submitted again: \
                 attempt 1 was lost with worker one: it was not heard of for its lease: \
                 attempt 2 was lost with worker two: another worker joined under its name: \
                 attempt 3 was lost with worker two: another worker joined under its name";
    assert_eq!(told[1], "died x attempt 3 with two");
    assert_eq!(told[2], format!("failed x: {error}"));
    assert_eq!(told[3], format!("a: x failed: {error}"));
    assert!(told[5].starts_with("failed y: dependency x-") && told[5].ends_with(error), "{told:?}");
    let error = error_of(&scene, "x");
    assert_eq!((error.kind, error.attempt, &*error.worker), (ErrorKind::Poison, AttemptNumber(3), "two"));
    let error = error_of(&scene, "y");
    assert_eq!((error.kind, error.path.len()), (ErrorKind::Dependency, 1));
}

#[test]
fn workers_that_leave_in_order_do_not_make_a_task_poison() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.ask(client, submit("x"));
    for session in 2..10 {
        let worker = scene.worker(session, "w", 1);
        scene.leave(worker);
    }
    scene.worker(10, "w", 1);
    scene.worker(11, "w", 1);
    scene.told();
    let last = scene.worker(12, "w", 1);
    assert!(scene.told().contains(&"started x attempt 11 on 12".to_owned()));
    scene.ask(last, finish("x", 11, 7));
    scene.then(&["finished x attempt 11", "→ to 12: reported"]);
}

#[test]
fn a_worker_that_comes_back_in_its_lease_has_not_died() {
    let mut scene = Scene::new();
    let (client, mut one) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, submit("x"));
    for _ in 0..5 {
        scene.drop_connection(one);
        scene.pass(9_000);
        one = scene.connect(2, true, worker("w", 1, vec![]));
    }
    scene.told();
    scene.ask(one, finish("x", 1, 7));
    assert_eq!(scene.told()[0], "finished x attempt 1");
}

#[test]
fn how_many_workers_may_die_can_be_chosen() {
    for (deaths_max, expected) in [(1, Some(1)), (2, Some(2)), (5, Some(5)), (0, None)] {
        let mut scene = Scene::with(Settings { deaths_max, ..Settings::default() });
        let client = scene.client(1);
        scene.ask(client, submit("x"));
        scene.worker(2, "w", 1);
        let failed = |scene: &Scene| scene.core.state().counts.failed == 1;
        let poison = (1..30).find(|n| {
            scene.worker(2 + n, "w", 1);
            failed(&scene)
        });
        assert_eq!(poison, expected, "of {deaths_max}");
    }
}

#[test]
fn a_lower_limit_than_before_holds_from_the_next_death_on() {
    let mut scene = Scene::with(Settings { deaths_max: 0, ..Settings::default() });
    let client = scene.client(1);
    scene.ask(client, submit("x"));
    for session in 2..8 {
        scene.worker(session, "w", 1);
    }
    scene.settings.deaths_max = 3;
    scene.restart();
    assert_eq!(scene.core.state().counts.running, 1);
    scene.worker(8, "w", 1);
    assert_eq!(error_of(&scene, "x").causes.len(), 6, "all that were lost are named");
}

#[test]
fn everything_that_a_dead_worker_ran_counts_clients_too() {
    let mut scene = Scene::with(Settings { deaths_max: 1, ..Settings::default() });
    let client = scene.client(1);
    let worker = scene.worker(2, "w", 1);
    scene.ask(client, submit("outer"));
    scene.ask(client, submit("inner"));
    scene.ask(client, submit("waiting"));
    let attempt = AttemptNumber(1);
    scene.connect(3, false, Role::Attempt { task: id("outer"), attempt });
    scene.ask(worker, Command::Occupy { task: id("outer"), attempt, occupies: false });
    scene.told();
    scene.worker(4, "w", 1);
    let told = scene.told();
    let failed = told.iter().filter(|line| line.starts_with("failed ")).count();
    assert_eq!(failed, 2, "{told:?}");
    assert!(
        told.contains(&"session 3 ended: the attempt that it belonged to is over".to_owned()),
        "{told:?}"
    );
    assert!(told.contains(&"started waiting attempt 1 on 4".to_owned()), "{told:?}");
}

#[test]
fn a_death_behind_something_done_as_a_client_ends_the_row() {
    let mut scene = Scene::with(Settings { deaths_max: 2, ..Settings::default() });
    let client = scene.client(1);
    scene.worker(2, "w", 1);
    scene.ask(client, submit("daemon"));
    let as_client = |scene: &mut Scene, session, attempt| {
        let attempt = AttemptNumber(attempt);
        scene.connect(session, false, Role::Attempt { task: id("daemon"), attempt })
    };
    // Once for nothing, then again and again after it had submitted something.
    scene.worker(3, "w", 1);
    for attempt in 2..7u32 {
        let number = attempt as u8;
        let daemon = as_client(&mut scene, 10 + number, attempt);
        scene.ask(daemon, submit("inner"));
        scene.told();
        scene.worker(20 + number, "w", 1);
        let told = scene.told();
        let died = format!("died daemon attempt {attempt} with w, which does not count");
        assert!(told.contains(&died), "{told:?}");
    }
    // To be connected is not to get something done.
    as_client(&mut scene, 30, 7);
    scene.worker(31, "w", 1);
    assert_eq!(scene.core.state().counts.failed, 0);
    scene.worker(32, "w", 1);
    assert_eq!(error_of(&scene, "daemon").causes.len(), 2);
}

#[test]
fn a_task_that_is_forgotten_and_submitted_again_begins_anew() {
    let mut scene = Scene::with(Settings { deaths_max: 2, ..Settings::default() });
    let (client, _) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, submit("x"));
    scene.worker(3, "w", 1);
    scene.ask(client, release("x"));
    scene.ask(client, submit("x"));
    scene.worker(4, "w", 1);
    assert_eq!(scene.core.state().counts.running, 1);
    scene.worker(5, "w", 1);
    let causes = error_of(&scene, "x").causes;
    assert_eq!(causes.len(), 2);
    assert!(causes[0].starts_with("attempt 3 "), "{causes:?}");
}
