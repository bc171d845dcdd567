mod ahead;
mod gather;
mod seen;

use super::*;
use crate::client::fixture;
use crate::protocol::batch::BadBatch;
use crate::protocol::batch::{Batch, OpenBatch};
use crate::protocol::frame::{self, FrameReader};
use crate::protocol::limits::IN_FLIGHT_MAX;
use crate::protocol::message::{ClientMessage, Hello, Position, Reads};
use crate::protocol::result::StoredResult;
use crate::protocol::session::WorkerOffer;
use crate::protocol::start::Start;
use crate::protocol::{AttemptNumber, Codec, Digest, Epoch, LogId, Outcome, Payload, Seq, StartId, TaskKey};

const LOG: LogId = LogId(1);

const START: Start = Start { epoch: Epoch(1), id: StartId(9), after: Seq(0) };

/// The start after that.
const NEXT: Start = Start { epoch: Epoch(2), id: StartId(8), after: Seq(5) };

const NEWEST: Seen = Seen { start: START, seq: Seq(1) };

fn link() -> Link {
    let mut link = Link::new(SessionId([1; 16]), Role::Client, None);
    assert!(!reconnect(&mut link).resume, "a new session has nothing to resume");
    link
}

/// Connects anew, and gives the hello.
fn reconnect(link: &mut Link) -> Hello {
    link.connected();
    let Some((0, ClientMessage::Hello(hello))) = outgoing(link) else { panic!("no hello") };
    assert_eq!(outgoing(link), None, "nothing goes out before the welcome");
    receive(link, 0, ServerMessage::Welcome { start: START, seq: Seq(1), lease_ms: 1000, now_ms: 9 });
    assert_eq!(link.next_delivery(), Some(Delivery::Welcome { epoch: Epoch(1), lease_ms: 1000, now_ms: 9 }));
    hello
}

fn receive(link: &mut Link, number: u64, message: ServerMessage) {
    link.receive(number, message, Bytes::new()).unwrap();
}

fn answer(link: &mut Link, number: u64) -> Option<Delivery> {
    receive(link, number, ServerMessage::Answer(Ok(Answer::Released)));
    link.next_delivery()
}

fn release(n: u8) -> Command {
    Command::Release { tasks: vec![TaskId([n; 16])] }
}

/// What goes out next, as it arrives.
fn outgoing(link: &mut Link) -> Option<(u64, ClientMessage)> {
    let (number, message) = link.next_outgoing()?;
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, number, &message).unwrap();
    let mut reader = FrameReader::default();
    reader.buffer().extend_from_slice(&bytes);
    let frame = reader.next_frame().unwrap().unwrap();
    Some((frame.number, frame.decode().unwrap().0))
}

fn sent(link: &mut Link) -> Vec<u64> {
    std::iter::from_fn(|| outgoing(link)).map(|(number, _)| number).collect()
}

fn batch(base_offset: u64, count: u64) -> Batch {
    let mut open = OpenBatch::new(LOG, base_offset, 0);
    for n in 0..count {
        assert!(open.push(&Payload::encode(&n).unwrap(), true));
    }
    open.seal(Seq(1), Epoch(1), 0)
}

fn records(link: &mut Link, number: u64, batches: &[&Batch]) -> Result<(), ProtocolError> {
    let bytes: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes().to_vec()).collect();
    link.receive(number, ServerMessage::Records, bytes.into())
}

fn deliveries(link: &mut Link) -> Vec<Delivery> {
    std::iter::from_fn(|| link.next_delivery()).collect()
}

/// A subscription that has begun at offset 0.
fn reading(link: &mut Link) -> u64 {
    let number = link.subscribe(LOG, Position::Offset(0));
    sent(link);
    receive(link, number, ServerMessage::Subscribed { from: 0, seq: Seq(0) });
    assert_eq!(link.next_delivery(), Some(Delivery::Subscribed { subscription: number, from: 0 }));
    number
}

