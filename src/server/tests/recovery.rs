//! While the scheduler recovers: logs can be found by name and read, everything else waits.

use super::super::finds::FINDS_MAX;
use super::super::fixture::welcome;
use super::*;
use crate::protocol::event::Origin;
use crate::protocol::message::Hello;
use crate::protocol::start::{RecoveryProgress, Regress, Seen, Start};
use crate::protocol::{ChannelEvent, ChannelName, Element, Epoch, Payload, Producer, StartId};
use crate::scheduler::handle::Call;
use crate::scheduler::{Connected, ConnectionId};

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
async fn positions_by_time_and_from_the_end_are_found_before_the_welcome() {
    let (site, mut client) = recovering().await;
    let origin = Origin { producer: Producer(1), number: 1 };
    for time_ms in [10, 20, 30] {
        let element = Element::Value(Payload::raw(&b"v"[..]));
        site.log.append_at(LOG, time_ms, &[ChannelEvent::Appended { origin, element }]);
    }
    for (number, from, begins) in [(1, Position::Last(2), 1), (2, Position::Time(25), 2)] {
        client.send(number, &subscribe(from, 0)).await;
        let subscribed = ServerMessage::Subscribed { from: begins, seq: Seq(0) };
        assert_eq!(client.message().await, (number, subscribed));
    }
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
    let Call::Connect { reply, outbox, .. } = site.driver.call().await else { panic!() };
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

fn find(name: &str) -> ClientMessage {
    ClientMessage::FindLog { name: ChannelName::new(name).unwrap() }
}

/// The next message that is not news of the recovery.
async fn next(client: &mut TestClient<tokio::io::DuplexStream>) -> (u64, ServerMessage) {
    for _ in 0..100 {
        match client.message().await {
            (0, ServerMessage::Recovering { .. }) => {}
            other => return other,
        }
    }
    panic!("nothing else comes")
}

fn found(log: u32) -> ServerMessage {
    ServerMessage::Answer(Ok(Answer::Log(LogId(log))))
}

impl Site {
    fn name(&self, name: &str, log: u32) {
        self.driver.names.send_modify(|names| {
            names.insert(ChannelName::new(name).unwrap(), LogId(log));
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_known_is_answered_at_once_and_another_when_it_is() {
    let (site, mut client) = recovering().await;
    site.name("a", 1);
    client.send(1, &find("a")).await;
    assert_eq!(next(&mut client).await, (1, found(1)));
    client.send(2, &find("b")).await;
    client.send(3, &find("$tasks")).await;
    client.send(4, &find("a")).await;
    assert_eq!(next(&mut client).await, (3, found(0)), "nobody waits behind one that is not known");
    assert_eq!(next(&mut client).await, (4, found(1)));
    site.append(LOG, &[("a", true)]);
    client.send(5, &subscribe(Position::End, 1)).await;
    assert!(matches!(next(&mut client).await, (5, ServerMessage::Subscribed { .. })));
    assert!(matches!(next(&mut client).await, (5, ServerMessage::CaughtUp { .. })));
    site.name("c", 3);
    until_idle().await;
    site.name("b", 2);
    assert_eq!(next(&mut client).await, (2, found(2)));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_known_by_the_welcome_is_not_refused() {
    let (mut site, mut client) = recovering().await;
    client.send(1, &find("a")).await;
    until_idle().await;
    site.driver.recovery.send_replace(None);
    let (_, _outbox) = site.driver.accept().await;
    assert_eq!(next(&mut client).await, (0, welcome()));
    // Under way when the welcome was said: the driver hears nothing of it either.
    client.send(1, &find("a")).await;
    site.name("a", 1);
    client.send(2, &OVERVIEW).await;
    let requests = site.driver.requests().await;
    assert_eq!(requests.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2]);
    client.send(0, &ClientMessage::Ping).await;
    assert_eq!(client.message().await, (0, ServerMessage::Pong));
}

#[tokio::test(start_paused = true)]
async fn so_many_questions_are_kept_and_no_more() {
    let (site, mut client) = recovering().await;
    for number in 1..=FINDS_MAX as u64 + 1 {
        client.send(number, &find("a")).await;
    }
    client.send(0, &ClientMessage::Ping).await;
    assert_eq!(next(&mut client).await, (0, ServerMessage::Pong));
    site.name("a", 1);
    for number in 1..=FINDS_MAX as u64 {
        assert_eq!(next(&mut client).await, (number, found(1)));
    }
    client.send(9, &find("a")).await;
    assert_eq!(next(&mut client).await, (9, found(1)), "the one over the bound is forgotten");
}

#[tokio::test(start_paused = true)]
async fn who_says_goodbye_while_it_waits_is_let_go_at_once_and_the_driver_hears_of_it() {
    let (mut site, mut client) = recovering().await;
    client.send(0, &ClientMessage::Goodbye).await;
    let received = tokio::time::timeout(Duration::from_secs(60), client.receive()).await;
    assert_eq!(received.expect("it waits for the state"), None);
    drop(client);
    until_idle().await;
    let Call::Connect { outbox, reply, .. } = site.driver.call().await else { panic!() };
    assert!(outbox.send(Outgoing { number: 0, message: welcome() }).is_err(), "nobody takes it any more");
    reply.send(Ok(Connected { connection: ConnectionId(1), lease_ms: 1000 })).unwrap();
    assert_eq!(site.driver.disconnected().await, (1, Departure::Goodbye));
}
