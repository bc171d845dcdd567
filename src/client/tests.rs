//! The typed calls, against a scripted scheduler.

use super::connection::ReadItem;
use super::fixture::{FakeServer, Peer, assert_matches, soon, stored};
use super::*;
use crate::protocol::channel::{ChannelInfo, Progress};
use crate::protocol::command::{Answer, Command, Query, Rejection};
use crate::protocol::event::Origin;
use crate::protocol::limits::PAYLOAD_BYTES_MAX;
use crate::protocol::message::{ClientMessage, Position, ServerMessage};
use crate::protocol::task::{Argument, ErrorKind, TaskStatus};
use crate::protocol::{
    AttemptNumber, ChannelEvent, ChannelName, Digest, Element, LogId, Outcome, Payload, Producer, TaskError,
    TaskId, TaskKey,
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
    ChannelInfo { name, log: LOG, head, elements: 2, stopped, digest: Digest::default() }
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
    peer.send(number, ServerMessage::Subscribed { from: at }).await;
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

#[tokio::test]
async fn a_submission_says_all_that_was_asked_for() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let call = client.submit(add, (1.0, 2.0)).retries(3).priority(-1).detach();
    let (future, submission) = tokio::join!(call.into_future(), accept(&mut peer));
    assert!(submission.function.ends_with("::add") && submission.function.starts_with("rust:"));
    let options = submission.options;
    assert_eq!((options.retries, options.priority, options.detach, submission.version), (3, -1, true, 1));
    let arguments = [1.0, 2.0].map(|x| Argument::Value(Payload::encode(&x).unwrap()));
    assert_eq!(submission.arguments, arguments);
    assert!(future.unwrap().key().to_string().starts_with("add-"));
}

#[tokio::test]
async fn pure_calls_are_the_same_task_others_are_not_and_names_are_what_they_are() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let a = submit(client.submit(add, (1.0, 2.0)), &mut peer).await;
    let b = submit(client.submit(add, (1.0, 2.0)), &mut peer).await;
    let c = submit(client.submit(add, (2.0, 1.0)), &mut peer).await;
    assert_eq!(a.key(), b.key());
    assert_ne!(a.key(), c.key());
    let d = submit(client.submit(roll, ()), &mut peer).await;
    let e = submit(client.submit(roll, ()), &mut peer).await;
    assert_ne!(d.key(), e.key());
    let named = submit(client.submit(roll, ()).key("nightly"), &mut peer).await;
    assert_eq!(named.key(), &TaskKey::named("nightly"));
}

#[tokio::test]
async fn what_cannot_be_submitted_is_told_before_it_is_sent() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let error = client.submit(plain, ()).await.unwrap_err().to_string();
    assert!(error.contains("plain is no task: ") && error.contains("tests::add, "), "{error}");
    let long = "x".repeat(PAYLOAD_BYTES_MAX + 1);
    assert_matches!(client.submit(shout, (long,)).await, Err(Error::TooLarge(_)));
    drop(client.query(Query::Overview));
    assert_eq!(peer.query().await.1, Query::Overview, "nothing was sent before");
}

#[task]
fn shout(text: String) -> String {
    text
}

#[tokio::test]
async fn handles_of_one_task_hold_once_and_release_once() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let a = submit(client.submit(add, (1.0, 2.0)), &mut peer).await;
    let task = a.id();
    let clone = a.clone();
    drop(a);
    let b = submit(client.submit(add, (1.0, 2.0)), &mut peer).await;
    drop(clone);
    // Still held by `b`: the next that comes is the submission, not a release.
    let other = submit(client.submit(roll, ()), &mut peer).await;
    drop(b);
    let again = submit_after_release(&client, &mut peer, task).await;
    drop((other, again));
    let Command::Release { tasks } = peer.command().await.1 else { panic!("no release") };
    assert_eq!(tasks.len(), 2);
}

/// Submits the same call again, and sees the release of its last handle before it.
async fn submit_after_release(client: &Client, peer: &mut Peer, task: TaskId) -> TaskFuture<f64> {
    let script = async {
        assert_eq!(peer.command().await.1, Command::Release { tasks: vec![task] });
        accept(peer).await
    };
    let (future, submission) = tokio::join!(client.submit(add, (1.0, 2.0)).into_future(), script);
    assert_eq!(submission.key.id, task);
    future.unwrap()
}

