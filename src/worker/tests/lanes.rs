//! Plain functions that follow each other.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex};

use super::*;
use crate::blocking;
use crate::protocol::task::ErrorKind;
use crate::protocol::{Outcome, TaskError};

/// How long a function waits at a gate that is not opened.
const HANG: Duration = Duration::from_secs(20);

/// Gates at which functions wait, by number; each test has its own.
static GATES: Gates = Gates { changed: Condvar::new(), stages: Mutex::new(None) };

struct Gates {
    stages: Mutex<Option<HashSet<(u64, Stage)>>>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Reached,
    Open,
    Left,
}

impl Gates {
    fn set(&self, gate: u64, stage: Stage) {
        self.stages.lock().unwrap().get_or_insert_default().insert((gate, stage));
        self.changed.notify_all();
    }

    fn await_stage(&self, gate: u64, stage: Stage) {
        let is_awaited = |stages: &mut Option<HashSet<_>>| {
            !stages.as_ref().is_some_and(|stages| stages.contains(&(gate, stage)))
        };
        // A runtime waits for its threads when it ends: a test that fails shall not hang there.
        let stages = self.stages.lock().unwrap();
        let waited = self.changed.wait_timeout_while(stages, HANG, is_awaited).unwrap().1;
        assert!(!waited.timed_out(), "nobody came to gate {gate}: {stage:?}");
    }

    async fn awaited(&'static self, gate: u64, stage: Stage) {
        soon(tokio::task::spawn_blocking(move || self.await_stage(gate, stage))).await.unwrap();
    }
}

#[task]
fn wait_at(gate: u64) {
    GATES.set(gate, Stage::Reached);
    GATES.await_stage(gate, Stage::Open);
    GATES.set(gate, Stage::Left);
}

#[task]
fn same(number: u64) -> u64 {
    number
}

#[task]
async fn same_later(number: u64) -> u64 {
    tokio::task::yield_now().await;
    number
}

#[task]
fn fails(number: u64) {
    panic!("{number} is too much");
}

#[task]
fn wait_for(_number: u64) -> Result<()> {
    blocking::local_client()?.future::<()>(&TaskKey::named("other"))?.wait()
}