fn subscribe(from: Position, credit_bytes: u64) -> ClientMessage {
    ClientMessage::Subscribe { log: LOG, from, credit_bytes, reads: Reads::Durable }
}

#[test]
fn what_has_no_answer_is_sent_again_in_order_and_answered_once() {
    let mut link = link();
    let numbers: Vec<u64> = (0..4).map(|n| link.command(release(n))).collect();
    assert_eq!(sent(&mut link), numbers);
    assert!(matches!(answer(&mut link, numbers[1]), Some(Delivery::Answer { number: 2, .. })));
    link.disconnected();
    let later = link.command(release(9));
    assert_eq!(outgoing(&mut link), None, "there is no connection");
    assert!(reconnect(&mut link).resume, "a session that was welcomed is resumed");
    assert_eq!(outgoing(&mut link), Some((numbers[0], ClientMessage::Command(release(0)))));
    assert_eq!(sent(&mut link), [numbers[2], numbers[3], later]);
    assert_eq!(answer(&mut link, numbers[1]), None, "an answer counts once");
    assert!(answer(&mut link, numbers[2]).is_some());
    assert_eq!(link.unanswered(), 3);
}

#[test]
fn a_hello_without_a_welcome_is_said_again_as_new() {
    let mut link = Link::new(SessionId([1; 16]), Role::Client, Some("token".into()));
    link.connected();
    assert!(outgoing(&mut link).is_some());
    let hello = reconnect(&mut link);
    assert_eq!((hello.resume, hello.token.as_deref()), (false, Some("token")));
}

#[test]
fn no_more_than_the_window_is_on_the_wire_and_nothing_overtakes() {
    let mut link = link();
    let numbers: Vec<u64> = (0..IN_FLIGHT_MAX + 5).map(|_| link.command(release(0))).collect();
    link.watch(TaskId([0; 16]));
    let query = link.query(Query::Overview);
    let window = IN_FLIGHT_MAX as usize;
    assert_eq!(sent(&mut link), numbers[..window]);
    assert!(answer(&mut link, numbers[0]).is_some());
    assert_eq!(sent(&mut link), numbers[window..=window]);
    for number in &numbers[1..5] {
        assert!(answer(&mut link, *number).is_some());
    }
    assert_eq!(sent(&mut link), [&numbers[window + 1..], &[query - 1, query]].concat());
    reconnect(&mut link);
    assert_eq!(sent(&mut link), [&numbers[5..], &[query - 1, query]].concat());
}

#[test]
fn an_answer_may_come_before_its_command_is_sent_again() {
    let mut link = link();
    let (first, second) = (link.command(release(1)), link.command(release(2)));
    sent(&mut link);
    reconnect(&mut link);
    assert!(answer(&mut link, first).is_some());
    assert_eq!(sent(&mut link), [second]);
    assert!(answer(&mut link, second).is_some());
    link.goodbye();
    assert_eq!(outgoing(&mut link), Some((0, ClientMessage::Goodbye)), "nothing is in flight");
}

#[test]
fn what_a_scheduler_on_its_way_out_does_not_decide_is_asked_again() {
    let mut link = link();
    let number = link.command(release(1));
    let subscription = link.subscribe(LOG, Position::End);
    sent(&mut link);
    receive(&mut link, number, ServerMessage::Answer(Err(Rejection::ShuttingDown)));
    receive(&mut link, subscription, ServerMessage::SubscriptionRefused(Rejection::ShuttingDown));
    receive(&mut link, 0, ServerMessage::Closing(Closing::ShuttingDown));
    assert_eq!(link.next_delivery(), None);
    reconnect(&mut link);
    assert_eq!(sent(&mut link), [number, subscription]);
}

