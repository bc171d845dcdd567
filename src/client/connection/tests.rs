use super::*;
use crate::client::fixture::{FakeServer, acked, assert_matches, assignment, located, offer, stored};
use crate::protocol::command::{AppendOptions, Rejection};
use crate::protocol::event::Origin;
use crate::protocol::frame;
use crate::protocol::limits::{LISTING_ROWS_MAX, PAYLOAD_BYTES_MAX, RESULT_BYTES_MAX};
use crate::protocol::message::{ClientMessage, Closing, ServerMessage};
use crate::protocol::result::StoredResult;
use crate::protocol::session::WorkerOffer;
use crate::protocol::start::{RecoveryProgress, Seen, Start};
use crate::protocol::version::WIRE_VERSION;
use crate::protocol::{ChannelEvent, Element, Payload, Producer, Seq, TaskKey};
use tokio::io::AsyncWriteExt;

mod appends;
mod trunks;
mod waits;

const LOG: LogId = LogId(1);

fn hold(n: u8) -> Command {
    Command::Hold { task: TaskId([n; 16]), detach: false }
}

fn held(n: u8) -> Answer {
    Answer::Held(TaskKey::unique("f", [n; 16]))
}

fn appended(text: &str) -> ChannelEvent {
    let element = Element::Value(Payload::encode(text).unwrap());
    ChannelEvent::Appended { origin: Origin { producer: Producer(1), number: 1 }, element }
}

#[tokio::test]
async fn what_is_not_answered_is_sent_again_after_a_reconnect() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let [first, second, third] = [1, 2, 3].map(|n| connection.command(hold(n)));
    for n in 1..=3 {
        assert_eq!(peer.command().await, (u64::from(n), hold(n)));
    }
    peer.answer(1, held(1)).await;
    assert_eq!(first.await.unwrap(), held(1));
    drop(peer);
    let fourth = connection.command(hold(4));
    let (mut peer, hello) = server.accept().await;
    assert!(hello.resume);
    assert_eq!(hello.session, connection.session());
    peer.welcome().await;
    for n in 2..=4 {
        assert_eq!(peer.command().await, (u64::from(n), hold(n)));
        peer.answer(n.into(), held(n)).await;
    }
    assert_eq!(second.await.unwrap(), held(2));
    assert_eq!(third.await.unwrap(), held(3));
    assert_eq!(fourth.await.unwrap(), held(4));
}

#[tokio::test]
async fn a_command_has_its_place_when_it_is_called_polled_or_not() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    drop(connection.command(hold(1)));
    let never_polled = connection.command(hold(2));
    let third = tokio::spawn(connection.command(hold(3)));
    for n in 1..=3 {
        assert_eq!(peer.command().await, (u64::from(n), hold(n)));
    }
    peer.send(3, ServerMessage::Answer(Err(Rejection::UnknownTask(TaskId([3; 16]))))).await;
    assert_matches!(third.await.unwrap(), Err(Error::Rejected(Rejection::UnknownTask(_))));
    drop(never_polled);
}

#[tokio::test]
async fn a_scheduler_that_restarts_during_the_first_connect_is_waited_for() {
    let server = FakeServer::new().await;
    let script = async {
        drop(server.accept_raw().await);
        let (mut peer, _) = server.accept().await;
        peer.send(0, ServerMessage::Closing(Closing::ShuttingDown)).await;
        drop(peer);
        let (mut peer, hello) = server.accept().await;
        assert!(!hello.resume);
        peer.welcome().await;
    };
    let (connection, ()) = tokio::join!(Connection::open(server.options()), script);
    assert_eq!(connection.unwrap().epoch(), Epoch(1));
}

#[tokio::test]
async fn a_wrong_token_is_told_at_once() {
    let server = FakeServer::new().await;
    let options = Options { token: Some("wrong".into()), ..server.options() };
    let script = async {
        let (mut peer, hello) = server.accept().await;
        assert_eq!(hello.token.as_deref(), Some("wrong"));
        peer.send(0, ServerMessage::Closing(Closing::BadToken)).await;
        peer
    };
    let (connection, _peer) = tokio::join!(Connection::open(options), script);
    assert_matches!(connection, Err(Error::Closed(Closing::BadToken)));
}

