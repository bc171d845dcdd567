//! Workers that are supervised: each a process of its own that is started anew when it dies, alone and under `up`.
//!
//! Where a worker has to die, a program that it runs kills it, as a task that aborts does: its parent. Leases are longer
//! than any test, so that what goes on does because the next one has taken the place of the one that died.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, Dir, free_address};
use crate::process::{HEADWATER, Process, children, command, headwater, run, soon};
use crate::retiring::{connect, start_count};
use crate::submit::submit;

/// Takes its worker down, the first time.
const KILLS: &str = "test $HEADWATER_ATTEMPT -gt 1 || { kill -ABRT $PPID; sleep 60; }; echo alive";

const LEASE: [&str; 2] = ["--worker-lease", "600s"];

async fn supervised(cluster: &Cluster, options: &[&str]) -> Process {
    let mut worker = cluster.spawn(&[&["worker", "--supervise", "--slots", "2"], options].concat());
    worker.said("joined").await;
    worker
}

/// Sends a signal to one that somebody else has started.
fn signal(id: u32, name: &str) {
    let mut kill = std::process::Command::new("kill");
    assert!(kill.arg(format!("-{name}")).arg(id.to_string()).status().unwrap().success());
}

/// The only child of a process.
fn child(process: &Process) -> u32 {
    let [child] = children(process.id())[..] else { panic!("{:?}", children(process.id())) };
    child
}

/// That nothing runs there any more: the system may not have taken note of it yet.
fn is_gone(id: u32) -> bool {
    std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default().is_empty()
}

