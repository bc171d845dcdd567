//! Values that are tasks without ever having run: scenarios, and their audit in the simulator.

use std::collections::{BTreeMap, BTreeSet};

use headwater::log::{Log, Memory};
use headwater::protocol::command::Command;
use headwater::protocol::session::Role;
use headwater::protocol::task::{SCATTER, TaskStatus};
use headwater::protocol::{AttemptNumber, LogId, TaskEvent, TaskId, TaskKey};
use headwater::scheduler::core::{Phase, Settings, State};

use crate::scene::*;
use crate::shadow::Shadow;

/// Panics if a value was ever attempted or ended otherwise, if one that somebody was told of never was there or one was refused
/// without another, or if other values are left in the end than the log has, or any that nobody keeps.
pub fn audit(log: &Memory, shadow: &Shadow, state: &State) {
    let mut there = BTreeMap::new();
    let mut all: BTreeSet<(TaskId, Vec<u8>)> = BTreeSet::new();
    for batch in log.read(LogId::TASKS, 0, usize::MAX).expect("the log can be read") {
        for record in batch.records::<TaskEvent>() {
            match record.expect("records decode").1 {
                TaskEvent::Scattered { key, value, .. } => {
                    all.insert((key.id, value.bytes.to_vec()));
                    there.insert(key.id, value);
                }
                TaskEvent::Forgotten { task } => drop(there.remove(&task)),
                TaskEvent::Started { task, .. }
                | TaskEvent::StartedWith { task, .. }
                | TaskEvent::Finished { task, .. }
                | TaskEvent::Failed { task, .. }
                | TaskEvent::CancelledBy { task, .. } => {
                    assert!(!there.contains_key(&task), "{task} is a value, and more became of it");
                }
                _ => {}
            }
        }
    }
    assert!(shadow.values.is_subset(&all), "not all values were there that were acknowledged");
    let gone = shadow.values_detached.iter().find(|task| !there.contains_key(task));
    assert_eq!(gone, None, "a value that was to stay is forgotten");
    for (task, value) in &shadow.values_refused {
        let is_another = |(other, known): &(TaskId, Vec<u8>)| other == task && known != value;
        assert!(all.iter().any(is_another), "{task} was refused, and names no other value");
    }
    assert!(state.unkept.is_empty(), "nobody keeps {:?}, and all has come to rest", state.unkept);
    let values = state.tasks.iter().filter(|(_, task)| &*task.function.name == SCATTER);
    let kept: BTreeMap<TaskId, &Phase> = values.map(|(id, task)| (*id, &task.phase)).collect();
    let expected: BTreeMap<TaskId, Phase> =
        there.iter().map(|(id, value)| (*id, Phase::Finished(value.into()))).collect();
    assert_eq!(kept, expected.iter().map(|(id, phase)| (*id, phase)).collect(), "the values that are left");
}

fn scatter(name: &str, value: u8) -> Command {
    Command::Scatter { key: TaskKey::named(name), value: number(value), detach: false }
}

#[test]
fn a_value_is_there_at_once_and_goes_when_nobody_keeps_it() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.told();
    let asked = scene.ask(client, scatter("v", 7));
    scene.then(&["scattered v by 1", "→ to 1: submitted"]);
    scene.ask_again(client, asked, scatter("v", 7));
    scene.then(&["→ to 1: submitted"]);
    let info = scene.task(client, "v");
    assert_eq!(
        (info.status, info.attempt, &*info.function),
        (TaskStatus::Finished, AttemptNumber(0), "scatter")
    );
    assert_eq!((info.kept_by.as_str(), info.submitted_at), ("sessions: 1", 1));
    scene.restart();
    let client = scene.connect(1, true, Role::Client);
    scene.told();
    scene.ask_again(client, 2, release("v"));
    scene.then(&["released v by 1", "forgotten v", "→ to 2: released"]);
    // Its name may be another's now.
    scene.ask_again(client, 3, submit("v"));
    scene.then(&["submitted v", "→ to 2: submitted"]);
}

