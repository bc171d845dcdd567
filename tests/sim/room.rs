//! Scenarios of a disk with little room: what is refused, what goes on, and what comes when there is more.

use headwater::protocol::LogId;
use headwater::protocol::command::Command;
use headwater::scheduler::core::Settings;

use crate::scene::*;

const RESERVE: u64 = 800 << 20;

const REFUSED: &str = "→ to 1: refused: the scheduler's disk is nearly full, 100 MiB are free (): nothing was added, and \
                       reading goes on; free some space there (more is taken from 900 MiB on), or start the \
                       scheduler with a smaller --disk-reserve, and ask again";

fn scene() -> Scene {
    Scene::with(Settings { disk_reserve_bytes: RESERVE, ..Settings::default() })
}

fn free(scene: &mut Scene, mib: u64) {
    scene.step(|core, out| core.free_space(Some(mib << 20), out));
}

fn elements(scene: &Scene) -> u64 {
    scene.core.state().channels[&LogId(1)].elements
}

#[test]
fn with_little_room_nothing_is_added_or_started_and_everything_else_goes_on() {
    let mut scene = scene();
    let (client, worker) = (scene.client(1), scene.worker(2, "one", 1));
    for command in [open("a"), submit("x"), append(1, "x"), submit("y")] {
        scene.ask(client, command);
    }
    scene.told();
    free(&mut scene, 100);
    scene.then(&[]);
    for command in [submit("z"), open("b"), append_value(1, 7), append(1, "y")] {
        scene.ask(client, command);
        scene.then(&[REFUSED]);
    }
    // What is there already is had all the same.
    for command in [open("a"), submit("x"), Command::Hold { task: id("y"), detach: false }] {
        scene.ask(client, command);
        let told = scene.told();
        assert!(!told.iter().any(|line| line.contains("refused")), "{told:?}");
    }
    // An outcome enters, on the channel too; and what waits is not started.
    scene.ask(worker, finish("x", 1, 3));
    let told = scene.told().join("\n");
    assert!(told.contains("x finished with 3") && told.contains("→ to 2: reported"), "{told}");
    assert!(!told.contains("started y attempt 1"), "{told}");
    scene.ask(client, release("x"));
    scene.ask(client, Command::Stop { log: LogId(1) });
    let told = scene.told().join("\n");
    assert!(!told.contains("refused"), "{told}");
    // A little more is not enough.
    free(&mut scene, 850);
    scene.then(&[]);
    free(&mut scene, 900);
    let told = scene.told().join("\n");
    assert!(told.contains("started y attempt 1"), "{told}");
    scene.ask(client, submit("z"));
    assert!(scene.core.state().tasks.contains_key(&id("z")));
}

#[test]
fn what_was_refused_is_not_carried_out_behind_later_ones_when_its_answer_was_lost() {
    let mut scene = scene();
    let client = scene.client(1);
    scene.ask(client, open("a"));
    free(&mut scene, 100);
    let first = scene.ask(client, append_value(1, 1));
    free(&mut scene, 1000);
    let second = scene.ask(client, append_value(1, 2));
    scene.told();
    // It never heard of either, comes back and asks again, in order.
    scene.drop_connection(client);
    let client = scene.connect(1, true, headwater::protocol::session::Role::Client);
    scene.told();
    scene.ask_again(client, first, append_value(1, 1));
    let told = scene.told().join("\n");
    assert!(
        told.contains("command 2 was refused, and later ones of its session have been carried out"),
        "{told}"
    );
    scene.ask_again(client, second, append_value(1, 2));
    scene.then(&["→ to 2: appended"]);
    assert_eq!(elements(&scene), 1);
    // Asked for anew, it comes behind.
    scene.ask_again(client, 4, append_value(1, 1));
    assert_eq!(elements(&scene), 2);
}

#[test]
fn what_was_refused_is_carried_out_when_it_comes_again_and_nothing_came_between() {
    let mut scene = scene();
    let client = scene.client(1);
    scene.ask(client, open("a"));
    free(&mut scene, 100);
    let number = scene.ask(client, append_value(1, 1));
    free(&mut scene, 1000);
    scene.ask_again(client, number, append_value(1, 1));
    assert_eq!(elements(&scene), 1);
}

#[test]
fn a_start_with_little_room_says_so_from_its_first_command_on() {
    let mut scene = scene();
    let client = scene.client(1);
    scene.ask(client, submit("x"));
    scene.restart();
    free(&mut scene, 100);
    scene.worker(2, "one", 1);
    let told = scene.told().join("\n");
    assert!(!told.contains("started x attempt 1"), "{told}");
}
