//! Members of groups, across connections.

use super::*;
use crate::client::Member;
use crate::protocol::batch::OpenBatch;
use crate::protocol::group::{GroupId, GroupInfo, GroupName, GroupOptions, Leased, LeasedRun, OfGroup};

const GROUP: GroupId = GroupId(9);

fn leased(runs: Vec<LeasedRun>) -> ServerMessage {
    ServerMessage::Leased { group: GROUP, leased: Leased { runs, lease_ms: 60_000, dead_letters: None } }
}

fn run(index: u64, count: u32, attempt: u32) -> LeasedRun {
    LeasedRun { offset: index, index, count, attempt, leases: attempt }
}

/// These values as a stored batch, the first with this index and at this offset.
fn batch(first: u64, values: &[f64]) -> bytes::Bytes {
    let mut open = OpenBatch::new(LOG, first, first);
    assert!(values.iter().all(|number| open.push(&value(number), true)));
    open.seal(Seq(1), Epoch(1), 7).bytes().clone()
}

async fn join(channel: &Channel<f64>, peer: &mut Peer) -> Member<f64> {
    let script = async {
        let (number, command) = peer.command().await;
        assert_matches!(command, Command::OpenGroup { log: LOG, options: None, from_end: false, .. });
        let info = GroupInfo {
            id: GROUP,
            channel: ChannelName::new("a").unwrap(),
            log: LOG,
            name: GroupName::new("g").unwrap(),
            options: GroupOptions { lease_ms: 60_000, ..GroupOptions::default() },
            next: 0,
            lag: 0,
            leased: 0,
            waiting: 0,
            members: vec![],
            holds_back: false,
        };
        peer.answer(number, Answer::Group(info)).await;
        let (number, command) = peer.command().await;
        assert_eq!(command, Command::Join { group: GROUP, window: 64 });
        peer.answer(number, Answer::Reported).await;
    };
    let (member, ()) = tokio::join!(async { channel.group("g").unwrap().join().await }, script);
    member.unwrap()
}

#[tokio::test]
async fn what_was_told_on_another_connection_is_brought_once() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut member = join(&channel, &mut peer).await;
    peer.send(0, leased(vec![run(0, 2, 1)])).await;
    let script = async {
        let number = begin(&mut peer, Position::Offset(0), 0).await;
        peer.send_with(number, ServerMessage::Records, &[batch(0, &[0.5, 1.5])]).await;
    };
    let (first, ()) = tokio::join!(member.next(), script);
    let first = first.unwrap().unwrap();
    assert_eq!((first.value(), first.attempt), (Some(&0.5), 1));
    peer.close().await;
    let mut peer = server.welcome().await;
    // It reads on, and joins anew; what it has is told once more, and something else.
    let (number, message) = peer.next().await;
    assert_matches!(message, ClientMessage::Subscribe { log: LOG, from: Position::Offset(2), .. });
    peer.send(number, ServerMessage::Subscribed { from: 2, seq: Seq(0) }).await;
    let (join, command) = peer.command().await;
    assert_eq!(command, Command::Join { group: GROUP, window: 64 });
    peer.answer(join, Answer::Reported).await;
    peer.send(0, leased(vec![run(0, 2, 1), run(5, 1, 3)])).await;
    let second = soon(member.next()).await.unwrap().unwrap();
    assert_eq!((second.index, second.value()), (1, Some(&1.5)));
    // Nothing of it comes twice: the next is what came anew, behind what is others'.
    peer.send_with(number, ServerMessage::Records, &[batch(2, &[2.5, 3.5, 4.5, 5.5])]).await;
    let script = async {
        let (number, command) = peer.command().await;
        assert_eq!(command, Command::Try(OfGroup { group: GROUP, elements: vec![(5, 1)] }));
        peer.answer(number, Answer::Reported).await;
    };
    let (third, ()) = tokio::join!(soon(member.next()), script);
    let third = third.unwrap().unwrap();
    assert_eq!((third.index, third.value(), third.attempt), (5, Some(&5.5), 3));
}

#[tokio::test]
async fn a_member_that_goes_gives_back_what_it_has() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let member = join(&channel, &mut peer).await;
    drop(member);
    let (number, command) = peer.command().await;
    assert_eq!(command, Command::Leave { group: GROUP, untried: vec![] });
    peer.answer(number, Answer::Reported).await;
    // Nothing is known of it any more: what comes late is nobody's.
    peer.send(0, leased(vec![run(0, 1, 1)])).await;
    let mut member = join(&channel, &mut peer).await;
    peer.send(0, leased(vec![run(3, 1, 1)])).await;
    let script = async {
        let number = begin(&mut peer, Position::Offset(3), 3).await;
        peer.send_with(number, ServerMessage::Records, &[batch(3, &[3.5])]).await;
    };
    let (delivery, ()) = tokio::join!(member.next(), script);
    let delivery = delivery.unwrap().unwrap();
    let script = async {
        let (number, command) = peer.command().await;
        assert_eq!(command, Command::Acknowledge(OfGroup { group: GROUP, elements: vec![(3, 1)] }));
        peer.answer(number, Answer::Reported).await;
    };
    let (done, ()) = tokio::join!(delivery.done(), script);
    done.unwrap();
}

#[tokio::test]
async fn what_was_leased_before_is_brought_once_it_is_known_that_it_is_tried() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let channel = channel(&client, &mut peer).await;
    let mut member = join(&channel, &mut peer).await;
    peer.send(0, leased(vec![run(0, 1, 2), run(1, 1, 2), run(2, 1, 2)])).await;
    let script = async {
        let number = begin(&mut peer, Position::Offset(0), 0).await;
        peer.send_with(number, ServerMessage::Records, &[batch(0, &[0.5, 1.5, 2.5])]).await;
        peer.command().await
    };
    let tried = |index| Command::Try(OfGroup { group: GROUP, elements: vec![(index, 1)] });
    // Whoever asked does so no longer before the answer comes.
    let (number, command) = tokio::select! {
        delivery = member.next() => panic!("{delivery:?} before it is known that it is tried"),
        command = script => command,
    };
    assert_eq!(command, tried(0));
    // Meanwhile it was leased once more, and it is that lease that is tried.
    peer.send(0, leased(vec![run(0, 1, 3)])).await;
    peer.answer(number, Answer::Reported).await;
    let script = async {
        let (number, command) = peer.command().await;
        assert_eq!(command, tried(0));
        peer.answer(number, Answer::Reported).await;
    };
    let (first, ()) = tokio::join!(member.next(), script);
    let first = first.unwrap().unwrap();
    assert_eq!((first.index, first.attempt), (0, 3));
    // What is another's by then is passed over.
    let script = async {
        let (number, command) = peer.command().await;
        assert_eq!(command, tried(1));
        let rejection = Rejection::LeaseOver { group: GroupName::new("g").unwrap(), index: 1 };
        peer.send(number, ServerMessage::Answer(Err(rejection))).await;
        let (number, command) = peer.command().await;
        assert_eq!(command, tried(2));
        peer.answer(number, Answer::Reported).await;
    };
    let (third, ()) = tokio::join!(member.next(), script);
    assert_eq!(third.unwrap().unwrap().index, 2);
}
