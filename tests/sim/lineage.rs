//! Results that workers keep: who is told what, what is lost with whom, and what is computed anew.

use headwater::protocol::command::{Answer, Command, Query};
use headwater::protocol::equipment::Target;
use headwater::protocol::event::TaskResult;
use headwater::protocol::message::ServerMessage;
use headwater::protocol::result::StoredResult;
use headwater::protocol::session::{HeldAttempt, Retire, Role};
use headwater::protocol::task::{Argument, TaskStatus};
use headwater::protocol::terms::{Term, Terms};
use headwater::protocol::{AttemptNumber, Codec, Digest, Producer, Seq, TaskEvent};
use headwater::scheduler::core::{Effect, Event, Output, Phase};
use headwater::scheduler::{ConnectionId, Request};

use crate::scene::*;

fn store(name: &str, attempt: u32) -> Command {
    let result = StoredResult { codec: Codec::Raw, bytes: 100_000, digest: Digest(7) };
    Command::Store { task: id(name), attempt: AttemptNumber(attempt), result }
}

fn lack(name: &str, attempt: u32) -> Command {
    Command::Lack { task: id(name), attempt: AttemptNumber(attempt) }
}

fn copied(name: &str, attempt: u32) -> Command {
    Command::Copied { task: id(name), attempt: AttemptNumber(attempt) }
}

fn defer(name: &str, attempt: u32, missing: &str) -> Command {
    Command::Defer { task: id(name), attempt: AttemptNumber(attempt), missing: id(missing) }
}

/// A call that runs on `two`, though `one` keeps what it needs.
fn submit_to_two(name: &str, dependency: &str) -> Command {
    let submission = submission(name, vec![Argument::Future(id(dependency))]);
    Command::SubmitUnder { submission, terms: Terms(vec![Term::On(Target::Worker("two".into()))]) }
}

fn watch(scene: &mut Scene, connection: u64, name: &str) {
    let request = Request::Watch(vec![id(name)]);
    scene.step(|core, out| core.request(ConnectionId(connection), 0, request, out));
}

/// A client that holds `c`, which was computed from `b`, which was computed from `a`; the results of all three are
/// with the worker `one`, as long as somebody needs them. The worker `two` has nothing to do yet.
fn chain() -> (Scene, u64, u64, u64) {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    scene.ask(client, submit("a"));
    scene.ask(client, submit_on("b", &["a"]));
    scene.ask(client, submit_on("c", &["b"]));
    for name in ["a", "b", "c"] {
        scene.ask(one, store(name, 1));
    }
    let two = scene.worker(3, "two", 2);
    scene.told();
    (scene, client, one, two)
}

#[test]
fn a_large_result_stays_with_its_worker_and_goes_from_there_to_whoever_needs_it() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    scene.ask(client, open("sums"));
    scene.ask(client, submit("a"));
    scene.ask(client, append(1, "a"));
    watch(&mut scene, client, "a");
    scene.told();
    scene.ask(one, store("a", 1));
    scene.then(&[
        "finished a attempt 1",
        "sums: a finished with 100000 bytes",
        "→ to 1: a finished with 100000 bytes of a at one",
        "→ to 2: reported",
    ]);
    // It is told again, as often as somebody asks.
    watch(&mut scene, client, "a");
    scene.then(&["→ to 1: a finished with 100000 bytes of a at one"]);
    scene.worker(3, "two", 2);
    scene.told();
    scene.ask(client, submit_to_two("b", "a"));
    scene.then(&[
        "submitted b",
        "started b attempt 1 on 3",
        "→ to 1: submitted",
        "→ to 3: run b attempt 1 (100000 bytes of a at one)",
    ]);
}