#[test]
fn the_same_value_is_the_same_task_and_another_is_refused() {
    let mut scene = Scene::new();
    let (one, two) = (scene.client(1), scene.client(2));
    scene.ask(one, scatter("v", 7));
    scene.ask(one, submit("x"));
    scene.told();
    scene.ask(two, scatter("v", 7));
    scene.then(&["held v by 2", "→ to 2: submitted"]);
    scene.ask(two, scatter("v", 8));
    scene.then(&["→ to 2: refused: key `v` already names another value: choose another key"]);
    scene.ask(two, scatter("x", 7));
    scene.then(&["→ to 2: refused: key `x` already names a task of `rust:m::f`: choose another key"]);
    scene.ask(two, submit("v"));
    scene.then(&["→ to 2: refused: key `v` already names a task of `scatter`: choose another key"]);
    let mut called = submission("y", vec![]);
    called.function = "scatter".into();
    scene.ask(two, Command::Submit(called));
    scene.then(&["→ to 2: refused: `scatter` is no function: no worker has it"]);
    let large = headwater::protocol::Payload::raw(vec![0; 61_441]);
    scene.ask(two, Command::Scatter { key: TaskKey::named("large"), value: large, detach: false });
    let told = scene.told();
    assert!(
        told[0].starts_with("→ to 2: refused: the value is 61441, over the limit of 61440: have a task"),
        "{told:?}"
    );
}

#[test]
fn it_is_on_channels_and_an_argument_as_all_are_that_have_ended() {
    let mut scene = Scene::new();
    let (client, _worker) = (scene.client(1), scene.worker(2, "w", 1));
    scene.ask(client, open("a"));
    scene.ask(client, scatter("v", 7));
    scene.told();
    scene.ask(client, append(1, "v"));
    let told = scene.told();
    assert_eq!(told[1], "a: v finished with 7");
    scene.ask(client, submit_on("x", &["v"]));
    scene.then(&[
        "submitted x",
        "started x attempt 1 on 2",
        "→ to 1: submitted",
        "→ to 2: run x attempt 1 (7)",
    ]);
    // There is nothing to do to it.
    for (command, what) in
        [(Command::Cancel { task: id("v") }, "cancel"), (Command::Retry { task: id("v") }, "try again")]
    {
        scene.ask(client, command);
        let key = TaskKey::named("v");
        let why = "is a value that was scattered, no call: there is nothing to";
        scene.then(&[&format!("→ to 1: refused: {key} {why} {what}")]);
    }
    assert_eq!(scene.task(client, "v").kept_by, "sessions: 1, tasks that need it: 1, channel a: 1 element");
}

#[test]
fn it_stays_where_it_is_detached_and_needs_room() {
    let mut scene = Scene::with(Settings { disk_reserve_bytes: 800 << 20, ..Settings::default() });
    let client = scene.client(1);
    let detached = Command::Scatter { key: TaskKey::named("v"), value: number(7), detach: true };
    scene.ask(client, detached.clone());
    scene.ask(client, scatter("w", 8));
    scene.ask(client, release("v"));
    assert_eq!(scene.task(client, "v").kept_by, "detached");
    scene.step(|core, out| core.free_space(Some(100 << 20), out));
    scene.told();
    scene.ask(client, scatter("x", 7));
    let told = scene.told();
    assert!(told[0].contains("the scheduler's disk is nearly full"), "{told:?}");
    // What is there already is had all the same.
    scene.ask(client, scatter("v", 7));
    scene.then(&["held v by 1", "→ to 1: submitted"]);
    scene.ask(client, Command::Scatter { key: TaskKey::named("w"), value: number(8), detach: true });
    scene.ask(client, release("w"));
    assert_eq!(scene.task(client, "w").kept_by, "detached");
}
