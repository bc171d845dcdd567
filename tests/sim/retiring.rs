//! Workers that retire: scenarios, and what the simulator watches of it.

use std::collections::{BTreeMap, BTreeSet};

use headwater::protocol::command::{Answer, Command, Query};
use headwater::protocol::message::ServerMessage;
use headwater::protocol::session::{HeldAttempt, Retire, Role, SessionKind, WorkerStatus};
use headwater::protocol::{AttemptNumber, Epoch, Producer, TaskId};
use headwater::scheduler::core::{Core, Effect, Output, State};
use headwater::scheduler::{ConnectionId, Request};

use crate::scene::*;

/// What workers that retire run: it never becomes more.
#[derive(Default)]
pub struct Retirements {
    running: BTreeMap<(Epoch, Producer), BTreeSet<(TaskId, AttemptNumber)>>,
}

impl Retirements {
    /// Looks after all workers that retire.
    pub fn watch(&mut self, epoch: Epoch, core: &Core) {
        let (state, presence) = (core.state(), core.presence());
        for worker in workers(state).into_iter().filter(|worker| presence.retiring(*worker).is_some()) {
            let running = &state.sessions[&worker].running;
            let now: BTreeSet<_> = running.iter().map(|task| (*task, state.tasks[task].attempt)).collect();
            let before = self.running.entry((epoch, worker)).or_insert_with(|| now.clone());
            assert!(now.is_subset(before), "worker {worker} retires and was given {now:?} beside {before:?}");
            *before = now;
        }
    }
}

/// The sessions of workers.
pub fn workers(state: &State) -> Vec<Producer> {
    let sessions = state.sessions.iter();
    let workers = sessions.filter(|(_, session)| matches!(session.kind, SessionKind::Worker { .. }));
    workers.map(|(producer, _)| *producer).collect()
}

fn retire_worker(session: u64, retire: Retire) -> Command {
    Command::RetireWorker { worker: Producer(session), retire }
}

fn held(names: &[&str]) -> Vec<HeldAttempt> {
    names.iter().map(|name| HeldAttempt { task: id(name), attempt: AttemptNumber(1) }).collect()
}

/// The listing of workers as anyone would get it.
fn listed(scene: &mut Scene, connection: u64) -> Vec<WorkerStatus> {
    let mut out = Output::default();
    let query = Request::Query(Query::Workers { after: Producer(0) });
    scene.core.request(ConnectionId(connection), 99, query, &mut out);
    match out.effects.remove(0) {
        Effect::Send { message: ServerMessage::Answer(Ok(Answer::Workers(rows))), .. } => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_that_retires_finishes_what_it_runs_and_is_given_nothing_more() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 2));
    scene.ask(client, submit("x"));
    scene.told();
    scene.ask(client, retire_worker(2, Retire::Finish));
    scene.then(&["→ to 2: retire", "→ to 1: retiring"]);
    scene.ask(worker, Command::Retire);
    scene.then(&["→ to 2: retiring"]);
    // A slot is free, and another one becomes so; they are not on offer.
    scene.ask(client, submit("y"));
    scene.then(&["submitted y", "→ to 1: submitted"]);
    scene.ask(worker, finish("x", 1, 7));
    scene.then(&["finished x attempt 1", "→ to 2: reported"]);
    scene.leave(worker);
    scene.then(&["session 2 ended: it left"]);
    // Another one, under the same name: it takes tasks.
    scene.worker(3, "w", 1);
    scene.then(&[
        "session 3 of worker w",
        "started y attempt 1 on 3",
        "→ accept 3",
        "→ to 3: run y attempt 1 ()",
    ]);
}

#[test]
fn a_worker_that_hands_over_leaves_at_once_and_nothing_counts_as_a_death() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 2));
    scene.ask(client, open("a"));
    scene.ask(client, submit("x"));
    scene.ask(client, append(1, "x"));
    scene.worker(3, "two", 2);
    scene.told();
    scene.ask(client, retire_worker(2, Retire::HandOver));
    scene.then(&["→ to 2: retire and hand over", "→ to 1: retiring"]);
    scene.leave(one);
    scene.then(&[
        "session 2 ended: it left",
        "requeued x after attempt 1",
        "started x attempt 2 on 3",
        "a: x started, attempt 2 on two",
        "→ to 3: run x attempt 2 ()",
    ]);
    let deaths = scene.core.state().tasks[&id("x")].call.as_ref().map(|call| call.deaths.clone());
    assert_eq!(deaths, Some(None));
}

#[test]
fn an_assignment_that_crosses_the_news_is_run() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 2));
    scene.told();
    // It decides to retire; before the scheduler hears of it, it is given x.
    scene.ask(client, submit("x"));
    scene.ask(worker, Command::Retire);
    scene.then(&[
        "submitted x",
        "started x attempt 1 on 2",
        "→ to 1: submitted",
        "→ to 2: run x attempt 1 ()",
        "→ to 2: retiring",
    ]);
    scene.ask(client, submit("y"));
    scene.ask(worker, finish("x", 1, 7));
    scene.then(&["submitted y", "→ to 1: submitted", "finished x attempt 1", "→ to 2: reported"]);
}

