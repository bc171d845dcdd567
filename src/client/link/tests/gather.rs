//! Values that wait become one command, and nothing changes its place that is promised one.

use super::*;
use crate::client::fixture::acked;
use crate::protocol::Element;
use crate::protocol::command::AppendOptions;
use crate::protocol::limits::{APPEND_BYTES_MAX, ELEMENTS_PER_APPEND_MAX, PAYLOAD_BYTES_MAX};

const OTHER: LogId = LogId(2);

fn values(ns: &[u8]) -> Vec<Element> {
    ns.iter().map(|n| Element::Value(Payload::raw(vec![*n]))).collect()
}

fn future() -> Vec<Element> {
    vec![Element::Future(TaskKey::unique("f", [1; 16]))]
}

fn append(log: LogId, elements: Vec<Element>) -> ClientMessage {
    ClientMessage::Command(Command::append(log, elements.into()))
}

fn all(link: &mut Link) -> Vec<(u64, ClientMessage)> {
    std::iter::from_fn(|| outgoing(link)).collect()
}

#[test]
fn values_that_wait_become_one_command_of_each_channel() {
    let mut link = link();
    let calls = [(LOG, [1, 2]), (OTHER, [3, 4]), (LOG, [5, 6]), (OTHER, [7, 8])];
    let numbers = calls.map(|(log, ns)| link.append(log, values(&ns).into(), AppendOptions::default()));
    assert_eq!(numbers, [1, 2, 1, 2]);
    let expected = [(1, append(LOG, values(&[1, 2, 5, 6]))), (2, append(OTHER, values(&[3, 4, 7, 8])))];
    assert_eq!(all(&mut link), expected);
    let answered = || Ok(acked(0, 4));
    receive(&mut link, 1, ServerMessage::Answer(answered()));
    assert_eq!(deliveries(&mut link), [Delivery::Answer { number: 1, answer: answered() }]);
}

#[test]
fn what_was_sent_once_is_sent_again_as_it_was() {
    let mut link = link();
    let first = link.append(LOG, values(&[1]).into(), AppendOptions::default());
    assert_eq!(all(&mut link), [(first, append(LOG, values(&[1])))], "one alone does not wait");
    link.disconnected();
    let [second, joins] = [2, 3].map(|n| link.append(LOG, values(&[n]).into(), AppendOptions::default()));
    assert!(first < second && second == joins);
    reconnect(&mut link);
    let expected = [(first, append(LOG, values(&[1]))), (second, append(LOG, values(&[2, 3])))];
    assert_eq!(all(&mut link), expected);
}

#[test]
fn nothing_is_gathered_across_a_request_of_another_kind() {
    type Ask = fn(&mut Link);
    let asks: [Ask; 6] = [
        |link| _ = link.command(release(1)),
        |link| _ = link.query(Query::Overview),
        |link| _ = link.find_channel(ChannelName::new("a").unwrap()),
        |link| link.watch(TaskId([1; 16])),
        |link| _ = link.subscribe(LOG, Position::End),
        |link| _ = link.retire(),
    ];
    for (at, ask) in asks.into_iter().enumerate() {
        let mut link = link();
        let before = link.append(LOG, values(&[1]).into(), AppendOptions::default());
        ask(&mut link);
        let behind =
            [LOG, OTHER, LOG].map(|log| link.append(log, values(&[2]).into(), AppendOptions::default()));
        assert_eq!((before, behind), (1, [3, 4, 3]), "request {at}");
        assert_eq!(sent(&mut link), [1, 2, 3, 4], "request {at}");
    }
}

#[test]
fn a_future_has_a_command_of_its_own_and_its_place_in_its_channel() {
    let mut link = link();
    let calls =
        [(LOG, values(&[1])), (LOG, future()), (OTHER, values(&[2])), (LOG, future()), (LOG, values(&[3]))];
    let numbers: Vec<u64> = calls
        .iter()
        .map(|(log, elements)| link.append(*log, elements.clone().into(), AppendOptions::default()))
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    let mixed = [values(&[4]), future()].concat();
    assert_eq!(
        [
            link.append(LOG, mixed.into(), AppendOptions::default()),
            link.append(LOG, values(&[5]).into(), AppendOptions::default()),
            link.append(OTHER, values(&[6]).into(), AppendOptions::default())
        ],
        [6, 7, 3]
    );
}

#[test]
fn what_expects_an_offset_has_a_command_of_its_own() {
    let mut link = link();
    let expects = [None, Some(7), Some(7), None];
    let numbers = expects
        .map(|expect| link.append(LOG, values(&[1]).into(), AppendOptions { expect, durability: None }));
    assert_eq!(numbers, [1, 2, 3, 4]);
    let sent = all(&mut link).into_iter().map(|(_, message)| match message {
        ClientMessage::Command(Command::Append { options, .. }) => options.expect,
        other => panic!("{other:?}"),
    });
    assert_eq!(sent.collect::<Vec<_>>(), expects);
}

#[test]
fn what_is_gathered_keeps_to_the_bounds_of_one_command() {
    let mut link = link();
    let most = link.append(
        LOG,
        vec![values(&[1]).remove(0); ELEMENTS_PER_APPEND_MAX - 1].into(),
        AppendOptions::default(),
    );
    assert_eq!(
        link.append(LOG, values(&[2, 3]).into(), AppendOptions::default()),
        most + 1,
        "they would be too many, and stay together"
    );
    let large = || vec![Element::Value(Payload::raw(vec![0; PAYLOAD_BYTES_MAX]))];
    let numbers: Vec<u64> =
        (0..40).map(|_| link.append(OTHER, large().into(), AppendOptions::default())).collect();
    let fit = APPEND_BYTES_MAX / PAYLOAD_BYTES_MAX;
    let expected: Vec<u64> = (0..40).map(|n| most + 2 + (n / fit) as u64).collect();
    assert_eq!(numbers, expected);
    assert_eq!(sent(&mut link).len(), 2 + 40usize.div_ceil(fit));
}

#[test]
fn values_gather_while_as_many_commands_as_may_be_are_in_flight() {
    let mut link = link();
    let busy: Vec<u64> = (0..IN_FLIGHT_MAX).map(|_| link.command(release(1))).collect();
    assert_eq!(sent(&mut link), busy);
    let [first, second] = [1, 2].map(|n| link.append(LOG, values(&[n]).into(), AppendOptions::default()));
    assert_eq!(outgoing(&mut link), None);
    assert_eq!([first, second], [link.append(LOG, values(&[3]).into(), AppendOptions::default()); 2]);
    assert!(answer(&mut link, 1).is_some());
    assert_eq!(all(&mut link), [(first, append(LOG, values(&[1, 2, 3])))]);
}