#[tokio::test]
async fn another_version_is_named() {
    let server = FakeServer::new().await;
    let script = async {
        let mut stream = server.accept_raw().await;
        let mut preamble = frame::preamble();
        preamble[4] += 1;
        stream.write_all(&preamble).await.unwrap();
        stream
    };
    let (connection, _stream) = tokio::join!(Connection::open(server.options()), script);
    let server = WIRE_VERSION + 1;
    assert_matches!(connection, Err(Error::Closed(closing)) if closing == Closing::WireVersion { client: WIRE_VERSION, server });
}

#[tokio::test]
async fn what_is_no_scheduler_is_named() {
    let server = FakeServer::new().await;
    let script = async {
        let mut stream = server.accept_raw().await;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.unwrap();
        stream
    };
    let (connection, _stream) = tokio::join!(Connection::open(server.options()), script);
    let error = connection.unwrap_err().to_string();
    assert!(error.contains("no Headwater scheduler (it begins with `HTTP/1.1`)"), "{error}");
}

#[tokio::test]
async fn bytes_that_are_no_message_end_the_session() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let reply = connection.command(hold(1));
    peer.send_with(1, ServerMessage::Pong, &[b"behind".as_slice().into()]).await;
    assert_matches!(reply.await, Err(Error::Protocol(_)));
    assert_matches!(connection.ended(), Some(Error::Protocol(_)));
}

#[tokio::test]
async fn where_nobody_listens_the_error_says_what_to_do() {
    let options = FakeServer::new().await.options();
    let address = options.address.clone();
    let connect_timeout = Duration::from_millis(1);
    let error = Connection::open(Options { connect_timeout, ..options }).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot connect to {address}: ")), "{error}");
    assert!(error.contains("is the scheduler running there?"), "{error}");
    let error = Connection::open(Options::new("nowhere")).await.unwrap_err().to_string();
    assert!(error.contains("host:port"), "{error}");
}

#[tokio::test]
async fn the_last_handle_that_is_dropped_says_goodbye_after_the_answers() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let other = connection.clone();
    drop(connection);
    let reply = other.command(hold(1));
    drop(other);
    assert_eq!(peer.command().await, (1, hold(1)));
    peer.answer(1, held(1)).await;
    assert_eq!(reply.await.unwrap(), held(1));
    assert_eq!(peer.next().await, (0, ClientMessage::Goodbye));
    assert_eq!(peer.try_next().await, None);
}

#[tokio::test]
async fn what_still_comes_after_the_goodbye_is_taken() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let task = TaskId([1; 16]);
    let watch = connection.watch(task);
    drop(connection);
    assert_eq!(peer.next().await, (1, ClientMessage::Watch { tasks: vec![task] }));
    assert_eq!(peer.next().await, (0, ClientMessage::Goodbye));
    assert_eq!(peer.try_next().await, None);
    peer.send(1, ServerMessage::Settled { task, outcome: Outcome::Cancelled }).await;
    assert_eq!(watch.await.unwrap(), Outcome::Cancelled);
}

#[tokio::test]
async fn a_client_that_closes_is_answered_first_and_stopped_then() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let reply = connection.command(hold(1));
    let script = async {
        assert_eq!(peer.command().await, (1, hold(1)));
        peer.answer(1, held(1)).await;
        assert_eq!(peer.next().await, (0, ClientMessage::Goodbye));
        assert_eq!(peer.try_next().await, None);
        drop(peer);
    };
    tokio::join!(connection.close(), script);
    assert_eq!(reply.await.unwrap(), held(1));
    assert_matches!(connection.command(hold(2)).await, Err(Error::Stopped));
    let mut subscription = connection.subscribe(LOG, Position::End);
    assert_matches!(subscription.next().await, Some(Err(Error::Stopped)));
    assert_matches!(subscription.next().await, None);
    connection.close().await;
}

