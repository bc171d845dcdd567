//! Appends share commands, and each has its own answer.

use super::*;
use crate::client::fixture::soon;

fn value(n: u8) -> Element {
    Element::Value(Payload::raw(vec![n]))
}

fn append(elements: Vec<Element>) -> Command {
    Command::append(LOG, elements.into())
}

#[tokio::test]
async fn each_has_its_own_offsets_of_what_was_appended_together() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let first = connection.append(LOG, &vec![value(1)].into(), AppendOptions::default()).unwrap();
    // Whoever does not wait for it appends all the same.
    drop(connection.append(LOG, &vec![value(2), value(3)].into(), AppendOptions::default()).unwrap());
    let last = connection.append(LOG, &vec![value(4), value(5)].into(), AppendOptions::default()).unwrap();
    assert_eq!(peer.command().await, (1, append((1..6).map(value).collect())));
    // It is not known whether that has arrived: it is sent again as it was, whatever else waits.
    drop(peer);
    let behind = connection.append(LOG, &vec![value(6)].into(), AppendOptions::default()).unwrap();
    let mut peer = server.welcome().await;
    assert_eq!(peer.command().await, (1, append((1..6).map(value).collect())));
    assert_eq!(peer.command().await, (2, append(vec![value(6)])));
    peer.answer(1, acked(10, 5)).await;
    peer.answer(2, acked(15, 2)).await;
    let acks = (first.await.unwrap(), last.await.unwrap());
    assert_eq!((acks.0.offsets(), acks.1.offsets(), acks.1.seq), (10..11, 13..15, Seq(7)));
    // More than was asked for.
    assert_matches!(behind.await, Err(Error::Protocol(_)));
}

#[tokio::test]
async fn a_future_that_is_refused_fails_nobody_else_and_a_stopped_channel_fails_all() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let future = Element::Future(TaskKey::unique("f", [1; 16]));
    let [first, second] =
        [1, 2].map(|n| connection.append(LOG, &vec![value(n)].into(), AppendOptions::default()).unwrap());
    let unknown = connection.append(LOG, &vec![future.clone()].into(), AppendOptions::default()).unwrap();
    let [third, fourth] =
        [3, 4].map(|n| connection.append(LOG, &vec![value(n)].into(), AppendOptions::default()).unwrap());
    assert_eq!(peer.command().await, (1, append(vec![value(1), value(2)])));
    assert_eq!(peer.command().await, (2, append(vec![future])));
    assert_eq!(peer.command().await, (3, append(vec![value(3), value(4)])));
    peer.answer(1, acked(0, 2)).await;
    peer.send(2, ServerMessage::Answer(Err(Rejection::UnknownTask(TaskId([1; 16]))))).await;
    let stopped = Rejection::ChannelStopped(ChannelName::new("a").unwrap(), 2);
    peer.send(3, ServerMessage::Answer(Err(stopped))).await;
    assert_eq!((first.await.unwrap().offsets(), second.await.unwrap().offsets()), (0..1, 1..2));
    assert_matches!(unknown.await, Err(Error::Rejected(Rejection::UnknownTask(_))));
    for refused in [third, fourth] {
        assert_matches!(refused.await, Err(Error::Rejected(Rejection::ChannelStopped(_, 2))));
    }
}

#[tokio::test]
async fn a_release_keeps_its_place_between_appends() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    drop(connection.append(LOG, &vec![value(1)].into(), AppendOptions::default()).unwrap());
    connection.release(TaskId([1; 16]));
    drop(connection.append(LOG, &vec![value(2)].into(), AppendOptions::default()).unwrap());
    assert_eq!(peer.command().await, (1, append(vec![value(1)])));
    assert_eq!(peer.command().await, (2, Command::Release { tasks: vec![TaskId([1; 16])] }));
    assert_eq!(peer.command().await, (3, append(vec![value(2)])));
}

/// What a flush of a channel, and one of everything, bring within a moment.
async fn is_pending(flush: impl Future<Output = Result<()>>) -> bool {
    tokio::time::timeout(Duration::from_millis(50), flush).await.is_err()
}

