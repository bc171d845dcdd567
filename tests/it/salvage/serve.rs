//! A scheduler on a damaged store: what its clients and the command line are told.

use std::fs;
use std::path::Path;
use std::process::Command;

use headwater::local::{Local, Options, Store};
use headwater::log::{Log, Purpose};
use headwater::protocol::LogId;
use headwater::scheduler::snapshots;
use headwater::{Client, Error, Item, Offset, task};
use serde_json::{Value, json};

use super::damage::{length_and_used, zero};
use super::kinds::random;
use super::store::open;
use crate::engines::copy_dir;

fn options(dir: &Path) -> Options {
    let (store, listen) = (Store::Directory(dir.to_owned()), "127.0.0.1:0".to_owned());
    Options { store, listen, ..Options::default() }
}

/// Damages all copies of a text in sled's file.
fn damage(dir: &Path, text: &str) {
    let path = dir.join("store/db");
    let mut bytes = fs::read(&path).unwrap();
    let places: Vec<usize> = bytes
        .windows(text.len())
        .enumerate()
        .filter(|(_, at)| *at == text.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at] ^= 1);
    fs::write(path, bytes).unwrap();
}

#[task]
fn tripled(number: i64) -> i64 {
    3 * number
}

/// How often a scheduler is started on a store that is damaged at a random place.
const STARTS: u64 = 12;