#[tokio::test]
async fn a_session_that_ends_fails_all_that_is_outstanding() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let command = connection.command(hold(1));
    let watch = connection.watch(TaskId([1; 16]));
    let mut subscription = connection.subscribe(LOG, Position::End);
    peer.send(0, ServerMessage::Closing(Closing::BadToken)).await;
    assert_matches!(command.await, Err(Error::Closed(Closing::BadToken)));
    assert_matches!(watch.await, Err(Error::Closed(Closing::BadToken)));
    assert_matches!(subscription.next().await, Some(Err(Error::Closed(Closing::BadToken))));
    assert_matches!(subscription.next().await, None);
    assert_matches!(connection.query(Query::Overview).await, Err(Error::Closed(Closing::BadToken)));
}

#[tokio::test]
async fn all_who_wait_for_a_task_share_one_watch() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let task = TaskId([1; 16]);
    let waiters = [connection.watch(task), connection.watch(task)];
    assert_eq!(peer.next().await, (1, ClientMessage::Watch { tasks: vec![task] }));
    drop(connection.command(hold(1)));
    assert_eq!(peer.command().await, (2, hold(1)));
    peer.send(1, ServerMessage::Settled { task, outcome: Outcome::Cancelled }).await;
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Outcome::Cancelled);
    }
    let again = connection.watch(task);
    assert_eq!(peer.next().await, (3, ClientMessage::Watch { tasks: vec![task] }));
    peer.send(3, ServerMessage::Unknown { task }).await;
    assert_matches!(again.await, Err(Error::Rejected(Rejection::UnknownTask(unknown))) if unknown == task);
}

#[tokio::test]
async fn releases_are_gathered_and_keep_their_place() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    // The actor shares this thread: it runs when the test waits, and finds all calls there.
    connection.release(TaskId([1; 16]));
    connection.release(TaskId([2; 16]));
    drop(connection.command(hold(1)));
    connection.release(TaskId([1; 16]));
    let release = |ns: &[u8]| Command::Release { tasks: ns.iter().map(|n| TaskId([*n; 16])).collect() };
    assert_eq!(peer.command().await, (1, release(&[1, 2])));
    assert_eq!(peer.command().await, (2, hold(1)));
    assert_eq!(peer.command().await, (3, release(&[1])));
}

#[tokio::test]
async fn a_subscription_goes_on_at_the_next_offset() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let mut subscription = connection.subscribe(LOG, Position::Offset(0));
    let (number, message) = peer.next().await;
    assert_matches!(message, ClientMessage::Subscribe { log: LOG, from: Position::Offset(0), .. });
    peer.send(number, ServerMessage::Subscribed { from: 0, seq: Seq(0) }).await;
    let first = stored(LOG, (0, 0), &[appended("a"), appended("b")]);
    peer.send_with(number, ServerMessage::Records, std::slice::from_ref(&first)).await;
    assert_matches!(subscription.next().await, Some(Ok(ReadItem::Subscribed { from: 0 })));
    assert_matches!(subscription.next().await, Some(Ok(ReadItem::Records { from: 0, batch })) if batch.bytes() == &first);
    drop(peer);
    let mut peer = server.welcome().await;
    let (again, message) = peer.next().await;
    assert_eq!(again, number);
    assert_matches!(message, ClientMessage::Subscribe { from: Position::Offset(2), .. });
    peer.send(number, ServerMessage::Subscribed { from: 2, seq: Seq(0) }).await;
    let second = stored(LOG, (2, 2), &[appended("c")]);
    peer.send_with(number, ServerMessage::Records, &[first, second]).await;
    peer.send(number, ServerMessage::CaughtUp { head: 3 }).await;
    assert_matches!(subscription.next().await, Some(Ok(ReadItem::Records { from: 2, .. })));
    assert_matches!(subscription.next().await, Some(Ok(ReadItem::CaughtUp { head: 3 })));
    drop(subscription);
    assert_eq!(peer.next().await, (number, ClientMessage::Unsubscribe));
}

