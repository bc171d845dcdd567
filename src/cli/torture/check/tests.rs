//! The checker must be able to fail: a small history that holds, and what it says when one thing of it is
//! otherwise.

mod stored;

use super::*;
use crate::cli::torture::life::{self, Ack, Stamp};
use crate::protocol::channel::Progress;
use crate::protocol::event::{Origin, Receipt, TaskResult};
use crate::protocol::session::{EndReason, SessionKind};
use crate::protocol::task::{Argument, ErrorKind, Submission, TaskOptions};
use crate::protocol::{
    AttemptNumber, Digest, Element, Epoch, Payload, Producer, SessionId, TaskError, TaskId, TaskKey,
};

const VALUES: &str = "values/1";
const COUNT: &str = "count/1";
const LIFE: LifeId = LifeId { client: 1, life: 0 };
/// The client's session, and those of two attempts of the task that counts.
const CLIENT: Producer = Producer(1);
const ATTEMPTS: [Producer; 2] = [Producer(3), Producer(4)];

/// What was acknowledged, and what the logs hold.
#[derive(Clone)]
struct History {
    lives: Vec<Life>,
    values: Vec<ChannelEvent>,
    count: Vec<ChannelEvent>,
    tasks: Vec<TaskEvent>,
}

fn key() -> TaskKey {
    TaskKey::unique("slow_sum", [7; 16])
}

fn counter() -> TaskKey {
    TaskKey::named("torture/count/1")
}

fn payload(number: u64) -> Payload {
    Payload::encode(&number).unwrap()
}

fn appended(producer: Producer, number: u64, element: Element) -> ChannelEvent {
    ChannelEvent::Appended { origin: Origin { producer, number }, element }
}

fn stamp(command: u64, number: u64) -> ChannelEvent {
    let stamp = Stamp { life: LIFE, number, fill: String::new() };
    appended(CLIENT, command, Element::Value(Payload::encode(&stamp).unwrap()))
}

fn counted(producer: Producer, number: u64) -> ChannelEvent {
    appended(producer, number + 2, Element::Value(payload(number)))
}

fn progress(progress: Progress) -> ChannelEvent {
    ChannelEvent::Progress { key: key(), progress }
}

fn submitted(key: TaskKey, arguments: &[u64]) -> TaskEvent {
    let arguments = arguments.iter().map(|number| Argument::Value(payload(*number))).collect();
    let function = format!("rust:m::{}", if key == counter() { "count" } else { &key.label }).into();
    let submission = Submission { key, function, version: 1, arguments, options: TaskOptions::default() };
    TaskEvent::Submitted { origin: Origin { producer: CLIENT, number: 1 }, submission }
}

fn opened(producer: u64, kind: SessionKind) -> TaskEvent {
    let (producer, session) = (Producer(producer), SessionId([producer as u8; 16]));
    TaskEvent::SessionOpened { producer, session, kind, lease_ms: 1000 }
}

fn started(task: TaskId, attempt: u32) -> TaskEvent {
    TaskEvent::Started { task, attempt: AttemptNumber(attempt), worker: Producer(2) }
}

fn finished(task: TaskId, attempt: u32, number: u64) -> TaskEvent {
    let result = TaskResult::Inline(payload(number));
    TaskEvent::Finished { task, attempt: AttemptNumber(attempt), result }
}

fn recovered(epoch: u64) -> TaskEvent {
    TaskEvent::Recovered(Receipt { epoch: Epoch(epoch), ..Receipt::default() })
}

fn stopped(events: &[ChannelEvent]) -> ChannelEvent {
    let (mut count, mut digest) = (0, Digest::default());
    for event in events {
        if let Some(appended) = event.appended() {
            (count, digest) = (count + 1, digest.with_appended(&appended));
        }
    }
    ChannelEvent::Stopped { origin: Origin { producer: CLIENT, number: 99 }, count, digest }
}

