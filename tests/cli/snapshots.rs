//! Starts that begin with a snapshot, and what may go from the task log then.

use std::fs;

use headwater::Client;

use crate::cluster::{Cluster, Dir};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_begins_with_the_newest_whole_snapshot_and_history_before_it_may_go() {
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
        cluster.scheduler_said("snapshot written").await;
    }
    cluster.kill_scheduler().await;
    let folder = cluster.dir.path("data/snapshots");
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let unfinished = |path: &std::path::PathBuf| path.extension().is_some();
    names.retain(|path| !unfinished(path));
    assert_eq!(names.len(), 2, "the two newest are kept: {names:?}");
    cluster.start_scheduler().await;
    let trimmed = || async {
        let tail = cluster.run(&["channel", "tail", "$tasks", "--json"]).await.json();
        assert_eq!(tail[0]["marker"], "trimmed", "{}", tail[0]);
        tail[0]["first"].as_u64().unwrap()
    };
    assert!(trimmed().await > 20);
    let all = || async {
        let tail = cluster.run(&["channel", "tail", "numbers", "--json"]).await.json();
        tail.iter().filter_map(|line| line["value"].as_u64()).collect::<Vec<_>>()
    };
    let expected: Vec<u64> =
        (1..=3).flat_map(|round| (0..400).map(move |number| round * 1000 + number)).collect();
    assert_eq!(all().await, expected, "channels are kept");
    let records = |info: &serde_json::Value| info["receipt"]["records"].as_u64().unwrap();
    let info = cluster.run(&["log", "info", "--json"]).await.json().remove(0);
    assert!(records(&info) < 900, "the records behind the snapshot were folded, not all: {info}");
    // A damaged snapshot is left out for the one before it.
    cluster.kill_scheduler().await;
    let mut bytes = fs::read(&names[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&names[1], bytes).unwrap();
    cluster.start_scheduler().await;
    let tail = cluster.run(&["channel", "list", "--json"]).await.json();
    assert_eq!(tail.len(), 61, "every channel is there");
    let tail = cluster.run(&["channel", "tail", "numbers", "--json"]).await.json();
    assert_eq!(tail.iter().filter(|line| line["value"].is_u64()).count(), 1200);
}