#[test]
fn watches_are_gathered_shared_and_answered_once() {
    let mut link = link();
    let (a, b) = (TaskId([7; 16]), TaskId([8; 16]));
    for task in [a, a, b] {
        link.watch(task);
    }
    let watch = ClientMessage::Watch { tasks: vec![a, b] };
    assert_eq!(outgoing(&mut link), Some((1, watch.clone())));
    assert_eq!(outgoing(&mut link), None);
    reconnect(&mut link);
    assert_eq!(outgoing(&mut link), Some((1, watch)));
    let settled = ServerMessage::Settled { task: a, outcome: Outcome::Cancelled };
    receive(&mut link, 1, settled.clone());
    receive(&mut link, 1, settled);
    assert_eq!(deliveries(&mut link), [Delivery::Settled { task: a, outcome: Outcome::Cancelled }]);
    reconnect(&mut link);
    assert_eq!(outgoing(&mut link), Some((2, ClientMessage::Watch { tasks: vec![b] })));
    receive(&mut link, 2, ServerMessage::Unknown { task: b });
    assert_eq!(deliveries(&mut link), [Delivery::Unknown { task: b }]);
}

#[test]
fn a_subscription_goes_on_behind_what_it_got() {
    for asked in [Position::End, Position::Index(3)] {
        let mut link = link();
        let number = link.subscribe(LOG, asked);
        assert_eq!(outgoing(&mut link), Some((number, subscribe(asked, CREDIT_BYTES))));
        reconnect(&mut link);
        assert_eq!(outgoing(&mut link), Some((number, subscribe(asked, CREDIT_BYTES))), "it never began");
        receive(&mut link, number, ServerMessage::Subscribed { from: 10, seq: Seq(0) });
        let (first, second) = (batch(8, 4), batch(12, 2));
        records(&mut link, number, &[&first]).unwrap();
        let delivered = [
            Delivery::Subscribed { subscription: number, from: 10 },
            Delivery::Records { subscription: number, batch: first.clone(), from: 10 },
        ];
        assert_eq!(deliveries(&mut link), delivered);
        reconnect(&mut link);
        let credit_bytes = CREDIT_BYTES - first.bytes().len() as u64;
        assert_eq!(outgoing(&mut link), Some((number, subscribe(Position::Offset(12), credit_bytes))));
        receive(&mut link, number, ServerMessage::Subscribed { from: 12, seq: Seq(0) });
        records(&mut link, number, &[&first, &second]).unwrap();
        let news = Delivery::Records { subscription: number, batch: second, from: 12 };
        assert_eq!(deliveries(&mut link), [news], "what came already does not come again");
    }
}

#[test]
fn a_gap_ends_its_subscription_and_no_other() {
    let mut link = link();
    let (broken, other, early) = (reading(&mut link), reading(&mut link), reading(&mut link));
    let error =
        |subscription, expected, found| Err(ProtocolError::Gap { subscription, log: LOG, expected, found });
    records(&mut link, broken, &[&batch(0, 2)]).unwrap();
    assert_eq!(records(&mut link, broken, &[&batch(3, 1)]), error(broken, 2, 3));
    let caught_up = ServerMessage::CaughtUp { head: 1 };
    assert_eq!(link.receive(early, caught_up, Bytes::new()), error(early, 0, 1));
    assert_eq!(outgoing(&mut link), Some((broken, ClientMessage::Unsubscribe)));
    assert_eq!(outgoing(&mut link), Some((early, ClientMessage::Unsubscribe)));
    assert_eq!(deliveries(&mut link).len(), 1);
    records(&mut link, broken, &[&batch(2, 1)]).unwrap();
    assert_eq!(link.next_delivery(), None, "what was on its way to it is dropped");
    records(&mut link, other, &[&batch(0, 1)]).unwrap();
    assert!(link.next_delivery().is_some());
}

#[test]
fn damage_and_foreign_logs_are_noticed() {
    let mut link = link();
    let number = reading(&mut link);
    let mut bytes = batch(0, 2).bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let error = link.receive(number, ServerMessage::Records, bytes.into()).unwrap_err();
    assert!(matches!(error, ProtocolError::Batch { why: BadBatch::Checksum { .. }, .. }), "{error}");
    let number = link.subscribe(LogId(2), Position::Offset(0));
    sent(&mut link);
    receive(&mut link, number, ServerMessage::Subscribed { from: 0, seq: Seq(0) });
    let error = records(&mut link, number, &[&batch(0, 1)]).unwrap_err();
    assert!(matches!(error, ProtocolError::WrongLog { log: LogId(2), found: LOG, .. }), "{error}");
}

