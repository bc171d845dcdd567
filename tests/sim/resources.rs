//! What tasks need of workers, and where they may run: what is granted is never more than there is, and who needs much is
//! not passed over for ever.

use std::collections::BTreeSet;

use fastrand::Rng;
use headwater::protocol::command::{Answer, Command, Query};
use headwater::protocol::equipment::{Amount, Grant, Resource};
use headwater::protocol::message::ServerMessage;
use headwater::protocol::result::StoredResult;
use headwater::protocol::session::{Role, SessionKind};
use headwater::protocol::task::{Argument, Explanation, Submission};
use headwater::protocol::terms::{Term, Terms};
use headwater::protocol::{AttemptNumber, Codec, Digest, Producer, Seq, Stock, TaskEvent, TaskId};
use headwater::scheduler::core::{Effect, Event, Output};
use headwater::scheduler::{ConnectionId, Request};

use crate::grants::{check, equipment};
use crate::scene::*;

fn with(name: &str, terms: &[&str]) -> Command {
    let term = |text: &&str| match text.split_once(' ') {
        Some(("on", target)) => Term::On(target.parse().expect("a target")),
        Some(("prefers", target)) => Term::Prefers(target.parse().expect("a target")),
        _ => Term::Needs(text.parse().expect("a need")),
    };
    Command::SubmitUnder {
        submission: submission(name, vec![]),
        terms: Terms(terms.iter().map(term).collect()),
    }
}

fn equipped(name: &str, slots: u32, resources: &[&str], labels: &[&str]) -> Role {
    match worker(name, slots, vec![]) {
        Role::Worker(offer) => Role::Worker(headwater::protocol::session::WorkerOffer {
            equipment: equipment(resources, labels),
            ..offer
        }),
        _ => unreachable!("a worker's role"),
    }
}

/// What was started since last time.
fn started(scene: &mut Scene) -> Vec<String> {
    let told = scene.told();
    told.iter()
        .filter_map(|line| line.strip_prefix("started "))
        .map(|line| line.replace(" attempt 1", ""))
        .collect()
}

fn explain(scene: &mut Scene, connection: u64, name: &str) -> Explanation {
    let mut out = Output::default();
    let query = Request::Query(Query::Explain { task: id(name) });
    scene.core.request(ConnectionId(connection), 99, query, &mut out);
    match out.effects.remove(0) {
        Effect::Send { message: ServerMessage::Answer(Ok(Answer::Explained(explanation))), .. } => {
            *explanation
        }
        other => panic!("{other:?}"),
    }
}

/// The explanation in one line: why, and the points.
fn why(scene: &mut Scene, connection: u64, name: &str) -> String {
    let Explanation { because, points, .. } = explain(scene, connection, name);
    let points = points.iter().map(|point| format!("; {}: {}", point.of, point.words));
    because + &points.collect::<String>()
}

#[test]
fn what_is_granted_is_free_again_when_the_attempt_is_over_however_it_ends() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    let one = scene.connect(2, false, equipped("one", 8, &["gpus=[0,1]"], &[]));
    scene.told();
    for name in ["a", "b", "c", "d"] {
        scene.ask(client, with(name, &["gpus=1"]));
    }
    assert_eq!(started(&mut scene), ["a on 2 with gpus=1 (0)", "b on 2 with gpus=1 (1)"]);
    assert_eq!(
        why(&mut scene, client, "c"),
        "it waits for gpus=1, which others have on the one worker that could run it; \
         one: has 0 of 2 gpus free, and 1 is needed"
    );
    scene.ask(one, finish("a", 1, 7));
    assert_eq!(started(&mut scene), ["c on 2 with gpus=1 (0)"]);
    scene.ask(one, fail("b", 1));
    assert_eq!(started(&mut scene), ["d on 2 with gpus=1 (1)"]);
    scene.ask(client, Command::Cancel { task: id("c") });
    scene.ask(client, with("e", &["gpus=1"]));
    assert_eq!(started(&mut scene), ["e on 2 with gpus=1 (0)"]);
    let words = why(&mut scene, client, "e");
    assert!(words.contains("attempt 1 is with worker one; one: has granted it gpus=1 (0)"), "{words}");
}

#[test]
fn a_start_of_the_scheduler_knows_what_is_granted() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.connect(2, false, equipped("one", 8, &["cpus=2"], &[]));
    scene.ask(client, with("a", &["cpus=1.5"]));
    scene.ask(client, with("b", &["cpus=1"]));
    assert_eq!(started(&mut scene), ["a on 2 with cpus=1.5"]);
    scene.restart();
    let _client = scene.connect(1, true, Role::Client);
    let one = scene.connect(2, true, equipped("one", 8, &["cpus=2"], &[]));
    let told = scene.told();
    // It does not say that it has it, so it is given it again, with what it was granted.
    assert!(told.iter().any(|line| line.contains("run a attempt 1")), "{told:?}");
    assert!(!told.iter().any(|line| line.starts_with("started")), "{told:?}");
    scene.ask(one, finish("a", 1, 7));
    assert_eq!(started(&mut scene), ["b on 2 with cpus=1"]);
}

