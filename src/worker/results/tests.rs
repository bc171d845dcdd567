//! Keeping, giving and fetching over loopback, beside a scripted scheduler.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::held::Held;
use super::listen::Listener;
use super::store::Store;
use super::{At, Options, serve};
use crate::client::blob::{Content, Room};
use crate::client::connection::{self, Connection};
use crate::client::fetch::{Failure, FetchError};
use crate::client::fixture::{FakeServer, Holding, Peer, Script, assert_matches, located, soon};
use crate::protocol::command::{Answer, Command, Query, Rejection};
use crate::protocol::frame::{self, FrameReader};
use crate::protocol::limits::{FRAME_BYTES_MAX, RESULT_PIECE_BYTES};
use crate::protocol::message::{Closing, Filling, Given, ServerMessage};
use crate::protocol::result::{Fetched, Holder, Located};
use crate::protocol::session::HeldAttempt;
use crate::protocol::{AttemptNumber, Payload, TaskId, Template};
use crate::worker::given::Here;

const TOKEN: &str = "secret";

/// A worker's results, without the worker: what it keeps, and the scheduler that it speaks to.
struct Site {
    held: Arc<Held>,
    address: String,
    peer: Peer,
    server: FakeServer,
    serving: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn site(memory_bytes: u64) -> Site {
    let server = FakeServer::new().await;
    let (connection, peer) = connect(&server, TOKEN).await;
    let scheduler = connection.address().to_owned();
    let token = Some(TOKEN.to_owned());
    let listener = Listener::bind(&At::Local, &scheduler, token, Duration::from_secs(1)).await.unwrap();
    let address = listener.address().to_owned();
    let options = Options { memory_bytes, ..Options::default() };
    let held = Held::new(connection, &options, &address);
    let served = held.clone();
    let serving = tokio::spawn(async move { match listener.serve(&served).await {} });
    Site { held, address, peer, server, serving }
}

async fn connect(server: &FakeServer, token: &str) -> (Connection, Peer) {
    let options = connection::Options { token: Some(token.to_owned()), ..server.options() };
    let (connection, peer) = tokio::join!(Connection::open(options), server.welcome());
    (connection.unwrap(), peer)
}

fn large() -> Payload {
    let bytes: Vec<u8> = (0..3 * RESULT_PIECE_BYTES + 11).map(|at| (at / 5) as u8).collect();
    Payload { codec: crate::protocol::Codec::MessagePack, bytes: bytes.into() }
}

fn held(n: u8) -> HeldAttempt {
    HeldAttempt { task: TaskId([n; 16]), attempt: AttemptNumber(1) }
}

impl Site {
    /// Keeps the payload as the result of task `n`, acknowledged.
    async fn keep(&mut self, n: u8) -> Located {
        let told = self.held.keep(held(n), large().into()).await.unwrap();
        let settling = tokio::spawn(self.held.clone().settle(told));
        let (number, command) = self.peer.command().await;
        let located = self.located(n);
        let HeldAttempt { task, attempt } = held(n);
        assert_eq!(command, Command::Store { task, attempt, result: located.result });
        self.peer.answer(number, Answer::Reported).await;
        soon(settling).await.unwrap();
        located
    }

    /// What the scheduler would say of it.
    fn located(&self, n: u8) -> Located {
        let holders = vec![Holder { worker: "w".into(), address: self.address.clone().into() }];
        let mut located = located(&large().bytes, holders);
        located.key.id = held(n).task;
        located
    }

    async fn fetch(&self, located: &Located, token: &str) -> Result<Payload, FetchError> {
        let server = FakeServer::new().await;
        let (connection, _peer) = connect(&server, token).await;
        Ok(soon(connection.fetch(located, &Room::MEMORY)).await?.into_payload().unwrap())
    }

    async fn failure(&self, located: &Located, token: &str) -> Failure {
        self.fetch(located, token).await.expect_err("it is not to be had").tried.remove(0).1
    }

    /// The scheduler hears that a result is not here.
    async fn hears_of_lack(&mut self, n: u8) {
        let (number, command) = self.peer.command().await;
        let HeldAttempt { task, attempt } = held(n);
        assert_eq!(command, Command::Lack { task, attempt });
        self.peer.answer(number, Answer::Reported).await;
    }

