//! What leaves before it is durable, and when that becomes so: acknowledgements of buffered appends, and nothing else.

use headwater::protocol::channel::{ChannelOptions, Durability, Retention};
use headwater::protocol::command::{Answer, AppendOptions, Command, Query, Rejection};
use headwater::protocol::message::{Hello, ServerMessage};
use headwater::protocol::session::Role;
use headwater::protocol::start::{Seen, Start, Starts};
use headwater::protocol::{ChannelName, Element, Epoch, LogId, Payload, Seq, SessionId, StartId, TaskKey};
use headwater::scheduler::core::{Core, Effect, LogFacts, Settings, State};
use headwater::scheduler::{ConnectionId, Pipeline, Request};

use crate::scene::{id, submit};

const CLIENT: ConnectionId = ConnectionId(1);

/// What leaves, in a word or two.
fn left(pipeline: &mut Pipeline) -> Vec<String> {
    let effects = std::iter::from_fn(|| pipeline.next_effect());
    let words = effects.map(|effect| match effect {
        Effect::Send { message: ServerMessage::Durable { seq }, .. } => format!("durable {seq}"),
        Effect::Send {
            message: ServerMessage::Answer(Ok(Answer::Appended { seq, durability, .. })), ..
        } => match durability {
            Durability::Fsynced => format!("fsynced in {seq}"),
            Durability::Buffered { flush_ms } => format!("buffered {flush_ms} in {seq}"),
        },
        Effect::Send { message: ServerMessage::Answer(Ok(_)), .. } => "answer".to_owned(),
        Effect::Send { message: ServerMessage::Answer(Err(refused)), .. } => refused.to_string(),
        other => format!("{other:?}"),
    });
    words.collect()
}

/// What it has the writer do now: the commit that it is to append, and whether it is to flush.
fn work(pipeline: &mut Pipeline, now: u64) -> (Option<u64>, bool) {
    assert!(!pipeline.is_writing());
    let commit = pipeline.next_commit(now);
    (commit.map(|commit| commit.seq.0), pipeline.next_flush(now))
}

/// A pipeline with a client and the channel `a`, which is buffered if so, all of it durable.
fn pipeline(durability: Durability) -> Pipeline {
    let starts: Starts = [Start { epoch: Epoch(1), id: StartId(1), after: Seq(0) }].into_iter().collect();
    let facts = LogFacts { starts, ..LogFacts::default() };
    let core = Core::new(State::default(), Settings::default(), facts, 0);
    let mut pipeline = Pipeline::new(core, Epoch(1), Seq(0));
    let hello =
        Hello { token: None, session: SessionId([1; 16]), resume: false, role: Role::Client, seen: None };
    pipeline.connect(CLIENT, &hello);
    let options = ChannelOptions { durability, ..ChannelOptions::default() };
    let name = ChannelName::new("a").expect("a good name");
    ask(&mut pipeline, 1, Command::CreateChannel { name, options });
    assert_eq!(work(&mut pipeline, 0), (Some(1), true));
    pipeline.committed(Seq(1));
    assert_eq!(left(&mut pipeline).len(), 2);
    pipeline
}

fn ask(pipeline: &mut Pipeline, number: u64, command: Command) {
    pipeline.request(CLIENT, number, Request::Command(command));
}

fn append(pipeline: &mut Pipeline, number: u64, durability: impl Into<Option<Durability>>) {
    let elements = vec![Element::Value(Payload::raw(number.to_be_bytes().to_vec()))].into();
    let options = AppendOptions { durability: durability.into(), ..AppendOptions::default() };
    ask(pipeline, number, Command::Append { log: LogId(1), elements, options });
}

const BUFFERED: Durability = Durability::Buffered { flush_ms: 100 };

#[test]
fn an_acknowledgement_leaves_once_its_commit_is_appended_and_that_is_flushed_in_time() {
    let mut pipeline = pipeline(BUFFERED);
    append(&mut pipeline, 2, None);
    assert_eq!(pipeline.flush_by(), None, "it was not handed out");
    assert_eq!(work(&mut pipeline, 1000), (Some(2), false));
    assert_eq!(left(&mut pipeline), [""; 0], "it is not appended");
    pipeline.appended(Seq(2));
    assert_eq!(left(&mut pipeline), ["buffered 100 in 2"], "and nobody is told that it is durable");
    assert_eq!((pipeline.durable(), pipeline.is_durable(), pipeline.flush_by()), (Seq(1), false, Some(1100)));
    // More, of which each allows its own time.
    append(&mut pipeline, 3, Durability::Buffered { flush_ms: 5000 });
    assert_eq!(work(&mut pipeline, 1050), (Some(3), false));
    pipeline.appended(Seq(3));
    assert_eq!(left(&mut pipeline), ["buffered 5000 in 3"]);
    append(&mut pipeline, 4, Durability::Buffered { flush_ms: 20 });
    assert_eq!(work(&mut pipeline, 1060), (Some(4), false));
    pipeline.appended(Seq(4));
    assert_eq!(left(&mut pipeline), ["buffered 20 in 4"]);
    assert_eq!(work(&mut pipeline, 1079), (None, false));
    assert_eq!(pipeline.flush_by(), Some(1080));
    assert_eq!(work(&mut pipeline, 1080), (None, true));
    assert!(pipeline.is_writing());
    pipeline.committed(Seq(4));
    assert_eq!((pipeline.durable(), pipeline.is_durable(), pipeline.flush_by()), (Seq(4), true, None));
    assert_eq!(left(&mut pipeline), [""; 0]);
    // And the next has its time anew.
    append(&mut pipeline, 5, None);
    assert_eq!(work(&mut pipeline, 2000), (Some(5), false));
    pipeline.appended(Seq(5));
    assert_eq!((left(&mut pipeline).len(), pipeline.flush_by()), (1, Some(2100)));
}