#[task]
async fn tick(times: u64) -> Result<()> {
    let _client = crate::local_client().await?;
    for _ in 0..times {
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    Ok(())
}

impl Run {
    async fn give(&mut self, function: &str, number: u64) -> TaskKey {
        let arguments = vec![Given::Value(Payload::encode(&number).unwrap())];
        self.assign_at(number as u8, &format!("{MODULE}::lanes"), function, arguments).await
    }

    /// The next report is that this was done. It is answered.
    async fn finishes<T: serde::Serialize>(&mut self, key: &TaskKey, result: T) {
        let (number, command) = self.peer.command().await;
        let result = Payload::encode(&result).unwrap();
        assert_eq!(command, Command::Finish { task: key.id, attempt: AttemptNumber(1), result });
        self.answer(number).await;
    }

    /// Next it says that this takes its slot, or no longer. It is answered.
    async fn occupies(&mut self, key: &TaskKey, occupies: bool) {
        let (number, command) = self.peer.command().await;
        assert_eq!(command, Command::Occupy { task: key.id, attempt: AttemptNumber(1), occupies });
        self.answer(number).await;
    }

    async fn fails(&mut self, key: &TaskKey) -> Box<TaskError> {
        match self.peer.command().await {
            (number, Command::Fail { task, error, .. }) if task == key.id => {
                self.answer(number).await;
                error
            }
            other => panic!("{other:?}"),
        }
    }

    async fn abort(&mut self, key: &TaskKey) {
        let abort = ServerMessage::Abort { task: key.id, attempt: AttemptNumber(1) };
        self.peer.send(0, abort).await;
    }
}

#[tokio::test]
async fn outcomes_are_told_before_what_follows_them_has_ended() {
    let mut run = run_worker_with(1).await;
    let mut keys = Vec::new();
    for number in 0..100 {
        keys.push(run.give("same", number).await);
    }
    let long = run.give("wait_at", 101).await;
    for (number, key) in (0_u64..).zip(&keys) {
        run.finishes(key, number).await;
    }
    GATES.set(101, Stage::Open);
    run.finishes(&long, ()).await;
}

#[tokio::test]
async fn functions_of_both_kinds_have_their_turn_in_the_order_in_which_they_were_given() {
    let mut run = run_worker_with(1).await;
    let functions = ["same", "same", "same_later", "same", "same_later", "same_later", "same"];
    let mut keys = Vec::new();
    for (number, function) in (0..).zip(functions.iter().cycle().take(70)) {
        keys.push(run.give(function, number).await);
    }
    for (number, key) in (0_u64..).zip(&keys) {
        run.finishes(key, number).await;
    }
}

#[tokio::test]
async fn a_panic_is_told_and_harms_nothing_else() {
    let mut run = run_worker_with(1).await;
    // To tell of it on stderr may take so long that what waits behind it is given back.
    let bad = run.give("fails", 1).await;
    let error = run.fails(&bad).await;
    assert_eq!(error.kind, ErrorKind::Panicked);
    assert!(error.message.starts_with("panicked at src/worker/tests/lanes.rs:"), "{error}");
    assert!(error.message.ends_with(": 1 is too much"), "{error}");
    let good = run.give("same", 2).await;
    run.finishes(&good, 2).await;
}

#[tokio::test]
async fn an_aborted_function_goes_on_without_its_slot_and_unheard() {
    let mut run = run_worker_with(1).await;
    let aborted = run.give("wait_at", 102).await;
    GATES.awaited(102, Stage::Reached).await;
    run.abort(&aborted).await;
    let next = run.give("same", 1).await;
    run.finishes(&next, 1).await;
    GATES.set(102, Stage::Open);
    GATES.awaited(102, Stage::Left).await;
    for number in 2..50 {
        let next = run.give("same", number).await;
        run.finishes(&next, number).await;
    }
}

#[tokio::test]
async fn what_waits_behind_a_function_that_takes_long_is_given_back() {
    let mut run = run_worker_with(1).await;
    let long = run.give("wait_at", 104).await;
    GATES.awaited(104, Stage::Reached).await;
    let waits = run.give("same", 1).await;
    let (number, command) = run.peer.command().await;
    assert_eq!(command, Command::Return { task: waits.id, attempt: AttemptNumber(1) });
    run.answer(number).await;
    GATES.set(104, Stage::Open);
    run.finishes(&long, ()).await;
}

#[tokio::test]
async fn a_function_that_blocks_holds_up_no_other_slot() {
    let mut run = run_worker_with(2).await;
    let blocks = run.give("wait_at", 105).await;
    GATES.awaited(105, Stage::Reached).await;
    let mut keys = Vec::new();
    for number in 0..50 {
        keys.push(run.give("same", number).await);
    }
    for (number, key) in (0_u64..).zip(&keys) {
        run.finishes(key, number).await;
    }
    GATES.set(105, Stage::Open);
    run.finishes(&blocks, ()).await;
}

#[tokio::test]
async fn a_function_that_waits_as_a_client_gives_up_its_slot_and_has_it_again_before_it_goes_on() {
    let mut run = run_worker_with(1).await;
    let asks = run.give("wait_for", 106).await;
    let mut trunk = run.server.accept_trunk(10).await;
    let (mut as_client, hello) = trunk.accept().await;
    assert_eq!(hello.role, Role::Attempt { task: asks.id, attempt: AttemptNumber(1) });
    as_client.welcome().await;
    let task = TaskKey::named("other").id;
    let (number, command) = as_client.command().await;
    assert_eq!(command, Command::Hold { task, detach: false });
    as_client.answer(number, Answer::Held(TaskKey::named("other"))).await;
    let (number, message) = as_client.next().await;
    assert_eq!(message, ClientMessage::Watch { tasks: vec![task] });
    run.occupies(&asks, false).await;
    let next = run.give("wait_at", 108).await;
    GATES.awaited(108, Stage::Reached).await;
    let outcome = Outcome::Finished(Payload::encode(&()).unwrap());
    as_client.send(number, ServerMessage::Settled { task, outcome }).await;
    run.occupies(&asks, true).await;
    let stays = tokio::time::timeout(Duration::from_millis(30), run.peer.next()).await;
    assert!(stays.is_err(), "the other one has the slot: {stays:?}");
    GATES.set(108, Stage::Open);
    run.finishes(&next, ()).await;
    run.finishes(&asks, ()).await;
}

#[tokio::test]
async fn no_more_is_said_of_pauses_before_what_was_said_is_answered() {
    let mut run = run_worker_with(1).await;
    let ticks = run.give("tick", 4).await;
    let mut trunk = run.server.accept_trunk(10).await;
    let _as_client = trunk.welcome().await;
    let (first, command) = run.peer.command().await;
    assert_eq!(command, Command::Occupy { task: ticks.id, attempt: AttemptNumber(1), occupies: false });
    // Else they would be without number while the scheduler is away.
    run.finishes(&ticks, ()).await;
    run.answer(first).await;
    let next = run.give("tick", 1).await;
    let _as_client = trunk.welcome().await;
    run.occupies(&next, false).await;
}

#[tokio::test]
async fn a_worker_that_retires_waits_for_its_lanes() {
    let mut run = run_worker_with(1).await;
    let long = run.give("wait_at", 107).await;
    GATES.awaited(107, Stage::Reached).await;
    run.peer.send(0, ServerMessage::Retire(Retire::Finish)).await;
    let (number, command) = run.peer.command().await;
    assert_eq!(command, Command::Retire);
    run.peer.answer(number, Answer::Retiring).await;
    let stays = tokio::time::timeout(Duration::from_millis(100), run.peer.next()).await;
    assert!(stays.is_err(), "{stays:?}");
    GATES.set(107, Stage::Open);
    run.finishes(&long, ()).await;
    assert_eq!(run.peer.next().await, (0, ClientMessage::Goodbye));
}
