//! Looking back: what is told of another time is what was told then.

use std::path::Path;

use serde_json::{Value, json};

use super::Site;
use crate::process::run as run_to_end;

/// What is told of everything, now or before an offset.
async fn told(site: &Site, at: Option<u64>) -> Vec<Value> {
    let at = at.map(|at| format!("?at={at}")).unwrap_or_default();
    let mut all = Vec::new();
    for path in ["overview", "channels", "tasks", "channels/a", "channels/b", "tasks/first", "tasks/second"] {
        let (_, mut answer) = site.ask(&[], &format!("/api/v1/{path}{at}")).await;
        let answer_fields = answer.as_object_mut().expect("it is an object");
        // What only the running scheduler knows, and where it differs by itself.
        for now in ["as_of", "seq", "receipt", "subscribers", "kept_by"] {
            answer_fields.remove(now);
        }
        for task in answer.get_mut("tasks").and_then(Value::as_array_mut).into_iter().flatten() {
            task.as_object_mut().expect("it is an object").remove("kept_by");
        }
        all.push(answer);
    }
    all
}

async fn run(site: &Site, name: &str, channel: &str) {
    let program = json!({ "command": ["echo", name], "name": name, "output_channel": channel });
    assert_eq!(site.post(&program.to_string(), "/api/v1/tasks").await.0, 201);
    let (status, _) = site.ask(&[], &format!("/api/v1/tasks/{name}/result?wait_ms=30000")).await;
    assert_eq!(status, 200);
}

async fn head(site: &Site) -> u64 {
    site.ask(&[], "/api/v1/overview").await.1["tasks_head"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_then_is_told_of_then() {
    let mut site = Site::start(&["--worker-lease", "600s"]).await;
    site.joined(1).await;
    let mut moments = vec![(head(&site).await, told(&site, None).await)];
    run(&site, "first", "a").await;
    moments.push((head(&site).await, told(&site, None).await));
    run(&site, "second", "b").await;
    assert_eq!(site.post("1", "/api/v1/channels/a/values").await.0, 201);
    assert_eq!(site.ask(&["-X", "POST"], "/api/v1/channels/a/stop").await.0, 200);
    let at = head(&site).await;
    let (_, dated) = site.ask(&[], &format!("/api/v1/overview?at={at}")).await;
    assert_eq!(dated["as_of"]["offset"], at);
    moments.push((at, told(&site, None).await));
    assert_ne!(moments[1].1, moments[2].1);
    run(&site, "third", "c").await;
    for (at, then) in moments.iter().rev().chain(&moments) {
        assert_eq!(&told(&site, Some(*at)).await, then, "before {at}");
    }
    assert_eq!(moments[0].1[5]["error"]["code"], "unknown_task");
    // Behind a restart it is what it was.
    site.kill().await;
    site.start_again().await;
    for (at, then) in &moments {
        let mut then = then.clone();
        let again = told(&site, Some(*at)).await;
        // The store says where it is, and is where it was.
        assert_eq!(again[0]["store"], then[0]["store"]);
        assert_eq!(again[0]["starts"].as_array().unwrap().len(), 1, "the second start came later");
        then[0]["version"] = again[0]["version"].clone();
        assert_eq!(again, then, "before {at}, behind a restart");
    }
    let (_, now) = site.ask(&[], "/api/v1/overview").await;
    let epochs: Vec<_> = now["starts"].as_array().unwrap().iter().map(|start| &start["epoch"]).collect();
    assert_eq!(epochs, [2, 1]);
    // Each is where it says.
    for start in now["starts"].as_array().unwrap() {
        let place = format!("/api/v1/channels/$tasks/records?from={}&limit=1", start["offset"]);
        let (_, page) = site.ask(&[], &place).await;
        let record = &page["records"][0];
        assert_eq!(
            (&record["kind"], &record["epoch"], &record["time"]),
            (&json!("recovered"), &start["epoch"], &start["time"]),
            "{record}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_is_told_to_be_gone() {
    let bounds = ["--snapshot-records", "10", "--task-log-records", "10", "--task-log-age", "0"];
    let site = Site::start(&bounds).await;
    for n in 0.. {
        run(&site, &format!("task-{n}"), "a").await;
        let (status, answer) = site.ask(&[], "/api/v1/overview?at=0").await;
        if status == 410 {
            assert_eq!(answer["error"]["code"], "trimmed");
            break;
        }
        assert!(n < 500, "nothing is trimmed");
    }
    let at = head(&site).await;
    assert_eq!(site.ask(&[], &format!("/api/v1/overview?at={at}")).await.1["as_of"]["offset"], at);
}

/// All that is told as of before an offset.
async fn looked_back(site: &Site, at: u64) -> Vec<Value> {
    let mut all = Vec::new();
    for path in ["overview", "channels", "tasks", "channels/a", "channels/b", "tasks/task-3", "tasks/task-20"]
    {
        all.push(site.ask(&[], &format!("/api/v1/{path}?at={at}")).await.1);
    }
    all
}

fn snapshots(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("snapshots")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_restored_looks_back_as_the_one_that_was_backed_up() {
    let mut site = Site::start(&["--snapshot-records", "20", "--keep-task-log"]).await;
    site.joined(1).await;
    let mut offsets = vec![0];
    while snapshots(&site.dir.path("data")) < 6 {
        let n = offsets.len();
        run(&site, &format!("task-{n}"), ["a", "b"][n % 2]).await;
        offsets.push(head(&site).await);
        assert!(n < 500, "no snapshots are taken");
    }
    let mut then = Vec::new();
    for at in &offsets {
        then.push(looked_back(&site, *at).await);
    }
    let (backup, data) = (site.dir.text("backup"), site.dir.text("data"));
    run_to_end(&["log", "backup", &backup, "--quiet", "--connect", &site.address]).await.only_line();
    assert!(snapshots(&site.dir.path("backup")) >= 6, "the older ones come along");
    site.kill().await;
    for keep_snapshots in [true, false] {
        std::fs::remove_dir_all(&data).unwrap();
        run_to_end(&["log", "restore", &backup, "--quiet", "--data", &data]).await.only_line();
        if !keep_snapshots {
            // All is folded from the first record then.
            std::fs::remove_dir_all(site.dir.path("data/snapshots")).unwrap();
        }
        site.start_again().await;
        for (at, then) in offsets.iter().zip(&then).rev() {
            let now = looked_back(&site, *at).await;
            assert_eq!(&now, then, "before {at}, with snapshots: {keep_snapshots}");
        }
        site.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_of_then_is_told_with_it() {
    let mut site = Site::start(&[]).await;
    site.joined(1).await;
    run(&site, "first", "a").await;
    let before = head(&site).await;
    run(&site, "damaged-task", "b").await;
    let behind = head(&site).await;
    assert_eq!(site.up.take().unwrap().interrupt().await.code, Some(0));
    let file = site.dir.path("data/store/db");
    let mut bytes = std::fs::read(&file).unwrap();
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes, "damaged-task").collect();
    places.into_iter().for_each(|place| bytes[place] ^= 1);
    std::fs::write(file, bytes).unwrap();
    site.start_again().await;
    for path in ["overview", "tasks", "channels"] {
        let (_, then) = site.ask(&[], &format!("/api/v1/{path}?at={behind}")).await;
        let lost = then["as_of"]["lost"].as_str().unwrap_or_else(|| panic!("{then}"));
        assert!(lost.starts_with("lost records: log 0 "), "{lost}");
        let (_, then) = site.ask(&[], &format!("/api/v1/{path}?at={}", before - 1)).await;
        assert!(then["as_of"].get("lost").is_none(), "{then}");
    }
}
