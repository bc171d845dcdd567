//! While the scheduler recovers: logs can be read, everything else waits.

use super::super::fixture::welcome;
use super::*;
use crate::protocol::message::Hello;
use crate::protocol::start::{RecoveryProgress, Regress, Seen, Start};
use crate::protocol::{Epoch, StartId};

const NEWEST: Seen = Seen { start: Start { epoch: Epoch(0), id: StartId(0), after: Seq(0) }, seq: Seq(0) };
const HALF: RecoveryProgress = RecoveryProgress::Records(500);

/// A site whose scheduler recovers, and a client that has said hello.
async fn recovering() -> (Site, TestClient<tokio::io::DuplexStream>) {
    let site = Site::new();
    site.driver.recovery.send_replace(Some(HALF));
    let mut client = site.connect();
    client.greet().await;
    client.send(0, &hello(None)).await;
    assert_eq!(
        client.message().await,
        (0, ServerMessage::Recovering { start: Start::default(), newest: NEWEST, progress: HALF })
    );
    (site, client)
}

#[tokio::test(start_paused = true)]
async fn logs_are_read_before_the_welcome_and_after_it() {
    let (mut site, mut client) = recovering().await;
    site.append(LOG, &[("a", true)]);
    client.send(1, &subscribe(Position::Offset(0), 1 << 20)).await;
    assert_eq!(client.message().await, (1, ServerMessage::Subscribed { from: 0, seq: Seq(0) }));
    assert_eq!(client.receive().await.unwrap().records(), [(0, "a".to_owned())]);
    assert_eq!(client.message().await, (1, ServerMessage::CaughtUp { head: 1 }));
    let told = ServerMessage::Recovering { start: Start::default(), newest: NEWEST, progress: HALF };
    assert_eq!(client.message().await, (0, told), "and once a second how far it is");
    site.driver.recovery.send_replace(None);
    let (_, _outbox) = site.driver.accept().await;
    assert_eq!(client.message().await, (0, welcome()));
    site.append(LOG, &[("b", true)]);
    assert_eq!(client.receive().await.unwrap().records(), [(1, "b".to_owned())], "the same subscription");
    client.send(2, &OVERVIEW).await;
    assert_eq!(site.driver.requests().await[0].0, 2);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_it_waits_is_told_to_the_driver_as_gone() {
    let (mut site, client) = recovering().await;
    drop(client);
    until_idle().await;
    let (_, _outbox) = site.driver.accept().await;
    assert_eq!(site.driver.disconnected().await, (1, LOST));
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_in_the_end_is_told_why() {
    let (mut site, mut client) = recovering().await;
    let crate::scheduler::handle::Call::Connect { reply, outbox, .. } = site.driver.call().await else {
        panic!()
    };
    // The end of what the driver has to say may be seen before its answer.
    drop(outbox);
    until_idle().await;
    reply.send(Err(Closing::Replaced)).unwrap();
    assert_eq!(closing(&mut client).await, Closing::Replaced);
}

#[tokio::test(start_paused = true)]
async fn who_has_seen_what_is_gone_reads_nothing_either() {
    let mut site = Site::new();
    site.driver.recovery.send_replace(Some(HALF));
    site.log.set_starts([Start { epoch: Epoch(2), id: StartId(2), after: Seq(40) }].into_iter().collect());
    let mut client = site.connect();
    client.greet().await;
    let start = Start { epoch: Epoch(1), id: StartId(1), after: Seq(0) };
    let ClientMessage::Hello(hello) = hello(None) else { panic!() };
    let hello = Hello { seen: Some(Seen { start, seq: Seq(41) }), resume: true, ..hello };
    client.send(0, &ClientMessage::Hello(hello)).await;
    let regress = Regress { epoch: Epoch(1), from: Seq(41), to: Seq(41) };
    assert_eq!(closing(&mut client).await, Closing::Regressed(regress));
    assert!(site.driver.has_no_call());
}
