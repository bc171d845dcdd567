//! What programs need of workers, where they run, and why they do not.

use std::fs;

use serde_json::{Value, json};

use super::{lines, records, submit, submitted, wait_for};
use crate::cluster::Cluster;

async fn explain(cluster: &Cluster, key: &str) -> Value {
    cluster.run(&["task", "explain", key, "--json"]).await.json().remove(0)
}

/// What there is and what is free of a worker's resource.
async fn resource(cluster: &Cluster, name: &str) -> (String, String) {
    let worker = cluster.run(&["worker", "list", "--json"]).await.json().remove(0);
    let resources = worker["resources"].as_array().unwrap().clone();
    let of = resources.iter().find(|of| of["name"] == name).unwrap_or_else(|| panic!("no {name}: {worker}"));
    (of["total"].as_str().unwrap().to_owned(), of["free"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_has_what_it_needs_for_itself_and_finds_it_in_its_environment() {
    let cluster = Cluster::start().await;
    let options = ["--no-detect", "--resource", "gpus=[2,5]", "--resource", "disk/io=1.5", "--slots", "8"];
    let _worker = {
        let mut worker = cluster.spawn(&[&["worker", "--name", "w"], &options[..]].concat());
        worker.said("joined").await;
        worker
    };
    let go = cluster.dir.text("go");
    let script = format!(
        "echo $HEADWATER_RESOURCE_GPUS:$CUDA_VISIBLE_DEVICES:$HEADWATER_RESOURCE_DISK_IO; {}",
        wait_for(&go)
    );
    let needs = ["--needs", "gpus=1", "--needs", "disk/io=0.5"];
    for channel in ["a", "b"] {
        submitted(&cluster, &needs, channel, &script).await;
    }
    let third = submitted(&cluster, &["--needs", "gpus=0.5"], "c", "echo $CUDA_VISIBLE_DEVICES").await;
    let mut seen = Vec::new();
    for channel in ["a", "b"] {
        let mut tail = super::Tail::start(&cluster, channel);
        let record = tail.until(|record| record["headers"]["stream"] == "stdout").await;
        seen.push(record["value"].as_str().unwrap().to_owned());
    }
    seen.sort();
    assert_eq!(seen, ["2:2:0.5", "5:5:0.5"]);
    assert_eq!(resource(&cluster, "gpus").await, ("2".to_owned(), "0".to_owned()));
    assert_eq!(resource(&cluster, "disk/io").await, ("1.5".to_owned(), "0.5".to_owned()));
    let why = explain(&cluster, &third).await;
    assert_eq!(
        why["because"],
        "it waits for gpus=0.5, which others have on the one worker that could run it"
    );
    assert_eq!(why["points"], json!([{"of": "w", "words": "has 0 of 2 gpus free, and 0.5 is needed"}]));
    let shown = cluster.run(&["task", "explain", &third]).await;
    assert_eq!(shown.stdout.len(), 2, "{shown:?}");
    assert_eq!(shown.stdout[0], format!("{third} is pending: {}", why["because"].as_str().unwrap()));
    fs::write(&go, "").unwrap();
    cluster.run(&["task", "wait", &third]).await.only_line();
    let found = records(&cluster, "c").await;
    assert!(["2", "5"].contains(&lines(&found, "stdout")[0]), "{found:?}");
    let history = cluster.run(&["task", "show", &third, "--json"]).await.json().remove(0)["history"].clone();
    let started = history.as_array().unwrap().iter().find(|row| row["kind"] == "started").unwrap();
    assert!(started["with"][0].as_str().unwrap().starts_with("gpus=0.5 ("), "{started}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_runs_where_it_may() {
    let cluster = Cluster::start().await;
    let _one = cluster.worker_with("one", &["--host", "rack-1"]).await;
    let _two =
        cluster.worker_with("two", &["--host", "rack-2", "--label", "zone:eu", "--label", "ssd"]).await;
    for on in [
        &["--on", "worker=two"][..],
        &["--on", "host=rack-2"],
        &["--on", "label=zone:eu", "--prefer", "worker=one"],
    ] {
        for _ in 0..2 {
            let options = [on, &["--wait", "--json"]].concat();
            let ended = submit(&cluster, &options, &["true"]).await.json();
            let key = ended[0]["key"].as_str().unwrap();
            let shown = cluster.run(&["task", "show", key, "--json"]).await.json().remove(0);
            let history = shown["history"].as_array().unwrap();
            let started = history.iter().find(|row| row["kind"] == "started").unwrap();
            assert_eq!(started["worker"], "two", "{on:?}: {started}");
        }
    }
    let key = submitted(&cluster, &["--on", "label=gpu"], "none", "true").await;
    let why = explain(&cluster, &key).await;
    assert_eq!(
        why["because"],
        "it waits for a worker that is label=gpu: none of the 2 workers that could run it is"
    );
    assert_eq!(why["points"][0], json!({"of": "one", "words": "is not label=gpu"}));
    // It is not too late for such a worker.
    let _three = cluster.worker_with("three", &["--label", "gpu"]).await;
    cluster.run(&["task", "wait", &key]).await.only_line();
    assert_eq!(explain(&cluster, &key).await["because"], "it has finished: its result is in the log");
    let unknown = cluster.run(&["task", "explain", "nobody"]).await.refusal();
    assert!(unknown.starts_with("there is no task `nobody`: "), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_offered_unless_it_is_said_otherwise() {
    let cluster = Cluster::start().await;
    let cores = std::thread::available_parallelism().unwrap().get().to_string();
    let worker = cluster.worker("w").await;
    assert_eq!(resource(&cluster, "cpus").await, (cores.clone(), cores));
    assert!(resource(&cluster, "memory").await.0.parse::<u64>().unwrap() > 1 << 20);
    assert_eq!(worker.interrupt().await.code, Some(0));
    let _other = cluster.worker_with("other", &["--resource", "cpus=7", "--resource", "memory=0"]).await;
    assert_eq!(resource(&cluster, "cpus").await.0, "7");
    let listed = cluster.run(&["worker", "list"]).await;
    assert!(listed.stdout.join("\n").contains("cpus 7/7"), "{listed:?}");
    let info = cluster.run(&["worker", "list", "--json"]).await.json().remove(0);
    assert!(info["resources"].as_array().unwrap().iter().all(|of| of["name"] != "memory"), "{info}");
    let twice = ["worker", "--resource", "x=1", "--resource", "x=2"];
    let refused = cluster.run(&twice).await.refusal();
    assert_eq!(refused, "the worker has `x` twice: say once how much there is");
}
