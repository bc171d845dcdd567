//! The main job in one command.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::{Cluster, Dir, free_address};
use crate::process::{Process, children, fields, headwater, json, run};

const FREE_PORT: [&str; 2] = ["--listen", "127.0.0.1:0"];

fn demo(data: &str, options: &[&str]) -> Process {
    headwater(&[&["demo", "--data", data], &FREE_PORT[..], options].concat())
}

/// What a demo prints up to its end.
async fn shown(demo: Process) -> Vec<Value> {
    demo.end().await.lines_beside_logs().iter().map(|line| json(line)).collect()
}

/// Whether a line is a result as documented: `{"offset","time","key","value"}`.
fn check_result(line: &Value) {
    assert_eq!(fields(line), ["key", "offset", "time", "value"]);
    assert!(line["offset"].is_u64() && line["value"].is_f64(), "{line}");
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == "2026-11-23T08:21:16.865Z".len() && time.ends_with('Z'), "{line}");
    let hex = line["key"].as_str().unwrap().strip_prefix("add-").unwrap();
    assert!(hex.len() == 32 && hex.chars().all(|digit| digit.is_ascii_hexdigit()), "{line}");
}

fn check_offsets(results: &[Value]) {
    let offsets: Vec<u64> = results.iter().map(|line| line["offset"].as_u64().unwrap()).collect();
    assert!(offsets.is_sorted_by(|one, next| one < next), "{offsets:?}");
}