#[test]
fn who_needs_much_is_not_passed_over_for_ever_and_holds_up_nobody_elsewhere() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    let one = scene.connect(2, false, equipped("one", 8, &["cpus=2", "memory=1KiB"], &[]));
    let two = scene.connect(3, false, equipped("two", 8, &["cpus=2"], &[]));
    scene.told();
    for name in ["a", "b", "c", "d"] {
        scene.ask(client, with(name, &["cpus=1"]));
    }
    let given = started(&mut scene);
    assert_eq!(
        given,
        ["a on 2 with cpus=1", "b on 3 with cpus=1", "c on 2 with cpus=1", "d on 3 with cpus=1"]
    );
    scene.ask(client, with("large", &["cpus=2"]));
    scene.ask(client, with("small", &["cpus=1"]));
    scene.ask(client, with("other", &["memory=512"]));
    scene.ask(client, submit("plain"));
    // Nothing of what it waits for is theirs.
    assert_eq!(started(&mut scene), ["other on 2 with memory=512", "plain on 3"]);
    scene.ask(two, finish("b", 1, 7));
    assert_eq!(
        started(&mut scene),
        Vec::<String>::new(),
        "where least is lacking, it is kept for the large one"
    );
    let words = why(&mut scene, client, "small");
    assert!(words.contains("two: is kept for large-"), "{words}");
    assert!(words.contains("one: has 0 of 2 cpus free"), "{words}");
    scene.ask(one, finish("a", 1, 7));
    assert_eq!(
        started(&mut scene),
        ["small on 3 with cpus=1"],
        "of two that lack as much the older one is kept"
    );
    scene.ask(one, finish("c", 1, 7));
    assert_eq!(started(&mut scene), ["large on 2 with cpus=2"]);
}

#[test]
fn a_task_runs_where_it_may_and_rather_where_it_prefers() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.connect(2, false, equipped("one", 4, &[], &["ssd"]));
    scene.connect(3, false, equipped("two", 4, &[], &["ssd", "gpu"]));
    scene.told();
    scene.ask(client, with("a", &["on label=gpu"]));
    scene.ask(client, with("b", &["on worker=one", "on worker=two", "on label=gpu"]));
    scene.ask(client, with("c", &["prefers worker=one"]));
    scene.ask(client, with("d", &["on host=here", "prefers label=gpu"]));
    assert_eq!(started(&mut scene), ["a on 3", "b on 3", "c on 2", "d on 3"]);
    scene.ask(client, with("e", &["on host=there"]));
    scene.ask(client, with("f", &["on worker=one", "on label=gpu"]));
    assert_eq!(started(&mut scene), Vec::<String>::new());
    assert_eq!(
        why(&mut scene, client, "e"),
        "it waits for a worker that is host=there: none of the 2 workers that could run it is; \
         one: is not host=there; two: is not host=there"
    );
    assert!(why(&mut scene, client, "f").contains("that is worker=one and label=gpu: none of"));
    // It prefers that, and does not wait for it.
    for name in ["g", "h", "i"] {
        scene.ask(client, with(name, &["prefers worker=two"]));
    }
    assert_eq!(started(&mut scene), ["g on 3", "h on 2", "i on 2"]);
    let words = why(&mut scene, client, "g");
    assert_eq!(words, "attempt 1 is with worker two; two: chosen by worker=two");
}

#[test]
fn what_no_worker_has_is_said() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.ask(client, with("x", &["gpus=1"]));
    assert_eq!(why(&mut scene, client, "x"), "it waits for a worker: none is connected");
    scene.worker(2, "plain", 1);
    scene.connect(3, false, equipped("one", 1, &["gpus=[0]"], &[]));
    scene.ask(client, with("y", &["disks=1"]));
    scene.ask(client, with("z", &["gpus=2"]));
    let because = |scene: &mut Scene, name: &str| explain(scene, client, name).because;
    let no_disks = "it waits for disks=1: no connected worker that could run it offers disks";
    assert_eq!(because(&mut scene, "y"), no_disks);
    assert_eq!(scene.task(client, "y").waits_for.as_deref(), no_disks.strip_prefix("it waits for "));
    assert_eq!(
        because(&mut scene, "z"),
        "it waits for gpus=2: no connected worker that could run it offers more than 1"
    );
    scene.connect(4, false, equipped("two", 1, &["disks=1"], &[]));
    scene.ask(client, with("both", &["disks=1", "gpus=1"]));
    assert_eq!(
        because(&mut scene, "both"),
        "it waits for disks=1, gpus=1: no connected worker that could run it offers all of that"
    );
    let newer = Submission { version: 2, ..submission("newer", vec![]) };
    scene.ask(client, Command::Submit(newer));
    let words = why(&mut scene, client, "newer");
    assert!(words.contains("one: has `rust:m::f` version 1, and not 2"), "{words}");
}