#[tokio::test]
async fn a_broken_subscription_ends_alone() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let mut broken = connection.subscribe(LOG, Position::Offset(0));
    let mut refused = connection.subscribe(LOG, Position::Offset(9));
    let (number, _) = peer.next().await;
    peer.send(number, ServerMessage::Subscribed { from: 0, seq: Seq(0) }).await;
    let batch = stored(LOG, (5, 5), &[appended("a")]);
    peer.send_with(number, ServerMessage::Records, &[batch]).await;
    assert_matches!(broken.next().await, Some(Ok(ReadItem::Subscribed { .. })));
    assert_matches!(broken.next().await, Some(Err(Error::Protocol(_))));
    assert_matches!(broken.next().await, None);
    let (number, _) = peer.next().await;
    let rejection = Rejection::PastHead { name: "a".into(), offset: 9, head: 4 };
    peer.send(number, ServerMessage::SubscriptionRefused(rejection)).await;
    assert_matches!(refused.next().await, Some(Err(Error::Rejected(Rejection::PastHead { head: 4, .. }))));
    let reply = connection.command(hold(1));
    assert_matches!(peer.next().await, (1, ClientMessage::Unsubscribe));
    assert_eq!(peer.command().await, (3, hold(1)));
    peer.answer(3, held(1)).await;
    assert_eq!(reply.await.unwrap(), held(1));
}

#[tokio::test]
async fn credit_goes_back_as_batches_are_taken() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let mut subscription = connection.subscribe(LOG, Position::Offset(0));
    let (number, message) = peer.next().await;
    let ClientMessage::Subscribe { credit_bytes: window, .. } = message else { panic!("{message:?}") };
    peer.send(number, ServerMessage::Subscribed { from: 0, seq: Seq(0) }).await;
    assert_matches!(subscription.next().await, Some(Ok(ReadItem::Subscribed { .. })));
    let (mut offset, mut sent) = (0, 0);
    while sent < window {
        let batch = stored(LOG, (offset, offset), &[appended(&"x".repeat(50_000))]);
        sent += batch.len() as u64;
        offset += 1;
        peer.send_with(number, ServerMessage::Records, &[batch]).await;
    }
    for _ in 0..offset {
        assert_matches!(subscription.next().await, Some(Ok(ReadItem::Records { .. })));
    }
    // The last batch is done with when the next item is asked for.
    let ask = async {
        tokio::select! { biased; item = subscription.next() => panic!("{item:?}"), message = peer.next() => message }
    };
    let (of, message) = ask.await;
    assert_eq!(of, number);
    assert_matches!(message, ClientMessage::Credit { bytes } if bytes >= window / 2);
}

#[tokio::test]
async fn what_is_too_large_is_never_sent() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let element = Element::Value(Payload::raw(vec![0; PAYLOAD_BYTES_MAX + 1]));
    let error = connection.command(Command::append(LOG, vec![element].into())).await.unwrap_err();
    assert_matches!(&error, Error::TooLarge(too_large) if too_large.max == PAYLOAD_BYTES_MAX as u64);
    drop(connection.command(hold(1)));
    assert_eq!(peer.command().await, (1, hold(1)));
}

#[tokio::test]
async fn what_is_over_the_bounds_of_results_is_never_sent() {
    let server = FakeServer::new().await;
    let (connection, _peer) = server.connect().await;
    let (task, attempt) = (TaskId([1; 16]), AttemptNumber(1));
    let result = StoredResult { bytes: RESULT_BYTES_MAX + 1, ..located(b"x", vec![]).result };
    let error = connection.command(Command::Store { task, attempt, result }).await.unwrap_err();
    assert_matches!(&error, Error::TooLarge(too_large) if too_large.max == RESULT_BYTES_MAX);
    let results = vec![HeldAttempt { task, attempt }; LISTING_ROWS_MAX + 1];
    let error = connection.query(Query::Unwanted { results }).await.unwrap_err();
    assert_matches!(&error, Error::TooLarge(too_large) if too_large.max == LISTING_ROWS_MAX as u64);
    let results_at = "x".repeat(300).into();
    let offer = WorkerOffer { results_at, ..offer("w") };
    let options = Options { role: Role::Worker(offer), ..server.options() };
    assert_matches!(Connection::open(options).await, Err(Error::TooLarge(_)));
}