/// A client appends a value, a future and a value; a task counts to three in two attempts; the scheduler
/// starts twice.
fn history() -> History {
    let attempt = |number| SessionKind::Attempt { task: counter().id, attempt: AttemptNumber(number) };
    let mut values = vec![
        stamp(10, 0),
        appended(CLIENT, 11, Element::Future(key())),
        progress(Progress::Started { attempt: AttemptNumber(1), worker: "one".into() }),
        progress(Progress::Finished { result: payload(5) }),
        stamp(12, 2),
    ];
    values.push(stopped(&values));
    let [first, second] = ATTEMPTS;
    let mut count = vec![counted(first, 0), counted(first, 1), counted(second, 2)];
    count.push(stopped(&count));
    let requeued = EndReason::LeaseExpired;
    let tasks = vec![
        recovered(1),
        opened(1, SessionKind::Client),
        opened(2, SessionKind::Worker { name: "one".into() }),
        submitted(counter(), &[]),
        started(counter().id, 1),
        opened(3, attempt(1)),
        TaskEvent::Requeued { task: counter().id, attempt: AttemptNumber(1), reason: requeued },
        recovered(2),
        started(counter().id, 2),
        opened(4, attempt(2)),
        submitted(key(), &[2, 3, 9]),
        started(key().id, 1),
        finished(key().id, 1, 5),
        finished(counter().id, 2, 3),
    ];
    let ack = |number, offset, kind| Ack { number, channel: VALUES.to_owned(), offset, kind };
    let acks = vec![
        ack(0, 0, life::Kind::Value),
        ack(1, 1, life::Kind::Future { key: key(), result: 5 }),
        ack(2, 4, life::Kind::Value),
    ];
    let session = Some(SessionId([1; 16]).to_string());
    History { lives: vec![Life { id: LIFE, session, acks }], values, count, tasks }
}

/// The records of events, dense.
fn records<E: Clone>(events: &[E], is_element: impl Fn(&E) -> bool) -> Vec<Record<E>> {
    let mut next = 0;
    let record = |(offset, event): (usize, &E)| {
        let index = is_element(event).then_some(next);
        next += u64::from(index.is_some());
        Record { offset: offset as u64, time_ms: 0, index, event: event.clone() }
    };
    events.iter().enumerate().map(record).collect()
}

impl History {
    fn check(&self, moment: Moment) -> Vec<Violation> {
        let mut checker = Checker::new(self.lives.clone());
        for (name, events) in [(VALUES, &self.values), (COUNT, &self.count)] {
            records(events, ChannelEvent::is_element).iter().for_each(|record| checker.channel(name, record));
        }
        records(&self.tasks, |_| false).iter().for_each(|record| checker.task(record));
        checker.finish(moment).1
    }
}

/// Changes the history, and gives what the check says first.
fn first(moment: Moment, change: impl FnOnce(&mut History)) -> (Kind, String) {
    let mut changed = history();
    change(&mut changed);
    let found = changed.check(moment);
    let violation = found.into_iter().next().expect("it must be noticed");
    (violation.kind, violation.what)
}

/// The same, where a channel's end is not looked at, as it no longer fits.
fn running(change: impl FnOnce(&mut History)) -> (Kind, String) {
    first(Moment::Running, |history| {
        history.values.pop();
        history.count.pop();
        change(history);
    })
}

#[test]
fn a_history_that_holds_is_not_objected_to() {
    let history = history();
    assert_eq!(history.check(Moment::Settled), []);
    // A command of two values.
    let mut gathered = self::history();
    gathered.values.pop();
    gathered.values.push(stamp(12, 3));
    assert_eq!(gathered.check(Moment::Running), []);
    let mut checker = Checker::new(history.lives.clone());
    records(&history.values, ChannelEvent::is_element)
        .iter()
        .for_each(|record| checker.channel(VALUES, record));
    records(&history.tasks, |_| false).iter().for_each(|record| checker.task(record));
    let (sums, _) = checker.finish(Moment::Running);
    let expected = Sums {
        records: 20,
        elements: 3,
        acks: 3,
        tasks: 2,
        outcomes: 2,
        recomputed: 0,
        attempts: 3,
        epochs: 2,
        sessions_expired: 0,
    };
    assert_eq!(sums, expected);
}

