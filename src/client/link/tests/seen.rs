//! What a link has seen of the store, which each hello shows; and what it does while a scheduler recovers.

use super::*;
use crate::protocol::channel::Durability;
use crate::protocol::command::Query;
use crate::protocol::start::{RecoveryProgress, Regress, Seen};
use crate::protocol::{Element, Payload};

#[test]
fn each_hello_shows_the_newest_commit_that_was_seen() {
    let mut link = Link::new(SessionId([1; 16]), Role::Client, None);
    assert_eq!(reconnect(&mut link).seen, None);
    let seen = |link: &mut Link| {
        deliveries(link);
        reconnect(link).seen.map(|seen| (seen.start, seen.seq.0))
    };
    receive(&mut link, 0, ServerMessage::Durable { seq: Seq(7) });
    receive(&mut link, 0, ServerMessage::Durable { seq: Seq(5) });
    assert_eq!(seen(&mut link), Some((START, 7)));
    // Records that came before the news of their commit.
    let number = link.subscribe(LOG, Position::Offset(0));
    sent(&mut link);
    receive(&mut link, number, ServerMessage::Subscribed { from: 0, seq: Seq(0) });
    let mut open = OpenBatch::new(LOG, 0, 0);
    assert!(open.push(&1, true));
    records(&mut link, number, &[&open.seal(Seq(9), Epoch(1), 0)]).unwrap();
    assert_eq!(seen(&mut link), Some((START, 9)));
    // Of a start before: its commits were found by this one.
    receive(&mut link, number, ServerMessage::Subscribed { from: 1, seq: Seq(0) });
    let mut open = OpenBatch::new(LOG, 1, 1);
    assert!(open.push(&1, true));
    records(&mut link, number, &[&open.seal(Seq(1), Epoch(0), 0)]).unwrap();
    assert_eq!(seen(&mut link), Some((START, 1)), "as the newest welcome says");
}

#[test]
fn a_store_that_went_back_ends_the_session_with_the_range() {
    let mut link = link();
    link.command(release(1));
    let why = Closing::Regressed(Regress { epoch: Epoch(1), from: Seq(5), to: Seq(9) });
    receive(&mut link, 0, ServerMessage::Closing(why.clone()));
    assert!(why.to_string().contains("the commits 5 to 9 of epoch 1"), "{why}");
    assert_eq!(link.next_delivery(), Some(Delivery::Closed(why)));
    assert!(link.is_closed());
}

#[test]
fn while_the_scheduler_recovers_logs_are_read_and_all_else_waits() {
    let mut link = link();
    let before = link.subscribe(LOG, Position::Offset(0));
    let command = link.command(release(1));
    sent(&mut link);
    link.connected();
    assert!(matches!(outgoing(&mut link), Some((0, ClientMessage::Hello(_)))));
    let progress = RecoveryProgress::Records(7);
    receive(&mut link, 0, ServerMessage::Recovering { start: NEXT, newest: NEWEST, progress });
    assert_eq!(link.next_delivery(), Some(Delivery::Recovering { progress }));
    let during = link.subscribe(LOG, Position::Offset(0));
    assert_eq!(sent(&mut link), [before, during], "subscriptions, not the command");
    assert!(!link.is_up());
    receive(&mut link, before, ServerMessage::Subscribed { from: 0, seq: Seq(0) });
    records(&mut link, before, &[&batch(0, 2)]).unwrap();
    assert!(matches!(deliveries(&mut link)[..], [Delivery::Subscribed { .. }, Delivery::Records { .. }]));
    link.unsubscribe(before);
    assert_eq!(sent(&mut link), [before], "its end is told");
    receive(&mut link, 0, ServerMessage::Recovering { start: NEXT, newest: NEWEST, progress });
    receive(&mut link, 0, ServerMessage::Welcome { start: NEXT, seq: Seq(6), lease_ms: 1000, now_ms: 9 });
    // The driver's words may overtake the session's.
    receive(&mut link, 0, ServerMessage::Recovering { start: NEXT, newest: NEWEST, progress });
    assert!(link.is_up());
    assert_eq!(sent(&mut link), [command], "and no subscription twice");
    // The next connection is to a scheduler that has recovered.
    deliveries(&mut link);
    reconnect(&mut link);
    assert_eq!(sent(&mut link), [command, during]);
}

#[test]
fn credit_goes_back_before_the_welcome_too() {
    let mut link = link();
    link.connected();
    outgoing(&mut link);
    receive(
        &mut link,
        0,
        ServerMessage::Recovering { start: NEXT, newest: NEWEST, progress: RecoveryProgress::Snapshot(0) },
    );
    let number = link.subscribe(LOG, Position::Offset(0));
    assert_eq!(sent(&mut link), [number]);
    receive(&mut link, number, ServerMessage::Subscribed { from: 0, seq: Seq(0) });
    let (mut next, mut bytes) = (0, 0);
    while bytes < CREDIT_BYTES / 2 {
        let mut open = OpenBatch::new(LOG, next, next);
        while open.push(&vec![0u8; 10_000], true) {}
        let large = open.seal(Seq(1), Epoch(1), 0);
        records(&mut link, number, &[&large]).unwrap();
        link.consumed(number, large.bytes().len() as u64);
        (next, bytes) = (large.header().end_offset(), bytes + large.bytes().len() as u64);
    }
    assert!(matches!(outgoing(&mut link), Some((to, ClientMessage::Credit { .. })) if to == number));
}

