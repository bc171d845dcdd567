//! A wait that has to go on when things happen in between, and to end when nothing can come any more.

use std::fs;

use super::{Tail, records, spawn, submit, wait_for};
use crate::cluster::Cluster;

const OUT: [&str; 3] = ["--wait", "--output-channel", "out"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_goes_on_through_a_restart_of_the_scheduler() {
    let mut cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let go = cluster.dir.text("go");
    let script = format!("echo one; {}; echo two", wait_for(&go));
    let mut waits = spawn(&cluster, &OUT, &["sh", "-c", &script]);
    assert_eq!(waits.line().await, "one");
    cluster.kill_scheduler().await;
    fs::write(&go, "").unwrap();
    cluster.start_scheduler().await;
    let ended = waits.end().await;
    assert_eq!((ended.code, &ended.stdout[..]), (Some(0), &["two".to_owned()][..]), "{:?}", ended.stderr);
    assert_eq!(super::lines(&records(&cluster, "out").await, "stdout"), ["one", "two"], "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_with_what_is_cancelled() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let mut waits = spawn(&cluster, &OUT, &["sh", "-c", "echo {key}; exec sleep 1000"]);
    let key = waits.line().await;
    cluster.run(&["task", "cancel", &key]).await.only_line();
    let ended = waits.end().await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.last().unwrap(), &format!("error: {key} was cancelled"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_when_its_records_are_gone() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let go = cluster.dir.text("go");
    let script = format!("echo up; {}", wait_for(&go));
    // Its task is kept by another channel, and is asked for.
    let options = [&OUT[..], &["--name", "kept"]].concat();
    let mut waits = spawn(&cluster, &options, &["sh", "-c", &script]);
    assert_eq!(waits.line().await, "up");
    let other = spawn(&cluster, &["--name", "kept", "--output-channel", "other"], &["true"]).end().await;
    assert_eq!(other.code, Some(0), "{other:?}");
    cluster.run(&["channel", "delete", "out"]).await;
    fs::write(&go, "").unwrap();
    let ended = waits.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // One that nobody keeps ends, and so does the wait.
    let mut waits = spawn(&cluster, &OUT, &["sh", "-c", "echo up; exec sleep 1000"]);
    assert_eq!(waits.line().await, "up");
    cluster.run(&["channel", "delete", "out"]).await;
    let ended = waits.end().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_when_its_futures_are_trimmed_and_has_all_that_comes_then() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let go = cluster.dir.text("go");
    let script = format!("echo up; {}; echo more; exit 4", wait_for(&go));
    let options = [&OUT[..], &["--name", "kept"]].concat();
    let mut waits = spawn(&cluster, &options, &["sh", "-c", &script]);
    assert_eq!(waits.line().await, "up");
    let other = spawn(&cluster, &["--name", "kept", "--output-channel", "other"], &["true"]).end().await;
    assert_eq!(other.code, Some(0), "{other:?}");
    cluster.run(&["channel", "clear", "out"]).await;
    // What is not read yet is read behind that: the record of the trim.
    let mut tail = Tail::start(&cluster, "out");
    tail.until(|record| record["kind"] == "trimmed" || record["marker"] == "caught_up").await;
    fs::write(&go, "").unwrap();
    let ended = waits.end().await;
    assert_eq!((ended.code, &ended.stdout[..]), (Some(4), &["more".to_owned()][..]), "{ended:?}");
    // And when nobody keeps it.
    let mut waits = spawn(&cluster, &OUT, &["sh", "-c", "echo up; exec sleep 1000"]);
    assert_eq!(waits.line().await, "up");
    cluster.run(&["channel", "clear", "out"]).await;
    assert_eq!(waits.end().await.code, Some(1));
}

/// What it writes trims its future: it would be cancelled, as nobody would keep it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_keeps_little_does_not_end_what_writes_to_it() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    cluster.run(&["channel", "create", "out", "--max-elements", "5"]).await.only_line();
    let ended = spawn(&cluster, &OUT, &["sh", "-c", "seq 1 2000; exit 3"]).end().await;
    assert_eq!(ended.code, Some(3), "{:?}", ended.stderr);
    let records = records(&cluster, "out").await;
    assert!(super::lines(&records, "stdout").ends_with(&["1998", "1999", "2000"]), "{records:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_whose_output_cannot_be_kept_is_ended_and_has_failed_even_if_it_had_ended_by_itself() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    for (channel, then) in [("goes-on", "exec sleep 1000"), ("ends", "exit 0")] {
        let go = cluster.dir.text(channel);
        let script = format!("echo up; {}; echo more; {then}", wait_for(&go));
        let options = ["--output-channel", channel, "--wait"];
        let mut waits = spawn(&cluster, &options, &["sh", "-c", &script]);
        assert_eq!(waits.line().await, "up");
        cluster.run(&["channel", "stop", channel]).await.only_line();
        fs::write(&go, "").unwrap();
        let ended = waits.end().await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let last = ended.stderr.last().unwrap();
        let told = format!(
            "failed: its output cannot be kept, so it was ended: channel `{channel}` is stopped at 2"
        );
        assert!(last.contains(&told), "{last}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_may_go_and_the_task_goes_on() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let go = cluster.dir.text("go");
    let script = format!("echo up; {}; echo down", wait_for(&go));
    let mut waits = spawn(&cluster, &OUT, &["sh", "-c", &script]);
    assert_eq!(waits.line().await, "up");
    let ended = waits.interrupt().await;
    let told = "error: interrupted: the tasks go on; `headwater channel tail out --follow` shows all of it";
    assert_eq!((ended.code, ended.stderr.last().unwrap().as_str()), (Some(1), told));
    fs::write(&go, "").unwrap();
    let mut tail = Tail::start(&cluster, "out");
    tail.until(|record| record["value"] == "down").await;
    tail.state("finished").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_a_stopped_channel_waits_for_a_task_that_is_tried_again() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let go = cluster.dir.text("go");
    let script = format!("test $HEADWATER_ATTEMPT -gt 1 || exit 1; {}", wait_for(&go));
    let options = ["--output-channel", "out", "--name", "again", "--wait"];
    assert_eq!(submit(&cluster, &options, &["sh", "-c", &script]).await.code, Some(1));
    cluster.run(&["channel", "stop", "out"]).await.only_line();
    let retried = cluster.run(&["task", "retry", "nobody", "again"]).await;
    assert_eq!(
        (retried.code, retried.stdout.len()),
        (Some(1), 1),
        "the others are tried all the same: {retried:?}"
    );
    assert!(retried.stderr[0].starts_with("there is no task `nobody`: "), "{retried:?}");
    assert_eq!(retried.stderr[1], "error: 1 of 2 are not tried again, as said above");
    let mut tail = Tail::start(&cluster, "out");
    tail.state("renewed").await;
    tail.until(|record| record["marker"] == "caught_up").await;
    fs::write(&go, "").unwrap();
    tail.state("finished").await;
}