#[test]
fn a_task_goes_to_the_worker_that_keeps_most_of_what_it_needs() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    let (one, two) = (scene.worker(2, "one", 4), scene.worker(3, "two", 4));
    let stored = |bytes| StoredResult { codec: Codec::Raw, bytes, digest: Digest(bytes) };
    let store = |scene: &mut Scene, worker, name: &str, bytes| {
        let result = stored(bytes);
        scene.ask(worker, Command::Store { task: id(name), attempt: AttemptNumber(1), result });
    };
    for (name, on) in [("small", "on worker=one"), ("little", "on worker=one"), ("large", "on worker=two")] {
        scene.ask(client, with(name, &[on]));
    }
    // The first has fewest to do.
    scene.told();
    store(&mut scene, one, "small", 100_000);
    store(&mut scene, one, "little", 150_000);
    store(&mut scene, two, "large", 300_000);
    let busy: Vec<String> = (0..3).map(|n| format!("busy{n}")).collect();
    busy.iter().for_each(|name| _ = scene.ask(client, with(name, &["on worker=two"])));
    scene.told();
    let futures = ["small", "little", "large"].map(|name| Argument::Future(id(name))).to_vec();
    scene.ask(client, Command::Submit(submission("sum", futures.clone())));
    assert_eq!(started(&mut scene), ["sum on 3"], "it has one slot free, and the others four");
    let words = why(&mut scene, client, "sum");
    assert!(words.contains("two: keeps 292.9 KiB of the results that it needs"), "{words}");
    // There is no slot left: what it needs comes to it.
    scene.ask(client, Command::Submit(submission("again", futures)));
    assert_eq!(started(&mut scene), ["again on 2"]);
}

#[test]
fn who_needs_something_is_not_passed_over_for_those_that_wait_in_a_window() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    let one = scene.connect(2, false, equipped("one", 1, &["cpus=2"], &[]));
    scene.ask(one, Command::Window { attempts: 3 });
    (0..3).for_each(|n| _ = scene.ask(client, submit(&format!("p{n}"))));
    scene.ask(client, with("needy", &["cpus=1"]));
    (3..9).for_each(|n| _ = scene.ask(client, submit(&format!("p{n}"))));
    scene.told();
    for n in 0..2 {
        scene.ask(one, finish(&format!("p{n}"), 1, 7));
        assert_eq!(started(&mut scene), Vec::<String>::new(), "the next slot that is free is for it");
    }
    let because = explain(&mut scene, client, "p3").because;
    assert_eq!(because, "it waits for what is kept on a worker for a task whose turn is before");
    scene.ask(one, finish("p2", 1, 7));
    assert_eq!(started(&mut scene), ["needy on 2 with cpus=1", "p3 on 2", "p4 on 2"]);
}

#[test]
fn nothing_is_kept_for_what_waits_for_a_client_that_waits_itself() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.connect(2, false, equipped("one", 8, &["cpus=4"], &[]));
    scene.ask(client, with("parent", &["cpus=1"]));
    let attempt = Role::Attempt { task: id("parent"), attempt: AttemptNumber(1) };
    let parent = scene.connect(4, false, attempt);
    scene.ask(client, with("large", &["cpus=4"]));
    scene.told();
    scene.ask(parent, with("child", &["cpus=1"]));
    assert_eq!(started(&mut scene), ["child on 2 with cpus=1"]);
}

#[test]
fn behind_lost_records_an_attempt_has_what_it_was_granted() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    scene.connect(2, false, equipped("one", 8, &["cpus=2"], &[]));
    scene.ask(client, with("a", &["cpus=2"]));
    let mut state = scene.core.state().clone();
    let (task, attempt, worker) = (id("a"), AttemptNumber(2), Producer(2));
    let grants = state.tasks[&task].grants().to_vec();
    // The end of the first attempt is lost.
    let again = TaskEvent::StartedWith { task, attempt, worker, grants: grants.clone() };
    state.apply(Seq(9), &Event::Task(again));
    assert_eq!(state.tasks[&task].grants(), grants);
    state.check();
}

