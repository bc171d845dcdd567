//! Nothing leaves before its cause is durable: step by step, for each kind of thing that leaves.

use headwater::protocol::command::{Command, Query};
use headwater::protocol::message::{Hello, ServerMessage};
use headwater::protocol::session::Role;
use headwater::protocol::{ChannelName, Element, Epoch, LogId, Payload, Seq, SessionId};
use headwater::scheduler::core::{Core, Effect, LogFacts, Settings, State};
use headwater::scheduler::{ConnectionId, Pipeline, Request};

const CLIENT: ConnectionId = ConnectionId(1);

/// A pipeline with a client that has opened the channel `a`, all of it durable.
fn pipeline() -> Pipeline {
    let core = Core::new(State::default(), Settings::default(), LogFacts::default(), 0);
    let mut pipeline = Pipeline::new(core, Epoch(1), Seq(0));
    let hello =
        Hello { token: None, session: SessionId([1; 16]), resume: false, role: Role::Client, seen: None };
    pipeline.connect(CLIENT, &hello);
    ask(&mut pipeline, 1, Command::OpenChannel { name: ChannelName::new("a").expect("a good name") });
    assert_eq!(left(&mut pipeline), 0, "not even the welcome");
    commit(&mut pipeline);
    assert_eq!(left(&mut pipeline), 2);
    pipeline
}

fn ask(pipeline: &mut Pipeline, number: u64, command: Command) {
    pipeline.request(CLIENT, number, Request::Command(command));
}

fn append(pipeline: &mut Pipeline, number: u64) {
    let elements = vec![Element::Value(Payload::raw(number.to_be_bytes().to_vec()))];
    ask(pipeline, number, Command::append(LogId(1), elements.into()));
}

/// How many effects may leave now, beside the news of commits.
fn left(pipeline: &mut Pipeline) -> usize {
    effects(pipeline).iter().filter(|effect| durable_of(effect).is_none()).count()
}

fn effects(pipeline: &mut Pipeline) -> Vec<Effect> {
    std::iter::from_fn(|| pipeline.next_effect()).collect()
}

fn durable_of(effect: &Effect) -> Option<Seq> {
    match effect {
        Effect::Send { message: ServerMessage::Durable { seq }, .. } => Some(*seq),
        _ => None,
    }
}

fn commit(pipeline: &mut Pipeline) {
    let commit = pipeline.next_commit(0).expect("there is something to commit");
    pipeline.committed(commit.seq);
}

#[test]
fn an_answer_waits_for_its_own_commit() {
    let mut pipeline = pipeline();
    append(&mut pipeline, 2);
    let first = pipeline.next_commit(0).expect("there is something to commit");
    append(&mut pipeline, 3);
    assert_eq!((left(&mut pipeline), pipeline.next_commit(0)), (0, None), "one commit at a time");
    pipeline.committed(first.seq);
    assert_eq!(left(&mut pipeline), 1, "the second waits for the second");
    commit(&mut pipeline);
    assert_eq!(left(&mut pipeline), 1);
}

#[test]
fn each_connection_is_told_of_a_commit_once_before_what_came_with_it() {
    let mut pipeline = pipeline();
    append(&mut pipeline, 2);
    append(&mut pipeline, 3);
    commit(&mut pipeline);
    let told: Vec<_> = effects(&mut pipeline).iter().map(durable_of).collect();
    assert_eq!(told, [Some(Seq(2)), None, None]);
    pipeline.request(CLIENT, 4, Request::Query(Query::Overview));
    assert_eq!(effects(&mut pipeline).iter().filter_map(durable_of).count(), 0, "it knows that already");
}

#[test]
fn a_refusal_waits_for_what_it_tells_of() {
    let mut pipeline = pipeline();
    ask(&mut pipeline, 2, Command::Stop { log: LogId(1) });
    append(&mut pipeline, 3);
    assert_eq!(left(&mut pipeline), 0);
    commit(&mut pipeline);
    assert_eq!(left(&mut pipeline), 2);
}

#[test]
fn a_first_answer_given_again_waits_like_the_first() {
    let mut pipeline = pipeline();
    append(&mut pipeline, 2);
    let commit = pipeline.next_commit(0).expect("there is something to commit");
    append(&mut pipeline, 2);
    assert_eq!(left(&mut pipeline), 0);
    pipeline.committed(commit.seq);
    assert_eq!(left(&mut pipeline), 2);
}

#[test]
fn the_answer_to_a_question_waits_for_what_it_shows() {
    let mut pipeline = pipeline();
    append(&mut pipeline, 2);
    let commit = pipeline.next_commit(0).expect("there is something to commit");
    pipeline.request(CLIENT, 3, Request::Query(Query::Overview));
    assert_eq!(left(&mut pipeline), 0);
    pipeline.committed(commit.seq);
    assert_eq!(left(&mut pipeline), 2);
    pipeline.request(CLIENT, 4, Request::Query(Query::Overview));
    assert!(matches!(pipeline.next_effect(), Some(Effect::Send { number: 4, .. })), "nothing to wait for");
}

#[test]
fn a_large_commit_has_several_batches_that_follow_each_other() {
    let mut pipeline = pipeline();
    for number in 2..42 {
        let elements = vec![Element::Value(Payload::raw(vec![0; 10_000]))];
        ask(&mut pipeline, number, Command::append(LogId(1), elements.into()));
    }
    let commit = pipeline.next_commit(7).expect("there is something to commit");
    let mut next = (0, 0);
    for batch in &commit.batches {
        let header = batch.header();
        assert_eq!((header.log, header.base_offset, header.base_index), (LogId(1), next.0, next.1));
        assert_eq!((header.seq, header.time_ms), (commit.seq, 7));
        next = (header.end_offset(), header.end_index());
    }
    assert_eq!((next, commit.batches.len()), ((40, 40), 7));
}

#[test]
fn an_answer_waits_also_for_facts_that_nobody_is_told_of() {
    let mut pipeline = pipeline();
    let hello =
        Hello { token: None, session: SessionId([2; 16]), resume: false, role: Role::Client, seen: None };
    pipeline.connect(ConnectionId(2), &hello);
    commit(&mut pipeline);
    left(&mut pipeline);
    pipeline.disconnect(0, ConnectionId(2), true);
    pipeline.request(CLIENT, 2, Request::Query(Query::Overview));
    assert_eq!(left(&mut pipeline), 0, "it may show that the other one has left");
    commit(&mut pipeline);
    assert_eq!(left(&mut pipeline), 1);
}

#[test]
fn what_waits_for_a_slow_disk_is_bounded() {
    let mut pipeline = pipeline();
    append(&mut pipeline, 2);
    let slow = pipeline.next_commit(0).expect("there is something to commit");
    let mut number = 3;
    while !pipeline.is_full() {
        let elements = vec![Element::Value(Payload::raw(vec![0; 60_000]))];
        ask(&mut pipeline, number, Command::append(LogId(1), elements.into()));
        number += 1;
    }
    assert!((555..570).contains(&number), "{number} elements, 32 MiB");
    pipeline.committed(slow.seq);
    let slow = pipeline.next_commit(0).expect("there is something to commit");
    assert!(!pipeline.is_full());
    while !pipeline.is_full() {
        pipeline.request(CLIENT, number, Request::Query(Query::Channels { after: None }));
        number += 1;
    }
    assert!(number < 65_536 / 2 + 570, "questions too, and each row of their answers");
    pipeline.committed(slow.seq);
    left(&mut pipeline);
    assert!(!pipeline.is_full());
}