#[tokio::test]
async fn a_worker_gets_its_messages_in_order_and_hears_of_the_end() {
    let server = FakeServer::new().await;
    let options = Options { role: Role::Worker(offer("w")), ..server.options() };
    let (opened, mut peer) = tokio::join!(Connection::open_as_worker(options), server.welcome());
    let (_connection, mut inbox) = opened.unwrap();
    let (key, attempt) = (TaskKey::unique("f", [1; 16]), AttemptNumber(1));
    let assignment = assignment(key.clone());
    peer.send(0, ServerMessage::Assign(assignment.clone())).await;
    peer.send(0, ServerMessage::Abort { task: key.id, attempt }).await;
    peer.send(0, ServerMessage::Free { task: key.id, attempt }).await;
    let copy = located(b"x", vec![]);
    peer.send(0, ServerMessage::Copy(copy.clone())).await;
    drop(peer);
    let mut peer = server.welcome().await;
    peer.send(0, ServerMessage::Closing(Closing::BadToken)).await;
    assert_matches!(inbox.recv().await, Some(WorkerMessage::Welcomed));
    assert_matches!(inbox.recv().await, Some(WorkerMessage::Assign(got)) if got == assignment);
    assert_matches!(inbox.recv().await, Some(WorkerMessage::Abort { task, .. }) if task == key.id);
    assert_matches!(inbox.recv().await, Some(WorkerMessage::Free(held)) if held.task == key.id);
    assert_matches!(inbox.recv().await, Some(WorkerMessage::Copy(got)) if got == copy);
    assert_matches!(inbox.recv().await, Some(WorkerMessage::Welcomed));
    assert_matches!(inbox.recv().await, Some(WorkerMessage::Closed(Error::Closed(Closing::BadToken))));
    assert_matches!(inbox.recv().await, None);
}

#[tokio::test]
async fn who_was_told_that_the_scheduler_recovers_has_connected_and_waits_as_long_as_it_takes() {
    let server = FakeServer::new().await;
    let connect_timeout = Duration::from_millis(200);
    let options = || Options { connect_timeout, ..server.options() };
    let recovering = || {
        let start = Start::default();
        let (newest, progress) = (Seen { start, seq: Seq(0) }, RecoveryProgress::Records(7));
        ServerMessage::Recovering { start, newest, progress }
    };
    let script = async {
        let (mut peer, _) = server.accept().await;
        peer.send(0, recovering()).await;
        peer
    };
    let (connection, mut peer) = tokio::join!(Connection::open(options()), script);
    let connection = connection.unwrap();
    let name = ChannelName::new("a").unwrap();
    let answered = held(1);
    let (found, reply) = (connection.find_channel(name.clone()), connection.command(hold(1)));
    assert_eq!(peer.next().await, (1, ClientMessage::FindLog { name }));
    peer.answer(1, Answer::Log(LOG)).await;
    assert_eq!(found.await.unwrap(), Answer::Log(LOG));
    drop(peer);
    // The scheduler is away for longer than it may be at first.
    tokio::time::sleep(2 * connect_timeout).await;
    drop(server.accept_raw().await);
    let (mut peer, hello) = server.accept().await;
    assert!(!hello.resume);
    peer.welcome().await;
    assert_eq!(peer.command().await, (2, hold(1)));
    peer.answer(2, answered.clone()).await;
    assert_eq!(reply.await.unwrap(), answered);
    // A worker has joined when it is welcomed.
    let role = Role::Worker(offer("w"));
    let opened = tokio::spawn(Connection::open(Options { role, ..server.options() }));
    let (mut peer, _) = server.accept().await;
    peer.send(0, recovering()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!opened.is_finished());
    peer.welcome().await;
    opened.await.unwrap().unwrap();
}
