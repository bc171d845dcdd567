//! Trunks: what goes over a strand is served as what goes over a socket, and no strand is another's business.

use std::io::ErrorKind;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::server::fixture::{TestStrand, strand, welcome};
use crate::server::handshake::HANDSHAKE_MS_MAX;
use crate::trunk::{Opener, STRAND_WINDOW_BYTES};

/// The driver's way to a session. Without it the session ends.
type Outbox = mpsc::UnboundedSender<Outgoing>;

impl Site {
    /// The next strand, welcomed.
    async fn welcomed_over(&mut self, opener: &Opener) -> (TestClient<TestStrand>, Outbox) {
        let mut client = strand(opener).await;
        client.send(0, &hello(None)).await;
        let (_, outbox) = self.driver.accept().await;
        assert_eq!(client.message().await, (0, welcome()));
        (client, outbox)
    }
}

async fn is_served(client: &mut TestClient<TestStrand>) {
    client.send(0, &ClientMessage::Ping).await;
    assert_eq!(client.message().await, (0, ServerMessage::Pong));
}

#[tokio::test(start_paused = true)]
async fn strands_are_served_like_sockets_and_a_bad_one_harms_no_other() {
    let mut site = Site::new();
    let (opener, carrier, serving) = site.trunk(10).await;
    let (mut good, _outbox) = site.welcomed_over(&opener).await;
    let (mut bad, _bads) = site.welcomed_over(&opener).await;
    bad.stream.write_all(&[b'x'; 100]).await.unwrap();
    assert!(matches!(closing(&mut bad).await, Closing::NotHeadwater(_)));
    drop(bad);
    assert_eq!(site.driver.disconnected().await, (2, LOST));
    let (mut gone, _gones) = site.welcomed_over(&opener).await;
    gone.send(0, &ClientMessage::Goodbye).await;
    assert_eq!(site.driver.disconnected().await, (3, Departure::Goodbye));
    let (dropped, _droppeds) = site.welcomed_over(&opener).await;
    drop(dropped);
    assert_eq!(site.driver.disconnected().await, (4, LOST));
    is_served(&mut good).await;
    // A strand is no trunk itself, nor is what has a session.
    let mut other = strand(&opener).await;
    other.send(0, &ClientMessage::OpenTrunk { token: None }).await;
    assert!(matches!(closing(&mut other).await, Closing::NotHeadwater(why) if why.contains("no trunk")));
    good.send(9, &ClientMessage::OpenTrunk { token: None }).await;
    assert!(matches!(good.message().await, (9, ServerMessage::Answer(Err(Rejection::Invalid(_))))));
    is_served(&mut good).await;
    assert!(!carrier.is_finished() && !serving.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_trunk_is_for_who_shows_the_token_and_so_is_each_strand() {
    let mut site = Site::with_token(Some("secret"));
    for token in [None, Some("Secret".to_owned())] {
        let mut client = site.connect();
        client.greet().await;
        client.send(0, &ClientMessage::OpenTrunk { token }).await;
        assert_eq!(closing(&mut client).await, Closing::BadToken);
    }
    let (opener, ..) = site.trunk(10).await;
    let mut client = strand(&opener).await;
    client.send(0, &hello(Some("wrong"))).await;
    assert_eq!(closing(&mut client).await, Closing::BadToken);
    assert!(site.driver.has_no_call());
    let mut client = strand(&opener).await;
    client.send(0, &hello(Some("secret"))).await;
    assert_eq!(site.driver.accept().await.0.token, None, "it goes no further");
}

#[tokio::test(start_paused = true)]
async fn who_reads_nothing_holds_up_no_other_strand() {
    let mut site = Site::new();
    let (opener, ..) = site.trunk(10).await;
    let (mut good, _outbox) = site.welcomed_over(&opener).await;
    let value = "x".repeat(60_000);
    for _ in 0..40 {
        site.append(LOG, &[(&value, true)]);
    }
    let mut stuck = Vec::new();
    for _ in 0..5 {
        let (mut client, outbox) = site.welcomed_over(&opener).await;
        client.send(1, &subscribe(Position::Offset(0), 1 << 30)).await;
        stuck.push((client, outbox));
    }
    until_idle().await;
    for _ in 0..10 {
        is_served(&mut good).await;
    }
    good.send(1, &subscribe(Position::Offset(0), 1 << 30)).await;
    let mut offsets = 0;
    while offsets < 40 {
        offsets += good.receive().await.expect("it goes on").records().len();
    }
    // What waits for them is what one strand may have on its way, and what the session has read ahead.
    for (client, _) in &mut stuck {
        let mut sent = vec![0; 4 * STRAND_WINDOW_BYTES as usize];
        let read = client.stream.read(&mut sent).await.unwrap();
        assert!(read > 0 && read <= STRAND_WINDOW_BYTES as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trunk_that_breaks_is_told_of_each_of_its_sessions() {
    let mut site = Site::new();
    let (opener, carrier, serving) = site.trunk(10).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(site.welcomed_over(&opener).await);
    }
    carrier.abort();
    let mut gone: Vec<u64> = Vec::new();
    for _ in 0..3 {
        let told = timeout(Duration::from_secs(1), site.driver.disconnected());
        let (connection, departure) = told.await.expect("the driver is told of each");
        assert_eq!(departure, LOST);
        gone.push(connection);
    }
    gone.sort();
    assert_eq!(gone, [1, 2, 3]);
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn past_the_bound_a_strand_is_refused_and_the_others_go_on() {
    let mut site = Site::new();
    let (opener, ..) = site.trunk(2).await;
    let (mut good, _outbox) = site.welcomed_over(&opener).await;
    // A session that waits for the driver has its place, though its client is gone.
    let mut gone = strand(&opener).await;
    gone.send(0, &hello(None)).await;
    until_idle().await;
    drop(gone);
    assert_eq!(opener.strand().await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    is_served(&mut good).await;
    let _outbox = site.driver.accept().await;
    assert_eq!(site.driver.disconnected().await, (2, LOST));
    until_idle().await;
    site.welcomed_over(&opener).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_told_to_every_strand_and_then_the_trunk_ends() {
    let mut site = Site::new();
    let (opener, carrier, serving) = site.trunk(10).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(site.welcomed_over(&opener).await);
    }
    // One that says nothing, not even hello.
    let mut silent = strand(&opener).await;
    site.stop.send_replace(true);
    for client in clients.iter_mut().map(|(client, _)| client).chain([&mut silent]) {
        assert_eq!(closing(client).await, Closing::ShuttingDown);
    }
    opener.strand().await.expect_err("it takes no more");
    drop((clients, silent));
    serving.await.unwrap();
    let _ = carrier.await.unwrap();
    // Who comes at this moment is told, too, in words that it understands.
    let mut late = site.connect();
    late.greet().await;
    assert_eq!(closing(&mut late).await, Closing::ShuttingDown);
}

#[tokio::test(start_paused = true)]
async fn who_wants_a_trunk_and_says_nothing_more_is_let_go() {
    let site = Site::new();
    let mut client = site.connect();
    client.greet().await;
    client.send(0, &ClientMessage::OpenTrunk { token: None }).await;
    assert!(matches!(client.message().await, (0, ServerMessage::TrunkOpened { .. })));
    let mut rest = Vec::new();
    let ended = client.stream.read_to_end(&mut rest);
    timeout(Duration::from_millis(2 * HANDSHAKE_MS_MAX), ended).await.expect("it is closed").unwrap();
}
