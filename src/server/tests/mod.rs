//! Sessions from the outside: bytes in, bytes and calls on the driver out.

mod early;
mod many;
mod recovery;
mod trunk;

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::fixture::{LEASE_MS, LOST, Site, TestClient, encoded, hello, until_idle};
use super::outbox::PIECES_MAX;
use super::subscription::READ_BYTES_MAX;
use crate::protocol::command::{Answer, Command, Query, Rejection};
use crate::protocol::frame;
use crate::protocol::limits::{FRAME_BYTES_MAX, TASKS_PER_COMMAND_MAX};
use crate::protocol::message::{ClientMessage, Closing, Position, Reads, ServerMessage};
use crate::protocol::version::WIRE_VERSION;
use crate::protocol::{LogId, Seq, TaskId};
use crate::scheduler::{Departure, Outgoing, Request};

const LOG: LogId = LogId(3);
const OVERVIEW: ClientMessage = ClientMessage::Query(Query::Overview);

async fn closing(client: &mut TestClient<impl AsyncRead + AsyncWrite + Unpin>) -> Closing {
    match client.message().await {
        (0, ServerMessage::Closing(closing)) => {
            assert_eq!(client.receive().await, None, "nothing follows");
            closing
        }
        other => panic!("{other:?}"),
    }
}

fn subscribe(from: Position, credit_bytes: u64) -> ClientMessage {
    ClientMessage::Subscribe { log: LOG, from, credit_bytes, reads: Reads::Durable }
}

// How a connection begins.

#[tokio::test(start_paused = true)]
async fn garbage_is_told_why_and_others_do_not_notice() {
    let mut site = Site::new();
    let (mut other, _outbox) = site.welcomed().await;
    let mut client = site.connect();
    client.stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    client.take_preamble().await;
    let told = closing(&mut client).await;
    assert_eq!(told, Closing::NotHeadwater("they begin with `GET / HT`".into()));
    other.send(1, &ClientMessage::Ping).await;
    assert_eq!(other.message().await, (1, ServerMessage::Pong));
    assert!(site.driver.has_no_call());
}

#[tokio::test(start_paused = true)]
async fn another_wire_version_is_named() {
    let site = Site::new();
    let mut client = site.connect();
    let mut preamble = frame::preamble();
    preamble[4] += 1;
    client.stream.write_all(&preamble).await.unwrap();
    client.take_preamble().await;
    let told = closing(&mut client).await;
    assert_eq!(told, Closing::WireVersion { client: WIRE_VERSION + 1, server: WIRE_VERSION });
}

