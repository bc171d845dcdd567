//! Scenarios of named producers: what is not appended again, whoever sends it and whenever.

use headwater::protocol::command::{Answer, AppendOptions, Command, Query, Rejection};
use headwater::protocol::message::ServerMessage;
use headwater::protocol::producer::{ProducedBy, ProducerName};
use headwater::protocol::session::Role;
use headwater::protocol::{Element, Headers, LogId, TaskKey};
use headwater::scheduler::core::{Effect, Output, Settings};
use headwater::scheduler::{ConnectionId, Request};

use crate::appends::answer;
use crate::scene::{Scene, append_value, number, open, submit};

const LOG: LogId = LogId(1);

fn name(name: &str) -> ProducerName {
    ProducerName::new(name).expect("a good name")
}

/// An append of so many numbers to the channel `a`, of a producer.
fn produce(producer: &str, number: u64, from: Option<u64>, values: &[u8]) -> Command {
    let elements: Vec<Element> = values.iter().map(|n| Element::Value(self::number(*n))).collect();
    let producer = Some(ProducedBy { name: name(producer), number, from });
    Command::Append {
        log: LOG,
        elements: elements.into(),
        options: AppendOptions { producer, ..AppendOptions::default() },
    }
}

/// The first offset and how many, or the newest number where nothing was appended.
fn brought(
    scene: &mut Scene,
    connection: u64,
    number: u64,
    command: Command,
) -> Result<(u64, u32), Result<u64, String>> {
    match answer(scene, connection, number, command) {
        Ok(Answer::Appended { first, count, .. }) => Ok((first, count)),
        Ok(Answer::AppendedBefore { newest }) => Err(Ok(newest)),
        Ok(other) => panic!("{other:?}"),
        Err(rejection) => Err(Err(rejection.to_string())),
    }
}

/// A scene with a client on connection 1, and the channel `a`.
fn with_channel() -> Scene {
    let mut scene = Scene::new();
    scene.client(1);
    scene.ask(1, open("a"));
    scene.told();
    scene
}