#[test]
fn what_can_be_read_before_the_welcome_is_shown_in_the_next_hello() {
    let newest = Seen { start: START, seq: NEXT.after };
    let recovering =
        || ServerMessage::Recovering { start: NEXT, newest, progress: RecoveryProgress::Records(7) };
    for (mut link, resume) in [(Link::new(SessionId([1; 16]), Role::Client, None), false), (link(), true)] {
        let hello = |link: &mut Link| {
            deliveries(link);
            link.connected();
            let Some((0, ClientMessage::Hello(hello))) = outgoing(link) else { panic!("no hello") };
            (hello.resume, hello.seen)
        };
        hello(&mut link);
        receive(&mut link, 0, recovering());
        // The scheduler ends before it has recovered.
        assert_eq!(hello(&mut link), (resume, Some(newest)));
        receive(&mut link, 0, recovering());
        let number = link.subscribe(LOG, Position::Offset(0));
        sent(&mut link);
        receive(&mut link, number, ServerMessage::Subscribed { from: 0, seq: NEXT.after });
        assert_eq!(hello(&mut link), (resume, Some(newest)));
        // Another one was welcomed, and wrote, before this one is.
        receive(&mut link, 0, recovering());
        sent(&mut link);
        receive(&mut link, number, ServerMessage::Subscribed { from: 0, seq: NEXT.after });
        let mut open = OpenBatch::new(LOG, 0, 0);
        assert!(open.push(&1, true));
        records(&mut link, number, &[&open.seal(Seq(6), NEXT.epoch, 0)]).unwrap();
        assert_eq!(hello(&mut link), (resume, Some(Seen { start: NEXT, seq: Seq(6) })));
    }
}

#[test]
fn where_a_log_ends_counts_as_seen() {
    let mut link = link();
    let number = link.subscribe(LOG, Position::End);
    sent(&mut link);
    receive(&mut link, number, ServerMessage::Subscribed { from: 12, seq: Seq(4) });
    assert_eq!(link.seen(), Some(Seen { start: START, seq: Seq(4) }));
}

#[test]
fn what_may_not_be_durable_is_shown_by_its_subscription_and_its_flush_alone() {
    let mut link = link();
    let seen = |link: &mut Link| {
        deliveries(link);
        reconnect(link).seen.map(|seen| seen.seq.0)
    };
    let before = seen(&mut link);
    // Read ahead.
    let number = link.subscribe_to(LOG, Position::Offset(0), Reads::Appended { seen: None });
    sent(&mut link);
    receive(&mut link, number, ServerMessage::Subscribed { from: 0, seq: Seq(8) });
    let mut open = OpenBatch::new(LOG, 0, 0);
    assert!(open.push(&1, true));
    records(&mut link, number, &[&open.seal(Seq(9), Epoch(1), 0)]).unwrap();
    // Acknowledged as buffered.
    let append = link.command(Command::append(LOG, vec![Element::Value(Payload::raw(vec![1]))].into()));
    sent(&mut link);
    let durability = Durability::Buffered { flush_ms: 5 };
    let acked = Answer::Appended { first: 0, count: 1, seq: Seq(9), epoch: Epoch(1), durability };
    receive(&mut link, append, ServerMessage::Answer(Ok(acked)));
    let shown = Seen { start: START, seq: Seq(9) };
    assert_eq!(link.buffered(None), [shown]);
    assert_eq!(seen(&mut link), before);
    let Some((_, ClientMessage::Subscribe { from, reads, .. })) = outgoing(&mut link) else { panic!() };
    assert_eq!((from, reads), (Position::Offset(1), Reads::Appended { seen: Some(shown) }));
    // Whoever asks is told what became of it, and the next one, until it is known that somebody has heard it.
    assert_eq!((link.buffered(Some(LOG)), link.buffered(Some(LogId(77)))), (vec![shown], vec![]));
    let query = link.query(Query::Durable { acked: shown });
    sent(&mut link);
    let regress = Regress { epoch: Epoch(1), from: Seq(9), to: Seq(9) };
    receive(&mut link, query, ServerMessage::Answer(Err(Rejection::Undone(regress))));
    assert_eq!(link.buffered(None), [shown]);
    link.undone(Some(LogId(77)), shown);
    assert_eq!(link.buffered(None), [shown], "it was another log's");
    link.undone(Some(LOG), shown);
    assert_eq!(link.buffered(None), [], "it is told once");
}