#[test]
fn a_lost_ack_is_named() {
    // The end of the log is gone.
    let (kind, what) = running(|history| drop(history.values.pop()));
    assert_eq!(kind, Kind::Lost);
    assert!(what.starts_with("element 2 of client-1-00000, value 2 of client-1-00000,"), "{what}");
    assert!(what.ends_with("offset 4 of channel values/1: there is nothing"), "{what}");
    // Renumbered.
    let (kind, what) = running(|history| drop(history.values.remove(0)));
    assert_eq!(kind, Kind::Lost, "{what}");
    // A future of another task.
    let other = || TaskKey::unique("slow_sum", [8; 16]);
    let (kind, what) = running(|history| {
        history.values[1] = appended(CLIENT, 11, Element::Future(other()));
        history.values.drain(2..4);
        history.values.insert(2, progress(Progress::Cancelled));
    });
    assert!([Kind::Lost, Kind::Progress].contains(&kind), "{what}");
    // The file itself has a hole.
    assert_eq!(running(|history| drop(history.lives[0].acks.remove(1))).0, Kind::Lost);
    // The task's facts are gone, and the channel still has it.
    let (kind, what) = running(|history| drop(history.tasks.drain(10..13)));
    assert_eq!((kind, what.contains("`$tasks` does not know it")), (Kind::Lost, true), "{what}");
}

#[test]
fn a_repeat_is_named() {
    // The same command entered twice.
    let (kind, what) = running(|history| history.values[4] = stamp(11, 2));
    assert_eq!(
        (kind, what.contains("command 11 of producer 1 entered twice")),
        (Kind::Repeated, true),
        "{what}"
    );
    // The same value twice in one command.
    let (kind, what) = running(|history| history.values.push(stamp(12, 2)));
    assert_eq!(
        (kind, what.contains("value 2 of client-1-00000 is also at 4")),
        (Kind::Repeated, true),
        "{what}"
    );
    // The same value under another command.
    let (kind, what) = running(|history| history.values.push(stamp(13, 2)));
    assert_eq!(
        (kind, what.contains("value 2 of client-1-00000 is also at 4")),
        (Kind::Repeated, true),
        "{what}"
    );
    // The same value on another channel.
    let (kind, what) = running(|history| history.count = vec![stamp(13, 2)]);
    assert_eq!((kind, what.contains("is also at offset")), (Kind::Repeated, true), "{what}");
    // The same future of the same session.
    let (kind, _) = running(|history| history.values.push(appended(CLIENT, 13, Element::Future(key()))));
    assert_eq!(kind, Kind::Repeated);
    // A number that was counted before.
    let (kind, what) =
        running(|history| history.count.push(appended(ATTEMPTS[1], 9, Element::Value(payload(2)))));
    assert_eq!((kind, what.contains("2 where 3 is to be counted")), (Kind::Repeated, true), "{what}");
    // A task that is entered while it is known.
    assert_eq!(running(|history| history.tasks.push(submitted(key(), &[2, 3, 9]))).0, Kind::Repeated);
}

#[test]
fn a_reorder_is_named() {
    let (kind, what) = running(|history| history.values.swap(0, 4));
    assert_eq!((kind, what.contains("behind its 12")), (Kind::Reordered, true), "{what}");
    // Also when the commands' numbers do not show it.
    let (kind, what) =
        running(|history| (history.values[0], history.values[4]) = (stamp(10, 2), stamp(12, 0)));
    assert_eq!((kind, what.contains("comes behind its value 2")), (Kind::Reordered, true), "{what}");
    let (kind, _) = running(|history| history.lives[0].acks[2].offset = 0);
    assert_eq!(kind, Kind::Reordered);
}

#[test]
fn a_doubled_outcome_is_named() {
    let (kind, what) = running(|history| history.tasks.push(finished(key().id, 1, 5)));
    assert_eq!((kind, what.contains("was finished with 5 and ends again")), (Kind::Outcome, true), "{what}");
    let again = || progress(Progress::Finished { result: payload(5) });
    let (kind, what) = running(|history| history.values.push(again()));
    assert_eq!((kind, what.contains("was finished with 5, and now")), (Kind::Outcome, true), "{what}");
    let error = || TaskError::new(ErrorKind::Panicked, "oh", vec![]);
    let failed = TaskEvent::Failed { task: key().id, error: Box::new(error()) };
    let (kind, what) = running(|history| history.tasks[12] = failed);
    assert_eq!((kind, what.contains("failed, which none may")), (Kind::Outcome, true), "{what}");
    assert_eq!(running(|history| history.tasks.push(started(key().id, 2))).0, Kind::Outcome);
}