#[tokio::test]
async fn a_refused_submission_holds_nothing() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let script = async {
        let (number, _) = peer.command().await;
        let rejection = Rejection::KeyTaken { key: "k".into(), function: "f".into() };
        peer.send(number, ServerMessage::Answer(Err(rejection))).await;
    };
    let (refused, ()) = tokio::join!(client.submit(roll, ()).key("k").into_future(), script);
    assert_matches!(refused, Err(Error::Rejected(Rejection::KeyTaken { .. })));
    assert_eq!(peer.command().await.1, Command::Release { tasks: vec![TaskKey::named("k").id] });
}

#[tokio::test]
async fn a_future_that_is_moved_into_a_call_is_held_until_the_call_is_accepted() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let a = submit(client.submit(roll, ()), &mut peer).await;
    let task = a.id();
    let sum = submit(client.submit(add, (a, 2.0)), &mut peer).await;
    assert_eq!(peer.command().await.1, Command::Release { tasks: vec![task] });
    drop(sum);
}

#[tokio::test]
async fn awaiting_brings_the_result_or_why_there_is_none() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let future = submit(client.submit(add, (1.0, 2.0)), &mut peer).await;
    let task = future.id();
    let failure = Box::new(TaskError::new(ErrorKind::Returned, "disk on fire", vec!["spark".into()]));
    let outcomes = [
        Outcome::Finished(Payload::encode(&3.0).unwrap()),
        Outcome::Finished(Payload::encode("three").unwrap()),
        Outcome::Failed(failure),
        Outcome::Cancelled,
    ];
    let script = async {
        for outcome in outcomes {
            let (number, message) = peer.next().await;
            assert_eq!(message, ClientMessage::Watch { tasks: vec![task] });
            peer.send(number, ServerMessage::Settled { task, outcome }).await;
        }
    };
    let waits = async {
        assert_eq!((&future).await.unwrap(), 3.0);
        let error = (&future).await.unwrap_err().to_string();
        assert!(error.contains("\"three\" is not a f64"), "{error}");
        let error = future.clone().await.unwrap_err();
        assert_eq!(error.to_string(), "disk on fire: spark");
        assert_matches!(future.await, Err(Error::Cancelled(key)) if key.id == task);
    };
    tokio::join!(waits, script);
}

#[tokio::test]
async fn a_future_is_found_by_its_key_and_held() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let named = TaskKey::named("nightly");
    let script = async {
        let (number, command) = peer.command().await;
        assert_eq!(command, Command::Hold { task: named.id, detach: false });
        peer.answer(number, Answer::Held(key(1))).await;
    };
    let (future, ()) = tokio::join!(client.future::<f64>(&named), script);
    assert_eq!(future.unwrap().key(), &key(1), "the scheduler knows its label");
    assert_eq!(peer.command().await.1, Command::Release { tasks: vec![named.id] });
}

#[tokio::test]
async fn appends_in_flight_keep_their_order() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let first = channel.append_value(&1.5);
    let values = channel.append_values(&[2.5, 3.5]);
    let append = |elements: Vec<ChannelEvent>| Command::Append {
        log: LOG,
        elements: elements
            .into_iter()
            .map(|event| match event {
                ChannelEvent::Appended { element, .. } => element,
                other => panic!("{other:?}"),
            })
            .collect(),
    };
    // Both are on their way, though neither was polled.
    assert_eq!(peer.command().await, (2, append(vec![value(1.5)])));
    assert_eq!(peer.command().await, (3, append(vec![value(2.5), value(3.5)])));
    peer.answer(2, Answer::Appended { first: 7, count: 1 }).await;
    peer.answer(3, Answer::Appended { first: 8, count: 2 }).await;
    assert_eq!((values.await.unwrap(), first.await.unwrap()), (8..10, 7));
    let future = super::fixture::future(TaskId([1; 16]));
    let third = channel.append(&future);
    let (number, command) = peer.command().await;
    let element = Element::Future(future.key().clone());
    assert_eq!(command, Command::Append { log: LOG, elements: vec![element] });
    let rejection = Rejection::ChannelStopped(ChannelName::new("a").unwrap(), 3);
    peer.send(number, ServerMessage::Answer(Err(rejection))).await;
    assert_matches!(third.await, Err(Error::Rejected(Rejection::ChannelStopped(_, 3))));
}

#[tokio::test]
async fn bad_names_are_refused_here() {
    let server = FakeServer::new().await;
    let (client, _peer) = connect(&server).await;
    assert_matches!(client.channel::<f64>("two words").await, Err(Error::BadName(_)));
}