#[test]
fn an_explanation_says_how_one_stands_with_its_worker() {
    let mut scene = Scene::new();
    let client = scene.client(1);
    let one = scene.worker(2, "one", 1);
    scene.ask(one, Command::Window { attempts: 2 });
    ["a", "b"].iter().for_each(|name| _ = scene.ask(client, submit(name)));
    assert!(!why(&mut scene, client, "a").contains("waits"));
    let words = why(&mut scene, client, "b");
    assert!(words.starts_with("attempt 1 is with worker one, where it waits for its turn;"), "{words}");
    scene.connect(4, false, Role::Attempt { task: id("a"), attempt: AttemptNumber(1) });
    let occupy = |occupies| Command::Occupy { task: id("a"), attempt: AttemptNumber(1), occupies };
    scene.ask(one, occupy(false));
    assert!(why(&mut scene, client, "a").contains("one, and waits for others: it has given up its slot"));
    scene.ask(one, occupy(true));
    assert!(why(&mut scene, client, "a").starts_with("attempt 1 is with worker one;"));
    let result = StoredResult { codec: Codec::Raw, bytes: 100_000, digest: Digest(1) };
    scene.ask(one, Command::Store { task: id("a"), attempt: AttemptNumber(1), result });
    let kept = "it has finished: its result, 97.6 KiB, is kept by workers";
    assert_eq!(why(&mut scene, client, "a"), format!("{kept}; one: keeps it, at one:1"));
    scene.drop_connection(one);
    assert_eq!(why(&mut scene, client, "a"), format!("{kept} that are away"));
    let words = why(&mut scene, client, "b");
    assert!(words.starts_with("attempt 1 is with worker one, which is away, and is waited for"), "{words}");
}

/// Random demands on random workers against the accounting: nothing is overbooked, and all of it is done in the end. Now and
/// then an attempt pauses, and goes on when what it was granted is free.
#[test]
fn random_demands_are_never_overbooked_and_all_are_met() {
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let mut scene = Scene::new();
        let client = scene.client(1);
        let supplies: Vec<Vec<Resource>> = (0..3)
            .map(|_| {
                let gpus: Vec<String> = (0..rng.usize(2..5)).map(|n| n.to_string()).collect();
                let texts = [format!("cpus={}", rng.u64(2..6)), format!("gpus=[{}]", gpus.join(","))];
                texts.iter().map(|text| text.parse().expect("a resource")).collect()
            })
            .collect();
        let mut connections = Vec::new();
        let mut paused = BTreeSet::new();
        for (n, resources) in supplies.iter().enumerate() {
            let name = format!("w{n}");
            let Role::Worker(mut offer) = worker(&name, rng.u32(1..6), vec![]) else { unreachable!() };
            offer.equipment.resources.clone_from(resources);
            connections.push(scene.connect(n as u8 + 2, false, Role::Worker(offer)));
        }
        let count = 40;
        let (mut submitted, mut done) = (0, 0);
        while done < count {
            if submitted < count && rng.bool() {
                let need = |name: &str, rng: &mut Rng| format!("{name}={}", Amount(rng.u64(1..=8) * 2_500));
                let needs = [need("cpus", &mut rng), need("gpus", &mut rng)];
                let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
                scene.ask(client, with(&format!("t{submitted}"), &needs[rng.usize(..2)..]));
                submitted += 1;
            } else {
                let state = scene.core.state();
                let running: Vec<(TaskId, u32, Producer)> = state
                    .sessions
                    .iter()
                    .filter(|(_, session)| matches!(session.kind, SessionKind::Worker { .. }))
                    .flat_map(|(worker, session)| {
                        session.running.iter().map(|id| (*id, state.tasks[id].attempt.0, *worker))
                    })
                    .collect();
                assert!(submitted < count || !running.is_empty(), "seed {seed}: {done} done, nothing runs");
                if running.is_empty() {
                    continue;
                }
                let (task, attempt, worker) = running[rng.usize(..running.len())];
                let (connection, attempt) = (connections[worker.0 as usize - 2], AttemptNumber(attempt));
                let mut stock = Stock::new(&supplies[worker.0 as usize - 2]);
                let beside = state.sessions[&worker].running.iter().filter(|id| !paused.contains(*id));
                beside.for_each(|id| stock.grant(state.tasks[id].grants()));
                let has_paused = paused.contains(&task);
                if has_paused && !stock.has(state.tasks[&task].grants()) {
                    continue;
                }
                if has_paused || rng.bool() {
                    let occupies = has_paused;
                    let _ = if occupies { paused.remove(&task) } else { paused.insert(task) };
                    scene.ask(connection, Command::Occupy { task, attempt, occupies });
                } else {
                    scene.ask(connection, Command::Finish { task, attempt, result: number(1) });
                    done += 1;
                }
            }
            let state = scene.core.state();
            for (n, resources) in supplies.iter().enumerate() {
                let running = state.sessions[&Producer(n as u64 + 2)].running.iter();
                let taking = running.filter(|id| !paused.contains(*id));
                let granted: Vec<&Grant> = taking.flat_map(|id| state.tasks[id].grants()).collect();
                check(resources, &granted, &granted);
            }
        }
    }
}
