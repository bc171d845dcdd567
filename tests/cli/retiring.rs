//! Workers that retire: by command, and by a signal with `--grace`. What they run is a task that counts on
//! a channel until that is stopped, so nothing here depends on how long anything takes.

use std::path::Path;
use std::time::Duration;

use headwater::client::Submission;
use headwater::protocol::session::{EndReason, Retire};
use headwater::protocol::task::{Argument, TaskOptions};
use headwater::protocol::terms::Terms;
use headwater::protocol::{AttemptNumber, Payload};
use headwater::{Client, TaskFuture};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Dir, free_address};
use crate::process::{Ended, HEADWATER, Process, command, headwater, soon};

pub async fn connect(address: &str) -> Client {
    Client::builder().connect_timeout(Duration::from_secs(30)).connect(address).await.unwrap()
}

/// Starts a task that counts on a channel until that is stopped, and waits until it has begun.
pub async fn start_count(client: &Client, channel: &str) -> TaskFuture<u64> {
    let future = submit_count(client, channel).await;
    wait_for(client, channel, 1).await;
    future
}

pub async fn submit_count(client: &Client, channel: &str) -> TaskFuture<u64> {
    let submission = Submission {
        function: "rust:headwater::cli::torture::tasks::count".into(),
        version: 1,
        is_pure: false,
        arguments: vec![Argument::Value(Payload::encode(channel).unwrap())],
        options: TaskOptions { detach: true, ..TaskOptions::default() },
        terms: Terms::default(),
        name: Some(channel.into()),
        kept: Vec::new(),
    };
    client.submit_encoded(submission).await.unwrap()
}

/// Waits until a channel has so many elements.
pub async fn wait_for(client: &Client, channel: &str, count: u64) {
    let mut values = soon(client.channel::<u64>(channel)).await.unwrap().values();
    for expected in 0..count {
        assert_eq!(soon(values.next()).await.unwrap().unwrap(), expected, "each number is there once");
    }
}

/// Has a counting task finish, and checks that it did in this attempt, each number once.
async fn finish(client: &Client, channel: &str, future: TaskFuture<u64>, attempt: u32) {
    let elements = client.channel::<u64>(channel).await.unwrap().stop().await.unwrap();
    assert_eq!(soon(future.clone().into_future()).await.unwrap(), elements);
    assert_eq!(future.info().await.unwrap().attempt, AttemptNumber(attempt));
    wait_for(client, channel, elements).await;
}