#[test]
fn a_trim_is_told_and_no_gap() {
    let mut link = link();
    let number = reading(&mut link);
    receive(&mut link, number, ServerMessage::Trimmed { from: 0, first: 5 });
    records(&mut link, number, &[&batch(5, 1)]).unwrap();
    receive(&mut link, number, ServerMessage::CaughtUp { head: 6 });
    let delivered = [
        Delivery::Trimmed { subscription: number, from: 0, first: 5 },
        Delivery::Records { subscription: number, batch: batch(5, 1), from: 5 },
        Delivery::CaughtUp { subscription: number, head: 6 },
    ];
    assert_eq!(deliveries(&mut link), delivered);
    reconnect(&mut link);
    sent(&mut link);
    receive(&mut link, number, ServerMessage::Subscribed { from: 6, seq: Seq(0) });
    receive(&mut link, number, ServerMessage::CaughtUp { head: 6 });
    assert_eq!(link.next_delivery(), None, "one marker, however often it reconnects");
}

#[test]
fn a_log_that_went_backwards_is_told() {
    let mut link = link();
    let number = reading(&mut link);
    records(&mut link, number, &[&batch(0, 9)]).unwrap();
    deliveries(&mut link);
    reconnect(&mut link);
    sent(&mut link);
    let rejection = Rejection::PastHead { name: "a".into(), offset: 9, head: 4 };
    receive(&mut link, number, ServerMessage::SubscriptionRefused(rejection.clone()));
    assert_eq!(deliveries(&mut link), [Delivery::SubscriptionRefused { subscription: number, rejection }]);
    reconnect(&mut link);
    assert_eq!(outgoing(&mut link), None, "it is over");
}

#[test]
fn credit_is_given_back_in_steps_and_never_twice() {
    let mut link = link();
    let number = reading(&mut link);
    let (mut next, mut consumed) = (0, 0);
    while consumed < CREDIT_BYTES / 2 {
        assert_eq!(outgoing(&mut link), None, "after {consumed} bytes");
        let batch = batch(next, 5000);
        next = batch.header().end_offset();
        records(&mut link, number, &[&batch]).unwrap();
        link.consumed(number, batch.bytes().len() as u64);
        consumed += batch.bytes().len() as u64;
    }
    assert_eq!(outgoing(&mut link), Some((number, ClientMessage::Credit { bytes: consumed })));
    deliveries(&mut link);
    reconnect(&mut link);
    let from = Position::Offset(next);
    assert_eq!(outgoing(&mut link), Some((number, subscribe(from, CREDIT_BYTES))));
    assert_eq!(outgoing(&mut link), None);
}

#[test]
fn a_server_that_ignores_the_credit_is_stopped() {
    let mut link = link();
    let number = reading(&mut link);
    let mut next = 0;
    let error = loop {
        let batch = batch(next, 10_000);
        next = batch.header().end_offset();
        if let Err(error) = records(&mut link, number, &[&batch]) {
            break error;
        }
    };
    assert!(matches!(error, ProtocolError::OverCredit { .. }), "{error}");
}

#[test]
fn unsubscribing_is_told_where_the_server_knows_of_it() {
    let mut link = link();
    let (known, unknown) = (reading(&mut link), link.subscribe(LOG, Position::End));
    link.unsubscribe(known);
    link.unsubscribe(unknown);
    link.consumed(known, CREDIT_BYTES);
    assert_eq!(outgoing(&mut link), Some((known, ClientMessage::Unsubscribe)));
    assert_eq!(outgoing(&mut link), None);
}