#[test]
fn what_is_lost_with_its_worker_is_computed_anew_from_as_far_back_as_it_takes() {
    let (mut scene, client, one, two) = chain();
    scene.ask(client, release("a"));
    scene.ask(client, release("b"));
    // Nobody needs them but, should it be lost, `c`.
    scene.then(&[
        "released a by 1",
        "lost a with one: nobody needs it any more",
        "→ to 1: released",
        "→ to 2: free a attempt 1",
        "released b by 1",
        "lost b with one: nobody needs it any more",
        "→ to 1: released",
        "→ to 2: free b attempt 1",
    ]);
    scene.drop_connection(one);
    scene.pass(10_000);
    scene.then(&[
        "session 2 ended: it was not heard of for its lease",
        "lost c with one: it was not heard of for its lease",
        "reopened c",
        "reopened b",
        "reopened a",
        "started a attempt 2 on 3",
        "→ to 3: run a attempt 2 ()",
    ]);
    scene.ask(two, store("a", 2));
    scene.then(&[
        "finished a attempt 2",
        "started b attempt 2 on 3",
        "→ to 3: reported",
        "→ to 3: run b attempt 2 (100000 bytes of a at two)",
    ]);
    scene.ask(two, store("b", 2));
    scene.then(&[
        "finished b attempt 2",
        "lost a with two: nobody needs it any more",
        "started c attempt 2 on 3",
        "→ to 3: reported",
        "→ to 3: free a attempt 2",
        "→ to 3: run c attempt 2 (100000 bytes of b at two)",
    ]);
    scene.ask(two, store("c", 2));
    scene.told();
    // With the last of them, all that they were computed from is forgotten.
    scene.ask(client, release("c"));
    scene.then(&[
        "released c by 1",
        "forgotten c",
        "forgotten b",
        "forgotten a",
        "→ to 1: released",
        "→ to 3: free c attempt 2",
    ]);
}

#[test]
fn only_what_is_needed_is_computed_anew() {
    let (mut scene, client, one, two) = chain();
    scene.ask(client, release("b"));
    scene.told();
    scene.drop_connection(one);
    scene.pass(10_000);
    // `a` is held, and `c` needs `b`.
    let lines = scene.told();
    assert!(
        lines.contains(&"reopened a".to_owned()) && lines.contains(&"reopened b".to_owned()),
        "{lines:?}"
    );
    scene.ask(two, store("a", 2));
    scene.ask(two, store("b", 2));
    scene.ask(two, finish("c", 2, 7));
    scene.told();
    // A result in the log is never lost, so that its lineage is kept no longer.
    assert!(!scene.core.state().tasks.contains_key(&id("b")));
    scene.drop_connection(two);
    scene.pass(10_000);
    scene.then(&[
        "session 3 ended: it was not heard of for its lease",
        "lost a with two: it was not heard of for its lease",
        "reopened a",
    ]);
}

#[test]
fn after_a_restart_what_workers_keep_counts_again() {
    let (mut scene, _, _, _) = chain();
    scene.restart();
    scene.told();
    let client = scene.connect(1, true, Role::Client);
    watch(&mut scene, client, "c");
    scene.ask_again(client, 50, submit_to_two("d", "c"));
    // Whoever keeps it is not there yet: nobody is told of a result that cannot be had, nor given it.
    scene.connect(3, true, worker("two", 2, vec![]));
    let lines = scene.told();
    assert!(!lines.iter().any(|line| line.contains("finished") || line.contains("started")), "{lines:?}");
    let told = scene.task(client, "d").waits_for;
    assert!(told.as_ref().is_some_and(|told| told.ends_with("the worker that keeps it is away")), "{told:?}");
    scene.connect(2, true, worker("one", 1, vec![]));
    scene.then(&[
        "started d attempt 1 on 3",
        "→ accept 6",
        "→ to 4: c finished with 100000 bytes of c at one",
        "→ to 5: run d attempt 1 (100000 bytes of c at one)",
    ]);
}

#[test]
fn an_attempt_that_lacks_an_argument_has_not_failed() {
    let (mut scene, client, one, two) = chain();
    scene.ask(client, submit_to_two("d", "c"));
    scene.told();
    // Whoever keeps it is there as far as the scheduler knows, and cannot be reached by this worker.
    scene.ask(two, defer("d", 1, "c"));
    scene.then(&[
        "deferred d attempt 1 for c",
        "started d attempt 2 on 3",
        "→ to 3: reported",
        "→ to 3: run d attempt 2 (100000 bytes of c at one)",
    ]);
    scene.ask(one, lack("c", 1));
    scene.then(&[
        "lost c with one: it does not have it any more",
        "reopened c",
        "started c attempt 2 on 2",
        "→ to 2: free c attempt 1",
        "→ to 2: reported",
        "→ to 2: run c attempt 2 (100000 bytes of b at one)",
    ]);
    scene.ask(two, defer("d", 2, "c"));
    scene.then(&["deferred d attempt 2 for c", "→ to 3: reported"]);
    scene.ask(one, store("c", 2));
    scene.then(&[
        "finished c attempt 2",
        "started d attempt 3 on 3",
        "→ to 2: reported",
        "→ to 3: run d attempt 3 (100000 bytes of c at one)",
    ]);
    assert_eq!(scene.core.state().tasks[&id("d")].call.as_ref().map(|call| call.failures), Some(0));
}