#[tokio::test(start_paused = true)]
async fn the_first_message_is_a_hello() {
    for bytes in [encoded(1, &ClientMessage::Ping), {
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, 0, &200u8).unwrap();
        bytes
    }] {
        let mut site = Site::new();
        let mut client = site.connect();
        client.greet().await;
        client.stream.write_all(&bytes).await.unwrap();
        assert!(matches!(closing(&mut client).await, Closing::NotHeadwater(_)));
        assert!(site.driver.has_no_call());
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_no_hello_is_not_waited_for() {
    let site = Site::new();
    let mut client = site.connect();
    client.greet().await;
    assert_eq!(closing(&mut client).await, Closing::NotHeadwater("no hello within 10000 ms".into()));
}

#[tokio::test(start_paused = true)]
async fn the_token_is_compared_and_goes_no_further() {
    let mut site = Site::with_token(Some("secret"));
    for wrong in [None, Some(""), Some("secreT"), Some("secret2")] {
        let mut client = site.connect();
        client.greet().await;
        client.send(0, &hello(wrong)).await;
        assert_eq!(closing(&mut client).await, Closing::BadToken, "{wrong:?}");
        assert!(site.driver.has_no_call());
    }
    let mut client = site.connect();
    client.greet().await;
    client.send(0, &hello(Some("secret"))).await;
    assert_eq!(site.driver.accept().await.0.token, None);
    assert!(matches!(client.message().await, (0, ServerMessage::Welcome { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_driver_refuses_is_told_why() {
    let mut site = Site::new();
    let mut client = site.connect();
    client.greet().await;
    client.send(0, &hello(None)).await;
    let crate::scheduler::handle::Call::Connect { reply, .. } = site.driver.call().await else { panic!() };
    reply.send(Err(Closing::Replaced)).unwrap();
    assert_eq!(closing(&mut client).await, Closing::Replaced);
}

// Requests and answers.

#[tokio::test(start_paused = true)]
async fn what_arrives_together_is_handed_over_together_and_in_order() {
    let mut site = Site::new();
    let mut client = site.connect();
    client.greet().await;
    let watch = ClientMessage::Watch { tasks: vec![TaskId([1; 16])] };
    let bytes = [encoded(0, &hello(None)), encoded(1, &OVERVIEW), encoded(2, &watch), encoded(3, &OVERVIEW)];
    client.stream.write_all(&bytes.concat()).await.unwrap();
    let (_, outbox) = site.driver.accept().await;
    let overview = || Request::Query(Query::Overview);
    let watch = Request::Watch(vec![TaskId([1; 16])]);
    assert_eq!(site.driver.requests().await, [(1, overview()), (2, watch), (3, overview())]);
    let answer = ServerMessage::Answer(Ok(Answer::Released));
    outbox.send(Outgoing { number: 1, message: answer.clone() }).unwrap();
    assert!(matches!(client.message().await, (0, ServerMessage::Welcome { .. })));
    assert_eq!(client.message().await, (1, answer));
}

#[tokio::test(start_paused = true)]
async fn a_frame_over_the_limit_is_refused_and_the_connection_goes_on() {
    let mut site = Site::new();
    let (mut client, _outbox) = site.welcomed().await;
    let length = FRAME_BYTES_MAX + 1;
    let mut bytes = vec![0; frame::HEADER_BYTES + length];
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[8] = 9;
    bytes.extend(encoded(10, &OVERVIEW));
    client.stream.write_all(&bytes).await.unwrap();
    let (number, ServerMessage::Answer(Err(Rejection::TooLarge(error)))) = client.message().await else {
        panic!()
    };
    assert_eq!((number, error.size), (9, length as u64));
    assert_eq!(site.driver.requests().await[0].0, 10);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_decode_is_refused_and_the_connection_goes_on() {
    let mut site = Site::new();
    let (mut client, _outbox) = site.welcomed().await;
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, 5, &200u8).unwrap();
    // Nobody waits for an answer to number 0.
    frame::encode(&mut bytes, 0, &200u8).unwrap();
    frame::encode_with(&mut bytes, 6, &ClientMessage::<Command>::Ping, &[Bytes::from_static(b"more")])
        .unwrap();
    bytes.extend(encoded(7, &hello(None)));
    bytes.extend(encoded(8, &OVERVIEW));
    client.stream.write_all(&bytes).await.unwrap();
    for number in [5, 6, 7] {
        let (to, ServerMessage::Answer(Err(Rejection::Invalid(_)))) = client.message().await else {
            panic!()
        };
        assert_eq!(to, number);
    }
    assert_eq!(site.driver.requests().await[0].0, 8);
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_too_many_tasks_is_refused() {
    let mut site = Site::new();
    let (mut client, _outbox) = site.welcomed().await;
    let tasks = vec![TaskId([1; 16]); TASKS_PER_COMMAND_MAX + 1];
    client.send(1, &ClientMessage::Watch { tasks }).await;
    assert!(matches!(client.message().await, (1, ServerMessage::Answer(Err(Rejection::TooLarge(_))))));
    assert!(site.driver.has_no_call());
}

#[tokio::test(start_paused = true)]
async fn bytes_that_were_changed_on_their_way_end_the_connection_after_what_was_whole() {
    let mut site = Site::new();
    let (mut client, _outbox) = site.welcomed().await;
    let mut bytes = [encoded(1, &OVERVIEW), encoded(2, &OVERVIEW)].concat();
    *bytes.last_mut().unwrap() ^= 1;
    client.stream.write_all(&bytes).await.unwrap();
    assert_eq!(site.driver.requests().await, [(1, Request::Query(Query::Overview))]);
    assert!(matches!(closing(&mut client).await, Closing::NotHeadwater(_)));
    assert_eq!(site.driver.disconnected().await, (1, LOST));
}

// How a connection ends.

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_gone_after_its_lease_and_one_that_pings_is_not() {
    let mut site = Site::new();
    let (mut pinging, _first) = site.welcomed().await;
    let (mut silent, _second) = site.welcomed().await;
    let started = Instant::now();
    let pings = async {
        for number in 1..=9 {
            tokio::time::sleep(Duration::from_millis(LEASE_MS / 3)).await;
            pinging.send(number, &ClientMessage::Ping).await;
            assert_eq!(pinging.message().await, (number, ServerMessage::Pong));
        }
    };
    let gone = async {
        assert_eq!(
            site.driver.disconnected().await,
            (2, Departure::Lost { silent_ms: LEASE_MS }),
            "it ends with it"
        );
        assert_eq!(started.elapsed().as_millis(), u128::from(LEASE_MS));
        assert_eq!(silent.receive().await, None);
    };
    tokio::join!(pings, gone);
    assert!(site.driver.has_no_call());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_is_gone_without_a_goodbye() {
    let mut site = Site::new();
    let (client, _outbox) = site.welcomed().await;
    drop(client);
    assert_eq!(site.driver.disconnected().await, (1, LOST));
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_comes_after_what_was_sent_before_it() {
    let mut site = Site::new();
    let (mut client, outbox) = site.welcomed().await;
    let bytes = [encoded(1, &OVERVIEW), encoded(0, &ClientMessage::Goodbye), encoded(2, &OVERVIEW)];
    client.stream.write_all(&bytes.concat()).await.unwrap();
    assert_eq!(site.driver.requests().await.len(), 1);
    assert_eq!(site.driver.disconnected().await, (1, Departure::Goodbye));
    let answer = ServerMessage::Answer(Ok(Answer::Released));
    outbox.send(Outgoing { number: 1, message: answer.clone() }).unwrap();
    drop(outbox);
    assert_eq!(client.message().await, (1, answer));
    assert_eq!(client.receive().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_when_the_driver_lets_go_of_it() {
    let mut site = Site::new();
    let (mut client, outbox) = site.welcomed().await;
    let closing_message = ServerMessage::Closing(Closing::Replaced);
    outbox.send(Outgoing { number: 0, message: closing_message }).unwrap();
    drop(outbox);
    assert_eq!(closing(&mut client).await, Closing::Replaced);
    assert_eq!(site.driver.disconnected().await, (1, LOST));
}

#[tokio::test(start_paused = true)]
async fn everyone_is_told_of_a_shutdown() {
    let mut site = Site::new();
    let (mut client, _outbox) = site.welcomed().await;
    let mut early = site.connect();
    early.greet().await;
    site.stop.send_replace(true);
    assert_eq!(closing(&mut client).await, Closing::ShuttingDown);
    assert_eq!(closing(&mut early).await, Closing::ShuttingDown);
    assert_eq!(site.driver.disconnected().await, (1, LOST));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_pings_and_takes_nothing_is_too_slow() {
    let mut site = Site::new();
    let (mut client, outbox) = site.welcomed().await;
    let message = ServerMessage::Answer(Err(Rejection::Invalid("x".repeat(1_000_000))));
    outbox.send(Outgoing { number: 1, message }).unwrap();
    // So that the answers to the pings come behind it.
    until_idle().await;
    let pings = async {
        loop {
            client.send(0, &ClientMessage::Ping).await;
            tokio::time::sleep(Duration::from_millis(LEASE_MS / 3)).await;
        }
    };
    tokio::select! {
        () = pings => unreachable!(),
        gone = site.driver.disconnected() => assert_eq!(gone, (1, LOST)),
    }
    // What it was being sent ends whole, and then it learns why.
    assert_eq!(client.message().await.0, 1);
    assert!(matches!(closing(&mut client).await, Closing::TooSlow(900_000..)));
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_are_read_while_answers_wait() {
    let mut site = Site::new();
    let (mut client, outbox) = site.welcomed().await;
    for number in 0..5 {
        let message = ServerMessage::Answer(Err(Rejection::Invalid("x".repeat(1_000_000))));
        outbox.send(Outgoing { number, message }).unwrap();
    }
    until_idle().await;
    client.send(9, &OVERVIEW).await;
    until_idle().await;
    // One read was under way already.
    let first = site.driver.has_no_call();
    client.send(10, &OVERVIEW).await;
    until_idle().await;
    assert!(site.driver.has_no_call());
    for number in 0..5 {
        assert_eq!(client.message().await.0, number);
    }
    let requests = site.driver.requests().await;
    assert_eq!(requests.last().unwrap().0, 10);
    assert_eq!(requests.len(), if first { 2 } else { 1 });
}

// Subscriptions.

#[tokio::test(start_paused = true)]
async fn a_subscription_reads_history_and_tail_from_any_position() {
    let mut site = Site::new();
    site.append(LOG, &[("a", true), ("progress", false)]);
    site.append(LOG, &[("b", true)]);
    let (mut client, _outbox) = site.welcomed().await;
    client.send(1, &subscribe(Position::Offset(0), 1 << 20)).await;
    assert_eq!(client.message().await, (1, ServerMessage::Subscribed { from: 0, seq: Seq(0) }));
    let history = client.receive().await.unwrap();
    assert_eq!((history.number, &history.message), (1, &ServerMessage::Records));
    assert_eq!(history.records(), [(0, "a".into()), (1, "progress".into()), (2, "b".into())]);
    assert_eq!(history.batches, site.log_batches(), "byte for byte as stored");
    assert_eq!(client.message().await, (1, ServerMessage::CaughtUp { head: 3 }));

    client.send(2, &subscribe(Position::Index(1), 1 << 20)).await;
    assert_eq!(client.message().await, (2, ServerMessage::Subscribed { from: 2, seq: Seq(0) }));
    assert_eq!(client.receive().await.unwrap().records(), [(2, "b".into())]);
    assert_eq!(client.message().await, (2, ServerMessage::CaughtUp { head: 3 }));

    client.send(3, &subscribe(Position::End, 1 << 20)).await;
    assert_eq!(client.message().await, (3, ServerMessage::Subscribed { from: 3, seq: Seq(0) }));
    assert_eq!(client.message().await, (3, ServerMessage::CaughtUp { head: 3 }));

    client.send(4, &subscribe(Position::Offset(4), 1 << 20)).await;
    let past = Rejection::PastHead { name: "log 3".into(), offset: 4, head: 3 };
    assert_eq!(client.message().await, (4, ServerMessage::SubscriptionRefused(past)));

    client.send(2, &ClientMessage::Unsubscribe).await;
    client.send(5, &ClientMessage::Ping).await;
    assert_eq!(client.message().await, (5, ServerMessage::Pong));
    site.append(LOG, &[("c", true)]);
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let tail = client.receive().await.unwrap();
        assert_eq!(tail.records(), [(3, "c".into())]);
        numbers.push(tail.number);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn the_task_log_and_logs_that_hold_nothing_yet_can_be_read() {
    let mut site = Site::new();
    let (mut client, _outbox) = site.welcomed().await;
    for (number, log) in [(1, LogId::TASKS), (2, LogId(77))] {
        let from = Position::Offset(0);
        let reads = Reads::Durable;
        client.send(number, &ClientMessage::Subscribe { log, from, credit_bytes: 1, reads }).await;
        assert_eq!(client.message().await, (number, ServerMessage::Subscribed { from: 0, seq: Seq(0) }));
        assert_eq!(client.message().await, (number, ServerMessage::CaughtUp { head: 0 }));
        site.append(log, &[("first", false)]);
        assert_eq!(client.receive().await.unwrap().records(), [(0, "first".into())]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_is_one_subscription() {
    let mut site = Site::new();
    let (mut client, _outbox) = site.welcomed().await;
    client.send(1, &subscribe(Position::End, 1)).await;
    assert_eq!(client.message().await.1, ServerMessage::Subscribed { from: 0, seq: Seq(0) });
    assert_eq!(client.message().await.1, ServerMessage::CaughtUp { head: 0 });
    client.send(1, &subscribe(Position::End, 1)).await;
    assert!(matches!(client.message().await, (1, ServerMessage::SubscriptionRefused(Rejection::Invalid(_)))));
}

#[tokio::test(start_paused = true)]
async fn credit_bounds_what_is_sent() {
    let mut site = Site::new();
    let record = "x".repeat(10_000);
    for _ in 0..100 {
        site.append(LOG, &[(&record, true)]);
    }
    let batch_bytes = site.log_batches()[0].len();
    let (mut client, _outbox) = site.welcomed().await;
    client.send(1, &subscribe(Position::Offset(0), 35_000)).await;
    assert_eq!(client.message().await.1, ServerMessage::Subscribed { from: 0, seq: Seq(0) });
    let (mut sent, mut granted) = (0, 35_000);
    for _ in 0..10 {
        while sent < granted {
            let received = client.receive().await.unwrap();
            sent += received.batches.iter().map(Bytes::len).sum::<usize>();
        }
        // Nothing more comes: what does come next is the answer to the ping.
        until_idle().await;
        client.send(2, &ClientMessage::Ping).await;
        assert_eq!(client.message().await, (2, ServerMessage::Pong));
        assert!(sent < granted + batch_bytes, "{sent} bytes for {granted}");
        client.send(1, &ClientMessage::Credit { bytes: 50_000 }).await;
        granted += 50_000;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_trimmed_is_announced() {
    let mut site = Site::new();
    site.append(LOG, &[("a", true), ("b", true)]);
    site.append(LOG, &[("c", true)]);
    site.log.trim_to(LOG, 2);
    let (mut client, _outbox) = site.welcomed().await;
    client.send(1, &subscribe(Position::Offset(1), 1 << 20)).await;
    assert_eq!(client.message().await.1, ServerMessage::Subscribed { from: 1, seq: Seq(0) });
    assert_eq!(client.message().await.1, ServerMessage::Trimmed { from: 1, first: 2 });
    assert_eq!(client.receive().await.unwrap().records(), [(2, "c".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_costs_little_and_delays_nobody() {
    let mut site = Site::new();
    let record = "x".repeat(50_000);
    for _ in 0..100 {
        // Not published, so that no copy in memory answers in the store's place.
        site.log.append(LOG, &[(&record, true)]);
    }
    let (mut stuck, _first) = site.welcomed().await;
    for number in 1..=50 {
        stuck.send(number, &subscribe(Position::Offset(0), u64::MAX)).await;
    }
    until_idle().await;
    // The pieces that wait, those that one write took, and no more; however many there are to be read.
    let reads = site.log.reads();
    assert!(reads <= PIECES_MAX * 2 + 4, "{reads} reads of {READ_BYTES_MAX} bytes");
    assert!(reads > 0);

    let (mut reader, _second) = site.welcomed().await;
    reader.send(1, &subscribe(Position::Offset(0), u64::MAX)).await;
    // A subscription that has no credit does not stand in another one's way, either.
    reader.send(2, &subscribe(Position::Offset(0), 0)).await;
    let mut count = 0;
    while count < 100 {
        let received = reader.receive().await.unwrap();
        count += received.records().len();
        assert!(received.number == 1 || received.batches.is_empty());
    }
}

/// Of each two appends the second meets the feed at another place on its way back to waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_move_of_the_head_is_missed() {
    let mut site = Site::new();
    let (mut client, _outbox) = site.welcomed().await;
    client.send(1, &subscribe(Position::End, u64::MAX)).await;
    assert_eq!(client.message().await.1, ServerMessage::Subscribed { from: 0, seq: Seq(0) });
    assert_eq!(client.message().await.1, ServerMessage::CaughtUp { head: 0 });
    for round in 0..4_000 {
        // Where others compute at the same time this takes longer than a client that says nothing is waited for.
        client.send(0, &ClientMessage::Ping).await;
        site.append(LOG, &[("x", true)]);
        for _ in 0..round * 7 % 20_000 {
            std::hint::spin_loop();
        }
        site.append(LOG, &[("x", true)]);
        let mut seen = 0;
        while seen < 2 {
            seen += client.receive().await.unwrap().records().len();
        }
    }
}

impl Site {
    fn log_batches(&self) -> Vec<Bytes> {
        let batches = self.reader.read(LOG, 0, usize::MAX).unwrap();
        batches.iter().map(|batch| batch.bytes().clone()).collect()
    }
}