    /// Connects anew.
    async fn reconnect(&mut self) {
        // The old one is dropped first: then the connection is made again.
        self.peer.close().await;
        self.peer = self.server.welcome().await;
    }
}

/// The task whose result is missing for an argument.
async fn missing(site: &Site, given: Given) -> TaskId {
    soon(site.held.arguments(vec![given])).await.unwrap_err()
}

/// All of them in memory.
fn payloads(contents: impl IntoIterator<Item = Content>) -> Vec<Payload> {
    contents.into_iter().map(|content| content.into_payload().unwrap()).collect()
}

#[tokio::test]
async fn a_result_is_given_from_memory_and_from_the_disk() {
    for memory_bytes in [u64::MAX, 0] {
        let mut site = site(memory_bytes).await;
        let located = site.keep(1).await;
        assert_eq!(site.held.store().spilled(&held(1)).is_some(), memory_bytes == 0);
        for _ in 0..3 {
            assert_eq!(site.fetch(&located, TOKEN).await.unwrap().bytes, large().bytes);
        }
    }
}

#[tokio::test]
async fn without_the_token_nothing_is_given() {
    let mut site = site(u64::MAX).await;
    let located = site.keep(1).await;
    for token in ["", "secre", "secret2"] {
        assert_eq!(site.failure(&located, token).await, Failure::Refused(Closing::BadToken));
    }
    assert!(site.fetch(&located, TOKEN).await.is_ok());
}

#[tokio::test]
async fn what_is_asked_for_and_not_there_is_told_to_the_scheduler() {
    let mut site = site(u64::MAX).await;
    let located = site.keep(1).await;
    site.held.free(&held(1));
    assert_eq!(site.failure(&located, TOKEN).await, Failure::Missing);
    // Asked twice before the scheduler has answered, it is told once.
    assert_eq!(site.failure(&located, TOKEN).await, Failure::Missing);
    site.hears_of_lack(1).await;
    let other = site.located(2);
    assert_eq!(site.failure(&other, TOKEN).await, Failure::Missing);
    site.hears_of_lack(2).await;
}

#[tokio::test]
async fn a_damaged_file_gives_nothing_and_is_told_to_the_scheduler() {
    let mut site = site(0).await;
    let located = site.keep(1).await;
    site.held.store().spilled(&held(1)).unwrap().damage(located.result.bytes - 1);
    assert_eq!(site.failure(&located, TOKEN).await, Failure::Missing);
    site.hears_of_lack(1).await;
    assert_eq!(site.held.len(), 0);
    // The worker itself does not take it either.
    let located = site.keep(2).await;
    site.held.store().spilled(&held(2)).unwrap().damage(5);
    assert_eq!(missing(&site, Given::Stored(located)).await, held(2).task);
    site.hears_of_lack(2).await;
}

#[tokio::test]
async fn a_stranger_harms_nobody() {
    let mut site = site(u64::MAX).await;
    let located = site.keep(1).await;
    let address: SocketAddr = site.address.parse().unwrap();
    let mut absurd = frame::preamble().to_vec();
    absurd.extend_from_slice(&[0xff; 64]);
    let mut endless = frame::preamble().to_vec();
    endless.extend_from_slice(&(FRAME_BYTES_MAX as u32).to_le_bytes());
    endless.resize(200_000, 0);
    let mut version = frame::preamble().to_vec();
    version[4] += 1;
    let http = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    for (bytes, words) in
        [(http, "begin with"), (absurd, "a frame of"), (endless, "more than"), (version, "version")]
    {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        stranger.shutdown().await.unwrap();
        soon(stranger.read_to_end(&mut answer)).await.unwrap();
        let mut frames = FrameReader::default();
        frames.buffer().extend_from_slice(&answer[frame::PREAMBLE_BYTES..]);
        let told = frames.next_frame().unwrap().unwrap().decode::<Fetched>().unwrap().0;
        assert_matches!(told, Fetched::Refused(closing) if closing.to_string().contains(words));
    }
    assert!(site.fetch(&located, TOKEN).await.is_ok());
}

#[tokio::test]
async fn further_connections_wait_until_others_have_ended() {
    let mut site = site(u64::MAX).await;
    let located = site.keep(1).await;
    let mut silent = Vec::new();
    for _ in 0..serve::CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(&site.address).await.unwrap();
        stream.read_exact(&mut [0; frame::PREAMBLE_BYTES]).await.unwrap();
        silent.push(stream);
    }
    let mut late = TcpStream::connect(&site.address).await.unwrap();
    let mut preamble = [0; frame::PREAMBLE_BYTES];
    let waited = tokio::time::timeout(Duration::from_millis(100), late.read_exact(&mut preamble)).await;
    assert!(waited.is_err(), "it is served beside {} others", serve::CONNECTIONS_MAX);
    drop(silent);
    soon(late.read_exact(&mut preamble)).await.unwrap();
    assert!(site.fetch(&located, TOKEN).await.is_ok());
}

