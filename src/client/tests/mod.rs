//! The typed calls, against a scripted scheduler.

mod batches;
mod channels;
mod groups;
mod producers;
mod readings;
mod submissions;
mod synchronous;
mod views;

use super::fixture::{FakeServer, Peer, acked, assert_matches, soon, stored};
use super::*;
use crate::protocol::channel::{ChannelInfo, Progress};
use crate::protocol::command::{Answer, AppendOptions, Command, Query, Rejection};
use crate::protocol::event::Origin;
use crate::protocol::limits::PAYLOAD_BYTES_MAX;
use crate::protocol::message::{ClientMessage, Position, ServerMessage};
use crate::protocol::task::{Argument, ErrorKind, TaskStatus};
use crate::protocol::{
    AttemptNumber, ChannelEvent, ChannelName, Digest, Element, Epoch, LogId, Outcome, Payload, Producer, Seq,
    TaskError, TaskId, TaskKey,
};
use crate::task;

const LOG: LogId = LogId(1);
const ORIGIN: Origin = Origin { producer: Producer(1), number: 1 };

#[task(pure)]
fn add(a: f64, b: f64) -> f64 {
    a + b
}

#[task]
fn roll() -> f64 {
    4.0
}

fn plain() -> f64 {
    0.0
}

async fn connect(server: &FakeServer) -> (Client, Peer) {
    let (connection, peer) = server.connect().await;
    (Client::over(connection), peer)
}

fn info(stopped: bool, head: u64) -> ChannelInfo {
    let name = ChannelName::new("a").unwrap();
    ChannelInfo { elements: 2, stopped, ..ChannelInfo::of_records(name, LOG, 0, head) }
}

async fn channel(client: &Client, peer: &mut Peer) -> Channel<f64> {
    let script = async {
        let (number, command) = peer.command().await;
        assert_eq!(command, Command::OpenChannel { name: ChannelName::new("a").unwrap() });
        peer.answer(number, Answer::Channel(info(false, 0))).await;
    };
    let (channel, ()) = tokio::join!(client.channel("a"), script);
    channel.unwrap()
}

/// Takes a submission and accepts it.
async fn accept(peer: &mut Peer) -> crate::protocol::Submission {
    let (number, command) = peer.command().await;
    let Command::Submit(submission) = command else { panic!("{command:?} instead of a submission") };
    peer.answer(number, Answer::Submitted).await;
    submission
}

async fn submit<T: 'static>(submit: Submit<T>, peer: &mut Peer) -> TaskFuture<T> {
    let (future, submission) = tokio::join!(submit.into_future(), accept(peer));
    let future = future.unwrap();
    assert_eq!(future.key(), &submission.key);
    future
}

/// Takes the next subscription and begins it.
async fn begin(peer: &mut Peer, position: Position, at: u64) -> u64 {
    let (number, message) = peer.next().await;
    assert_matches!(message, ClientMessage::Subscribe { log: LOG, from, .. } if from == position);
    peer.send(number, ServerMessage::Subscribed { from: at, seq: Seq(0) }).await;
    number
}

/// Answers how the channel is when its reader asks.
async fn tell_of_channel(peer: &mut Peer, info: ChannelInfo) {
    let (number, query) = peer.query().await;
    assert_eq!(query, Query::Channel { name: ChannelName::new("a").unwrap() });
    peer.answer(number, Answer::Channel(info)).await;
}

fn key(n: u8) -> TaskKey {
    TaskKey::unique("add", [n; 16])
}

fn future(n: u8) -> ChannelEvent {
    ChannelEvent::Appended { origin: ORIGIN, element: Element::Future(key(n)) }
}

fn value(x: impl serde::Serialize) -> ChannelEvent {
    ChannelEvent::Appended { origin: ORIGIN, element: Element::Value(Payload::encode(&x).unwrap()) }
}

fn progress(n: u8, progress: Progress) -> ChannelEvent {
    ChannelEvent::Progress { key: key(n), progress }
}

fn started() -> Progress {
    Progress::Started { attempt: AttemptNumber(1), worker: "w".into() }
}

fn stopped() -> ChannelEvent {
    ChannelEvent::Stopped { origin: ORIGIN, count: 2, digest: Digest::default() }
}
