//! Channels that are found while the scheduler recovers.

use super::*;
use crate::protocol::ChannelName;
use crate::protocol::channel::ChannelInfo;
use crate::protocol::start::RecoveryProgress;

fn name(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

fn open(text: &str) -> Command {
    Command::OpenChannel { name: name(text) }
}

fn find(text: &str) -> ClientMessage {
    ClientMessage::FindLog { name: name(text) }
}

fn look(text: &str) -> ClientMessage {
    ClientMessage::Query(Query::Channel { name: name(text) })
}

fn channel(text: &str) -> ServerMessage {
    let name = name(text);
    let info = ChannelInfo::of_records(name, LOG, 0, 0);
    ServerMessage::Answer(Ok(Answer::Channel(info)))
}

const FOUND: ServerMessage = ServerMessage::Answer(Ok(Answer::Log(LOG)));

fn recovering(link: &mut Link) {
    link.connected();
    assert!(matches!(outgoing(link), Some((0, ClientMessage::Hello(_)))));
    let progress = RecoveryProgress::Records(7);
    receive(link, 0, ServerMessage::Recovering { start: NEXT, newest: NEWEST, progress });
    assert_eq!(link.next_delivery(), Some(Delivery::Recovering { progress }));
}

fn welcome(link: &mut Link) {
    receive(link, 0, ServerMessage::Welcome { start: NEXT, seq: Seq(6), lease_ms: 1000, now_ms: 9 });
    assert!(matches!(link.next_delivery(), Some(Delivery::Welcome { .. })));
}

fn found(number: u64) -> Option<Delivery> {
    Some(Delivery::Answer { number, answer: Ok(Answer::Log(LOG)) })
}

fn all(link: &mut Link) -> Vec<(u64, ClientMessage)> {
    std::iter::from_fn(|| outgoing(link)).collect()
}

#[test]
fn a_channel_that_is_found_is_not_opened_any_more() {
    let mut link = Link::new(SessionId([1; 16]), Role::Client, None);
    let before = link.command(open("a"));
    recovering(&mut link);
    let after = link.find_channel(name("b"));
    assert_eq!(all(&mut link), [(before, find("a")), (after, find("b"))]);
    for number in [after, before] {
        receive(&mut link, number, FOUND);
        assert_eq!(link.next_delivery(), found(number));
    }
    assert_eq!(link.unanswered(), 0);
    receive(&mut link, before, FOUND);
    welcome(&mut link);
    assert_eq!(all(&mut link), [], "nothing is left to be asked");
    assert_eq!(link.next_delivery(), None, "an answer counts once");
}

#[test]
fn what_is_not_found_by_the_welcome_is_asked_in_its_turn() {
    let mut link = link();
    let release = link.command(release(1));
    let [opened, found] = [link.command(open("a")), link.find_channel(name("a"))];
    recovering(&mut link);
    assert_eq!(all(&mut link), [(opened, find("a")), (found, find("a"))], "and nothing else");
    welcome(&mut link);
    let sent = all(&mut link);
    assert_eq!(sent[0].0, release);
    assert_eq!(sent[1..], [(opened, ClientMessage::Command(open("a"))), (found, look("a"))]);
    // It was under way, and its turn has come.
    receive(&mut link, opened, FOUND);
    receive(&mut link, found, FOUND);
    assert_eq!(link.next_delivery(), None);
    for number in [opened, found] {
        receive(&mut link, number, channel("a"));
        assert!(matches!(
            link.next_delivery(),
            Some(Delivery::Answer { answer: Ok(Answer::Channel(_)), .. })
        ));
    }
    assert!(answer(&mut link, release).is_some());
    link.goodbye();
    assert_eq!(outgoing(&mut link), Some((0, ClientMessage::Goodbye)), "nothing counts as in flight");
}

#[test]
fn what_is_found_before_its_turn_has_come_is_not_asked_again() {
    let mut link = Link::new(SessionId([1; 16]), Role::Client, None);
    recovering(&mut link);
    let opened = link.command(open("a"));
    assert_eq!(all(&mut link), [(opened, find("a"))]);
    welcome(&mut link);
    receive(&mut link, opened, FOUND);
    assert_eq!(link.next_delivery(), found(opened));
    assert_eq!(all(&mut link), []);
    // On the next connection it is the same.
    let again = link.find_channel(name("a"));
    assert_eq!(all(&mut link), [(again, look("a"))]);
    recovering(&mut link);
    assert_eq!(all(&mut link), [(again, find("a"))]);
}

#[test]
fn the_schedulers_own_channel_is_found_and_not_opened() {
    let mut link = Link::new(SessionId([1; 16]), Role::Client, None);
    recovering(&mut link);
    link.command(open("$tasks"));
    let found = link.find_channel(name("$tasks"));
    assert_eq!(all(&mut link), [(found, find("$tasks"))]);
}

#[test]
fn a_log_where_no_channel_was_asked_for_is_refused() {
    let mut link = Link::new(SessionId([1; 16]), Role::Client, None);
    recovering(&mut link);
    let command = link.command(release(1));
    for number in [0, command, command + 1] {
        assert!(link.receive(number, FOUND, Bytes::new()).is_err(), "{number}");
    }
}

#[test]
fn who_has_only_read_leaves_before_the_welcome_and_who_waits_for_an_answer_does_not() {
    let mut link = Link::new(SessionId([1; 16]), Role::Client, None);
    recovering(&mut link);
    let opened = link.command(open("a"));
    link.goodbye();
    assert_eq!(all(&mut link), [(opened, find("a"))], "whether it is made is not known");
    receive(&mut link, opened, FOUND);
    assert_eq!(outgoing(&mut link), Some((0, ClientMessage::Goodbye)));
    assert!(link.has_left());
    receive(&mut link, 0, ServerMessage::Welcome { start: NEXT, seq: Seq(6), lease_ms: 1000, now_ms: 9 });
    assert!(link.has_left(), "they have crossed");
}
