use std::time::Duration;

use super::*;
use crate::protocol::result::Replication;
use crate::protocol::terms::{Tag, Term};

#[tokio::test]
async fn a_submission_says_all_that_was_asked_for() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let call = client.submit(add, (1.0, 2.0)).retries(3).priority(-1).detach();
    let (future, submission) = tokio::join!(call.into_future(), accept(&mut peer));
    assert!(submission.function.ends_with("::add") && submission.function.starts_with("rust:"));
    let call = client.submit(add, (1.0, 2.0)).tag("a").timeout(Duration::from_secs(1)).tag("b").retries(2);
    let script = async {
        let (number, command) = peer.command().await;
        peer.answer(number, Answer::Submitted).await;
        command
    };
    let (_under, command) = tokio::join!(call.into_future(), script);
    let Command::SubmitUnder { submission: under, terms } = command else { panic!("{command:?}") };
    assert_eq!(under.options.retries, 2);
    let tag = |name| Term::Tag(Tag::new(name).unwrap());
    assert_eq!(terms.0, [tag("a"), Term::Timeout { ms: 1_000 }, tag("b")]);
    let options = submission.options;
    assert_eq!((options.retries, options.priority, options.detach, submission.version), (3, -1, true, 1));
    let arguments = [1.0, 2.0].map(|x| Argument::Value(Payload::encode(&x).unwrap()));
    assert_eq!(submission.arguments, arguments);
    assert!(future.unwrap().key().to_string().starts_with("add-"));
}

#[tokio::test]
async fn pure_calls_are_the_same_task_others_are_not_and_names_are_what_they_are() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let a = submit(client.submit(add, (1.0, 2.0)), &mut peer).await;
    let b = submit(client.submit(add, (1.0, 2.0)), &mut peer).await;
    let c = submit(client.submit(add, (2.0, 1.0)), &mut peer).await;
    assert_eq!(a.key(), b.key());
    assert_ne!(a.key(), c.key());
    let d = submit(client.submit(roll, ()), &mut peer).await;
    let e = submit(client.submit(roll, ()), &mut peer).await;
    assert_ne!(d.key(), e.key());
    let named = submit(client.submit(roll, ()).key("nightly"), &mut peer).await;
    assert_eq!(named.key(), &TaskKey::named("nightly"));
}

#[tokio::test]
async fn what_cannot_be_submitted_is_told_before_it_is_sent() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let error = client.submit(plain, ()).await.unwrap_err().to_string();
    assert!(error.contains("plain is no task: ") && error.contains("tests::add, "), "{error}");
    let call = client.submit(add, (1.0, 2.0)).timeout(Duration::ZERO);
    let error = soon(call.into_future()).await.unwrap_err().to_string();
    assert!(
        error.ends_with("the timeout of an attempt, in ms, is 0: give one from 1 to 31536000000"),
        "{error}"
    );
    let long = "x".repeat(PAYLOAD_BYTES_MAX + 1);
    assert_matches!(client.submit(shout, (long,)).await, Err(Error::TooLarge(_)));
    drop(client.query(Query::Overview));
    assert_eq!(peer.query().await.1, Query::Overview, "nothing was sent before");
}

#[task]
fn shout(text: String) -> String {
    text
}

#[tokio::test]
async fn handles_of_one_task_hold_once_and_release_once() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let a = submit(client.submit(add, (1.0, 2.0)), &mut peer).await;
    let task = a.id();
    let clone = a.clone();
    drop(a);
    let b = submit(client.submit(add, (1.0, 2.0)), &mut peer).await;
    drop(clone);
    // Still held by `b`: the next that comes is the submission, not a release.
    let other = submit(client.submit(roll, ()), &mut peer).await;
    drop(b);
    let again = submit_after_release(&client, &mut peer, task).await;
    drop((other, again));
    let Command::Release { tasks } = peer.command().await.1 else { panic!("no release") };
    assert_eq!(tasks.len(), 2);
}