/// The producers of the channel, each with its newest number.
fn producers(scene: &mut Scene, connection: u64, after: Option<&str>) -> Vec<(String, u64)> {
    let mut out = Output::default();
    let query = Request::Query(Query::Producers { log: LOG, after: after.map(name) });
    scene.core.request(ConnectionId(connection), 99, query, &mut out);
    match out.effects.remove(0) {
        Effect::Send { message: ServerMessage::Answer(Ok(Answer::Producers(all))), .. } => {
            all.into_iter().map(|info| (info.name.to_string(), info.number)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_session_that_sends_a_number_again_finds_the_first_answer() {
    let mut scene = with_channel();
    scene.ask(1, append_value(1, 0));
    assert_eq!(brought(&mut scene, 1, 11, produce("p", 7, None, &[1, 2])), Ok((1, 2)));
    assert_eq!(
        brought(&mut scene, 1, 12, produce("q", 7, None, &[3])),
        Ok((3, 1)),
        "each has its own numbers"
    );
    scene.then(&[
        "a: value 0",
        "→ to 1: appended",
        "a: value 1, 7 of p, 2 in all",
        "a: value 2",
        "→ to 1: appended",
        "a: value 3, 7 of q, 1 in all",
        "→ to 1: appended",
    ]);
    // The program is started anew: it knows its name and its source.
    scene.client(2);
    scene.told();
    assert_eq!(brought(&mut scene, 2, 1, produce("p", 6, None, &[9])), Err(Ok(7)));
    assert_eq!(brought(&mut scene, 2, 2, produce("p", 7, None, &[1, 2])), Ok((1, 2)));
    assert_eq!(brought(&mut scene, 2, 3, produce("p", 20, None, &[4])), Ok((4, 1)), "gaps may be");
    scene.then(&[
        "→ to 2: appendedbefore",
        "→ to 2: appended",
        "a: value 4, 20 of p, 1 in all",
        "→ to 2: appended",
    ]);
    let channel = &scene.core.state().channels[&LOG];
    assert_eq!((channel.elements, channel.written_to, channel.head), (5, 5, 5));
}

#[test]
fn a_start_knows_the_numbers() {
    let mut scene = with_channel();
    assert_eq!(brought(&mut scene, 1, 11, produce("p", 7, None, &[1, 2])), Ok((0, 2)));
    // Each step compares the fold of the logs, and what a snapshot gives, with the live state.
    scene.restart();
    let connection = scene.client(2);
    assert_eq!(brought(&mut scene, connection, 1, produce("p", 7, Some(6), &[1, 2])), Ok((0, 2)));
    assert_eq!(brought(&mut scene, connection, 2, produce("p", 5, None, &[9])), Err(Ok(7)));
    assert_eq!(brought(&mut scene, connection, 3, produce("p", 8, Some(7), &[3])), Ok((2, 1)));
}

#[test]
fn trimming_keeps_the_numbers_and_the_end_of_the_channel_does_not() {
    let mut scene = with_channel();
    assert_eq!(brought(&mut scene, 1, 11, produce("p", 7, None, &[1, 2])), Ok((0, 2)));
    scene.ask_again(1, 12, Command::Trim { log: LOG, before: None });
    scene.restart();
    let connection = scene.connect(1, true, Role::Client);
    assert_eq!(brought(&mut scene, connection, 13, produce("p", 7, None, &[1, 2])), Ok((0, 2)));
    scene.ask_again(connection, 14, Command::Delete { log: LOG });
    let gone = brought(&mut scene, connection, 15, produce("p", 7, None, &[1])).unwrap_err().unwrap_err();
    assert!(gone.starts_with("there is no channel `a`: it was deleted"), "{gone}");
    scene.ask_again(connection, 16, open("a"));
    assert_eq!(brought(&mut scene, connection, 17, produce("p", 1, None, &[5])), Ok((5, 1)));
}

#[test]
fn what_was_refused_lets_nothing_in_that_was_to_come_behind_it() {
    let mut scene = Scene::with(Settings { disk_reserve_bytes: 100, ..Settings::default() });
    scene.client(1);
    scene.ask(1, open("a"));
    assert_eq!(brought(&mut scene, 1, 11, produce("p", 1, Some(0), &[1])), Ok((0, 1)));
    scene.step(|core, out| core.free_space(Some(50), out));
    let low = brought(&mut scene, 1, 12, produce("p", 2, Some(1), &[2])).unwrap_err().unwrap_err();
    assert!(low.starts_with("the scheduler's disk is nearly full"), "{low}");
    scene.step(|core, out| core.free_space(Some(200), out));
    let told = "producer `p` is at number 1, not at 2, and nothing was appended: an append before this one was refused, \
                or somebody else appends under this name; ask for its last number, and go on behind it";
    assert_eq!(brought(&mut scene, 1, 13, produce("p", 3, Some(2), &[3])), Err(Err(told.to_owned())));
    for (number, of_source) in [(14, 2), (15, 3)] {
        let command = produce("p", of_source, Some(of_source - 1), &[of_source as u8]);
        assert_eq!(brought(&mut scene, 1, number, command), Ok((of_source - 1, 1)));
    }
}

#[test]
fn what_was_appended_before_is_told_again_behind_what_was_appended_since() {
    let mut scene = with_channel();
    assert_eq!(brought(&mut scene, 1, 11, produce("p", 5, None, &[1])), Ok((0, 1)));
    // Nothing is done for this one, so nothing is remembered of it; then the answers to both are lost.
    assert_eq!(brought(&mut scene, 1, 12, produce("p", 4, None, &[9])), Err(Ok(5)));
    assert_eq!(brought(&mut scene, 1, 13, produce("p", 6, None, &[2])), Ok((1, 1)));
    assert_eq!(brought(&mut scene, 1, 12, produce("p", 4, None, &[9])), Err(Ok(6)));
    assert_eq!(brought(&mut scene, 1, 13, produce("p", 6, None, &[2])), Ok((1, 1)));
}

#[test]
fn one_that_is_forgotten_begins_anew_and_is_forgotten_once() {
    let mut scene = with_channel();
    for (at, producer) in (11..).zip(["p", "q", "r"]) {
        assert_eq!(brought(&mut scene, 1, at, produce(producer, at, None, &[1])), Ok((at - 11, 1)));
    }
    let listed =
        |all: &[(&str, u64)]| all.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>();
    assert_eq!(producers(&mut scene, 1, None), listed(&[("p", 11), ("q", 12), ("r", 13)]));
    assert_eq!(producers(&mut scene, 1, Some("p")), listed(&[("q", 12), ("r", 13)]));
    let forget = |name: &str| Command::ForgetProducer { log: LOG, name: self::name(name) };
    for (at, name) in [(20, "p"), (21, "unknown")] {
        assert_eq!(answer(&mut scene, 1, at, forget(name)), Ok(Answer::Deleted));
    }
    assert_eq!(brought(&mut scene, 1, 22, produce("p", 1, None, &[1])), Ok((5, 1)));
    assert_eq!(brought(&mut scene, 1, 23, produce("unknown", 1, None, &[1])), Ok((6, 1)));
    // They come again, since their answers were lost.
    for (at, name) in [(20, "p"), (21, "unknown")] {
        assert_eq!(answer(&mut scene, 1, at, forget(name)), Ok(Answer::Deleted));
    }
    assert_eq!(producers(&mut scene, 1, None), listed(&[("p", 1), ("q", 12), ("r", 13), ("unknown", 1)]));
}

#[test]
fn futures_and_headers_are_appended_once_as_well() {
    let mut scene = with_channel();
    scene.worker(2, "w", 1);
    scene.ask(1, submit("x"));
    scene.told();
    let elements = || -> Vec<(Headers, Element)> {
        let headers = [("unit", "m")].into_iter().collect();
        vec![(headers, Element::Future(TaskKey::named("x"))), (Headers::new(), Element::Value(number(2)))]
    };
    let produced = |n| {
        let producer = Some(ProducedBy { name: name("p"), number: n, from: None });
        let options = AppendOptions { producer, ..AppendOptions::default() };
        Command::Append { log: LOG, elements: elements().into(), options }
    };
    assert_eq!(brought(&mut scene, 1, 11, produced(1)), Ok((0, 2)));
    assert_eq!(brought(&mut scene, 1, 12, produced(1)), Ok((0, 2)));
    scene.then(&[
        "a: future x with unit=m, 1 of p, 2 in all",
        "a: value 2",
        "a: x started, attempt 1 on w",
        "→ to 1: appended",
        "→ to 1: appended",
    ]);
    assert_eq!(scene.core.state().tasks[&TaskKey::named("x").id].keepers.channels(), [(LOG, 1)]);
    // One that is refused for its future has not come.
    scene.told();
    let unknown = {
        let producer = Some(ProducedBy { name: name("p"), number: 2, from: Some(1) });
        let elements = vec![Element::Future(TaskKey::named("nobody"))].into();
        Command::Append {
            log: LOG,
            elements,
            options: AppendOptions { producer, ..AppendOptions::default() },
        }
    };
    let refused = answer(&mut scene, 1, 13, unknown);
    assert_eq!(refused, Err(Rejection::UnknownTask(TaskKey::named("nobody").id)));
    assert_eq!(brought(&mut scene, 1, 14, produced(2)), Ok((3, 2)));
}

#[test]
fn an_append_may_expect_an_offset_too() {
    let mut scene = with_channel();
    let expecting = |n, expect| {
        let Command::Append { log, elements, options } = produce("p", n, None, &[n as u8]) else {
            unreachable!()
        };
        Command::Append { log, elements, options: AppendOptions { expect, ..options } }
    };
    assert_eq!(brought(&mut scene, 1, 11, expecting(1, Some(0))), Ok((0, 1)));
    assert_eq!(
        brought(&mut scene, 1, 12, expecting(1, Some(0))),
        Ok((0, 1)),
        "its own element is no conflict"
    );
    let conflict = brought(&mut scene, 1, 13, expecting(2, Some(0))).unwrap_err().unwrap_err();
    assert!(conflict.starts_with("channel `a` was written to at offset 0 or behind it"), "{conflict}");
    assert_eq!(brought(&mut scene, 1, 14, expecting(2, Some(1))), Ok((1, 1)));
}