#[tokio::test]
async fn one_that_is_freed_while_it_is_given_is_not_kept_for_a_peer_that_stalls() {
    let mut site = site(u64::MAX).await;
    let bytes = vec![7; 64 * RESULT_PIECE_BYTES];
    let payload = Payload::raw(bytes.clone());
    let kept = payload.bytes.clone();
    let told = site.held.keep(held(1), payload.into()).await.unwrap();
    let (number, _) = site.peer.command().await;
    site.peer.answer(number, Answer::Reported).await;
    site.held.clone().settle(told).await;
    let mut stalled = TcpStream::connect(&site.address).await.unwrap();
    let mut out = frame::preamble().to_vec();
    let fetch = crate::protocol::result::Fetch { token: Some(TOKEN.to_owned()), result: held(1) };
    frame::encode(&mut out, 0, &fetch).unwrap();
    stalled.write_all(&out).await.unwrap();
    stalled.read_exact(&mut [0; 100]).await.unwrap();
    site.held.free(&held(1));
    // Nobody but this test has the bytes any more, or soon.
    let alone = async {
        while !kept.is_unique() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(alone).await;
}

#[tokio::test]
async fn what_the_scheduler_does_not_want_is_dropped_when_it_welcomes_the_worker() {
    let mut site = site(u64::MAX).await;
    site.keep(1).await;
    site.keep(2).await;
    // The third is on its way when the connection breaks: the welcome's question is not about it.
    let told = site.held.keep(held(3), large().into()).await.unwrap();
    let settling = tokio::spawn(site.held.clone().settle(told));
    let (third, _) = site.peer.command().await;
    site.reconnect().await;
    let asked = tokio::spawn(site.held.welcomed());
    let (again, command) = site.peer.command().await;
    assert_matches!(command, Command::Store { .. });
    assert_eq!(again, third);
    let (number, query) = site.peer.query().await;
    let Query::Unwanted { mut results } = query else { panic!("{query:?}") };
    results.sort_by_key(|held| held.task);
    assert_eq!(results, [held(1), held(2)]);
    // Even if the answer names the third, which it was not asked for, that stays.
    site.peer.answer(number, Answer::Unwanted(vec![held(1), held(3)])).await;
    soon(asked).await.unwrap();
    assert_eq!((site.held.len(), site.held.store().result(&held(1))), (2, None));
    // Once that is answered, it is asked for by itself.
    site.peer.answer(again, Answer::Reported).await;
    let (number, query) = site.peer.query().await;
    assert_eq!(query, Query::Unwanted { results: vec![held(3)] });
    site.peer.answer(number, Answer::Unwanted(vec![held(3)])).await;
    soon(settling).await.unwrap();
    assert_eq!(site.held.len(), 1);
}

#[tokio::test]
async fn an_answer_is_not_about_a_copy_that_was_put_since() {
    let mut site = site(u64::MAX).await;
    site.keep(1).await;
    let asked = tokio::spawn(site.held.welcomed());
    let (number, _) = site.peer.query().await;
    site.held.free(&held(1));
    let described = Store::describe(&large().into()).await.unwrap();
    site.held.store().put(held(1), described, large().into());
    site.peer.answer(number, Answer::Unwanted(vec![held(1)])).await;
    soon(asked).await.unwrap();
    assert_eq!(site.held.len(), 1);
}

#[tokio::test]
async fn what_is_refused_or_unwanted_at_once_is_not_kept() {
    let mut site = site(u64::MAX).await;
    for answer in [Ok(Answer::Unwanted(vec![held(1)])), Err(Rejection::Invalid("no".to_owned()))] {
        let told = site.held.keep(held(1), large().into()).await.unwrap();
        assert_eq!(site.held.len(), 1);
        let (number, _) = site.peer.command().await;
        site.peer.send(number, ServerMessage::Answer(answer)).await;
        soon(site.held.clone().settle(told)).await;
        assert_eq!(site.held.len(), 0);
    }
}

#[tokio::test]
async fn an_attempt_that_is_aborted_before_it_tells_of_its_result_leaves_nothing() {
    let site = site(0).await;
    // It is aborted while it makes room.
    let _slow = site.held.store().slow_disk().await;
    let mut keeping = Box::pin(site.held.keep(held(1), large().into()));
    while site.held.len() == 0 {
        assert!((&mut keeping).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    drop(keeping);
    assert_eq!(site.held.len(), 0);
}

#[tokio::test]
async fn a_copy_is_fetched_kept_and_told_of() {
    let mut site = site(u64::MAX).await;
    let holding = Holding::new(large().bytes.to_vec(), &[Script::Dead, Script::Give]).await;
    let (task, attempt) = (holding.located.key.id, holding.located.attempt);
    for _ in 0..2 {
        let copying = tokio::spawn(site.held.clone().copy(holding.located.clone()));
        let (number, command) = site.peer.command().await;
        assert_eq!(command, Command::Copied { task, attempt });
        site.peer.answer(number, Answer::Reported).await;
        soon(copying).await.unwrap();
        let content = site.held.store().content(&holding.located.held()).await.unwrap();
        assert_eq!(payloads(content), [large()]);
    }
    // One that cannot be had is told of, too.
    let holding = Holding::new(large().bytes.to_vec(), &[Script::Missing]).await;
    let mut gone = holding.located.clone();
    gone.attempt = AttemptNumber(2);
    let copying = tokio::spawn(site.held.clone().copy(gone));
    let (number, command) = site.peer.command().await;
    assert_eq!(command, Command::Lack { task, attempt: AttemptNumber(2) });
    site.peer.answer(number, Answer::Reported).await;
    soon(copying).await.unwrap();
    assert_eq!(site.held.len(), 1);
}

#[tokio::test]
async fn a_copy_that_is_freed_before_it_is_there_is_not_kept_nor_told_of() {
    let mut site = site(u64::MAX).await;
    let holding = Holding::new(large().bytes.to_vec(), &[Script::Give]).await;
    let mut copying = Box::pin(site.held.clone().copy(holding.located.clone()));
    assert!((&mut copying).now_or_never().is_none());
    site.held.free(&holding.located.held());
    soon(copying).await;
    assert_eq!(site.held.len(), 0);
    let told = site.held.keep(held(1), large().into()).await.unwrap();
    assert_matches!(site.peer.command().await.1, Command::Store { .. });
    drop(told);
}

#[tokio::test]
async fn arguments_come_from_here_or_from_others_in_their_order() {
    let mut site = site(0).await;
    let here = site.keep(2).await;
    let holding = Holding::new(b"there".to_vec(), &[Script::Missing, Script::Give]).await;
    let there = holding.located.clone();
    let value = Payload::encode(&1).unwrap();
    let template = Template::new(vec![0x90]);
    let results = vec![Filling::Value(value.clone()), Filling::Stored(here.clone())];
    let inside = Given::Nested { template: template.clone(), results };
    let given = vec![Given::Stored(there.clone()), Given::Value(value.clone()), Given::Stored(here), inside];
    let mut arguments = soon(site.held.arguments(given)).await.unwrap();
    let Some(Here::Nested { template: filled, results }) = arguments.pop() else { panic!("{arguments:?}") };
    assert_eq!((filled, payloads(results)), (template.clone(), vec![value.clone(), large()]));
    let there = Payload { codec: there.result.codec, bytes: b"there"[..].into() };
    let whole = arguments.into_iter().map(|argument| match argument {
        Here::Value(content) => content,
        Here::Nested { .. } => panic!("{argument:?}"),
    });
    assert_eq!(payloads(whole), [there.clone(), value.clone(), large()]);
    // Kept by nobody, or by this worker alone, which does not have it: nothing is tried for long.
    let mut gone = site.located(3);
    let given = vec![Given::Value(value.clone()), Given::Stored(gone.clone())];
    assert_eq!(soon(site.held.arguments(given)).await.unwrap_err(), held(3).task);
    site.hears_of_lack(3).await;
    let inside = Given::Nested { template, results: vec![Filling::Stored(site.located(4))] };
    assert_eq!(missing(&site, inside).await, held(4).task);
    site.hears_of_lack(4).await;
    gone.holders.clear();
    assert_eq!(missing(&site, Given::Stored(gone)).await, held(3).task);
}

#[tokio::test]
async fn what_has_no_room_in_memory_comes_in_a_file_and_stays_in_one() {
    let mut site = site(1000).await;
    let there = Holding::new(large().bytes.to_vec(), &[Script::CutAfter(1), Script::Give]).await;
    let here = site.keep(3).await;
    let given = vec![Given::Stored(there.located.clone()), Given::Stored(here)];
    for argument in soon(site.held.arguments(given)).await.unwrap() {
        let Here::Value(content) = argument else { panic!("{argument:?}") };
        assert!(matches!(content, Content::File { .. }), "{content:?}");
        assert_eq!(content.clone().into_payload().unwrap(), large());
        // It is a task's result as it is.
        let told = site.held.keep(held(2), content).await.unwrap();
        assert!(site.held.store().spilled(&held(2)).is_some());
        assert_eq!(site.held.store().memory_bytes(), 0);
        let (number, command) = site.peer.command().await;
        let HeldAttempt { task, attempt } = held(2);
        assert_eq!(command, Command::Store { task, attempt, result: there.located.result });
        site.peer.answer(number, Answer::Reported).await;
        soon(site.held.clone().settle(told)).await;
    }
}