#[test]
fn whatever_else_leaves_is_durable_and_hastens_the_flush() {
    let name = ChannelName::new("b").expect("a good name");
    let commands = [
        (Some(Command::OpenChannel { name }), "answer"),
        (Some(Command::Stop { log: LogId(1) }), "answer"),
        (Some(Command::Stop { log: LogId(9) }), "there is no channel with log 9"),
        (Some(Command::Release { tasks: vec![] }), "answer"),
        // A query changes nothing, and may show what was appended.
        (None, "answer"),
    ];
    for (command, answered) in commands {
        let mut pipeline = pipeline(BUFFERED);
        append(&mut pipeline, 2, None);
        work(&mut pipeline, 0);
        pipeline.appended(Seq(2));
        assert_eq!(left(&mut pipeline), ["buffered 100 in 2"]);
        match command.clone() {
            Some(command) => ask(&mut pipeline, 3, command),
            None => pipeline.request(CLIENT, 3, Request::Query(Query::Overview)),
        }
        assert_eq!(left(&mut pipeline), [""; 0], "{command:?}");
        let (commit, flush) = work(&mut pipeline, 0);
        assert!(flush, "{command:?} waits for no time");
        let seq = Seq(commit.unwrap_or(2));
        assert_eq!(left(&mut pipeline), [""; 0], "{command:?}");
        pipeline.committed(seq);
        let told = left(&mut pipeline);
        assert_eq!(told[0], format!("durable {seq}"));
        assert!(told.len() == 2 && told[1].starts_with(answered), "{told:?}");
    }
}

#[test]
fn an_append_that_is_fsynced_hastens_those_that_are_not_and_all_leave_in_order() {
    let mut pipeline = pipeline(BUFFERED);
    append(&mut pipeline, 2, None);
    append(&mut pipeline, 3, Durability::Fsynced);
    append(&mut pipeline, 4, None);
    assert_eq!(work(&mut pipeline, 0), (Some(2), true));
    append(&mut pipeline, 5, None);
    assert_eq!(left(&mut pipeline), [""; 0]);
    pipeline.committed(Seq(2));
    let told = ["durable 2", "fsynced in 2", "fsynced in 2", "fsynced in 2"];
    assert_eq!(left(&mut pipeline), told, "it is what it is by then");
    assert_eq!(work(&mut pipeline, 0), (Some(3), false), "what came later has its time");
    pipeline.appended(Seq(3));
    assert_eq!(left(&mut pipeline), ["buffered 100 in 3"]);
    // Behind one that waits for its flush a buffered one waits, too.
    append(&mut pipeline, 6, Durability::Fsynced);
    assert_eq!(work(&mut pipeline, 0), (Some(4), true));
    append(&mut pipeline, 7, None);
    assert_eq!(left(&mut pipeline), [""; 0]);
    pipeline.committed(Seq(4));
    assert_eq!(left(&mut pipeline), ["durable 4", "fsynced in 4"]);
}

#[test]
fn one_that_comes_again_is_answered_once_it_is_durable() {
    let mut pipeline = pipeline(BUFFERED);
    append(&mut pipeline, 2, None);
    work(&mut pipeline, 0);
    pipeline.appended(Seq(2));
    assert_eq!(left(&mut pipeline), ["buffered 100 in 2"]);
    append(&mut pipeline, 2, None);
    assert_eq!(left(&mut pipeline), [""; 0]);
    assert_eq!(work(&mut pipeline, 0), (None, true));
    pipeline.committed(Seq(2));
    assert_eq!(left(&mut pipeline), ["durable 2", "fsynced in 2"]);
}

#[test]
fn what_nobody_waits_for_is_flushed_at_once_and_so_is_much() {
    let mut pipeline = pipeline(BUFFERED);
    append(&mut pipeline, 2, None);
    work(&mut pipeline, 0);
    pipeline.appended(Seq(2));
    left(&mut pipeline);
    pipeline.disconnect(0, CLIENT, true);
    assert_eq!(work(&mut pipeline, 0), (Some(3), true), "the end of a session");
    let mut pipeline = self::pipeline(BUFFERED);
    let (mut number, mut seq) = (2, 1);
    loop {
        let elements = vec![Element::Value(Payload::raw(vec![0; 60_000])); 2].into();
        ask(&mut pipeline, number, Command::append(LogId(1), elements));
        (number, seq) = (number + 1, seq + 1);
        if work(&mut pipeline, 0) == (Some(seq), true) {
            break;
        }
        pipeline.appended(Seq(seq));
        assert_eq!(left(&mut pipeline).len(), 1);
    }
    assert!((8..12).contains(&number), "{number} appends of 120,000 bytes: 1 MiB");
}

