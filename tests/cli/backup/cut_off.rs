//! Backups that are cut off: whatever ends them, nothing that looks whole is left.

use std::net::SocketAddr;

use headwater::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use super::{error, names, verified};
use crate::cluster::Cluster;
use crate::process::{Process, headwater};

/// After how many bytes from the scheduler the way breaks: enough for a part of the records, not for all.
const BYTES: usize = 600_000;

/// A way to a scheduler that lets so many bytes from it through and then stands still, until it is let go: then it
/// breaks for good.
struct Way {
    address: SocketAddr,
    stands_still: oneshot::Receiver<()>,
    breaks: watch::Sender<bool>,
}

impl Way {
    async fn to(scheduler: &str) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheduler = scheduler.to_owned();
        let (stands, stands_still) = oneshot::channel();
        let (breaks, mut broken) = watch::channel(false);
        tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            drop(listener);
            let server = TcpStream::connect(scheduler).await.unwrap();
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let mut left = BYTES;
            let mut buffer = vec![0; 16 * 1024];
            while left > 0 {
                let most = left.min(buffer.len());
                let read = from_server.read(&mut buffer[..most]).await.unwrap();
                to_client.write_all(&buffer[..read]).await.unwrap();
                left -= read;
            }
            stands.send(()).unwrap();
            let _ = broken.wait_for(|broken| *broken).await;
        });
        Way { address, stands_still, breaks }
    }
}

/// A cluster with much to copy, and a backup in the middle of it, as `DIR/backup`.
async fn in_the_middle() -> (Cluster, Process, Way) {
    let cluster = Cluster::start().await;
    let client = Client::connect(&cluster.address).await.unwrap();
    let channel = client.channel::<String>("words").await.unwrap();
    let appends: Vec<_> = (0..100).map(|_| channel.append_value(&"x".repeat(20_000))).collect();
    for append in appends {
        append.await.unwrap();
    }
    client.close().await;
    let mut way = Way::to(&cluster.address).await;
    let (address, dest) = (way.address.to_string(), cluster.dir.text("backup"));
    let backup = headwater(&["log", "backup", &dest, "--connect", &address, "--connect-timeout", "1s"]);
    (&mut way.stands_still).await.unwrap();
    assert!(cluster.dir.path("backup.unfinished/store").exists() && !cluster.dir.path("backup").exists());
    (cluster, backup, way)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_dies_in_the_middle_leaves_nothing() {
    let (mut cluster, backup, way) = in_the_middle().await;
    cluster.kill_scheduler().await;
    way.breaks.send(true).unwrap();
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
    let busy = error(cluster.run(&["log", "backup", &dest]).await);
    assert!(busy.starts_with(&format!("{dest} is being made by another process")), "{busy}");
    backup.kill().await;
    assert_eq!(names(&cluster.dir.path("")), ["backup.unfinished", "data"]);
    cluster.run(&["log", "backup", &dest]).await.only_line();
    assert_eq!(names(&cluster.dir.path("")), ["backup", "data"]);
    assert_eq!(verified(&dest).await["logs"][1]["records"], 100);
}
