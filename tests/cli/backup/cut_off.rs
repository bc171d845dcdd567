//! Backups that are cut off: whatever ends them, nothing that looks whole is left.

use std::net::SocketAddr;
use std::pin::pin;

use futures_util::future::try_join_all;
use headwater::{Channel, Client};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::{error, names, verified};
use crate::cluster::{Cluster, Dir};
use crate::process::{Process, headwater};

/// After how many bytes from the scheduler the way breaks: enough for a part of the records, not for all.
const BYTES: usize = 600_000;

/// A way to a scheduler that lets so many bytes from it through and then stands still, until it is told to go on or
/// to break. The connections behind the first go through as they are.
struct Way {
    address: SocketAddr,
    stands_still: oneshot::Receiver<()>,
    go: oneshot::Sender<Then>,
}

/// What the first connection does then.
#[derive(Debug, PartialEq)]
enum Then {
    GoesOn,
    Breaks,
}

impl Way {
    async fn to(scheduler: &str) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheduler = scheduler.to_owned();
        let (stands, stands_still) = oneshot::channel();
        let (go, then) = oneshot::channel();
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(&scheduler).await.unwrap();
            through_once(client, server, stands, then).await;
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                if let Ok(mut server) = TcpStream::connect(&scheduler).await {
                    tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
                }
            }
        });
        Way { address, stands_still, go }
    }
}

async fn through_once(
    client: TcpStream,
    server: TcpStream,
    stands: oneshot::Sender<()>,
    then: oneshot::Receiver<Then>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    let mut left = BYTES;
    let mut buffer = vec![0; 16 * 1024];
    while left > 0 {
        let most = left.min(buffer.len());
        let read = from_server.read(&mut buffer[..most]).await.unwrap();
        to_client.write_all(&buffer[..read]).await.unwrap();
        left -= read;
    }
    stands.send(()).unwrap();
    match then.await {
        Ok(Then::GoesOn) => drop(copy(&mut from_server, &mut to_client).await),
        _ => up.abort(),
    }
}

/// A cluster with much to copy.
async fn with_much() -> Cluster {
    let cluster = Cluster::start().await;
    let client = Client::connect(&cluster.address).await.unwrap();
    let channel = client.channel::<String>("words").await.unwrap();
    let appends: Vec<_> = (0..100).map(|_| channel.append_value(&"x".repeat(20_000))).collect();
    for append in appends {
        append.await.unwrap();
    }
    client.close().await;
    cluster
}

/// A cluster with much to copy, and a backup in the middle of it, as `DIR/backup`.
async fn in_the_middle() -> (Cluster, Process, Way) {
    let cluster = with_much().await;
    let (backup, way) = stand_still(&cluster, "1s").await;
    (cluster, backup, way)
}

async fn stand_still(cluster: &Cluster, patience: &str) -> (Process, Way) {
    let mut way = Way::to(&cluster.address).await;
    let (address, dest) = (way.address.to_string(), cluster.dir.text("backup"));
    let backup =
        headwater(&["log", "backup", "--quiet", &dest, "--connect", &address, "--connect-timeout", patience]);
    (&mut way.stands_still).await.unwrap();
    assert!(cluster.dir.path("backup.unfinished/store").exists() && !cluster.dir.path("backup").exists());
    (backup, way)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_dies_in_the_middle_leaves_nothing() {
    let (mut cluster, backup, way) = in_the_middle().await;
    cluster.kill_scheduler().await;
    way.go.send(Then::Breaks).unwrap();
    let said = error(backup.end().await);
    let expected =
        format!("nothing has come from the scheduler at {} for 1s: begin the backup again", way.address);
    assert!(said.starts_with(&expected), "{said}");
    assert_eq!(names(&cluster.dir.path("")), ["data"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_one_leaves_nothing() {
    let (cluster, backup, _way) = in_the_middle().await;
    assert_eq!(error(backup.interrupt().await), "interrupted: no backup was made");
    assert_eq!(names(&cluster.dir.path("")), ["data"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_one_leaves_has_no_name_and_the_next_replaces_it() {
    let (cluster, mut backup, _way) = in_the_middle().await;
    let dest = cluster.dir.text("backup");
    let busy = error(cluster.run(&["log", "backup", "--quiet", &dest]).await);
    assert!(busy.starts_with(&format!("{dest} is being made by another process")), "{busy}");
    backup.kill().await;
    assert_eq!(names(&cluster.dir.path("")), ["backup.unfinished", "data"]);
    cluster.run(&["log", "backup", "--quiet", &dest]).await.only_line();
    assert_eq!(names(&cluster.dir.path("")), ["backup", "data"]);
    assert_eq!(verified(&dest).await["logs"][1]["records"], 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_is_back_soon_is_read_on() {
    let mut cluster = with_much().await;
    let (backup, way) = stand_still(&cluster, "20s").await;
    cluster.kill_scheduler().await;
    cluster.start_scheduler().await;
    way.go.send(Then::Breaks).unwrap();
    backup.end().await.only_line();
    let whole = verified(&cluster.dir.text("backup")).await;
    assert_eq!((&whole["epoch"], &whole["logs"][1]["records"]), (&1.into(), &100.into()), "as it was begun");
}

/// Appends, so many at a time, until the scheduler says that it has written a snapshot.
async fn append_until_snapshot(cluster: &mut Cluster, channel: &Channel<u64>, at_once: u64) {
    let mut said = pin!(cluster.scheduler_said("snapshot written"));
    loop {
        let appends = (0..at_once).map(|number| channel.append_value(&number));
        tokio::select! {
            () = &mut said => return,
            appended = try_join_all(appends) => drop(appended.unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_task_log_is_trimmed_meanwhile_begins_again() {
    let mut cluster = Cluster::start_on(Dir::new(), &["--keep-task-log"]).await;
    let client = Client::connect(&cluster.address).await.unwrap();
    // Many records of the task log: more than are on their way at a time.
    for some in 0..20 {
        let name = |at: u32| format!("{some}-{at}-{}", "x".repeat(180));
        let names: Vec<String> = (0..500).map(name).collect();
        let opened = names.iter().map(|name| client.channel::<u64>(name));
        try_join_all(opened).await.unwrap();
    }
    client.close().await;
    assert_eq!(cluster.take_scheduler().interrupt().await.code, Some(0));
    let mut cluster =
        Cluster::start_on(cluster.dir, &["--snapshot-records", "100", "--task-log-records", "0"]).await;
    let client = Client::connect(&cluster.address).await.unwrap();
    let channel = client.channel::<u64>("numbers").await.unwrap();
    // The first snapshot trims nothing; and no second one follows when there is little behind it.
    append_until_snapshot(&mut cluster, &channel, 1).await;
    let (backup, way) = stand_still(&cluster, "20s").await;
    for _ in 0..3 {
        append_until_snapshot(&mut cluster, &channel, 500).await;
    }
    way.go.send(Then::GoesOn).unwrap();
    let ended = backup.end().await;
    let said = ended.stderr.join("\n");
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 1), "{said}");
    assert!(said.contains("what is not copied yet was trimmed, and the copy begins again"), "{said}");
    let whole = verified(&cluster.dir.text("backup")).await;
    assert!(whole["logs"][0]["first"].as_u64().unwrap() > 10_000, "{whole}");
}
