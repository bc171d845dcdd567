//! Scenarios of appends: what they expect, what they bring, and what they are when they come again.

use headwater::protocol::channel::Durability;
use headwater::protocol::command::{Answer, AppendOptions, Command, Rejection};
use headwater::protocol::limits::{HEADERS_BYTES_MAX, HEADERS_MAX, PAYLOAD_BYTES_MAX};
use headwater::protocol::message::{Hello, ServerMessage};
use headwater::protocol::session::Role;
use headwater::protocol::snapshot::SnapshotItem;
use headwater::protocol::start::{Start, Starts};
use headwater::protocol::{
    Digest, Element, Elements, Epoch, Headers, LogId, Payload, Seq, SessionId, StartId, TaskKey,
};
use headwater::scheduler::core::{Core, Effect, LogFacts, Output, Restoring, Settings, State};
use headwater::scheduler::{ConnectionId, Request};

use crate::scene::{Scene, append, finish, number, open, submit};

const LOG: LogId = LogId(1);

/// An append of a number to the first channel that expects this offset.
fn expecting(expect: impl Into<Option<u64>>, n: u8) -> Command {
    let options = AppendOptions { expect: expect.into(), ..AppendOptions::default() };
    Command::Append { log: LOG, elements: vec![Element::Value(number(n))].into(), options }
}

/// What a command of this number is answered.
pub fn answer(
    scene: &mut Scene,
    connection: u64,
    number: u64,
    command: Command,
) -> Result<Answer, Rejection> {
    let mut answered = None;
    scene.step(|core, out| {
        core.request(ConnectionId(connection), number, Request::Command(command), out);
        answered = out.effects.iter().find_map(|effect| match effect {
            Effect::Send { message: ServerMessage::Answer(answer), .. } => Some(answer.clone()),
            _ => None,
        });
    });
    answered.expect("it is answered")
}

/// The offset of an append of one element, or the words of its refusal.
fn offset(scene: &mut Scene, connection: u64, number: u64, command: Command) -> Result<u64, String> {
    match answer(scene, connection, number, command) {
        Ok(Answer::Appended { first, count: 1, .. }) => Ok(first),
        Ok(other) => panic!("{other:?}"),
        Err(rejection) => Err(rejection.to_string()),
    }
}

fn conflict(expected: u64, head: u64) -> Result<u64, String> {
    Err(format!(
        "channel `a` was written to at offset {expected} or behind it, and nothing was appended: read on from \
         {expected}, and expect {head}, its head now, if it is still to be appended"
    ))
}

/// A scene with a client on connection 1, and the channel `a`.
fn with_channel() -> Scene {
    let mut scene = Scene::new();
    scene.client(1);
    scene.ask(1, open("a"));
    scene
}

/// A scene in which the channel `a` has a future, its start and its end.
fn with_future() -> Scene {
    let mut scene = with_channel();
    scene.worker(2, "w", 1);
    scene.ask(1, submit("x"));
    scene.ask(1, append(1, "x"));
    scene.ask(2, finish("x", 1, 7));
    let channel = &scene.core.state().channels[&LOG];
    assert_eq!((channel.head, channel.written_to), (3, 1));
    scene
}

#[test]
fn an_append_that_expects_an_offset_is_taken_only_where_nobody_has_written() {
    let mut scene = with_channel();
    assert_eq!(offset(&mut scene, 1, 11, expecting(0, 1)), Ok(0));
    assert_eq!(offset(&mut scene, 1, 12, expecting(0, 2)), conflict(0, 1));
    let told = "offset 2 is past the head of channel `a`, 1, and nothing was appended: expect 1 once all before it \
                is read";
    assert_eq!(offset(&mut scene, 1, 13, expecting(2, 2)), Err(told.to_owned()));
    assert_eq!(offset(&mut scene, 1, 14, expecting(1, 2)), Ok(1));
    assert_eq!(offset(&mut scene, 1, 15, expecting(None, 3)), Ok(2));
}

#[test]
fn progress_of_futures_is_nothing_that_an_append_did_not_expect() {
    let mut scene = with_future();
    assert_eq!(offset(&mut scene, 1, 11, expecting(0, 1)), conflict(0, 3));
    // Whoever has read as far as the element, or any part of what follows by itself, knows all that was written.
    assert_eq!(offset(&mut scene, 1, 12, expecting(1, 1)), Ok(3));
    assert_eq!(offset(&mut scene, 1, 13, expecting(2, 2)), conflict(2, 4));
}

#[test]
fn a_start_knows_what_was_written() {
    let mut scene = with_future();
    // Each step compares the fold of the logs, and what a snapshot gives, with the live state.
    scene.restart();
    let connection = scene.connect(1, true, Role::Client);
    assert_eq!(offset(&mut scene, connection, 11, expecting(0, 1)), conflict(0, 3));
    assert_eq!(offset(&mut scene, connection, 12, expecting(1, 1)), Ok(3));
}

#[test]
fn an_append_that_comes_again_finds_its_first_answer_whatever_it_expects() {
    let mut scene = with_channel();
    assert_eq!(offset(&mut scene, 1, 11, expecting(0, 1)), Ok(0));
    assert_eq!(offset(&mut scene, 1, 12, expecting(None, 2)), Ok(1));
    assert_eq!(offset(&mut scene, 1, 11, expecting(0, 1)), Ok(0));
    assert_eq!(
        offset(&mut scene, 1, 13, expecting(0, 1)),
        conflict(0, 2),
        "under another number it is another"
    );
}

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().copied().collect()
}

fn append_all(elements: Vec<(Headers, Element)>) -> Command {
    Command::append(LOG, elements.into())
}

