//! Lists of records, and the spans that they make.

use super::fold::{Fold, Place};
use super::ids::{SpanId, TraceId};
use super::span::{Span, Status, Value};
use crate::protocol::channel::ChannelName;
use crate::protocol::event::{Origin, TaskResult};
use crate::protocol::session::{EndReason, SessionKind};
use crate::protocol::task::{Argument, ErrorKind, TaskOptions};
use crate::protocol::terms::{Tag, Term, Terms};
use crate::protocol::{
    AttemptNumber, ChannelEvent, Element, Headers, LogId, Payload, Producer, SessionId, Submission,
    TaskError, TaskEvent, TaskId, TaskKey,
};

const WORKER: Producer = Producer(2);
const CLIENT: Producer = Producer(1);

fn id(n: u8) -> TaskId {
    TaskId([n; 16])
}

fn key(n: u8) -> TaskKey {
    TaskKey { id: id(n), label: "add".into() }
}

fn opened(producer: Producer, kind: SessionKind) -> TaskEvent {
    TaskEvent::SessionOpened { producer, session: SessionId([0; 16]), kind, lease_ms: 1 }
}

fn worker() -> TaskEvent {
    opened(WORKER, SessionKind::Worker { name: "w".into() })
}

fn submission(n: u8, needs: &[u8]) -> Submission {
    Submission {
        key: key(n),
        function: "rust:m::add".into(),
        version: 1,
        arguments: needs.iter().map(|n| Argument::Future(id(*n))).collect(),
        options: TaskOptions { priority: 5, ..TaskOptions::default() },
    }
}

fn submitted(by: Producer, n: u8, needs: &[u8]) -> TaskEvent {
    TaskEvent::Submitted {
        origin: Origin { producer: by, number: n.into() },
        submission: submission(n, needs),
    }
}

fn tagged(n: u8, tags: &[&str]) -> TaskEvent {
    let terms = Terms(tags.iter().map(|tag| Term::Tag(Tag::new(tag).unwrap())).collect());
    let origin = Origin { producer: CLIENT, number: 1 };
    TaskEvent::SubmittedUnder { origin, submission: submission(n, &[]), terms }
}

fn started(n: u8, attempt: u32) -> TaskEvent {
    TaskEvent::Started { task: id(n), attempt: AttemptNumber(attempt), worker: WORKER }
}

fn finished(n: u8, attempt: u32) -> TaskEvent {
    let result = TaskResult::Inline(Payload::encode(&1).unwrap());
    TaskEvent::Finished { task: id(n), attempt: AttemptNumber(attempt), result }
}

fn error(why: &str) -> Box<TaskError> {
    Box::new(TaskError::new(ErrorKind::Returned, why, Vec::new()))
}

/// The spans of the records of a task log, one each 10 ms from 1000 on.
fn spans(records: &[TaskEvent]) -> Vec<Span> {
    let mut fold = Fold::default();
    tell(&mut fold, records);
    fold.take()
}

fn tell(fold: &mut Fold, records: &[TaskEvent]) {
    for (offset, record) in (0..).zip(records) {
        fold.task_record(Place { offset, time_ms: 1_000 + 10 * offset }, record);
    }
}