#[test]
fn a_gap_is_named() {
    let mut checker = Checker::new(Vec::new());
    let record = |offset| Record { offset, time_ms: 0, index: Some(0), event: counted(CLIENT, 0) };
    checker.channel(COUNT, &record(1));
    let found = checker.finish(Moment::Running).1;
    assert_eq!(found[0].to_string(), "gap: channel count/1 has offset 1 where 0 is due");
    assert_eq!(running(|history| history.tasks.push(recovered(1))).0, Kind::Gap, "an epoch that was there");
    assert_eq!(running(|history| drop(history.tasks.remove(2))).0, Kind::Gap, "a session");
    let (kind, what) = running(|history| drop(history.count.remove(1)));
    assert_eq!((kind, what.contains("2 where 1 is to be counted")), (Kind::Lost, true), "{what}");
}

#[test]
fn a_wrong_result_is_named() {
    let (kind, what) = running(|history| history.tasks[12] = finished(key().id, 1, 6));
    assert_eq!((kind, what.ends_with("finished with 6, not 5")), (Kind::WrongResult, true), "{what}");
    // The log agrees with itself, and the client had asked for something else.
    let (kind, what) = running(|history| {
        history.lives[0].acks[1].kind = life::Kind::Future { key: key(), result: 4 };
    });
    assert_eq!((kind, what.contains("submitted")), (Kind::WrongResult, true), "{what}");
    let other = || progress(Progress::Finished { result: payload(6) });
    assert_eq!(running(|history| history.values[3] = other()).0, Kind::Progress);
}

#[test]
fn an_older_attempt_that_writes_or_reports_is_named() {
    let [first, second] = ATTEMPTS;
    let (kind, what) = running(|history| {
        history.count = vec![counted(first, 0), counted(second, 1), counted(first, 2)];
    });
    assert_eq!((kind, what.contains("attempt 1 of")), (Kind::Fence, true), "{what}");
    assert_eq!(running(|history| history.tasks[13] = finished(counter().id, 1, 3)).0, Kind::Fence);
}

#[test]
fn what_nobody_sent_is_named() {
    let text = || Element::Value(Payload::encode("hello").unwrap());
    assert_eq!(running(|history| history.values.push(appended(CLIENT, 13, text()))).0, Kind::Unasked);
    // Of another session than the life's.
    let (kind, what) = running(|history| history.lives[0].session = Some("other".to_owned()));
    assert_eq!((kind, what.contains("another session")), (Kind::Unasked, true), "{what}");
    let ahead = |history: &mut History| {
        history.values.pop();
        history.values.push(stamp(13, 2 + life::BURST_MAX + 1));
    };
    assert_eq!(first(Moment::Settled, ahead).0, Kind::Unasked);
}

#[test]
fn what_is_wrong_at_the_end_is_named() {
    let (kind, _) = first(Moment::Settled, |history| history.values.insert(5, stamp(13, 3)));
    assert_eq!(kind, Kind::Stop, "the end counts another number");
    let after = |history: &mut History| history.values.push(stamp(13, 3));
    assert_eq!(first(Moment::Settled, after).0, Kind::Stop, "an element behind the end");
    let silent = |history: &mut History| drop(history.values.remove(3));
    let (kind, what) = first(Moment::Settled, silent);
    assert!([Kind::Unsettled, Kind::Lost].contains(&kind), "{what}");
    assert_eq!(first(Moment::Settled, |history| drop(history.tasks.pop())).0, Kind::Unsettled);
    let damaged = Receipt { epoch: Epoch(2), damage: Some("commit 7 is gone".into()), ..Receipt::default() };
    let (kind, what) = first(Moment::Settled, |history| history.tasks[7] = TaskEvent::Recovered(damaged));
    assert_eq!((kind, &*what), (Kind::Damage, "epoch 2 began with: commit 7 is gone"));
}

#[test]
fn one_cause_does_not_fill_the_report() {
    let mut history = history();
    history.values.pop();
    for number in 0..1000 {
        history.values.push(stamp(13 + number, 2));
    }
    assert_eq!(history.check(Moment::Running).len(), FOUND_MAX);
}
