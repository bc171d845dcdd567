//! Workers that come early, and workers whose place is taken.

use std::path::Path;

use crate::cluster::{Cluster, Dir, free_address};
use crate::process::{HEADWATER, Process, command, headwater};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_came_first_joins_once_there_is_a_scheduler() {
    let mut cluster = Cluster::start().await;
    cluster.kill_scheduler().await;
    let join = ["worker", "--connect", &cluster.address, "--name", "early", "--connect-timeout", "30s"];
    let mut worker = command(Path::new(HEADWATER), &join);
    worker.env("HEADWATER_LOG", "debug");
    let mut worker = Process::of(worker);
    worker.said("not connected: trying again").await;
    cluster.start_scheduler().await;
    worker.said("joined").await;
    let info = cluster.run(&["log", "info", "--json"]).await.json().remove(0);
    assert_eq!(
        (&info["workers"][0]["name"], &info["workers"][0]["connected"]),
        (&"early".into(), &true.into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_ends_when_another_takes_its_name() {
    let cluster = Cluster::start().await;
    let first = cluster.worker("one").await;
    let second = cluster.worker("one").await;
    let ended = first.end().await;
    assert_eq!(ended.code, Some(1));
    let said = ended.stderr.last().unwrap();
    assert!(
        said.starts_with(
            "error: another worker has joined under the name of this one: give each a --name of its own"
        ),
        "{said}"
    );
    assert_eq!(second.interrupt().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_is_a_scheduler_with_workers() {
    let address = free_address();
    let dir = Dir::new();
    let options = ["--listen", &address, "--workers", "2", "--slots", "3"];
    let mut up = headwater(&[&["up", "--data", &dir.text("data")], &options[..]].concat());
    assert_eq!(up.said("listening on ").await, address);
    up.said("joined").await;
    up.said("joined").await;
    let info = headwater(&["log", "info", "--json", "--connect", &address]).end().await.json().remove(0);
    for worker in info["workers"].as_array().unwrap() {
        assert_eq!((&worker["slots"], &worker["connected"]), (&3.into(), &true.into()), "{info}");
    }
    assert_eq!(info["workers"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_stood_still_for_longer_than_the_leases_ends_no_session() {
    let options = ["--worker-lease", "1s", "--client-lease", "1s"];
    let mut cluster = Cluster::start_on(Dir::new(), &options).await;
    let worker = cluster.worker("one").await;
    let client = headwater::Client::connect(&cluster.address).await.unwrap();
    client.channel::<u64>("numbers").await.unwrap();
    cluster.signal_scheduler("STOP").await;
    // Three leases; the connections are given up meanwhile, and the client and the worker try again.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    cluster.signal_scheduler("CONT").await;
    cluster.scheduler_said("stood still").await;
    client.channel::<u64>("numbers").await.unwrap().append_value(&7).await.unwrap();
    let tail = cluster.run(&["channel", "tail", "$tasks", "--json"]).await.json();
    let expired = tail.iter().filter(|line| line["because"].to_string().contains("lease"));
    assert_eq!(expired.count(), 0, "{tail:#?}");
    assert_eq!(worker.interrupt().await.code, Some(0));
}