/// What a command of the program prints with `--json`, line by line.
fn headwater(arguments: &[&str]) -> (bool, Vec<Value>) {
    let output = Command::new(env!("CARGO_BIN_EXE_headwater")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A store with a channel `words` of 40 values, in which number 25 is damaged.
async fn damaged(dir: &Path) {
    let local = Local::start(options(dir)).await.unwrap();
    let client = Client::connect(&local.address().to_string()).await.unwrap();
    let words = client.channel::<String>("words").await.unwrap();
    for number in 0..40 {
        words.append_value(&format!("value-{number}!")).await.unwrap();
    }
    client.close().await;
    local.stop().await;
    damage(dir, "value-25!");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_is_told_what_is_lost_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    damaged(dir).await;
    let error = Local::start(Options { repair: false, ..options(dir) }).await.err().unwrap().to_string();
    assert!(error.contains("is damaged: ") && error.contains("without --no-repair"), "{error}");

    let local = Local::start(options(dir)).await.unwrap();
    let damage = local.receipt().damage.clone().unwrap();
    assert!(
        damage.contains("lost is 1 record: 25 to 26 of log 1") && damage.contains("store.damaged-1"),
        "{damage}"
    );
    assert!(!local.fresh());
    let client = Client::connect(&local.address().to_string()).await.unwrap();
    let words = client.channel::<String>("words").await.unwrap();
    assert_eq!(words.append_value(&"one more".to_owned()).await.unwrap().offset, 40, "offsets go on");
    let mut records = words.records();
    let mut seen = Vec::new();
    loop {
        match records.next().await.unwrap().unwrap() {
            Item::Record(record) => seen.push(format!("{}", record.offset)),
            Item::Damaged { from, to, .. } => seen.push(format!("{from} to {to}")),
            Item::CaughtUp { .. } => break,
            Item::Trimmed { .. } => panic!("nothing was trimmed"),
        }
    }
    assert_eq!((seen.len(), &*seen[24], &*seen[25], &*seen[26]), (41, "24", "25 to 26", "26"));
    let mut values = words.from(Offset::Index(25)).values();
    let Some(Err(Error::Damaged { from: 25, to: 26, .. })) = values.next().await else {
        panic!("in silence")
    };
    assert_eq!(values.next().await.unwrap().unwrap(), "value-26!");
    let mut values = words.elements_from(26).values();
    assert_eq!(values.next().await.unwrap().unwrap(), "value-26!");

    let address = local.address().to_string();
    let (ok, lines) =
        headwater(&["channel", "tail", "words", "--from", "24", "--json", "--connect", &address]);
    assert!(ok, "{lines:?}");
    let marker = &lines[1];
    assert_eq!(
        (&marker["marker"], &marker["from"], &marker["to"]),
        (&json!("damaged"), &json!(25), &json!(26))
    );
    assert_eq!(lines[2]["offset"], 26);
    client.close().await;
    local.stop().await;
    // The store is whole now. What it lost is told for as long as starts fold over it.
    let damage = Local::start(options(dir)).await.unwrap().receipt().damage.clone();
    assert_eq!(damage.as_deref(), Some("lost records: log 1 25..26"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_repairs_what_it_finds_and_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let dir = &dir.path().join("data");
    let data = dir.to_str().unwrap();
    assert!(!headwater(&["log", "repair", "--data", data]).0 && !dir.exists(), "there is none");
    damaged(dir).await;
    let (ok, done) = headwater(&["log", "repair", "--data", data, "--json"]);
    assert!(ok && done[0]["repaired"] == true && done[0]["records_lost"] == 1, "{done:?}");
    assert_eq!((&done[0]["lost"][0]["log"], &done[0]["lost"][0]["from"]), (&json!(1), &json!(25)));
    assert!(dir.join("store.damaged-1").is_dir());
    let (ok, done) = headwater(&["log", "repair", "--data", data, "--json"]);
    assert_eq!((ok, &done[..]), (true, &[json!({ "repaired": false })][..]));
    let (ok, found) = headwater(&["log", "verify", "--data", data, "--json"]);
    assert!(!ok && found[0]["check"] == "lost" && found[0]["offset"] == 25, "{found:?}");
    let (ok, dumped) = headwater(&["log", "dump", "--data", data, "--json", "--log", "words"]);
    let marker = dumped.iter().find(|line| line["marker"] == "damaged").unwrap();
    assert!(!ok && marker["from"] == 25 && marker["to"] == 26, "{marker}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_starts_whatever_is_lost_of_its_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let with_workers = |dir: &Path| Options { workers: 1, slots: 2, ..options(dir) };
    for _ in 0..2 {
        let local = Local::start(with_workers(dir)).await.unwrap();
        let client = Client::connect(&local.address().to_string()).await.unwrap();
        let sums = client.channel::<i64>("sums").await.unwrap();
        for number in 0..40 {
            let future = client.submit(tripled, (number,)).await.unwrap();
            sums.append(&future).await.unwrap();
            if number % 2 == 0 {
                assert_eq!(future.await.unwrap(), 3 * number);
            }
        }
        client.close().await;
        local.stop().await;
    }
    let (_, used) = length_and_used(dir);
    let mut random = random();
    for _ in 0..STARTS {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir, copy.path());
        // The last half holds the tasks; a snapshot would know them all.
        let _ = fs::remove_dir_all(copy.path().join("snapshots"));
        zero(copy.path(), random.u64(used / 2..used), random.u64(100..20_000));
        let local = Local::start(with_workers(copy.path())).await.unwrap();
        assert!(local.receipt().damage.is_some());
        local.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_task_log_has_lost_at_its_end_a_start_knows_from_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let every_records = snapshots::Options { every_records: 1, ..snapshots::Options::default() };
    let local = Local::start(Options { snapshots: every_records, ..options(dir) }).await.unwrap();
    let client = Client::connect(&local.address().to_string()).await.unwrap();
    let words = client.channel::<String>("words").await.unwrap();
    let mut count = 0;
    // The last commit is one of the channel, behind a snapshot that knows that it was created.
    while fs::read_dir(dir.join("snapshots")).map_or(0, Iterator::count) < 3 || count < 10 {
        words.append_value(&format!("value-{count}!")).await.unwrap();
        count += 1;
        assert!(count < 1000, "no snapshots are taken");
    }
    local.stop().await;
    drop(client);
    let (log, _) = open(dir, Purpose::Examine);
    let created = log.read(LogId::TASKS, 0, usize::MAX).unwrap().pop().unwrap();
    let (from, to) = (created.header().base_offset, created.header().end_offset());
    drop(log);
    damage(dir, "words");

    let local = Local::start(options(dir)).await.unwrap();
    let told = local.receipt().damage.clone().unwrap();
    assert!(told.contains(&format!("lost records: log 0 {from}..{to}")), "{told}");
    let client = Client::connect(&local.address().to_string()).await.unwrap();
    let words = client.channel::<String>("words").await.unwrap();
    assert_eq!(words.append_value(&"one more".to_owned()).await.unwrap().offset, count);
    assert_eq!(words.info().await.unwrap().elements, count + 1);
    client.close().await;
    local.stop().await;
    let (log, _) = open(dir, Purpose::Examine);
    let lost = log.read(LogId::TASKS, from, 0).unwrap().swap_remove(0).damage().unwrap();
    assert_eq!((lost.from, lost.to), (from, to), "nobody is led over it");
}
