//! Appends share commands, and each has its own answer.

use super::*;

fn value(n: u8) -> Element {
    Element::Value(Payload::raw(vec![n]))
}

fn append(elements: Vec<Element>) -> Command {
    Command::Append { log: LOG, elements: elements.into(), expect: None }
}

#[tokio::test]
async fn each_has_its_own_offsets_of_what_was_appended_together() {
    let server = FakeServer::new().await;
    let (connection, mut peer) = server.connect().await;
    let first = connection.append(LOG, &vec![value(1)].into(), None).unwrap();
    // Whoever does not wait for it appends all the same.
    drop(connection.append(LOG, &vec![value(2), value(3)].into(), None).unwrap());
    let last = connection.append(LOG, &vec![value(4), value(5)].into(), None).unwrap();
    assert_eq!(peer.command().await, (1, append((1..6).map(value).collect())));
    // It is not known whether that has arrived: it is sent again as it was, whatever else waits.
    drop(peer);
    let behind = connection.append(LOG, &vec![value(6)].into(), None).unwrap();
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
    let [first, second] = [1, 2].map(|n| connection.append(LOG, &vec![value(n)].into(), None).unwrap());
    let unknown = connection.append(LOG, &vec![future.clone()].into(), None).unwrap();
    let [third, fourth] = [3, 4].map(|n| connection.append(LOG, &vec![value(n)].into(), None).unwrap());
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
    drop(connection.append(LOG, &vec![value(1)].into(), None).unwrap());
    connection.release(TaskId([1; 16]));
    drop(connection.append(LOG, &vec![value(2)].into(), None).unwrap());
    assert_eq!(peer.command().await, (1, append(vec![value(1)])));
    assert_eq!(peer.command().await, (2, Command::Release { tasks: vec![TaskId([1; 16])] }));
    assert_eq!(peer.command().await, (3, append(vec![value(2)])));
}