/// Waits until the only worker is connected and known to retire.
async fn until_retiring(client: &Client) {
    let retires = async {
        while !client.workers().await.unwrap().first().is_some_and(|one| one.retiring && one.connected) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(retires).await;
}

/// A worker with more options.
async fn worker_with(cluster: &Cluster, name: &str, options: &[&str]) -> Process {
    let mut worker = cluster.spawn(&[&["worker", "--name", name, "--slots", "2"], options].concat());
    worker.said("joined").await;
    worker
}

/// The records of the task log of a kind.
async fn of_kind(cluster: &Cluster, kind: &str) -> Vec<Value> {
    let all = cluster.run(&["channel", "tail", "$tasks", "--json"]).await.json();
    all.into_iter().filter(|line| line["kind"] == kind).collect()
}

fn is_in_order(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_retired_finishes_what_it_runs_and_ends() {
    let cluster = Cluster::start().await;
    let client = connect(&cluster.address).await;
    let one = cluster.worker("one").await;
    let count = start_count(&client, "c").await;
    let mut retire = cluster.spawn(&["worker", "retire", "one"]);
    assert_eq!(retire.line().await, "one retires: it finishes 1 task");
    let named = retire.line().await;
    assert!(named.starts_with("  count-") || named.starts_with("  c-"), "{named}");
    let says = "  attempt 1, a client itself, which may run for ever: --hand-over moves it";
    assert!(named.ends_with(says), "{named}");

    // It has a slot, and is not given this one.
    let other = submit_count(&client, "d").await;
    let info = other.info().await.unwrap();
    assert_eq!(info.waits_for.as_deref(), Some("a worker: all that are connected retire"));
    let listed = cluster.run(&["worker", "list", "--json"]).await.json().remove(0);
    assert_eq!(
        (&listed["name"], &listed["state"], &listed["slots"], &listed["running"]),
        (&json!("one"), &json!("retiring"), &json!(0), &json!(1))
    );
    assert_eq!((&listed["results"], &listed["result_bytes"]), (&json!(0), &json!(0)));
    assert_eq!(
        (&listed["runs"][0]["key"], &listed["runs"][0]["is_client"]),
        (&json!(count.key().to_string()), &json!(true))
    );
    let two = cluster.worker_with("two", &["--no-detect", "--resource", "cpus=3"]).await;
    wait_for(&client, "d", 1).await;
    let lines = cluster.run(&["worker", "list"]).await.lines();
    assert_eq!(lines[0], "NAME  STATE      SLOTS  RUNNING  RESULTS  SIZE     FREE");
    assert!(lines[1].starts_with("one   retiring       0        1        0  0 bytes  cpus "), "{lines:?}");
    assert_eq!(lines[2..], ["two   connected      2        1        0  0 bytes  cpus 3/3"]);

    finish(&client, "c", count, 1).await;
    assert_eq!(retire.end().await.lines().last().unwrap(), "one has left");
    is_in_order(&one.end().await);
    // Another one under the same name is a new one.
    finish(&client, "d", other, 1).await;
    is_in_order(&two.interrupt().await);
    let again = cluster.worker("one").await;
    let count = start_count(&client, "e").await;
    finish(&client, "e", count, 1).await;
    is_in_order(&again.interrupt().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hands_over_ends_at_once_and_others_go_on() {
    let cluster = Cluster::start().await;
    let client = connect(&cluster.address).await;
    let one = cluster.worker("one").await;
    let count = start_count(&client, "c").await;
    let _two = cluster.worker("two").await;
    let retire = cluster.run(&["worker", "retire", "one", "--hand-over", "--json"]).await.json();
    let last = retire.last().unwrap();
    assert_eq!((&last["name"], &last["state"], &last["running"]), (&json!("one"), &json!("left"), &json!(0)));
    is_in_order(&one.end().await);
    let so_far = client.channel::<u64>("c").await.unwrap().len().await.unwrap();
    wait_for(&client, "c", so_far + 3).await;
    finish(&client, "c", count, 2).await;
    assert_eq!(of_kind(&cluster, "died").await, [] as [Value; 0]);
    let requeued = of_kind(&cluster, "requeued").await;
    assert_eq!(requeued.len(), 1);
    assert!(requeued[0].to_string().contains("it left"), "{requeued:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_worker_is_refused_with_those_there_are() {
    let cluster = Cluster::start().await;
    let refusal = cluster.run(&["worker", "retire", "three"]).await.refusal();
    assert_eq!(refusal, "there is no worker `three`: there is none at all");
    let _workers = (cluster.worker("one").await, cluster.worker("two").await);
    let refusal = cluster.run(&["worker", "retire", "three", "--hand-over"]).await.refusal();
    assert_eq!(refusal, "there is no worker `three`: there are `one`, `two`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retirement_goes_on_when_the_scheduler_is_killed() {
    let mut cluster = Cluster::start().await;
    let client = connect(&cluster.address).await;
    let mut one = cluster.worker("one").await;
    let count = start_count(&client, "c").await;
    let line = cluster.run(&["worker", "retire", "one", "--no-wait"]).await.lines().remove(0);
    assert_eq!(line, "one retires: it finishes 1 task");
    one.said("retires: it takes nothing more").await;
    let waits = cluster.spawn(&["worker", "retire", "one"]);
    cluster.kill_scheduler().await;
    cluster.start_scheduler().await;
    let other = submit_count(&client, "d").await;
    let so_far = client.channel::<u64>("c").await.unwrap().len().await.unwrap();
    wait_for(&client, "c", so_far + 3).await;
    let workers = client.workers().await.unwrap();
    assert!(workers[0].retiring && workers[0].running == 1, "it says so again: {workers:?}");
    assert_eq!(other.info().await.unwrap().attempt, AttemptNumber(0));
    finish(&client, "c", count, 1).await;
    is_in_order(&one.end().await);
    assert_eq!(waits.end().await.lines().last().unwrap(), "one has left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stood_still_when_it_was_retired_retires_when_it_goes_on() {
    let mut cluster = Cluster::start_on(Dir::new(), &["--worker-lease", "60s"]).await;
    let client = connect(&cluster.address).await;
    let one = cluster.worker("one").await;
    let count = start_count(&client, "c").await;
    // It hears of it from a scheduler that is gone by then, or from the next one.
    one.signal("STOP").await;
    let retirement = client.retire_worker("one", Retire::Finish).await.unwrap();
    cluster.kill_scheduler().await;
    cluster.start_scheduler().await;
    let left = tokio::spawn(async move { retirement.left().await });
    one.signal("CONT").await;
    until_retiring(&client).await;
    finish(&client, "c", count, 1).await;
    assert_eq!(soon(left).await.unwrap().unwrap(), EndReason::Left);
    is_in_order(&one.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_grace_a_signal_lets_a_worker_finish() {
    let cluster = Cluster::start().await;
    let client = connect(&cluster.address).await;
    let mut one = worker_with(&cluster, "one", &["--grace", "60s"]).await;
    let count = start_count(&client, "c").await;
    one.signal("TERM").await;
    one.said("retires: it takes nothing more").await;
    until_retiring(&client).await;
    let other = submit_count(&client, "d").await;
    assert!(other.info().await.unwrap().waits_for.is_some(), "it takes nothing more");
    let _two = cluster.worker("two").await;
    wait_for(&client, "d", 1).await;
    finish(&client, "c", count, 1).await;
    is_in_order(&one.end().await);
    finish(&client, "d", other, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_lease_ends_while_it_retires_ends_and_does_not_join_anew() {
    let cluster = Cluster::start_on(Dir::new(), &["--worker-lease", "1s"]).await;
    let client = connect(&cluster.address).await;
    let one = worker_with(&cluster, "one", &["--grace", "60s"]).await;
    let count = start_count(&client, "c").await;
    one.signal("TERM").await;
    until_retiring(&client).await;
    one.signal("STOP").await;
    while !client.workers().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    one.signal("CONT").await;
    is_in_order(&one.end().await);
    let _two = cluster.worker("two").await;
    finish(&client, "c", count, 2).await;
    assert_eq!(of_kind(&cluster, "died").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_grace_is_over_or_at_a_second_signal_it_hands_over() {
    let cluster = Cluster::start().await;
    let client = connect(&cluster.address).await;
    let mut one = worker_with(&cluster, "one", &["--grace", "60s"]).await;
    let count = start_count(&client, "c").await;
    one.signal("TERM").await;
    one.said("retires: it takes nothing more").await;
    is_in_order(&one.interrupt().await);

    let two = worker_with(&cluster, "two", &["--grace", "100ms"]).await;
    let so_far = client.channel::<u64>("c").await.unwrap().len().await.unwrap();
    wait_for(&client, "c", so_far + 1).await;
    is_in_order(&two.interrupt().await);

    let _three = cluster.worker("three").await;
    finish(&client, "c", count, 3).await;
    assert_eq!(of_kind(&cluster, "died").await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_grace_up_lets_its_workers_finish() {
    let (dir, address) = (Dir::new(), free_address());
    let data = dir.text("data");
    let up = ["up", "--listen", &address, "--data", &data, "--grace", "60s"];
    let mut up = Process::of(command(Path::new(HEADWATER), &up));
    up.said("joined").await;
    let client = connect(&address).await;
    let count = start_count(&client, "c").await;
    let key = count.key().to_string();
    up.signal("TERM").await;
    up.said("retires: it takes nothing more").await;
    // It ends with the last of what its workers run; whatever is asked behind that waits for the next one.
    client.channel::<u64>("c").await.unwrap().stop().await.unwrap();
    is_in_order(&up.end().await);
    let mut again = headwater(&["scheduler", "--listen", &address, "--data", &data]);
    again.said("listening on ").await;
    let shown =
        headwater(&["task", "show", &key, "--json", "--connect", &address]).end().await.json().remove(0);
    assert_eq!((&shown["status"], &shown["attempt"]), (&json!("finished"), &json!(1)));
}
