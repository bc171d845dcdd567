//! Transactions: what is done in one commit or not at all.

use std::collections::BTreeMap;

use headwater::log::{Log, Memory};
use headwater::protocol::command::Command;
use headwater::protocol::cursor::{CursorMove, CursorName};
use headwater::protocol::session::Role;
use headwater::protocol::transaction::{Part, Transaction};
use headwater::protocol::{ChannelEvent, Element, LogId, Seq, TaskEvent, TaskKey};

use crate::scene::{Scene, append_value, number, open, submit};
use crate::shadow::Shadow;

/// The cursor that the workload moves by transactions, and by nothing else.
pub fn cursor() -> CursorName {
    CursorName::new("transacted").expect("a good name")
}

/// What each transaction appended is where its record says, in the same commit; and each cursor was where those who were
/// acknowledged moved it from.
pub fn audit(log: &Memory, shadow: &Shadow) {
    let mut at: BTreeMap<LogId, u64> = BTreeMap::new();
    for batch in log.read(LogId::TASKS, 0, usize::MAX).expect("the log can be read") {
        let seq = batch.header().seq;
        for record in batch.records::<TaskEvent>() {
            match record.expect("records decode").1 {
                TaskEvent::CursorSet { log, name, offset, .. } if name == cursor() => {
                    let before = at.insert(log, offset).unwrap_or_default();
                    if let Some(from) = shadow.moved.get(&(seq, log, offset)) {
                        assert_eq!(before, *from, "a cursor of log {log} was moved to {offset}");
                    }
                }
                TaskEvent::CursorDeleted { log, name, .. } if name == cursor() => drop(at.remove(&log)),
                TaskEvent::Transacted { origin, appended } => {
                    for part in appended {
                        let there = of_commit(log, seq, part.log);
                        for offset in part.first..part.first + u64::from(part.count) {
                            let appended = there.get(&offset).and_then(ChannelEvent::appended);
                            let by = appended.map(|appended| appended.origin);
                            assert_eq!(by, Some(origin), "{offset} of log {} in commit {seq}", part.log);
                        }
                    }
                }
                _ => {}
            }
        }
    }
    let moved = shadow.moved.keys().filter(|(_, log, offset)| at.get(log).is_some_and(|at| at < offset));
    assert!(moved.count() == 0 || deletes(log), "a cursor is behind where it was moved");
}

/// The records of a log in a commit, by offset.
fn of_commit(log: &Memory, seq: Seq, id: LogId) -> BTreeMap<u64, ChannelEvent> {
    let batches = log.read(id, 0, usize::MAX).expect("the log can be read");
    let batches = batches.into_iter().filter(|batch| batch.header().seq == seq);
    batches
        .flat_map(|batch| batch.records().map(|r| r.expect("records decode")).collect::<Vec<_>>())
        .collect()
}

fn deletes(log: &Memory) -> bool {
    let batches = log.read(LogId::TASKS, 0, usize::MAX).expect("the log can be read");
    batches.iter().any(|batch| {
        batch.records::<TaskEvent>().any(|r| matches!(r, Ok((_, TaskEvent::CursorDeleted { .. }))))
    })
}

fn part(log: u32, n: u8, expect: Option<u64>) -> Part {
    Part { log: LogId(log), elements: vec![Element::Value(number(n))].into(), expect }
}

fn to(log: u32, from: u64, offset: u64) -> CursorMove {
    CursorMove { log: LogId(log), name: cursor(), offset, from: Some(from), pin_ms: 0 }
}

fn transact(appends: Vec<Part>, cursors: Vec<CursorMove>) -> Command {
    Command::Transact(Transaction { appends, cursors, acknowledges: vec![] })
}

/// A scene with a client on connection 1, and the channels `a` with a value and `b`.
fn scene() -> Scene {
    let mut scene = Scene::new();
    scene.client(1);
    for command in [open("a"), open("b"), append_value(1, 7)] {
        scene.ask(1, command);
    }
    scene.told();
    scene
}

#[test]
fn all_of_it_is_done_in_the_order_of_the_logs() {
    let mut scene = scene();
    scene.ask(1, transact(vec![part(2, 8, Some(0)), part(1, 9, None)], vec![to(1, 0, 1)]));
    scene.then(&[
        "cursor transacted of log 1 at 1",
        "transacted 1 at 1 of log 1, 1 at 0 of log 2",
        "a: value 9",
        "b: value 8",
        "→ to 1: transacted 1 at 1 of log 1, 1 at 0 of log 2",
    ]);
}

#[test]
fn nothing_is_done_when_a_part_cannot_be() {
    let mut scene = scene();
    let (fine, moves) = (|| part(2, 8, None), || to(1, 0, 1));
    scene.ask(1, Command::Stop { log: LogId(2) });
    let before = scene.core.state().clone();
    scene.told();
    for (command, expected) in [
        (transact(vec![fine()], vec![moves()]), "is stopped at 0 elements"),
        (transact(vec![part(1, 8, Some(0))], vec![moves()]), "was written to at offset 0"),
        (transact(vec![part(1, 8, None)], vec![to(1, 1, 1)]), "is at offset 0, not at 1"),
        (transact(vec![part(1, 8, None)], vec![to(1, 0, 2)]), "past the head"),
        (transact(vec![part(1, 8, None), part(9, 8, None)], vec![]), "there is no channel with log 9"),
        (transact(vec![part(1, 8, None)], vec![to(9, 0, 0)]), "there is no channel with log 9"),
        (transact(vec![part(1, 8, None), part(1, 9, None)], vec![]), "appends to a channel once"),
        (transact(vec![], vec![]), "needs something to do"),
    ] {
        scene.ask(1, command);
        let told = scene.told();
        assert!(told.len() == 1 && told[0].contains(expected), "{expected}: {told:?}");
        assert_eq!(*scene.core.state(), before, "{expected}");
    }
}

#[test]
fn asked_again_it_is_done_once_and_answered_alike() {
    let mut scene = scene();
    let command = || transact(vec![part(1, 9, None), part(2, 8, None)], vec![to(1, 0, 1)]);
    let number = scene.ask(1, command());
    let first = scene.told();
    scene.ask_again(1, number, command());
    assert_eq!(scene.told(), first[first.len() - 1..]);
    scene.drop_connection(1);
    scene.restart();
    let again = scene.connect(1, true, Role::Client);
    scene.told();
    scene.ask_again(again, number, command());
    let told = scene.told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].replace("to 2", "to 1"), first[first.len() - 1]);
    // A number is one command's.
    scene.ask_again(again, number, submit("x"));
    assert!(scene.told()[0].contains("was another command's"));
}

#[test]
fn futures_are_kept_by_each_channel() {
    let mut scene = scene();
    scene.ask(1, submit("x"));
    let future = |log| Part {
        log: LogId(log),
        elements: vec![Element::Future(TaskKey::named("x"))].into(),
        expect: None,
    };
    scene.ask(1, transact(vec![future(1), future(2)], vec![]));
    scene.leave(1);
    let state = scene.core.state();
    let (_, task) = state.tasks.iter().next().expect("the channels keep it");
    assert_eq!(task.keepers.channels(), [(LogId(1), 1), (LogId(2), 1)]);
}
