//! How commands end: by Ctrl-C, and when nobody reads what they say.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::cluster::{Cluster, Dir};
use crate::process::{Process, headwater};

/// Whoever is told to stop stops in order, and holds the store no longer.
async fn stops_in_order(process: Process, data: &str) {
    let ended = process.interrupt().await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    let mut again = headwater(&["scheduler", "--data", data, "--listen", "127.0.0.1:0"]);
    let receipt = again.said("recovered from ").await;
    assert!(!receipt.contains("damage"), "{receipt}");
    assert_eq!(again.interrupt().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_whoever_has_the_store() {
    let dir = Dir::new();
    let data = dir.text("demo");
    let mut demo =
        headwater(&["demo", "--json", "--interval", "0", "--data", &data, "--listen", "127.0.0.1:0"]);
    for _ in 0..5 {
        demo.line().await;
    }
    stops_in_order(demo, &data).await;

    let data = dir.text("up");
    let mut up = headwater(&["up", "--data", &data, "--listen", "127.0.0.1:0"]);
    up.said("joined").await;
    stops_in_order(up, &data).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_scheduler_worker_and_tail_each_alone() {
    let mut cluster = Cluster::start().await;
    cluster.run(&["channel", "append", "x", "1"]).await;
    let (one, two) = (cluster.worker("one").await, cluster.worker("two").await);
    let mut tail = cluster.spawn(&["channel", "tail", "x", "--follow"]);
    tail.line().await;
    assert_eq!(tail.line().await, "-- caught up at offset 1");

    assert_eq!(tail.interrupt().await.lines(), [""; 0]);
    assert_eq!(one.interrupt().await.code, Some(0));
    stops_in_order(cluster.take_scheduler(), &cluster.dir.text("data")).await;
    assert_eq!(two.interrupt().await.code, Some(0), "also when there is nobody to say goodbye to");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_stdout_that_goes_away_ends_a_command_quietly() {
    let cluster = Cluster::start().await;
    // More than a pipe holds.
    let values = vec!["\"".to_owned() + &"x".repeat(200) + "\""; 3000];
    let append = [&["channel", "append", "big"], &values.iter().map(String::as_str).collect::<Vec<_>>()[..]];
    assert_eq!(cluster.run(&append.concat()).await.lines().len(), 3000);
    for options in [&["--json"][..], &["--follow"], &[]] {
        let mut tail = cluster.spawn(&[&["channel", "tail", "big"], options].concat());
        tail.line().await;
        tail.close_stdout().await;
        assert_eq!(tail.end().await.lines(), [""; 0], "{options:?}");
    }
    let dir = Dir::new();
    let data = dir.text("data");
    let mut demo =
        headwater(&["demo", "--json", "--interval", "0", "--data", &data, "--listen", "127.0.0.1:0"]);
    demo.line().await;
    demo.close_stdout().await;
    assert_eq!(demo.end().await.lines_beside_logs(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_stderr_that_goes_away_stops_nothing() {
    let mut cluster = Cluster::start().await;
    let mut scheduler = cluster.take_scheduler();
    scheduler.close_stderr().await;
    // The scheduler logs a warning on this; that it cannot must break nothing.
    for _ in 0..2 {
        let mut stranger = TcpStream::connect(&cluster.address).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        stranger.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut answer = Vec::new();
        stranger.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("they begin with `GET / HT`"), "it is told what is wrong: {answer:?}");
    }
    assert_eq!(cluster.run(&["channel", "append", "x", "1"]).await.only_line(), "0");
    stops_in_order(scheduler, &cluster.dir.text("data")).await;
}