#[test]
fn who_asks_whether_all_is_durable_waits_for_that_and_hears_what_is_not_there() {
    let mut pipeline = pipeline(BUFFERED);
    append(&mut pipeline, 2, None);
    work(&mut pipeline, 0);
    pipeline.appended(Seq(2));
    left(&mut pipeline);
    let seen = |epoch, seq| {
        let start = Start { epoch: Epoch(epoch), id: StartId(epoch), after: Seq(0) };
        Request::Query(Query::Durable { acked: Seen { start, seq: Seq(seq) } })
    };
    pipeline.request(CLIENT, 3, seen(1, 2));
    assert_eq!(left(&mut pipeline), [""; 0]);
    assert_eq!(work(&mut pipeline, 0), (None, true));
    pipeline.committed(Seq(2));
    assert_eq!(left(&mut pipeline), ["durable 2", "answer"]);
    // A start that this store knows nothing of.
    pipeline.request(CLIENT, 4, seen(2, 9));
    let told = left(&mut pipeline);
    assert!(told[0].starts_with("commits 1 to 9 of epoch 2 never became durable"), "{told:?}");
}

#[test]
fn a_time_to_flush_within_that_makes_no_sense_is_refused() {
    let mut pipeline = pipeline(Durability::Fsynced);
    let refused = |pipeline: &mut Pipeline, number, flush_ms| {
        append(pipeline, number, Durability::Buffered { flush_ms });
        ask(
            pipeline,
            number + 1,
            Command::SetDurability { log: LogId(1), durability: Durability::Buffered { flush_ms } },
        );
        left(pipeline)
    };
    for told in refused(&mut pipeline, 2, 0) {
        assert!(told.contains("give at least 1 ms, or say `fsynced`"), "{told}");
    }
    for told in refused(&mut pipeline, 4, 60_001) {
        assert!(told.contains("is 60001, over the limit of 60000: give less"), "{told}");
    }
    let reserved = Command::SetDurability { log: LogId::TASKS, durability: BUFFERED };
    ask(&mut pipeline, 6, reserved);
    let name = ChannelName::new("$tasks").expect("a good name");
    assert_eq!(left(&mut pipeline), [Rejection::ReservedChannel(name).to_string()]);
    for flush_ms in [1, 60_000] {
        append(&mut pipeline, 6 + u64::from(flush_ms), Durability::Buffered { flush_ms });
        let (commit, flush) = work(&mut pipeline, 0);
        assert!(!flush);
        pipeline.appended(Seq(commit.expect("it is taken")));
    }
}

#[test]
fn how_a_channel_is_acknowledged_is_in_its_log_and_over_when_it_is_deleted() {
    let mut pipeline = pipeline(BUFFERED);
    let durability = |pipeline: &Pipeline| pipeline.core().state().channels[&LogId(1)].durability;
    assert_eq!((durability(&pipeline), pipeline.core().state().channels[&LogId(1)].head), (BUFFERED, 1));
    ask(&mut pipeline, 2, Command::SetDurability { log: LogId(1), durability: Durability::Fsynced });
    append(&mut pipeline, 3, None);
    assert_eq!(work(&mut pipeline, 0), (Some(2), true));
    pipeline.committed(Seq(2));
    assert_eq!(left(&mut pipeline), ["durable 2", "answer", "fsynced in 2"]);
    ask(&mut pipeline, 4, Command::SetDurability { log: LogId(1), durability: BUFFERED });
    ask(&mut pipeline, 5, Command::Delete { log: LogId(1) });
    ask(&mut pipeline, 6, Command::OpenChannel { name: ChannelName::new("a").expect("a good name") });
    assert_eq!(durability(&pipeline), Durability::Fsynced);
}

#[test]
fn what_goes_with_an_append_and_is_told_to_somebody_hastens_the_flush_too() {
    let mut pipeline = pipeline(BUFFERED);
    let retention = Retention::ALL.with_elements(1);
    let task = id("x");
    let future = vec![Element::Future(TaskKey::named("x"))].into();
    let commands = [
        Command::Retain { log: LogId(1), retention },
        submit("x"),
        Command::append(LogId(1), future),
        Command::Release { tasks: vec![task] },
    ];
    for (number, command) in (2..).zip(commands) {
        ask(&mut pipeline, number, command);
    }
    assert_eq!(work(&mut pipeline, 0), (Some(2), true));
    pipeline.committed(Seq(2));
    left(&mut pipeline);
    pipeline.request(CLIENT, 9, Request::Watch(vec![task]));
    append(&mut pipeline, 10, None);
    // Its element goes, and with it the task: whoever waits for that is told.
    assert_eq!(work(&mut pipeline, 0), (Some(3), true));
    pipeline.committed(Seq(3));
    let told = left(&mut pipeline);
    assert!(told.iter().any(|line| line.contains("Unknown")), "{told:?}");
}