/// The names of the workers that are connected.
async fn workers(cluster: &Cluster) -> Vec<Value> {
    let listed = cluster.run(&["worker", "list", "--json"]).await.json();
    listed.into_iter().filter(|line| line["state"] == "connected").map(|line| line["name"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_a_task_takes_down_comes_back_and_goes_on() {
    let cluster = Cluster::start_on(Dir::new(), &LEASE).await;
    // It has a name of its own, for as long as it is supervised.
    let mut worker = supervised(&cluster, &[]).await;
    let (name, first) = (workers(&cluster).await, child(&worker));
    let client = connect(&cluster.address).await;
    let count = start_count(&client, "c").await;
    let waits = submit(&cluster, &["--wait"], &["sh", "-c", KILLS]).await;
    assert_eq!((waits.code, &waits.stdout[..]), (Some(0), &["alive".to_owned()][..]), "{waits:?}");
    worker.said("died: killed by SIGABRT (6): starting it again").await;
    worker.said("joined").await;
    assert_eq!(workers(&cluster).await, name);
    assert!(is_gone(first) && child(&worker) != first);
    client.channel::<u64>("c").await.unwrap().stop().await.unwrap();
    soon(count.into_future()).await.unwrap();
    let ended = worker.interrupt().await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    assert_eq!(ended.stderr.iter().filter(|line| line.contains("died")).count(), 1, "{:?}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_comes_back_while_the_scheduler_is_away_waits_for_it() {
    let mut cluster = Cluster::start_on(Dir::new(), &LEASE).await;
    let join = ["worker", "--supervise", "--connect", &cluster.address, "--connect-timeout", "100ms"];
    let mut worker = command(Path::new(HEADWATER), &join);
    worker.env("HEADWATER_LOG", "debug");
    let mut worker = Process::of(worker);
    worker.said("joined").await;
    cluster.kill_scheduler().await;
    signal(child(&worker), "KILL");
    worker.said("died: killed by SIGKILL (9)").await;
    // Each wait is longer than the one before: together they are longer than what it is given at its first start.
    for _ in 0..6 {
        worker.said("not connected: trying again").await;
    }
    cluster.start_scheduler().await;
    worker.said("joined").await;
    assert_eq!(worker.interrupt().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_lets_a_supervised_worker_finish_and_a_second_one_has_it_hand_over() {
    let cluster = Cluster::start_on(Dir::new(), &LEASE).await;
    let client = connect(&cluster.address).await;
    let mut one = supervised(&cluster, &["--name", "one", "--grace", "600s"]).await;
    let count = start_count(&client, "c").await;
    // Whoever stops a service signals all of its processes: it counts once.
    signal(child(&one), "TERM");
    one.signal("TERM").await;
    one.said("retires: it takes nothing more").await;
    client.channel::<u64>("c").await.unwrap().stop().await.unwrap();
    soon(count.clone().into_future()).await.unwrap();
    assert_eq!(one.end().await.code, Some(0));
    assert_eq!(count.info().await.unwrap().attempt.0, 1);

    let mut two = supervised(&cluster, &["--name", "two", "--grace", "600s"]).await;
    let _count = start_count(&client, "d").await;
    two.signal("TERM").await;
    two.said("retires: it takes nothing more").await;
    let ended = two.interrupt().await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    let died = cluster.run(&["channel", "tail", "$tasks", "--json"]).await.json();
    assert!(died.iter().all(|line| line["kind"] != "died"), "{died:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_retired_is_not_started_again() {
    let cluster = Cluster::start().await;
    let worker = supervised(&cluster, &["--name", "one"]).await;
    assert_eq!(cluster.run(&["worker", "retire", "one"]).await.lines().last().unwrap(), "one has left");
    assert_eq!(worker.end().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_cannot_stop_is_killed_at_the_third_signal() {
    let cluster = Cluster::start().await;
    let mut worker = supervised(&cluster, &[]).await;
    let stuck = child(&worker);
    signal(stuck, "STOP");
    // Signals of a kind that come together are one.
    let killed = async {
        loop {
            worker.signal("TERM").await;
            let said = worker.said("error: interrupted while leaving");
            if tokio::time::timeout(Duration::from_millis(100), said).await.is_ok() {
                return;
            }
        }
    };
    soon(killed).await;
    assert_eq!(worker.end().await.code, Some(1));
    assert!(is_gone(stuck));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_is_killed_takes_its_worker_with_it() {
    let cluster = Cluster::start().await;
    let mut worker = supervised(&cluster, &[]).await;
    let id = child(&worker);
    worker.kill().await;
    // The worker has its stderr: when that has come to its end, so has the worker.
    assert_eq!(worker.end().await.code, None);
    assert!(is_gone(id), "worker {id} goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_refused_ends_its_supervisor_with_the_reason() {
    let cluster = Cluster::start().await;
    let first = supervised(&cluster, &["--name", "one"]).await;
    let second = supervised(&cluster, &["--name", "one"]).await;
    let ended = first.end().await;
    assert_eq!(ended.code, Some(1));
    let said = ended.stderr.last().unwrap();
    assert!(said.starts_with("error: another worker has joined under the name of this one"), "{said}");
    assert_eq!(second.interrupt().await.code, Some(0));

    let nobody = free_address();
    let alone = ["worker", "--connect", &nobody, "--connect-timeout", "100ms"];
    let supervised = run(&[&alone[..], &["--supervise"]].concat()).await.refusal();
    assert_eq!(supervised, run(&alone).await.refusal());
    let said = run(&["worker", "--supervise", "--token-file", "nowhere"]).await.refusal();
    assert!(said.starts_with("cannot read the token file nowhere"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_survives_a_task_that_takes_its_worker_down_and_its_workers_end_with_it() {
    let (dir, address) = (Dir::new(), free_address());
    let token = dir.text("token");
    std::fs::write(&token, "open sesame\n").unwrap();
    let data = dir.text("data");
    let options = ["--listen", &address, "--data", &data, "--token-file", &token];
    let mut up = headwater(&[&["up"], &options[..], &LEASE].concat());
    up.said("joined").await;
    let first = child(&up);
    let line = std::fs::read_to_string(format!("/proc/{first}/cmdline")).unwrap();
    assert!(line.contains("local-1") && !line.contains("sesame"), "{line}");
    // As where it comes from another program's pipe: it can be read once.
    std::fs::rename(&token, dir.text("elsewhere")).unwrap();
    let run = async |arguments: &[&str]| {
        let to = ["--connect", &address, "--token-file", &dir.text("elsewhere")];
        headwater(&[&arguments[..1], &to, &arguments[1..]].concat()).end().await
    };
    let waits = run(&["submit", "--wait", "--", "sh", "-c", KILLS]).await;
    assert_eq!((waits.code, &waits.stdout[..]), (Some(0), &["alive".to_owned()][..]), "{waits:?}");
    up.said("died: killed by SIGABRT (6)").await;
    let second = child(&up);
    assert_ne!(first, second);
    up.signal("TERM").await;
    let ended = up.end().await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    assert!(is_gone(second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_has_each_worker_in_a_process_of_its_own_unless_it_is_told_not_to() {
    let dir = Dir::new();
    for (options, processes) in [(&["--workers", "2"][..], 2), (&["--workers", "2", "--no-supervise"], 0)] {
        let data = dir.text(&processes.to_string());
        let up = ["up", "--listen", "127.0.0.1:0", "--data", &data, "--no-exec", "--results-memory", "1MiB"];
        let mut up = headwater(&[&up[..], options].concat());
        let address = up.said("listening on ").await;
        up.said("joined").await;
        up.said("joined").await;
        let children = children(up.id());
        assert_eq!(children.len(), processes);
        let shown = run(&["log", "info", "--json", "--connect", &address]).await.json().remove(0);
        let mut names: Vec<&str> = shown["workers"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|worker| worker["name"].as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["local-1", "local-2"]);
        up.kill().await;
        assert_eq!(up.end().await.code, None);
        assert!(children.into_iter().all(is_gone));
    }
}