fn append(fold: &mut Fold, offset: u64, number: u64, by: Producer, element: Element) {
    let origin = Origin { producer: by, number };
    fold.channel_record(
        LogId(7),
        Place { offset, time_ms: 5_000 },
        &ChannelEvent::Appended { origin, element },
    );
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn text(span: &Span, name: &str) -> String {
    match attribute(span, name) {
        Some(Value::Text(text)) => text.clone(),
        other => panic!("{name} is {other:?}"),
    }
}

/// In a few words: what it is, when, and whether it failed.
fn told(span: &Span) -> String {
    let detail = ["headwater.outcome", "headwater.state", "headwater.wait.for", "headwater.channel"];
    let detail = detail.iter().find(|name| attribute(span, name).is_some()).expect("each has one");
    let error = if let Status::Error(why) = &span.status { format!(": {why}") } else { String::new() };
    format!("{} {} {}..{}{error}", span.name, text(span, detail), span.start_ms, span.end_ms)
}

fn all_told(spans: &[Span]) -> Vec<String> {
    spans.iter().map(told).collect()
}

#[test]
fn a_task_that_fails_once_is_a_span_with_two_attempts_and_what_it_waited_for() {
    let (task, attempt) = (id(1), AttemptNumber(1));
    let records = [
        worker(),
        submitted(CLIENT, 1, &[]),
        started(1, 1),
        TaskEvent::RetriedAfter { task, attempt, error: error("no room"), wait_ms: 10 },
        TaskEvent::Awaited { task },
        started(1, 2),
        finished(1, 2),
    ];
    let spans = spans(&records);
    assert_eq!(
        all_told(&spans),
        [
            "wait worker 1010..1020",
            "attempt retried 1020..1030: no room",
            "wait retry 1030..1040",
            "wait worker 1040..1050",
            "attempt finished 1050..1060",
            "add finished 1010..1060",
        ]
    );
    let (parts, task) = (&spans[..5], &spans[5]);
    assert_eq!((task.context.trace, task.parent), (TraceId([1; 16]), None));
    assert!(parts.iter().all(|part| part.parent == Some(task.context.span)));
    assert!(parts.iter().all(|part| part.context.trace == task.context.trace));
    let mut ids: Vec<[u8; 8]> = spans.iter().map(|span| span.context.span.0).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each is another one");
    assert_eq!(text(task, "headwater.task"), key(1).to_string());
    assert_eq!(text(task, "headwater.function"), "rust:m::add");
    assert_eq!(text(&spans[1], "headwater.worker"), "w");
    assert_eq!(text(&spans[1], "error.type"), "Returned");
    let numbers = ["headwater.attempts", "headwater.priority", "headwater.offset"];
    let expected = [2, 5, 1].map(|number| Some(Value::Number(number)));
    assert_eq!(numbers.map(|name| attribute(task, name).cloned()), expected);
}

#[test]
fn the_same_records_make_the_same_spans_wherever_reading_begins() {
    let records =
        [worker(), submitted(CLIENT, 1, &[]), started(1, 1), finished(1, 1), submitted(CLIENT, 2, &[1])];
    assert_eq!(spans(&records), spans(&records));
    let mut fold = Fold::default();
    for (offset, record) in (0..).zip(&records).skip(1) {
        fold.task_record(Place { offset, time_ms: 1_000 + 10 * offset }, record);
    }
    let later: Vec<SpanId> = fold.take().iter().map(|span| span.context.span).collect();
    let all: Vec<SpanId> = spans(&records).iter().map(|span| span.context.span).collect();
    assert_eq!(later, all);
}

#[test]
fn what_an_attempt_submits_and_appends_is_a_part_of_it_and_links_lead_to_what_is_needed() {
    let attempt = SessionKind::Attempt { task: id(1), attempt: AttemptNumber(1) };
    let session = Producer(3);
    let records = [
        worker(),
        submitted(CLIENT, 1, &[]),
        started(1, 1),
        opened(session, attempt),
        submitted(session, 2, &[]),
        started(2, 1),
        submitted(session, 3, &[2]),
        finished(2, 1),
        started(3, 1),
        finished(3, 1),
        finished(1, 1),
    ];
    let mut fold = Fold::default();
    fold.name_channel(LogId(7), ChannelName::new("sums").unwrap());
    tell(&mut fold, &records);
    let spans = fold.take();
    let of =
        |told: &str| spans.iter().find(|span| self::told(span) == told).unwrap_or_else(|| panic!("{told}"));
    let outer = of("attempt finished 1020..1100");
    let (second, third) = (of("add finished 1040..1070"), of("add finished 1060..1090"));
    assert_eq!([second, third].map(|span| span.parent), [Some(outer.context.span); 2]);
    assert!(spans.iter().all(|span| span.context.trace == TraceId([1; 16])));
    assert_eq!((third.links.clone(), second.links.len()), (vec![second.context], 0));
    // It waited for the second until 1070, and for a worker from then on.
    assert_eq!(of("wait tasks 1060..1070").parent, Some(third.context.span));
    assert_eq!(of("wait worker 1070..1080").parent, Some(third.context.span));

    let (value, future) = (|| Element::Value(Payload::raw(&b"x"[..])), |n| Element::Future(key(n)));
    append(&mut fold, 0, 4, session, value());
    append(&mut fold, 1, 4, session, future(3));
    append(&mut fold, 2, 5, session, value());
    // What a program appends is told where it is the future of a task.
    append(&mut fold, 3, 1, CLIENT, value());
    append(&mut fold, 4, 2, CLIENT, future(2));
    append(&mut fold, 5, 3, CLIENT, future(99));
    fold.end_append();
    let appends = fold.take();
    let elements = |span| attribute(span, "headwater.elements").cloned();
    assert_eq!(all_told(&appends), ["append sums sums 5000..5000"; 3]);
    assert_eq!(
        appends[..2].iter().map(|span| span.parent).collect::<Vec<_>>(),
        [Some(outer.context.span); 2]
    );
    assert_eq!(
        (elements(&appends[0]), &appends[0].links[..]),
        (Some(Value::Number(2)), &[third.context][..])
    );
    assert_eq!(attribute(&appends[1], "headwater.offset"), Some(&Value::Number(2)));
    assert_eq!(appends[2].parent, Some(second.context.span));
}

#[test]
fn what_a_program_writes_is_a_part_of_the_attempt_that_its_worker_names() {
    let mut fold = Fold::default();
    let (task, attempt) = (id(1), AttemptNumber(1));
    let retried = TaskEvent::Retried { task, attempt, error: error("bad") };
    tell(
        &mut fold,
        &[worker(), submitted(CLIENT, 1, &[]), started(1, 1), retried, started(1, 2), finished(1, 2)],
    );
    let attempts: Vec<SpanId> =
        fold.take().iter().filter(|span| span.name == "attempt").map(|span| span.context.span).collect();
    let mut line = |number, by, attempt: &str| {
        let mut headers = Headers::new();
        headers.insert("task", key(1).to_string());
        if attempt != "1" {
            headers.insert("attempt", attempt);
        }
        let element = Element::Value(Payload::raw(&b"x"[..]));
        let event = ChannelEvent::AppendedWith { origin: Origin { producer: by, number }, headers, element };
        fold.channel_record(LogId(7), Place { offset: number, time_ms: 5_000 }, &event);
    };
    line(1, WORKER, "1");
    line(1, WORKER, "1");
    // Of another attempt in the same command, and of none that there was.
    line(1, WORKER, "2");
    line(2, WORKER, "3");
    line(3, WORKER, "x");
    // Anyone may write such headers.
    line(1, CLIENT, "1");
    fold.end_append();
    let appends = fold.take();
    assert_eq!(appends.iter().filter_map(|span| span.parent).collect::<Vec<_>>(), attempts);
    assert_eq!(attribute(&appends[0], "headwater.elements"), Some(&Value::Number(2)));
}

#[test]
fn a_traceparent_makes_the_task_a_part_of_the_programs_trace_or_of_none() {
    let parent = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    let spans_of = |tag: &str| {
        let session = Producer(3);
        let attempt = SessionKind::Attempt { task: id(1), attempt: AttemptNumber(1) };
        spans(&[
            worker(),
            tagged(1, &["nightly", tag]),
            started(1, 1),
            opened(session, attempt),
            submitted(session, 2, &[]),
            finished(1, 1),
            started(2, 1),
            finished(2, 1),
        ])
    };
    let spans = spans_of(&format!("traceparent:00-{parent}-01"));
    let task = spans.iter().find(|span| told(span) == "add finished 1010..1050").unwrap();
    assert!(task.is_parent_remote);
    assert_eq!(task.parent.unwrap().to_string(), "00f067aa0ba902b7");
    assert!(spans.iter().all(|span| span.context.trace.to_string() == "4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!(attribute(task, "headwater.tags"), Some(&Value::Texts(vec!["nightly".to_owned()])));
    assert_eq!(spans.len(), 6);
    // Its program has decided that nobody wants the trace.
    assert_eq!(spans_of(&format!("traceparent:00-{parent}-00")), []);
    let own = spans_of("traceparent:nonsense");
    assert!(own.iter().all(|span| span.context.trace == TraceId([1; 16]) && !span.is_parent_remote));
}

#[test]
fn an_attempt_that_is_lost_with_its_worker_says_why() {
    let (task, attempt, reason) = (id(1), AttemptNumber(1), EndReason::LeaseExpired);
    let died = TaskEvent::Died { task, attempt, worker: "w".into(), reason, counts: true };
    let requeued = TaskEvent::Requeued { task, attempt, reason };
    let told = all_told(&spans(&[
        worker(),
        submitted(CLIENT, 1, &[]),
        started(1, 1),
        died,
        requeued,
        started(1, 2),
        TaskEvent::Requeued { task, attempt: AttemptNumber(2), reason: EndReason::Left },
        TaskEvent::CancelledBy { task, origin: Origin { producer: CLIENT, number: 9 } },
    ]));
    assert_eq!(
        told[1..],
        [
            "attempt died 1020..1040: worker w died: it was not heard of for its lease",
            "wait worker 1040..1050",
            "attempt requeued 1050..1060",
            "wait worker 1060..1070",
            "add cancelled 1010..1070",
        ]
    );
}

#[test]
fn a_task_that_runs_again_after_its_end_is_told_again_below_itself() {
    let (task, attempt) = (id(1), AttemptNumber(1));
    let failed = TaskEvent::Failed { task, error: Box::new(TaskError { attempt, ..*error("bad") }) };
    let renewed = TaskEvent::Renewed { origin: Origin { producer: CLIENT, number: 2 }, tasks: vec![task] };
    let spans = spans(&[
        worker(),
        submitted(CLIENT, 1, &[]),
        started(1, 1),
        failed,
        renewed,
        started(1, 2),
        finished(1, 2),
        TaskEvent::Reopened { task },
        started(1, 3),
        finished(1, 3),
    ]);
    let tasks: Vec<&Span> = spans.iter().filter(|span| span.name == "add").collect();
    assert_eq!(
        tasks.iter().map(|span| told(span)).collect::<Vec<_>>(),
        ["add error 1010..1030: bad", "add finished 1040..1060", "add finished 1070..1090"]
    );
    assert_eq!(tasks[1].parent, Some(tasks[0].context.span));
    assert_eq!(tasks[2].parent, Some(tasks[1].context.span));
    assert_eq!(
        (&*text(tasks[1], "headwater.again"), &*text(tasks[2], "headwater.again")),
        ("renewed", "reopened")
    );
    assert_eq!(told(&spans[1]), "attempt failed 1020..1030: bad");
}

#[test]
fn a_call_that_was_forgotten_and_is_submitted_again_has_spans_of_its_own() {
    let records = [
        worker(),
        submitted(CLIENT, 1, &[]),
        started(1, 1),
        finished(1, 1),
        TaskEvent::Forgotten { task: id(1) },
        submitted(CLIENT, 1, &[]),
        started(1, 2),
        TaskEvent::Forgotten { task: id(1) },
    ];
    let spans = spans(&records);
    let tasks: Vec<&Span> = spans.iter().filter(|span| span.name == "add").collect();
    assert_eq!(
        tasks.iter().map(|span| told(span)).collect::<Vec<_>>(),
        ["add finished 1010..1030", "add forgotten 1050..1070"]
    );
    assert_eq!(tasks[0].context.trace, tasks[1].context.trace);
    assert_ne!(tasks[0].context.span, tasks[1].context.span);
}

#[test]
fn of_more_open_tasks_than_are_remembered_the_oldest_are_left_out_and_counted() {
    let mut fold = Fold::bounded(2, 1);
    let submit = [1, 2, 3].map(|n| submitted(CLIENT, n, &[]));
    let end = [1, 2, 3].into_iter().flat_map(|n| [started(n, 1), finished(n, 1)]);
    let records: Vec<TaskEvent> = submit.into_iter().chain(end).collect();
    tell(&mut fold, &records);
    let tasks = fold
        .take()
        .iter()
        .filter(|span| span.name == "add")
        .map(|span| span.context.trace)
        .collect::<Vec<_>>();
    assert_eq!(tasks, [TraceId([2; 16]), TraceId([3; 16])]);
    assert_eq!((fold.take_left_out(), fold.take_left_out()), (1, 0));
}

#[test]
fn why_a_task_failed_is_told_in_2_kib() {
    let causes = (0..10).map(|_| "é".repeat(1_000)).collect();
    let error = Box::new(TaskError::new(ErrorKind::Panicked, "long", causes));
    let spans = spans(&[
        worker(),
        submitted(CLIENT, 1, &[]),
        started(1, 1),
        TaskEvent::Failed { task: id(1), error },
    ]);
    let [Status::Error(attempt), Status::Error(task)] = [&spans[1].status, &spans[2].status] else {
        panic!()
    };
    assert_eq!(attempt, task);
    assert!(task.starts_with("long: é") && (2_000..2_100).contains(&task.len()), "{}", task.len());
}

#[test]
fn an_attempt_that_appends_for_months_has_no_endless_trace() {
    let mut fold = Fold::default();
    let attempt = SessionKind::Attempt { task: id(1), attempt: AttemptNumber(1) };
    tell(&mut fold, &[worker(), submitted(CLIENT, 1, &[]), started(1, 1), opened(Producer(3), attempt)]);
    fold.take();
    for n in 0..1_005 {
        append(&mut fold, n, n, Producer(3), Element::Value(Payload::raw(&b"x"[..])));
    }
    fold.end_append();
    assert_eq!((fold.take().len(), fold.take_left_out()), (1_000, 5));
}