#[tokio::test]
async fn records_come_with_offset_time_and_index() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut records = channel.from(Offset::At(5)).records();
    let number = begin(&mut peer, Position::Offset(5), 5).await;
    // The batch begins before what was asked for: two elements at 3 and 4, then these.
    let batch = [value(0.0), value(0.5), progress(1, started()), value(1.0), stopped()];
    peer.send_with(number, ServerMessage::Records, &[stored(LOG, (3, 10), &batch)]).await;
    peer.send(number, ServerMessage::CaughtUp { head: 8 }).await;
    let [_, _, started, one, stopped] = batch;
    for (offset, index, event) in [(5, None, started), (6, Some(12), one), (7, None, stopped)] {
        let record = Record { offset, time_ms: 7, index, event };
        assert_eq!(records.next().await.unwrap().unwrap(), Item::Record(record));
    }
    assert_matches!(records.next().await, Some(Ok(Item::CaughtUp { head: 8 })));
}

#[tokio::test]
async fn futures_and_values_end_where_the_channel_was_stopped() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let batch = stored(LOG, (0, 0), &[future(1), value(1.5), value("x"), future(2), stopped()]);
    let script = async {
        for _ in 0..2 {
            let number = begin(&mut peer, Position::Offset(0), 0).await;
            // The reader asks whether the channel is stopped, and reads on meanwhile.
            let (question, _) = peer.query().await;
            peer.send_with(number, ServerMessage::Records, std::slice::from_ref(&batch)).await;
            peer.answer(question, Answer::Channel(info(false, 0))).await;
            assert_matches!(peer.next().await, (_, ClientMessage::Unsubscribe));
        }
    };
    let reading = async {
        let mut futures = channel.futures();
        assert_eq!(futures.next().await.unwrap().unwrap().key(), &key(1));
        assert_eq!(futures.next().await.unwrap().unwrap().key(), &key(2));
        assert_matches!(futures.next().await, None);
        assert_matches!(futures.next().await, None);
        drop(futures);
        let mut values = channel.values();
        assert_eq!(values.next().await.unwrap().unwrap(), 1.5);
        let error = values.next().await.unwrap().unwrap_err().to_string();
        assert!(error.starts_with("the value at offset 2 of a cannot be decoded"), "{error}");
        assert_matches!(values.next().await, None);
    };
    tokio::join!(reading, script);
}

#[tokio::test]
async fn who_begins_behind_the_stop_comes_to_an_end() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut futures = channel.from(Offset::End).futures();
    let script = async {
        let number = begin(&mut peer, Position::End, 9).await;
        tell_of_channel(&mut peer, info(true, 10)).await;
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (9, 2), &[progress(1, started())])])
            .await;
    };
    let (end, ()) = tokio::join!(soon(futures.next()), script);
    assert_matches!(end, None);
}

#[tokio::test]
async fn a_stop_that_is_still_to_come_is_waited_for() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut futures = channel.from(Offset::End).futures();
    let script = async {
        let number = begin(&mut peer, Position::End, 9).await;
        tell_of_channel(&mut peer, info(false, 9)).await;
        let records = [future(1), stopped()];
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (9, 2), &records)]).await;
        peer
    };
    let (first, _peer) = tokio::join!(futures.next(), script);
    assert_eq!(first.unwrap().unwrap().key(), &key(1));
    assert_matches!(futures.next().await, None);
}

#[tokio::test]
async fn reading_from_an_index_leaves_out_what_is_before_it() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut records = channel.elements_from(6).records();
    let number = begin(&mut peer, Position::Index(6), 20).await;
    let first = [progress(9, started()), value(4.0)];
    let second = [value(5.0), progress(9, Progress::Cancelled), value(6.0), progress(8, started())];
    let batches = [stored(LOG, (20, 4), &first), stored(LOG, (22, 5), &second)];
    peer.send_with(number, ServerMessage::Records, &batches).await;
    for (wanted, index) in [(24, Some(6)), (25, None)] {
        let Some(Ok(Item::Record(record))) = records.next().await else { panic!("no record") };
        assert_eq!((record.offset, record.index), (wanted, index));
    }
}

#[tokio::test]
async fn a_trimmed_range_is_announced_and_reading_goes_on() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut values = channel.values();
    let script = async {
        let number = begin(&mut peer, Position::Offset(0), 0).await;
        tell_of_channel(&mut peer, info(false, 6)).await;
        peer.send(number, ServerMessage::Trimmed { from: 0, first: 5 }).await;
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (5, 5), &[value(5.0)])]).await;
        peer
    };
    let (first, _peer) = tokio::join!(values.next(), script);
    assert_matches!(first, Some(Err(Error::Trimmed { from: 0, first: 5, .. })));
    assert_eq!(values.next().await.unwrap().unwrap(), 5.0);
}

