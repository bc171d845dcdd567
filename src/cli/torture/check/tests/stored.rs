//! Results that workers keep: they may be lost, and the task ends again. Nothing else may.

use super::*;
use crate::protocol::Codec;
use crate::protocol::result::{LossReason, StoredResult};

/// The task that counts has a stored result in place of its number: what it brings is not worked out.
fn stored(attempt: u32, bytes: u64) -> TaskEvent {
    let result = TaskResult::Stored(described(bytes));
    TaskEvent::Finished { task: counter().id, attempt: AttemptNumber(attempt), result }
}

fn described(bytes: u64) -> StoredResult {
    StoredResult { codec: Codec::MessagePack, bytes, digest: Digest(bytes) }
}

fn lost() -> TaskEvent {
    TaskEvent::Lost { task: counter().id, worker: "one".into(), why: LossReason::Lacking }
}

fn reopened() -> TaskEvent {
    TaskEvent::Reopened { task: counter().id }
}

fn copied() -> TaskEvent {
    TaskEvent::Copied { task: counter().id, worker: Producer(2) }
}

/// What is said of a history in which the counter ends with a stored result, and then this happens.
fn then(moment: Moment, events: Vec<TaskEvent>) -> Vec<Violation> {
    let mut history = history();
    history.tasks[13] = stored(2, 70_000);
    history.tasks.extend(events);
    history.check(moment)
}

#[test]
fn a_stored_result_may_be_lost_and_brought_again() {
    assert_eq!(then(Moment::Settled, vec![]), []);
    assert_eq!(then(Moment::Settled, vec![copied(), lost()]), [], "nobody needs it");
    let again = vec![lost(), reopened(), started(counter().id, 3), stored(3, 80_000), lost()];
    assert_eq!(then(Moment::Settled, again), []);
    let deferred = TaskEvent::Deferred { task: counter().id, attempt: AttemptNumber(3), missing: key().id };
    let again =
        vec![lost(), reopened(), started(counter().id, 3), deferred, started(counter().id, 4), stored(4, 9)];
    assert_eq!(then(Moment::Settled, again), []);
}

#[test]
fn nothing_else_is_taken_for_it() {
    let outcome = |events: Vec<TaskEvent>| {
        let found = then(Moment::Running, events);
        assert_eq!(found.first().map(|violation| violation.kind), Some(Kind::Outcome), "{found:?}");
    };
    outcome(vec![stored(2, 70_000)]);
    outcome(vec![started(counter().id, 3)]);
    outcome(vec![lost(), lost()]);
    outcome(vec![lost(), copied()]);
    outcome(vec![lost(), started(counter().id, 3)]);
    outcome(vec![lost(), stored(3, 70_000)]);
    outcome(vec![reopened()]);
    outcome(vec![lost(), reopened(), reopened()]);
    // What is in the log cannot be lost.
    let of_the_log = TaskEvent::Lost { task: key().id, worker: "one".into(), why: LossReason::Lacking };
    outcome(vec![of_the_log]);
    // A sum is a number.
    let (kind, _) = running(|history| {
        let result = TaskResult::Stored(described(70_000));
        history.tasks[12] = TaskEvent::Finished { task: key().id, attempt: AttemptNumber(1), result };
    });
    assert_eq!(kind, Kind::WrongResult);
    // Computed anew, it must come to an end.
    let found = then(Moment::Settled, vec![lost(), reopened()]);
    assert_eq!(found.first().map(|violation| violation.kind), Some(Kind::Unsettled), "{found:?}");
}

#[test]
fn a_channel_says_the_same_of_it() {
    let of_counter = |progress| ChannelEvent::Progress { key: counter(), progress };
    let stored_progress = |bytes| of_counter(Progress::Stored { result: described(bytes) });
    let gone = || of_counter(Progress::Lost { worker: "one".into() });
    let check = |moment, said: Vec<ChannelEvent>, events: Vec<TaskEvent>| {
        let mut history = history();
        history.values.pop();
        history.values.push(appended(CLIENT, 13, Element::Future(counter())));
        history.values.extend(said);
        history.tasks[13] = stored(2, 70_000);
        history.tasks.extend(events);
        history.values.push(stopped(&history.values));
        history.check(moment).first().map(|violation| violation.kind)
    };
    let settled = |said, events| check(Moment::Settled, said, events);
    assert_eq!(settled(vec![stored_progress(70_000)], vec![]), None);
    assert_eq!(settled(vec![stored_progress(70_000), gone()], vec![lost()]), None);
    let again = || vec![lost(), reopened(), started(counter().id, 3), stored(3, 80_000)];
    assert_eq!(settled(vec![stored_progress(70_000), gone(), stored_progress(80_000)], again()), None);
    // `$tasks` was read later, and more has happened by then; but not once all has settled.
    assert_eq!(check(Moment::Running, vec![stored_progress(70_000)], again()), None);
    assert_eq!(settled(vec![stored_progress(70_000)], again()), Some(Kind::Progress));
    assert_eq!(settled(vec![stored_progress(70_001)], vec![]), Some(Kind::Progress));
    assert_eq!(settled(vec![gone()], vec![lost()]), Some(Kind::Outcome));
    assert_eq!(settled(vec![stored_progress(70_000), gone()], vec![]), Some(Kind::Unsettled));
}
