//! Before the store is open: who comes is greeted and told to wait, and goes on as it is.

use super::super::fixture::welcome;
use super::*;
use crate::protocol::message::Hello;
use crate::protocol::start::{RecoveryProgress, Regress, Seen, Start};
use crate::protocol::{Epoch, StartId};

/// That it is to wait, as a session that has seen this is told it.
fn told(seen: Seen) -> (u64, ServerMessage) {
    let progress = RecoveryProgress::Snapshot(0);
    (0, ServerMessage::Recovering { start: seen.start, newest: seen, progress })
}

/// What is heard next, which must not take for ever.
async fn heard(client: &mut TestClient<tokio::io::DuplexStream>) -> (u64, ServerMessage) {
    tokio::time::timeout(Duration::from_secs(60), client.message()).await.expect("nothing is heard")
}

/// What a session has seen that has seen nothing.
const NOTHING: Seen = Seen { start: Start { epoch: Epoch(0), id: StartId(0), after: Seq(0) }, seq: Seq(0) };

#[tokio::test(start_paused = true)]
async fn who_comes_early_is_told_to_wait_and_what_it_asks_is_done_once_the_store_is_open() {
    let mut site = Site::new();
    let (mut client, open) = site.connect_early(None);
    client.greet().await;
    client.send(0, &hello(None)).await;
    client.send(1, &OVERVIEW).await;
    // Once a second, for as long as it takes.
    for _ in 0..100 {
        assert_eq!(heard(&mut client).await, told(NOTHING));
    }
    assert!(site.driver.has_no_call());
    open();
    let (_, _outbox) = site.driver.accept().await;
    assert_eq!(heard(&mut client).await, (0, welcome()));
    assert_eq!(site.driver.requests().await[0].0, 1);
}

#[tokio::test(start_paused = true)]
async fn what_it_has_seen_is_what_it_is_shown_and_is_checked_once_that_can_be() {
    let site = Site::new();
    site.driver.recovery.send_replace(Some(RecoveryProgress::Records(7)));
    let (mut client, open) = site.connect_early(None);
    client.greet().await;
    let ClientMessage::Hello(hello) = hello(None) else { panic!() };
    let seen = Seen { start: Start { epoch: Epoch(3), id: StartId(33), after: Seq(5) }, seq: Seq(9) };
    client.send(0, &ClientMessage::Hello(Hello { seen: Some(seen), ..hello })).await;
    assert_eq!(heard(&mut client).await, told(seen), "so that it shows no less the next time");
    open();
    let (_, ServerMessage::Closing(Closing::Regressed(regress))) = heard(&mut client).await else {
        panic!("what it has seen is not there")
    };
    assert_eq!(regress, Regress { epoch: Epoch(3), from: Seq(1), to: Seq(9) });
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_and_the_end_are_told_at_once() {
    let site = Site::new();
    let (mut stranger, _open) = site.connect_early(Some("secret"));
    stranger.greet().await;
    stranger.send(0, &hello(Some("guessed"))).await;
    assert_eq!(heard(&mut stranger).await, (0, ServerMessage::Closing(Closing::BadToken)));
    let (mut client, _open) = site.connect_early(None);
    client.greet().await;
    client.send(0, &hello(None)).await;
    assert_eq!(heard(&mut client).await, told(NOTHING));
    site.stop.send_replace(true);
    assert_eq!(heard(&mut client).await, (0, ServerMessage::Closing(Closing::ShuttingDown)));
}

#[tokio::test(start_paused = true)]
async fn a_trunk_is_opened_with_the_store() {
    let site = Site::new();
    let (mut client, open) = site.connect_early(None);
    client.greet().await;
    client.send(0, &ClientMessage::OpenTrunk { token: None }).await;
    open();
    assert!(matches!(heard(&mut client).await, (0, ServerMessage::TrunkOpened { .. })));
}