#[tokio::test]
async fn two_channels_are_read_side_by_side() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut pairs = channel.futures().zip(channel.elements_from(1).futures());
    let script = async {
        let first = begin(&mut peer, Position::Offset(0), 0).await;
        let second = begin(&mut peer, Position::Index(1), 0).await;
        let batch = stored(LOG, (0, 0), &[future(1), future(2), stopped()]);
        for number in [first, second] {
            peer.send_with(number, ServerMessage::Records, std::slice::from_ref(&batch)).await;
        }
        peer
    };
    let (pair, _peer) = tokio::join!(pairs.next(), script);
    let (a, b) = pair.unwrap();
    assert_eq!((a.unwrap().key(), b.unwrap().key()), (&key(1), &key(2)));
    assert_matches!(pairs.next().await, None);
}

#[tokio::test]
async fn statuses_are_what_the_records_say() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let result = Payload::encode(&1.0).unwrap();
    let records = [
        future(1),
        progress(1, started()),
        value(2.0),
        future(2),
        progress(1, Progress::Finished { result }),
        future(3),
        progress(3, started()),
    ];
    let script = async {
        let number = begin(&mut peer, Position::Offset(0), 0).await;
        peer.send_with(number, ServerMessage::Records, &[stored(LOG, (0, 0), &records)]).await;
        peer.send(number, ServerMessage::CaughtUp { head: 7 }).await;
    };
    let (entries, ()) = tokio::join!(channel.statuses(), script);
    let entries = entries.unwrap();
    let seen: Vec<_> = entries.iter().map(|entry| (entry.index, entry.offset, entry.status)).collect();
    let expected = [(0, 0, TaskStatus::Finished), (2, 3, TaskStatus::Pending), (3, 5, TaskStatus::Running)];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_task_log_is_read_as_it_is() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let mut records = client.task_log(Offset::Start);
    let (number, message) = peer.next().await;
    assert_matches!(message, ClientMessage::Subscribe { log: LogId::TASKS, from: Position::Offset(0), .. });
    peer.send(number, ServerMessage::Subscribed { from: 0 }).await;
    peer.send(number, ServerMessage::CaughtUp { head: 0 }).await;
    assert_matches!(records.next().await, Some(Ok(Item::CaughtUp { head: 0 })));
    let mut raw = client.connection().subscribe(LOG, Position::End);
    let number = begin(&mut peer, Position::End, 3).await;
    assert_matches!(raw.next().await, Some(Ok(ReadItem::Subscribed { from: 3 })));
    drop(raw);
    assert_eq!(peer.next().await, (number, ClientMessage::Unsubscribe));
}

/// Serves one blocking client: a channel, an append, a reader; then it sees the goodbye.
async fn serve_blocking(server: FakeServer) {
    let mut peer = server.welcome().await;
    let submission = accept(&mut peer).await;
    let task = submission.key.id;
    let (number, _) = peer.command().await;
    peer.answer(number, Answer::Channel(info(false, 0))).await;
    let (number, command) = peer.command().await;
    assert_eq!(command, Command::Append { log: LOG, elements: vec![Element::Future(submission.key)] });
    peer.answer(number, Answer::Appended { first: 4, count: 1 }).await;
    let (number, _) = peer.next().await;
    let outcome = Outcome::Finished(Payload::encode(&3.0).unwrap());
    peer.send(number, ServerMessage::Settled { task, outcome }).await;
    let number = begin(&mut peer, Position::Offset(0), 0).await;
    tell_of_channel(&mut peer, info(false, 0)).await;
    let records = [value(1.5), stopped()];
    peer.send_with(number, ServerMessage::Records, &[stored(LOG, (0, 0), &records)]).await;
    assert_matches!(peer.next().await, (_, ClientMessage::Unsubscribe));
    let (number, command) = peer.command().await;
    assert_eq!(command, Command::Release { tasks: vec![task] });
    peer.answer(number, Answer::Released).await;
    assert_eq!(peer.next().await, (0, ClientMessage::Goodbye));
    assert_eq!(peer.try_next().await, None);
}

#[test]
fn synchronous_code_does_the_same() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(FakeServer::new());
    let address = server.options().address;
    let served = runtime.spawn(serve_blocking(server));
    let client = blocking::Client::connect(address).unwrap();
    let sum = client.submit(add, (1.0, 2.0)).send().unwrap();
    let channel = client.channel::<f64>("a").unwrap();
    drop(client);
    assert_eq!(channel.append(&sum).unwrap(), 4);
    assert_eq!(sum.wait().unwrap(), 3.0);
    let values: Vec<f64> = channel.values().map(Result::unwrap).collect();
    assert_eq!(values, [1.5]);
    drop(channel);
    drop(sum);
    runtime.block_on(served).unwrap();
}
