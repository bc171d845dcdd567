//! A whole worker, against a scripted scheduler.

mod lanes;

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::results::{self, At};
use super::*;
use crate::client::blob::Room;
use crate::client::fetch::Failure;
use crate::client::fixture::{FakeServer, Holding, Peer, Script, assert_matches, assignment, soon};
use crate::protocol::command::{Answer, Command};
use crate::protocol::equipment::Equipment;
use crate::protocol::limits::PAYLOAD_BYTES_MAX;
use crate::protocol::message::{Assignment, ClientMessage, Given, Hello, ServerMessage};
use crate::protocol::result::{Holder, Located, StoredResult};
use crate::protocol::{AttemptNumber, Payload, TaskKey};
use crate::task;

#[task]
fn filled(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[task]
fn length(text: String) -> usize {
    text.len()
}

#[task]
async fn stay_a_client() -> Result<()> {
    let _client = crate::local_client().await?;
    std::future::pending().await
}

const MODULE: &str = "rust:headwater::worker::tests";

struct Run {
    server: FakeServer,
    peer: Peer,
    hello: Hello,
    ended: JoinHandle<Result<()>>,
    _retire: oneshot::Sender<()>,
    _hand_over: oneshot::Sender<()>,
}

async fn run_worker() -> Run {
    run_worker_with(2).await
}

async fn run_worker_with(slots: u32) -> Run {
    let server = FakeServer::new().await;
    let options = Options {
        address: server.options().address,
        name: Some("w".to_owned()),
        slots,
        token: None,
        connect_timeout: Duration::from_secs(5),
        results: results::Options { at: At::Local, memory_bytes: 0, spill_dir: None },
        programs: None,
        equipment: Equipment::default(),
    };
    let (retire, retires) = oneshot::channel::<()>();
    let (hand_over, hands_over) = oneshot::channel::<()>();
    let run = run(options, async { drop(retires.await) }, async { drop(hands_over.await) });
    let ended = tokio::spawn(run);
    let (mut peer, hello) = server.accept().await;
    peer.welcome().await;
    Run { server, peer, hello, ended, _retire: retire, _hand_over: hand_over }
}

fn offer(hello: &Hello) -> &WorkerOffer {
    match &hello.role {
        Role::Worker(offer) => offer,
        other => panic!("{other:?}"),
    }
}

impl Run {
    async fn assign(&mut self, n: u8, function: &str, arguments: Vec<Given>) -> TaskKey {
        self.assign_at(n, MODULE, function, arguments).await
    }

    async fn assign_at(&mut self, n: u8, module: &str, function: &str, arguments: Vec<Given>) -> TaskKey {
        let key = TaskKey::unique(function, [n; 16]);
        let function = format!("{module}::{function}").into();
        let assignment = Assignment { function, arguments, ..assignment(key.clone()) };
        self.peer.send(0, ServerMessage::Assign(assignment)).await;
        key
    }

    /// A task whose result has so many bytes; it is told of, and not acknowledged yet.
    async fn large(&mut self, n: u8, bytes: usize) -> (u64, Located) {
        let key = self.assign(n, "filled", vec![Given::Value(Payload::encode(&bytes).unwrap())]).await;
        let (number, command) = self.peer.command().await;
        let payload = Payload::encode(&"x".repeat(bytes)).unwrap();
        let digest = crate::protocol::Digest::of_result(&payload.bytes);
        let result = StoredResult { codec: payload.codec, bytes: payload.bytes.len() as u64, digest };
        let attempt = AttemptNumber(1);
        assert_eq!(command, Command::Store { task: key.id, attempt, result });
        let address = offer(&self.hello).results_at.clone();
        (number, Located { key, attempt, result, holders: vec![Holder { worker: "w".into(), address }] })
    }

    async fn fetched(&self, located: &Located) -> std::result::Result<usize, Failure> {
        let fetched = crate::client::fetch::fetch(located, "127.0.0.1:1", None, &Room::MEMORY);
        let fetched = soon(fetched).await.map_err(|mut error| error.tried.remove(0).1);
        fetched.map(|payload| payload.decode::<String>().unwrap().len())
    }

    async fn answer(&mut self, number: u64) {
        self.peer.answer(number, Answer::Reported).await;
    }
}

#[tokio::test]
async fn a_large_result_is_kept_before_it_is_told_of_and_until_it_is_free() {
    let mut run = run_worker().await;
    let (number, located) = run.large(1, 3_000_000).await;
    assert_eq!(run.fetched(&located).await, Ok(3_000_000));
    run.answer(number).await;
    assert_eq!(run.fetched(&located).await, Ok(3_000_000));
    run.peer.send(0, ServerMessage::Free { task: located.key.id, attempt: located.attempt }).await;
    // What comes behind it is taken behind it.
    let key = run.assign(2, "length", vec![Given::Value(Payload::encode("four").unwrap())]).await;
    let (_, command) = run.peer.command().await;
    let result = Payload::encode(&4).unwrap();
    assert_eq!(command, Command::Finish { task: key.id, attempt: AttemptNumber(1), result });
    assert_eq!(run.fetched(&located).await, Err(Failure::Missing));
    assert_matches!(run.peer.command().await.1, Command::Lack { .. });
}

#[tokio::test]
async fn only_what_is_too_large_for_the_log_is_kept() {
    let mut run = run_worker().await;
    // A text of this length has a head of three bytes.
    let bytes = PAYLOAD_BYTES_MAX - 3;
    run.assign(1, "filled", vec![Given::Value(Payload::encode(&bytes).unwrap())]).await;
    assert_matches!(run.peer.command().await.1, Command::Finish { .. });
    run.large(2, bytes + 1).await;
}

#[tokio::test]
async fn stored_arguments_are_fetched_and_an_attempt_that_lacks_one_is_deferred() {
    let mut run = run_worker().await;
    let text = Payload::encode("fetched").unwrap();
    let there = Holding::new(text.bytes.to_vec(), &[Script::Missing, Script::Give]).await;
    let key = run.assign(2, "length", vec![Given::Stored(there.located.clone())]).await;
    let (number, command) = run.peer.command().await;
    let result = Payload::encode(&7).unwrap();
    assert_eq!(command, Command::Finish { task: key.id, attempt: AttemptNumber(1), result });
    run.answer(number).await;
    let gone = Holding::new(text.bytes.to_vec(), &[Script::Missing]).await;
    let missing = gone.located.key.id;
    let key = run.assign(3, "length", vec![Given::Stored(gone.located.clone())]).await;
    let (number, command) = run.peer.command().await;
    assert_eq!(command, Command::Defer { task: key.id, attempt: AttemptNumber(1), missing });
    run.answer(number).await;
    // Its own results need no connection.
    let (number, own) = run.large(4, 100_000).await;
    run.answer(number).await;
    let own = Located { holders: vec![], ..own };
    run.assign(5, "length", vec![Given::Stored(own)]).await;
    let (_, command) = run.peer.command().await;
    assert_matches!(command, Command::Finish { result, .. } if result.decode() == Ok(100_000));
}

#[tokio::test]
async fn an_abort_behind_a_result_that_is_told_of_leaves_it_where_it_is() {
    let mut run = run_worker().await;
    let (_, located) = run.large(1, 100_000).await;
    // The scheduler has taken it, and the answer was lost with the connection. To the scheduler the attempt is
    // over then, which the worker still says that it holds.
    run.peer.close().await;
    let (mut peer, hello) = run.server.accept().await;
    assert_eq!(offer(&hello).held, [located.held()]);
    assert_eq!(offer(&hello).results_at, offer(&run.hello).results_at);
    peer.welcome().await;
    peer.send(0, ServerMessage::Abort { task: located.key.id, attempt: located.attempt }).await;
    run.peer = peer;
    let (number, command) = run.peer.command().await;
    assert_matches!(command, Command::Store { .. });
    run.answer(number).await;
    // It may have missed that it is free: it asks.
    assert_matches!(run.peer.query().await.1, crate::protocol::command::Query::Unwanted { results } if results == [located.held()]);
    assert_eq!(run.fetched(&located).await, Ok(100_000));
}

#[tokio::test]
async fn a_worker_that_retires_stays_until_nothing_is_kept() {
    let mut run = run_worker().await;
    let (number, located) = run.large(1, 100_000).await;
    run.answer(number).await;
    run.peer.send(0, ServerMessage::Retire(Retire::Finish)).await;
    let (number, command) = run.peer.command().await;
    assert_eq!(command, Command::Retire);
    run.peer.answer(number, Answer::Retiring).await;
    assert_eq!(run.fetched(&located).await, Ok(100_000));
    let stays = tokio::time::timeout(Duration::from_millis(100), run.peer.next()).await;
    assert!(stays.is_err(), "{stays:?}");
    run.peer.send(0, ServerMessage::Free { task: located.key.id, attempt: located.attempt }).await;
    assert_eq!(run.peer.next().await, (0, ClientMessage::Goodbye));
    assert_eq!(run.peer.try_next().await, None);
    drop(run.peer);
    soon(run.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_that_hands_over_keeps_nothing_back() {
    let mut run = run_worker().await;
    let (number, _) = run.large(1, 100_000).await;
    run.answer(number).await;
    run.peer.send(0, ServerMessage::Retire(Retire::HandOver)).await;
    assert_eq!(run.peer.next().await, (0, ClientMessage::Goodbye));
}

#[tokio::test]
async fn a_worker_that_ends_has_its_clients_say_goodbye_before_it_closes_their_trunk() {
    let mut run = run_worker().await;
    let tasks = [run.assign(1, "stay_a_client", vec![]).await, run.assign(2, "stay_a_client", vec![]).await];
    let mut trunk = run.server.accept_trunk(10).await;
    let mut clients = Vec::new();
    for _ in tasks {
        clients.push(trunk.welcome().await);
    }
    run.peer.send(0, ServerMessage::Retire(Retire::HandOver)).await;
    assert_eq!(run.peer.next().await, (0, ClientMessage::Goodbye));
    drop(run.peer);
    let stays = tokio::time::timeout(Duration::from_millis(100), &mut run.ended).await;
    assert!(stays.is_err(), "its clients have not left");
    for mut client in clients {
        assert_eq!(client.next().await, (0, ClientMessage::Goodbye));
        client.close().await;
    }
    trunk.closed().await;
    soon(run.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_new_session_begins_with_nothing() {
    let mut run = run_worker().await;
    let (number, located) = run.large(1, 100_000).await;
    run.answer(number).await;
    let expired = Closing::Rejected(Rejection::SessionEnded(EndReason::LeaseExpired));
    run.peer.send(0, ServerMessage::Closing(expired)).await;
    let (mut peer, hello) = run.server.accept().await;
    assert!(!hello.resume && offer(&hello).held.is_empty());
    assert_eq!(offer(&hello).results_at, offer(&run.hello).results_at);
    peer.welcome().await;
    run.peer = peer;
    assert_eq!(run.fetched(&located).await, Err(Failure::Missing));
}