/// Submits the same call again, and sees the release of its last handle before it.
async fn submit_after_release(client: &Client, peer: &mut Peer, task: TaskId) -> TaskFuture<f64> {
    let script = async {
        assert_eq!(peer.command().await.1, Command::Release { tasks: vec![task] });
        accept(peer).await
    };
    let (future, submission) = tokio::join!(client.submit(add, (1.0, 2.0)).into_future(), script);
    assert_eq!(submission.key.id, task);
    future.unwrap()
}

#[tokio::test]
async fn a_refused_submission_holds_nothing() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let script = async {
        let (number, _) = peer.command().await;
        let rejection = Rejection::KeyTaken { key: "k".into(), function: "f".into() };
        peer.send(number, ServerMessage::Answer(Err(rejection))).await;
    };
    let (refused, ()) = tokio::join!(client.submit(roll, ()).key("k").into_future(), script);
    assert_matches!(refused, Err(Error::Rejected(Rejection::KeyTaken { .. })));
    assert_eq!(peer.command().await.1, Command::Release { tasks: vec![TaskKey::named("k").id] });
}

#[tokio::test]
async fn a_future_that_is_moved_into_a_call_is_held_until_the_call_is_accepted() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let a = submit(client.submit(roll, ()), &mut peer).await;
    let task = a.id();
    let sum = submit(client.submit(add, (a, 2.0)), &mut peer).await;
    assert_eq!(peer.command().await.1, Command::Release { tasks: vec![task] });
    drop(sum);
}

#[tokio::test]
async fn awaiting_brings_the_result_or_why_there_is_none() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let future = submit(client.submit(add, (1.0, 2.0)), &mut peer).await;
    let task = future.id();
    let failure = Box::new(TaskError::new(ErrorKind::Returned, "disk on fire", vec!["spark".into()]));
    let outcomes = [
        Outcome::Finished(Payload::encode(&3.0).unwrap()),
        Outcome::Finished(Payload::encode("three").unwrap()),
        Outcome::Failed(failure),
        Outcome::Cancelled,
    ];
    let script = async {
        for outcome in outcomes {
            let (number, message) = peer.next().await;
            assert_eq!(message, ClientMessage::Watch { tasks: vec![task] });
            peer.send(number, ServerMessage::Settled { task, outcome }).await;
        }
    };
    let waits = async {
        assert_eq!((&future).await.unwrap(), 3.0);
        let error = (&future).await.unwrap_err().to_string();
        assert!(error.contains("\"three\" is not a f64"), "{error}");
        let error = future.clone().await.unwrap_err();
        assert_eq!(error.to_string(), "disk on fire: spark");
        assert_matches!(future.await, Err(Error::Cancelled(key)) if key.id == task);
    };
    tokio::join!(waits, script);
}

#[tokio::test]
async fn a_future_is_found_by_its_key_and_held() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let named = TaskKey::named("nightly");
    let script = async {
        let (number, command) = peer.command().await;
        assert_eq!(command, Command::Hold { task: named.id, detach: false });
        peer.answer(number, Answer::Held(key(1))).await;
    };
    let (future, ()) = tokio::join!(client.future::<f64>(&named), script);
    assert_eq!(future.unwrap().key(), &key(1), "the scheduler knows its label");
    assert_eq!(peer.command().await.1, Command::Release { tasks: vec![named.id] });
}

#[tokio::test]
async fn a_copy_that_cannot_be_made_is_an_error_after_some_tries() {
    let server = FakeServer::new().await;
    let (client, mut peer) = connect(&server).await;
    let future = TaskFuture::<u64>::new(key(1), client.clone(), None);
    let answers = [(1, false), (1, true), (1, false), (2, true), (2, false), (2, false), (2, false)];
    let script = async {
        for (by, under_way) in answers {
            let (number, command) = peer.command().await;
            assert_eq!(command, Command::Replicate { task: future.id(), copies: 3 });
            let kept = Replication::Kept { by, wanted: 3, under_way };
            peer.answer(number, Answer::Replicated(kept)).await;
        }
    };
    let (replicated, ()) = soon(async { tokio::join!(client.replicate(&future, 3), script) }).await;
    let told = replicated.unwrap_err().to_string();
    assert!(told.contains(&format!("result of {} can be made: 2 of 3 workers keep it", key(1))), "{told}");
}