#[test]
fn headers_are_kept_with_values_and_with_futures() {
    let mut scene = with_channel();
    scene.worker(2, "w", 1);
    scene.ask(1, submit("x"));
    scene.told();
    let future = Element::Future(TaskKey::named("x"));
    let elements = vec![
        (headers(&[("unit", "m"), ("from", "gauge")]), Element::Value(number(1))),
        (Headers::new(), Element::Value(number(2))),
        (headers(&[("unit", "s")]), future.clone()),
    ];
    scene.ask(1, append_all(elements));
    scene.then(&[
        "a: value 1 with from=gauge unit=m",
        "a: value 2",
        "a: future x with unit=s",
        "a: x started, attempt 1 on w",
        "→ to 1: appended",
    ]);
    let channel = &scene.core.state().channels[&LOG];
    assert_eq!((channel.elements, channel.written_to, channel.head), (3, 3, 4));
    let words = |digest: Digest, key: &str, value: &str| {
        digest.with(b"header").with(key.as_bytes()).with(value.as_bytes())
    };
    let digest = words(words(Digest::default(), "from", "gauge"), "unit", "m");
    let digest = digest.with_element(&Element::Value(number(1))).with_element(&Element::Value(number(2)));
    assert_eq!(channel.digest, words(digest, "unit", "s").with_element(&future), "headers are in the digest");
    assert_eq!(scene.core.state().tasks[&TaskKey::named("x").id].keepers.channels(), [(LOG, 1)]);
}

#[test]
fn headers_over_a_bound_are_refused_and_the_largest_record_is_taken() {
    let mut scene = with_channel();
    let largest = || Element::Value(Payload::raw(vec![0; PAYLOAD_BYTES_MAX]));
    let all = |count: usize, bytes: usize| -> Headers {
        (0..count).map(|n| (format!("{n:02}"), "v".repeat(bytes))).collect()
    };
    let bytes_each = HEADERS_BYTES_MAX / HEADERS_MAX - 2;
    for (number, (bad, told)) in (11..).zip([
        (all(HEADERS_MAX + 1, 1), "the number of headers of an element is 17, over the limit of 16"),
        (
            all(HEADERS_MAX, bytes_each + 1),
            "all headers of an element together is 2064, over the limit of 2048",
        ),
    ]) {
        let refused = offset(&mut scene, 1, number, append_all(vec![(bad, largest())])).unwrap_err();
        assert!(
            refused.starts_with(told) && refused.ends_with("keep it elsewhere, or in the value"),
            "{refused}"
        );
    }
    let good = (all(HEADERS_MAX, bytes_each), largest());
    assert_eq!(offset(&mut scene, 1, 20, append_all(vec![good])), Ok(0));
    // Headers count among the bytes of an append.
    let many = vec![(all(HEADERS_MAX, bytes_each), Element::Value(number(1))); 513];
    assert!(Elements::from(many.clone()).payload_bytes() < 1000);
    let refused = offset(&mut scene, 1, 21, append_all(many)).unwrap_err();
    assert!(refused.starts_with("all values together is 1051137, over the limit of 1048576"), "{refused}");
}

#[test]
fn an_append_that_comes_again_names_the_commit_that_holds_it() {
    let mut scene = with_channel();
    let start = |epoch, after| Start { epoch: Epoch(epoch), id: StartId(epoch), after: Seq(after) };
    let facts = scene.core.facts_mut();
    facts.starts = [start(3, 0), start(4, 50)].into_iter().collect();
    facts.next = Seq(0);
    let durability = Durability::Fsynced;
    let first = answer(&mut scene, 1, 11, expecting(None, 1));
    assert_eq!(first, Ok(Answer::Appended { first: 0, count: 1, seq: Seq(0), epoch: Epoch(4), durability }));
    // The state keeps the commit; whose it was the store knows.
    let items: Vec<SnapshotItem> = scene.core.state().clone().into_items().collect();
    let mut restoring = Restoring::new(Seq(60));
    for item in items.clone() {
        let item = match item {
            SnapshotItem::Acknowledged { producer, appends } => {
                assert_eq!(appends, [(11, 0, 1, Seq(0))]);
                SnapshotItem::Acknowledged { producer, appends: vec![(11, 0, 1, Seq(45))] }
            }
            item => item,
        };
        restoring.add(item).unwrap();
    }
    let given = |state: State, starts: Starts| {
        let facts = LogFacts { starts, ..LogFacts::default() };
        let mut core = Core::new(state, Settings::default(), facts, 0);
        let (mut out, session) = (Output::default(), SessionId([1; 16]));
        let hello = Hello { token: None, session, resume: true, role: Role::Client, seen: None };
        core.connect(ConnectionId(1), &hello, &mut out);
        core.request(ConnectionId(1), 11, Request::Command(expecting(None, 1)), &mut out);
        match out.effects.pop() {
            Some(Effect::Send { message: ServerMessage::Answer(answer), .. }) => answer,
            other => panic!("{other:?}"),
        }
    };
    let starts: Starts = [start(3, 0), start(4, 50)].into_iter().collect();
    let again = given(restoring.finish().unwrap().0, starts.clone());
    assert_eq!(again, Ok(Answer::Appended { first: 0, count: 1, seq: Seq(45), epoch: Epoch(3), durability }));
    // As the snapshots of store versions before 5 have it: by this commit it was durable.
    let mut restoring = Restoring::new(Seq(60));
    for item in items {
        let item = match item {
            SnapshotItem::Acknowledged { producer, .. } => {
                SnapshotItem::Answered { producer, answers: vec![(11, Some((0, 1)))] }
            }
            item => item,
        };
        restoring.add(item).unwrap();
    }
    let again = given(restoring.finish().unwrap().0, starts);
    assert_eq!(again, Ok(Answer::Appended { first: 0, count: 1, seq: Seq(60), epoch: Epoch(4), durability }));
}