#[test]
fn what_cannot_be_given_to_a_worker_again_is_over() {
    let (mut scene, client, one, two) = chain();
    scene.ask(client, submit_to_two("d", "c"));
    // `two` has not heard of it when its connection breaks, and meanwhile `c` is lost.
    scene.drop_connection(two);
    scene.ask(one, lack("c", 1));
    scene.told();
    scene.connect(3, true, worker("two", 1, vec![]));
    scene.then(&["deferred d attempt 1 for c", "→ accept 4"]);
    assert_eq!(scene.task(client, "d").status, TaskStatus::Pending);
}

#[test]
fn an_older_attempt_that_a_worker_knows_of_is_not_the_one_that_it_was_given() {
    let (mut scene, client, one, two) = chain();
    scene.ask(client, submit_to_two("d", "c"));
    scene.ask(two, defer("d", 1, "c"));
    // The answer is lost, and the second attempt with it.
    scene.drop_connection(two);
    scene.ask(one, lack("c", 1));
    scene.told();
    let held = vec![HeldAttempt { task: id("d"), attempt: AttemptNumber(1) }];
    scene.connect(3, true, worker("two", 1, held));
    scene.then(&["deferred d attempt 2 for c", "→ accept 4", "→ to 4: abort d attempt 1"]);
}

