//! What a backup holds, and what comes back of it.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use headwater::Client;
use headwater::protocol::{LogId, Seq};

use super::{Stored, error, names, stored, verified};
use crate::cluster::{Cluster, Dir};
use crate::process::{fields, headwater, run};

/// How many appends of a channel are on their way.
const IN_FLIGHT: usize = 64;

/// How many elements are acknowledged before and after something is done.
const ELEMENTS: u64 = 2_000;

/// Appends its numbers to a channel, many at a time, until it is told to stop; counts what is acknowledged.
async fn append(client: Client, name: &'static str, stop: Arc<AtomicBool>, acked: Arc<AtomicU64>) {
    let channel = client.channel::<u64>(name).await.unwrap();
    let (mut in_flight, mut next) = (VecDeque::new(), 0);
    loop {
        while in_flight.len() < IN_FLIGHT && !stop.load(Ordering::Relaxed) {
            in_flight.push_back(Box::pin(channel.append_value(&next)));
            next += 1;
        }
        let Some(appended) = in_flight.pop_front() else { return };
        acked.store(appended.await.unwrap().offset + 1, Ordering::SeqCst);
    }
}

async fn wait_for(acked: &[Arc<AtomicU64>], count: u64) {
    while acked.iter().any(|acked| acked.load(Ordering::SeqCst) < count) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_at_full_speed_is_a_prefix_with_all_that_was_acknowledged_before_it_began() {
    let mut cluster = Cluster::start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let acked = ["one", "two", "three"].map(|_| Arc::new(AtomicU64::new(0)));
    let mut appenders = Vec::new();
    for (name, acked) in ["one", "two", "three"].into_iter().zip(&acked) {
        let client = Client::connect(&cluster.address).await.unwrap();
        appenders.push(tokio::spawn(append(client, name, stop.clone(), acked.clone())));
    }
    wait_for(&acked, ELEMENTS).await;
    let before: Vec<u64> = acked.iter().map(|acked| acked.load(Ordering::SeqCst)).collect();
    let (backup, restored) = (cluster.dir.text("backup"), cluster.dir.text("restored"));
    let made = cluster.run(&["log", "backup", "--quiet", &backup, "--json"]).await.json().remove(0);
    let after: u64 = acked.iter().map(|acked| acked.load(Ordering::SeqCst)).max().unwrap();
    wait_for(&acked, after + ELEMENTS).await;
    stop.store(true, Ordering::Relaxed);
    for appender in appenders {
        appender.await.unwrap();
    }

    let seq = Seq(made["seq"].as_u64().unwrap());
    assert_eq!((&made["backup"], &made["logs"]), (&backup.as_str().into(), &4.into()));
    assert_eq!(made["lost"].as_array().unwrap().len(), 0);
    let whole = verified(&backup).await;
    for field in ["seq", "epoch", "digest"] {
        assert_eq!(whole[field], made[field], "{field}");
    }
    let restore =
        run(&["log", "restore", "--quiet", &backup, "--data", &restored, "--json"]).await.json().remove(0);
    let counted =
        |json: &serde_json::Value| ["seq", "digest", "logs", "records", "bytes"].map(|f| json[f].clone());
    assert_eq!(counted(&restore), counted(&made));
    assert_eq!(verified(&restored).await["seq"], made["seq"]);

    // Byte for byte the same, up to that commit, and no further.
    assert_eq!(cluster.take_scheduler().interrupt().await.code, Some(0));
    let original = stored(&cluster.dir.path("data"), seq);
    assert!(original.last.seq > seq, "clients went on while it was made");
    for dir in ["backup", "restored"] {
        let copy = stored(&cluster.dir.path(dir), Seq(u64::MAX));
        assert_eq!((copy.last.seq, &copy.batches), (seq, &original.batches));
    }
    let elements = |channel: u32| {
        let batches = &original.batches[&LogId(channel)];
        batches.iter().map(|batch| u64::from(batch.header().elements)).sum::<u64>()
    };
    let mut found = [1, 2, 3].map(elements);
    let mut acked_before = before.clone();
    // Which channel has which log is of chance.
    found.sort_unstable();
    acked_before.sort_unstable();
    assert!(found.iter().zip(&acked_before).all(|(found, acked)| found >= acked), "{found:?} {before:?}");

    // And it serves.
    fs::rename(cluster.dir.path("data"), cluster.dir.path("old")).unwrap();
    fs::rename(cluster.dir.path("restored"), cluster.dir.path("data")).unwrap();
    cluster.start_scheduler().await;
    for (name, acked) in ["one", "two", "three"].into_iter().zip(&before) {
        let tail = cluster.run(&["channel", "tail", name, "--json"]).await.json();
        let values: Vec<u64> = tail.iter().filter_map(|line| line["value"].as_u64()).collect();
        assert_eq!(values, (0..values.len() as u64).collect::<Vec<_>>());
        assert!(values.len() as u64 >= *acked, "{name}");
        let next = cluster.run(&["channel", "append", name, "7"]).await.only_line();
        assert_eq!(next, values.len().to_string());
    }
}

/// A scheduler that writes snapshots often and keeps nothing before them, after a few of both.
async fn trimmed() -> Cluster {
    let options = ["--snapshot-records", "300", "--task-log-records", "0"];
    let mut cluster = Cluster::start_on(Dir::new(), &options).await;
    let client = Client::connect(&cluster.address).await.unwrap();
    for round in 1..=3 {
        let channel = client.channel::<u64>("numbers").await.unwrap();
        let appends: Vec<_> = (0..400).map(|number| channel.append_value(&(round * 1000 + number))).collect();
        for append in appends {
            append.await.unwrap();
        }
        // Records of the task log, to be trimmed.
        for name in 0..20 {
            client.channel::<u64>(&format!("channel-{round}-{name}")).await.unwrap();
        }
        // It says so when it has something else to write.
        let ticks = client.channel::<u64>("ticks").await.unwrap();
        let mut said = std::pin::pin!(cluster.scheduler_said("snapshot written"));
        loop {
            tokio::select! {
                () = &mut said => break,
                tick = ticks.append_value(&round) => drop(tick.unwrap()),
            }
        }
    }
    client.close().await;
    cluster
}

fn whole_bytes(copy: &Stored) -> u64 {
    copy.batches.values().flatten().map(|batch| batch.bytes().len() as u64).sum()
}

/// The snapshots in a store, oldest first.
fn snapshots(dir: &std::path::Path) -> Vec<PathBuf> {
    let folder = dir.join("snapshots");
    names(&folder).iter().map(|name| folder.join(name)).collect()
}

fn flip(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trimmed_task_log_comes_with_the_snapshots_that_know_what_was_before() {
    let mut cluster = trimmed().await;
    let (backup, restored) = (cluster.dir.text("backup"), cluster.dir.text("restored"));
    let made = cluster.run(&["log", "backup", "--quiet", &backup, "--json"]).await.json().remove(0);
    assert_eq!(made["snapshots"].as_array().unwrap().len(), 2, "{made}");
    assert_eq!(cluster.take_scheduler().interrupt().await.code, Some(0));
    let seq = Seq(made["seq"].as_u64().unwrap());
    let (original, copy) =
        (stored(&cluster.dir.path("data"), seq), stored(&cluster.dir.path("backup"), Seq(u64::MAX)));
    assert_eq!(copy.batches, original.batches);
    assert_eq!(copy.firsts, original.firsts);
    assert!(copy.firsts[&LogId::TASKS] > 20);
    assert!(made["bytes"].as_u64().unwrap() > whole_bytes(&copy), "snapshots count");
    let files =
        |dir: &str| snapshots(&cluster.dir.path(dir)).iter().map(|path| fs::read(path).unwrap()).collect();
    let (one, other): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (files("data"), files("backup"));
    assert_eq!(one, other, "snapshots are copied byte for byte");
    let whole = verified(&backup).await;
    assert!(whole["logs"].as_array().unwrap().iter().all(|log| log["channel"].is_string()), "{whole}");

    run(&["log", "restore", "--quiet", &backup, "--data", &restored]).await.only_line();
    verified(&restored).await;
    fs::rename(cluster.dir.path("data"), cluster.dir.path("old")).unwrap();
    fs::rename(cluster.dir.path("restored"), cluster.dir.path("data")).unwrap();
    cluster.start_scheduler().await;
    assert_eq!(cluster.run(&["channel", "list", "--json"]).await.json().len(), 62, "every channel is there");
    let info = cluster.run(&["log", "info", "--json"]).await.json().remove(0);
    assert!(info["receipt"]["damage"].is_null(), "{info}");
    assert!(info["receipt"]["records"].as_u64().unwrap() < 900, "it began with the snapshot: {info}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_snapshot_that_can_be_read_there_is_no_backup_of_a_trimmed_task_log() {
    let cluster = trimmed().await;
    let kept = snapshots(&cluster.dir.path("data"));
    flip(&kept[1]);
    let (one, two) = (cluster.dir.text("one"), cluster.dir.text("two"));
    cluster.run(&["log", "backup", "--quiet", &one]).await.only_line();
    assert_eq!(snapshots(&cluster.dir.path("one")).len(), 1, "the one before is enough");
    verified(&one).await;
    flip(&kept[0]);
    let said = error(cluster.run(&["log", "backup", "--quiet", &two]).await);
    let expected = "logs are trimmed, and in 5 tries what the snapshots know and what was copied of them did \
                    not meet (log 0 begins at offset ";
    assert!(said.starts_with(expected) && said.contains("cannot be used: piece 0 has checksum"), "{said}");
    assert_eq!(names(&cluster.dir.path("")), ["data", "one"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_no_scheduler_has_is_copied_and_a_snapshot_that_is_damaged_left_out() {
    let mut cluster = trimmed().await;
    assert_eq!(cluster.take_scheduler().interrupt().await.code, Some(0));
    let (data, backup) = (cluster.dir.text("data"), cluster.dir.text("backup"));
    let made = run(&["log", "backup", "--quiet", &backup, "--data", &data, "--json"]).await.json().remove(0);
    let expected =
        ["backup", "bytes", "digest", "epoch", "logs", "lost", "records", "seconds", "seq", "snapshots"];
    assert_eq!(fields(&made), expected);
    let (original, copy) = (
        stored(&cluster.dir.path("data"), Seq(u64::MAX)),
        stored(&cluster.dir.path("backup"), Seq(u64::MAX)),
    );
    assert_eq!(
        (copy.last, &copy.batches, &copy.firsts),
        (original.last, &original.batches, &original.firsts)
    );
    verified(&backup).await;

    let kept = snapshots(&cluster.dir.path("backup"));
    flip(&kept[1]);
    let restored =
        run(&["log", "restore", "--quiet", &backup, "--data", &cluster.dir.text("one"), "--json"]).await;
    let said = restored.stderr.join("\n");
    assert!(restored.code == Some(0) && said.contains("cannot be used: piece 0 has checksum"), "{said}");
    assert!(said.ends_with(": it is left out"), "{said}");
    assert_eq!(snapshots(&cluster.dir.path("one")).len(), 1);
    verified(&cluster.dir.text("one")).await;

    flip(&kept[0]);
    let said = error(run(&["log", "restore", "--quiet", &backup, "--data", &cluster.dir.text("two")]).await);
    assert!(said.contains("the task log is trimmed, and no snapshot knows what was before"), "{said}");
    assert!(!cluster.dir.path("two").exists() && !cluster.dir.path("two.unfinished").exists());
    let ended = run(&["log", "verify", "--data", &backup]).await;
    assert!(ended.code == Some(1) && ended.stdout.join("\n").contains("no snapshot knows what was before"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_before_is_copied_as_it_is_and_named() {
    let mut cluster = Cluster::start().await;
    let value = |at: u32| format!("word {at} {}", "x".repeat(1000));
    for at in 10..40 {
        cluster.run(&["channel", "append", "words", &value(at)]).await.only_line();
    }
    assert_eq!(cluster.take_scheduler().interrupt().await.code, Some(0));
    let file = cluster.dir.path("data/store/db");
    let mut bytes = fs::read(&file).unwrap();
    for at in 20..23 {
        // Wherever sled has a copy of it.
        let places: Vec<usize> = memchr::memmem::find_iter(&bytes, value(at).as_bytes()).collect();
        places.into_iter().for_each(|place| bytes[place] ^= 1);
    }
    fs::write(&file, bytes).unwrap();

    // Damage that nobody has repaired is no backup.
    let (data, backup) = (cluster.dir.text("data"), cluster.dir.text("backup"));
    let said = error(run(&["log", "backup", "--quiet", &backup, "--data", &data]).await);
    assert!(
        said.starts_with(&format!("the store {data} is damaged")) && said.contains("log repair"),
        "{said}"
    );

    cluster.start_scheduler().await;
    let made = cluster.run(&["log", "backup", "--quiet", &backup, "--json"]).await.json().remove(0);
    let lost = made["lost"].as_array().unwrap();
    assert!(!lost.is_empty() && lost.iter().all(|lost| lost["log"] == 1), "{made}");
    let told = cluster.run(&["log", "backup", "--quiet", &cluster.dir.text("again")]).await.lines();
    assert!(told[0].contains(" records in it were lost before:") && told[1].starts_with("  log 1: records "));
    assert_eq!(cluster.take_scheduler().interrupt().await.code, Some(0));
    let restored =
        run(&["log", "restore", "--quiet", &backup, "--data", &cluster.dir.text("restored"), "--json"]).await;
    assert_eq!(restored.json()[0]["lost"], made["lost"]);
    let mut scheduler =
        headwater(&["scheduler", "--data", &cluster.dir.text("restored"), "--listen", &cluster.address]);
    assert_eq!(scheduler.said("listening on ").await, cluster.address);
    let tail = cluster.run(&["channel", "tail", "words", "--json"]).await;
    let tail: Vec<serde_json::Value> = tail.stdout.iter().map(|line| crate::process::json(line)).collect();
    let values = tail.iter().filter(|line| line["value"].is_string()).count();
    let gone = tail.iter().filter(|line| line["marker"] == "damaged");
    let gone: u64 = gone.map(|line| line["to"].as_u64().unwrap() - line["from"].as_u64().unwrap()).sum();
    assert_eq!((values as u64 + gone, gone > 0), (30, true));
}