#[tokio::test]
async fn a_flush_waits_for_what_was_asked_before_and_for_nothing_else() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    connection.flush(None).await.unwrap();
    connection.release(TaskId([1; 16]));
    drop(connection.append(LOG, &vec![value(1)].into(), AppendOptions::default()).unwrap());
    let mut of_channel = Box::pin(connection.flush(Some(LOG)));
    let mut of_all = Box::pin(connection.flush(None));
    let later = connection.append(LOG, &vec![value(2)].into(), AppendOptions::default()).unwrap();
    connection.flush(Some(LogId(9))).await.unwrap();
    let release = Command::Release { tasks: vec![TaskId([1; 16])] };
    assert_eq!(peer.command().await, (1, release));
    assert_eq!(peer.command().await, (2, append(vec![value(1)])));
    assert_eq!(peer.command().await, (3, append(vec![value(2)])), "it did not join what is flushed");
    assert!(is_pending(&mut of_channel).await);
    // It is sent again on another connection, and waited for.
    drop(peer);
    let mut peer = server.welcome().await;
    for number in 1..=3 {
        assert_eq!(peer.command().await.0, number);
    }
    peer.answer(2, acked(0, 1)).await;
    soon(of_channel).await.unwrap();
    assert!(is_pending(&mut of_all).await, "the release has no answer");
    peer.answer(1, Answer::Released).await;
    soon(of_all).await.unwrap();
    drop(later);
}

#[tokio::test]
async fn a_flush_ends_with_a_refusal_and_with_the_session() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    drop(connection.append(LOG, &vec![value(1)].into(), AppendOptions::default()).unwrap());
    let stop = connection.command(Command::Stop { log: LOG });
    let flush = connection.flush(Some(LOG));
    let stopped = Rejection::ChannelStopped(ChannelName::new("a").unwrap(), 0);
    peer.command().await;
    peer.send(1, ServerMessage::Answer(Err(stopped.clone()))).await;
    peer.command().await;
    peer.send(2, ServerMessage::Answer(Err(stopped))).await;
    soon(flush).await.unwrap();
    stop.await.unwrap_err();
    drop(connection.append(LOG, &vec![value(2)].into(), AppendOptions::default()).unwrap());
    let flush = connection.flush(None);
    peer.send(0, ServerMessage::Closing(Closing::BadToken)).await;
    assert_matches!(soon(flush).await, Err(Error::Closed(Closing::BadToken)));
    assert_matches!(connection.flush(None).await, Err(Error::Closed(_)));
    assert_matches!(connection.ready().await, Err(Error::Closed(_)));
}

#[tokio::test]
async fn appends_that_nobody_waits_for_take_so_much_memory_and_no_more() {
    const ROOM: usize = UNANSWERED_BYTES_MAX;
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let large = Elements::from(vec![Element::Value(Payload::raw(vec![7; 60_000]))]);
    let each = large.encoded_bytes() + room::APPEND_BYTES;
    // With room until the half, and taken until the bound, for those who waited at the same time.
    let mut sent = 0;
    let refused = loop {
        let is_ready = tokio::time::timeout(Duration::ZERO, connection.ready()).await.is_ok();
        assert_eq!(is_ready, sent * each < ROOM / 2, "{sent}");
        match connection.append(LOG, &large, AppendOptions::default()) {
            Ok(share) => drop(share),
            Err(error) => break error.to_string(),
        }
        sent += 1;
    };
    assert_eq!(sent, ROOM / each);
    let told = "63.9 MiB of appends have no answer yet, and no more than 64 MiB may: nothing was sent; await `ready()`";
    assert!(refused.starts_with(told), "{refused}");
    let waits = connection.ready();
    let answers = async {
        let mut first = 0;
        while first < sent as u64 {
            let (number, command) = peer.command().await;
            let Command::Append { elements, .. } = command else { panic!("{command:?}") };
            peer.answer(number, acked(first, elements.len() as u32)).await;
            first += elements.len() as u64;
        }
    };
    let (ready, ()) = soon(async { tokio::join!(waits, answers) }).await;
    ready.unwrap();
    connection.flush(None).await.unwrap();
    // All of it is given back.
    for _ in 0..sent {
        drop(connection.append(LOG, &large, AppendOptions::default()).unwrap());
    }
    connection.append(LOG, &large, AppendOptions::default()).unwrap_err();
}