#[test]
fn a_worker_holds_an_attempt_until_its_report_is_acknowledged() {
    let offer = WorkerOffer { slots: 2, ..fixture::offer("w") };
    let mut link = Link::new(SessionId([1; 16]), Role::Worker(offer), None);
    let held = |hello: Hello| match hello.role {
        Role::Worker(offer) => offer.held.iter().map(|held| held.task.0[0]).collect::<Vec<_>>(),
        _ => panic!("no worker"),
    };
    reconnect(&mut link);
    let attempt = AttemptNumber(1);
    for n in 1..=5 {
        let assignment = fixture::assignment(TaskKey::unique("f", [n; 16]));
        receive(&mut link, 0, ServerMessage::Assign(assignment));
    }
    let result = Payload::encode(&1).unwrap();
    let finish = link.command(Command::Finish { task: TaskId([1; 16]), attempt, result });
    receive(&mut link, 0, ServerMessage::Abort { task: TaskId([2; 16]), attempt });
    assert_eq!(deliveries(&mut link).len(), 6);
    let result = StoredResult { codec: Codec::Raw, bytes: 70_000, digest: Digest(1) };
    let store = link.command(Command::Store { task: TaskId([4; 16]), attempt, result });
    let missing = TaskId([9; 16]);
    let defer = link.command(Command::Defer { task: TaskId([5; 16]), attempt, missing });
    assert_eq!(held(reconnect(&mut link)), [1, 3, 4, 5], "the reports are not acknowledged");
    for report in [finish, store, defer] {
        receive(&mut link, report, ServerMessage::Answer(Ok(Answer::Reported)));
        assert!(link.next_delivery().is_some());
    }
    assert_eq!(held(reconnect(&mut link)), [3]);
}

#[test]
fn goodbye_waits_for_the_answers() {
    let mut link = link();
    let number = link.command(release(1));
    link.goodbye();
    assert_eq!(sent(&mut link), [number]);
    reconnect(&mut link);
    assert_eq!(sent(&mut link), [number]);
    assert!(answer(&mut link, number).is_some());
    assert_eq!(outgoing(&mut link), Some((0, ClientMessage::Goodbye)));
    assert!(link.has_left());
    link.connected();
    assert_eq!(outgoing(&mut link), None);
}

#[test]
fn the_end_of_the_session_is_told_and_a_pause_is_not() {
    let mut link = link();
    link.command(release(1));
    for pause in [Closing::TooSlow(1), Closing::Replaced, Closing::ShuttingDown] {
        receive(&mut link, 0, ServerMessage::Closing(pause));
        assert_eq!((link.next_delivery(), outgoing(&mut link)), (None, None));
        reconnect(&mut link);
    }
    receive(&mut link, 0, ServerMessage::Closing(Closing::BadToken));
    assert_eq!(link.next_delivery(), Some(Delivery::Closed(Closing::BadToken)));
    assert!(link.is_closed());
    link.connected();
    assert_eq!((link.next_delivery(), outgoing(&mut link)), (None, None));
}

#[test]
fn messages_out_of_place_are_refused() {
    let mut link = Link::new(SessionId([1; 16]), Role::Client, None);
    assert!(link.receive(0, ServerMessage::Pong, Bytes::new()).is_err(), "no connection");
    link.connected();
    let welcome = ServerMessage::Welcome { start: START, seq: Seq(1), lease_ms: 1, now_ms: 9 };
    assert!(link.receive(0, welcome.clone(), Bytes::new()).is_err(), "no hello yet");
    reconnect(&mut link);
    assert!(link.receive(0, welcome, Bytes::new()).is_err(), "a second welcome");
    assert!(link.receive(7, ServerMessage::Answer(Ok(Answer::Released)), Bytes::new()).is_err());
    assert!(link.receive(0, ServerMessage::Pong, Bytes::from_static(b"x")).is_err());
    let number = link.subscribe(LOG, Position::End);
    sent(&mut link);
    assert!(records(&mut link, number, &[&batch(0, 1)]).is_err(), "it has not begun");
}