#[test]
fn a_worker_that_comes_back_learns_what_it_need_not_keep() {
    let (mut scene, client, one, two) = chain();
    // Of `b` it has said that it lacks it, and another worker has it.
    scene.ask(two, copied("b", 1));
    scene.ask(one, lack("b", 1));
    scene.drop_connection(one);
    scene.ask(client, release("c"));
    scene.told();
    let one = scene.connect(2, true, worker("one", 1, vec![]));
    let kept = ["a", "b", "c"].map(|name| HeldAttempt { task: id(name), attempt: AttemptNumber(1) });
    let older = HeldAttempt { task: id("a"), attempt: AttemptNumber(0) };
    let results = [&kept[..], &[older]].concat();
    let mut out = Output::default();
    scene.core.request(ConnectionId(one), 99, Request::Query(Query::Unwanted { results }), &mut out);
    match out.effects.remove(0) {
        Effect::Send { message: ServerMessage::Answer(Ok(Answer::Unwanted(results))), .. } => {
            assert_eq!(results, [kept[1], kept[2], older]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_result_of_an_attempt_that_is_over_is_not_kept() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    scene.ask(client, submit("a"));
    scene.ask(client, release("a"));
    scene.told();
    let number = scene.ask(one, store("a", 1));
    scene.then(&["→ to 2: unwanted"]);
    scene.ask_again(one, number, store("a", 1));
    scene.then(&["→ to 2: unwanted"]);
}

#[test]
fn a_worker_that_retires_gives_what_it_keeps_to_another() {
    let (mut scene, client, one, two) = chain();
    scene.ask(client, Command::RetireWorker { worker: Producer(2), retire: Retire::Finish });
    // By identity, which is the digest of the name.
    let mut names = ["a", "b", "c"];
    names.sort_by_key(|name| id(name));
    let copies = names.map(|name| format!("→ to 3: copy 100000 bytes of {name} at one"));
    let expected = [&["→ to 2: retire".to_owned(), "→ to 1: retiring".to_owned()], &copies[..]].concat();
    let told = scene.told();
    assert_eq!(told.len(), expected.len());
    assert!(expected.iter().all(|line| told.contains(line)), "{told:?}");
    scene.ask(two, copied("a", 1));
    scene.then(&["copied a by 3", "dropped a by 2", "→ to 3: reported", "→ to 2: free a attempt 1"]);
    // One that fails is tried again.
    scene.ask(two, lack("b", 1));
    scene.then(&["→ to 3: reported", "→ to 3: copy 100000 bytes of b at one"]);
    scene.ask(two, copied("b", 1));
    scene.ask(two, copied("c", 1));
    scene.told();
    scene.leave(one);
    scene.then(&["session 2 ended: it left"]);
    watch(&mut scene, client, "c");
    scene.then(&["→ to 1: c finished with 100000 bytes of c at two"]);
}

#[test]
fn a_copy_with_a_worker_that_is_away_is_not_enough_for_one_that_retires() {
    let (mut scene, client, one, two) = chain();
    scene.ask(client, release("a"));
    scene.ask(client, release("b"));
    scene.ask(two, copied("c", 1));
    scene.drop_connection(two);
    let three = scene.worker(4, "three", 1);
    scene.told();
    scene.ask(one, Command::Retire);
    scene.then(&["→ to 2: retiring", "→ to 4: copy 100000 bytes of c at one"]);
    scene.ask(three, copied("c", 1));
    scene.then(&["copied c by 4", "dropped c by 2", "→ to 4: reported", "→ to 2: free c attempt 1"]);
}

#[test]
fn where_nobody_else_is_there_the_copy_of_one_that_is_away_is_relied_on() {
    let (mut scene, client, one, two) = chain();
    scene.ask(client, release("a"));
    scene.ask(client, release("b"));
    scene.ask(two, copied("c", 1));
    scene.drop_connection(two);
    scene.told();
    scene.ask(one, Command::Retire);
    scene.then(&["dropped c by 2", "→ to 2: retiring", "→ to 2: free c attempt 1"]);
}

#[test]
fn nobody_but_a_worker_keeps_a_result() {
    let (mut scene, client, _, _) = chain();
    scene.ask(client, copied("c", 1));
    scene.then(&["→ to 1: refused: only a worker keeps results"]);
}

#[test]
fn where_there_is_no_other_worker_what_a_retiring_one_keeps_is_lost() {
    let (mut scene, client, one, two) = chain();
    scene.leave(two);
    scene.told();
    scene.ask(one, Command::Retire);
    let told = scene.told();
    for name in ["a", "b", "c"] {
        let lost = format!("lost {name} with one: it retires, and there is no other to give it to");
        assert!(told.contains(&lost) && told.contains(&format!("reopened {name}")), "{told:?}");
        assert!(told.contains(&format!("→ to 2: free {name} attempt 1")), "{told:?}");
    }
    watch(&mut scene, client, "c");
    scene.then(&[]);
}

#[test]
fn who_waits_for_a_result_hears_of_it_when_another_worker_has_a_copy() {
    let (mut scene, client, one, two) = chain();
    scene.drop_connection(one);
    watch(&mut scene, client, "c");
    scene.then(&[]);
    // It had fetched it before.
    scene.ask(two, copied("c", 1));
    scene.then(&["copied c by 3", "→ to 1: c finished with 100000 bytes of c at two", "→ to 3: reported"]);
    scene.connect(2, true, worker("one", 1, vec![]));
    scene.then(&["→ accept 4"]);
}

#[test]
fn of_two_copies_one_may_be_lost() {
    let (mut scene, client, one, two) = chain();
    scene.ask(two, copied("c", 1));
    scene.then(&["copied c by 3", "→ to 3: reported"]);
    scene.ask(one, lack("c", 1));
    scene.then(&["dropped c by 2", "→ to 2: free c attempt 1", "→ to 2: reported"]);
    watch(&mut scene, client, "c");
    scene.then(&["→ to 1: c finished with 100000 bytes of c at two"]);
    scene.ask(one, copied("c", 1));
    scene.told();
    scene.drop_connection(two);
    scene.pass(10_000);
    scene.then(&["session 3 ended: it was not heard of for its lease"]);
    watch(&mut scene, client, "c");
    scene.then(&["→ to 1: c finished with 100000 bytes of c at one"]);
}

fn replicate(name: &str, copies: u32) -> Command {
    Command::Replicate { task: id(name), copies }
}

#[test]
fn as_many_workers_keep_a_result_as_a_client_wishes_or_as_there_are() {
    let (mut scene, client, one, two) = chain();
    let three = scene.worker(4, "three", 1);
    scene.told();
    scene.ask(client, replicate("c", 3));
    scene.then(&["→ to 1: kept by 1 of 3", "→ to 3: copy 100000 bytes of c at one"]);
    scene.ask(two, copied("c", 1));
    scene.then(&["copied c by 3", "→ to 3: reported", "→ to 4: copy 100000 bytes of c at one two"]);
    scene.ask(client, replicate("c", 2));
    scene.then(&["→ to 1: kept by 2 of 2, under way"]);
    scene.ask(three, copied("c", 1));
    scene.then(&["copied c by 4", "→ to 4: reported"]);
    scene.ask(client, replicate("c", 9));
    scene.then(&["→ to 1: kept by 3 of 3"]);
    scene.drop_connection(one);
    scene.pass(10_000);
    assert!(scene.told().iter().all(|line| !line.starts_with("lost c")), "others keep it");
    watch(&mut scene, client, "c");
    scene.then(&["→ to 1: c finished with 100000 bytes of c at two three"]);
    // Nobody makes another in its place.
    scene.ask(client, replicate("c", 3));
    scene.then(&["→ to 1: kept by 2 of 2"]);
}

#[test]
fn what_a_worker_keeps_that_retires_does_not_count() {
    let (mut scene, client, one, _) = chain();
    scene.ask(one, Command::Retire);
    scene.told();
    scene.ask(client, replicate("c", 2));
    scene.then(&["→ to 1: kept by 0 of 1, under way"]);
}

#[test]
fn who_could_not_copy_is_not_asked_again_until_the_client_is() {
    let (mut scene, client, _, two) = chain();
    scene.ask(client, replicate("c", 2));
    scene.told();
    scene.ask(client, replicate("c", 2));
    scene.then(&["→ to 1: kept by 1 of 2, under way"]);
    scene.ask(two, lack("c", 1));
    scene.then(&["→ to 3: reported"]);
    scene.ask(client, replicate("c", 2));
    scene.then(&["→ to 1: kept by 1 of 2", "→ to 3: copy 100000 bytes of c at one"]);
    scene.leave(two);
    scene.told();
    scene.ask(client, replicate("c", 2));
    scene.then(&["→ to 1: kept by 1 of 1"]);
}

#[test]
fn what_cannot_be_replicated_is_refused() {
    let (mut scene, client, _, two) = chain();
    scene.ask(client, submit("d"));
    scene.told();
    for (name, copies, words) in [
        ("c", 0, "0 workers cannot be asked to keep a result: give from 1 to 64"),
        ("c", 65, "65 workers cannot be asked to keep a result: give from 1 to 64"),
        ("d", 2, " is running, and has no result: wait for it, and ask again"),
        ("nothing", 2, " is not known: "),
    ] {
        scene.ask(client, replicate(name, copies));
        let told = scene.told();
        assert!(told.len() == 1 && told[0].contains(words), "{told:?}");
    }
    scene.ask(two, finish("d", 1, 7));
    scene.told();
    scene.ask(client, replicate("d", 2));
    scene.then(&["→ to 1: replicated"]);
}

#[test]
fn behind_lost_records_what_nobody_knows_how_to_call_is_not_taken_to_be_stored() {
    let mut scene = Scene::new();
    let (client, one) = (scene.client(1), scene.worker(2, "one", 1));
    scene.ask(client, submit("v"));
    scene.ask(one, finish("v", 1, 7));
    let mut state = scene.core.state().clone();
    // It was forgotten and submitted again, and that is lost.
    let result = TaskResult::Stored(StoredResult { codec: Codec::Raw, bytes: 100_000, digest: Digest(7) });
    let stored = TaskEvent::Finished { task: id("v"), attempt: AttemptNumber(2), result };
    state.apply(Seq(9), &Event::Task(stored));
    assert!(matches!(state.tasks[&id("v")].phase, Phase::Finished(_)), "{:?}", state.tasks[&id("v")]);
    state.check();
}