fn marker(line: &Value) -> Option<&str> {
    line["marker"].as_str()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_shows_what_there_was_and_goes_on() {
    let dir = Dir::new();
    let data = dir.text("data");
    // An hour, so that there is one result and no more.
    let first = shown(demo(&data, &["--json", "--count", "1", "--interval", "1h"])).await;
    assert_eq!(first[0], json(r#"{"marker":"fresh","epoch":1}"#));
    assert_eq!(first[1], json(r#"{"marker":"caught_up","offset":0}"#));
    check_result(&first[2]);
    assert_eq!(first.len(), 3);

    // It would not come to its end, were it not for the new interval.
    let second = shown(demo(&data, &["--json", "--count", "20", "--interval", "0"])).await;
    let (found, second) = second.split_first().unwrap();
    let expected = ["channels", "epoch", "marker", "seq", "tasks_kept", "tasks_requeued", "tasks_running"];
    assert_eq!((fields(found), marker(found)), (expected.to_vec(), Some("recovered")));
    assert_eq!(found["epoch"], 2);
    // A worker that was still joining when the demo ended may have been given some.
    let going_on = found["tasks_requeued"].as_u64().unwrap() + found["tasks_running"].as_u64().unwrap();
    assert_eq!(going_on, 3, "{found}");
    let channels = found["channels"].as_array().unwrap();
    let names: Vec<&str> = channels.iter().map(|channel| channel["name"].as_str().unwrap()).collect();
    assert_eq!((fields(&channels[0]), names), (vec!["head", "name"], vec!["a", "adds", "b", "interval"]));

    let end = second.iter().position(|line| marker(line).is_some()).unwrap();
    let (history, caught_up) = (&second[..end], &second[end]);
    assert_eq!(history[0], first[2], "the same result at the same place");
    assert_eq!((fields(caught_up), marker(caught_up)), (vec!["marker", "offset"], Some("caught_up")));
    assert!(caught_up["offset"].as_u64() > history.last().unwrap()["offset"].as_u64());
    let results: Vec<Value> = second.iter().filter(|line| marker(line).is_none()).cloned().collect();
    assert_eq!(results.len(), 20);
    results.iter().for_each(check_result);
    check_offsets(&results);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_see_it_in_words() {
    let dir = Dir::new();
    let data = dir.text("data");
    let mut first = demo(&data, &["--interval", "0", "--count", "3"]);
    let address = first.said("listening on ").await;
    assert!(address.starts_with("127.0.0.1:") && address.ends_with("; in another terminal:"), "{address}");
    assert!(
        first.said("  headwater channel tail adds --from 0 --follow --connect 127.0.0.1:").await.len() > 3
    );
    assert_eq!(first.line().await, format!("fresh store in {data}, epoch 1"));
    assert_eq!(first.line().await, "caught up at offset 0");
    let shown = first.end().await;
    assert_eq!((shown.code, shown.stdout.len()), (Some(0), 3));
    for line in &shown.stdout {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [offset, _date, _time, key, value] = words[..] else { panic!("{line}") };
        assert!(offset.parse::<u64>().is_ok() && key.starts_with("add-"), "{line}");
        assert!((0.0..2.0).contains(&value.parse::<f64>().unwrap()), "{line}");
    }

    let mut second = demo(&data, &[]);
    let receipt = second.line().await;
    assert!(
        receipt.starts_with(&format!("recovered from {data}: epoch 2, last durable commit ")),
        "{receipt}"
    );
    assert!(receipt.contains(" records, 4 channels, ") && receipt.contains(" tasks kept, "), "{receipt}");
    assert!(receipt.contains(" requeued, ") && receipt.ends_with(" running"), "{receipt}");
    for name in
        ["  a         head ", "  adds      head ", "  b         head ", "  interval  head 1, 1 element"]
    {
        let line = second.line().await;
        assert!(line.starts_with(name) && line.trim_end_matches('s').ends_with(" element"), "{line}");
    }
    for line in &shown.stdout {
        assert_eq!(&second.line().await, line, "history is what it was");
    }
    while !second.line().await.starts_with("caught up at offset ") {}
    assert_eq!(second.interrupt().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_it_goes_on_and_adds_no_pair_twice() {
    let dir = Dir::new();
    let data = dir.text("data");
    let address = free_address();
    let mut killed = Vec::new();
    // At the same address, so that the workers of one that was killed come in the way of the next.
    for _ in 0..3 {
        let options = ["--json", "--interval", "0", "--workers", "2", "--listen", &address, "--data", &data];
        let mut demo = headwater(&[&["demo"], &options[..]].concat());
        while marker(&demo.json().await) != Some("caught_up") {}
        for _ in 0..30 {
            check_result(&demo.json().await);
        }
        let workers = children(demo.id());
        if std::path::Path::new("/proc/self/stat").exists() {
            assert_eq!(workers.len(), 2, "{workers:?}");
        }
        demo.kill().await;
        killed.push((demo, workers));
    }
    for (demo, workers) in killed {
        // Its workers have its stderr: when that has come to its end, they have, too.
        assert_eq!(demo.end().await.code, None);
        for id in workers {
            // The system may not have taken note of it yet; but nothing runs there any more.
            let command = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            assert!(command.is_empty(), "worker {id} goes on");
        }
    }
    let cluster = Cluster::start_on(dir, &[]).await;
    let adds = results(&cluster, "adds").await;
    let (a, b) = (results(&cluster, "a").await, results(&cluster, "b").await);
    assert!(adds.iter().flatten().count() >= 90);
    for (pair, sum) in adds.into_iter().enumerate() {
        if let Some(sum) = sum {
            assert_eq!(Some(sum), a[pair].zip(b[pair]).map(|(a, b)| a + b), "pair {pair}");
        }
    }
}

/// What a channel's futures came to, in order.
async fn results(cluster: &Cluster, channel: &str) -> Vec<Option<f64>> {
    let (mut order, mut results) = (Vec::new(), BTreeMap::new());
    for line in cluster.run(&["channel", "tail", channel, "--json"]).await.json() {
        match (line["kind"].as_str(), line["state"].as_str(), line["key"].as_str()) {
            (Some("appended"), None, Some(key)) => order.push(key.to_owned()),
            (Some("progress"), Some("finished"), Some(key)) => {
                let twice = results.insert(key.to_owned(), line["value"].as_f64().unwrap());
                assert_eq!(twice, None, "{key} finished twice");
            }
            (Some("progress"), Some("started"), Some(_)) => {}
            _ => assert_eq!(marker(&line), Some("caught_up"), "{line}"),
        }
    }
    order.into_iter().map(|key| results.get(&key).copied()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_with_the_reason_when_a_channel_is_taken_from_it() {
    let dir = Dir::new();
    let mut demo = demo(&dir.text("data"), &["--interval", "0"]);
    let address = demo.said("listening on ").await;
    let address = address.split(';').next().unwrap();
    while demo.line().await != "caught up at offset 0" {}
    demo.line().await;
    let stopped = run(&["channel", "stop", "a", "--connect", address]).await.only_line();
    assert!(stopped.starts_with("a stopped at "), "{stopped}");
    let ended = demo.end().await;
    let said = ended.stderr.last().unwrap();
    assert_eq!(ended.code, Some(1), "{said}");
    assert!(said.starts_with("error: task "), "{said}");
    assert!(said.contains("`headwater task show ") && said.contains("with another --data"), "{said}");
}