#[test]
fn what_is_on_its_way_to_a_worker_that_leaves_is_handed_over() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    scene.ask(client, submit("x"));
    scene.told();
    // It never saw the assignment.
    scene.leave(one);
    scene.then(&["session 2 ended: it left", "requeued x after attempt 1"]);
    scene.worker(3, "two", 1);
    assert!(scene.told().contains(&"started x attempt 2 on 3".to_owned()));
}

#[test]
fn a_worker_that_retires_says_so_to_the_next_scheduler() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 2));
    scene.ask(client, submit("x"));
    scene.ask(worker, Command::Retire);
    scene.restart();
    let client = scene.connect(1, true, Role::Client);
    scene.ask(client, submit("y"));
    scene.told();
    // It offers no slots any more.
    let back = scene.connect(2, true, crate::scene::worker("w", 0, held(&["x"])));
    scene.then(&["→ accept 4"]);
    assert!(listed(&mut scene, client)[0].retiring);
    scene.ask(back, finish("x", 1, 7));
    scene.then(&["finished x attempt 1", "→ to 4: reported"]);
    scene.leave(back);
    scene.then(&["session 2 ended: it left"]);
}

#[test]
fn a_worker_that_is_away_hears_that_it_is_to_retire_when_it_comes_back() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 2));
    scene.ask(client, submit("x"));
    scene.drop_connection(worker);
    scene.told();
    scene.ask(client, retire_worker(2, Retire::Finish));
    scene.then(&["→ to 1: retiring"]);
    scene.ask(client, submit("y"));
    scene.told();
    let back = scene.connect(2, true, crate::scene::worker("w", 2, held(&["x"])));
    scene.then(&["→ accept 3", "→ to 3: retire"]);
    // Cut off again before it heard.
    scene.drop_connection(back);
    scene.connect(2, true, crate::scene::worker("w", 2, held(&["x"])));
    scene.then(&["→ accept 4", "→ to 4: retire"]);
}

#[test]
fn a_worker_that_finishes_may_be_told_to_hand_over_after_all() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 2));
    scene.ask(client, submit("x"));
    scene.told();
    scene.ask(client, retire_worker(2, Retire::Finish));
    scene.ask(client, retire_worker(2, Retire::HandOver));
    // Which is not taken back.
    scene.ask(client, retire_worker(2, Retire::Finish));
    scene.ask(worker, Command::Retire);
    scene.drop_connection(worker);
    scene.told();
    scene.connect(2, true, crate::scene::worker("w", 0, held(&["x"])));
    scene.then(&["→ accept 3", "→ to 3: retire and hand over"]);
}

#[test]
fn a_worker_that_dies_while_it_retires_has_died() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 2));
    scene.ask(client, submit("x"));
    scene.ask(client, retire_worker(2, Retire::Finish));
    scene.drop_connection(worker);
    scene.told();
    scene.pass(10_000);
    scene.then(&[
        "session 2 ended: it was not heard of for its lease",
        "died x attempt 1 with w",
        "requeued x after attempt 1",
    ]);
    assert_eq!(listed(&mut scene, client), []);
}

#[test]
fn whoever_waits_for_a_worker_hears_that_all_retire() {
    let mut scene = Scene::new();
    let (client, worker) = (scene.client(1), scene.worker(2, "w", 2));
    scene.ask(client, submit("x"));
    scene.connect(3, false, Role::Attempt { task: id("x"), attempt: AttemptNumber(1) });
    scene.ask(client, submit("y"));
    scene.ask(worker, Command::Retire);
    scene.ask(client, submit("z"));
    let mut out = Output::default();
    scene.core.request(ConnectionId(client), 99, Request::Query(Query::Task { task: id("z") }), &mut out);
    let Effect::Send { message: ServerMessage::Answer(Ok(Answer::Task(info))), .. } = out.effects.remove(0)
    else {
        panic!()
    };
    assert_eq!(info.waits_for.as_deref(), Some("a worker: all that are connected retire"));
    let rows = listed(&mut scene, client);
    let runs: Vec<(&str, bool)> = rows[0].runs.iter().map(|run| (&*run.key.label, run.is_client)).collect();
    assert_eq!(runs, [("x", true), ("y", false)], "those that are clients first");
    assert_eq!((rows[0].slots, rows[0].running, rows[0].connected, rows[0].retiring), (0, 2, true, true));
}

#[test]
fn only_workers_retire_and_only_those_there_are() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.told();
    scene.ask(client, Command::Retire);
    scene.ask(client, retire_worker(1, Retire::Finish));
    scene.ask(client, retire_worker(7, Retire::Finish));
    scene.then(&[
        "→ to 1: refused: only a worker can say that it retires",
        "→ to 1: refused: there is no worker with session 1: it has left, or never was",
        "→ to 1: refused: there is no worker with session 7: it has left, or never was",
    ]);
}
