//! The main job by hand, as a cluster, with monitors that join late.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::{Cluster, left_by_a_demo};
use crate::process::Process;

/// A scheduler that goes on with the tasks of a demo, and two workers.
async fn by_hand(options: &[&str]) -> (Cluster, [Process; 2]) {
    let cluster = Cluster::start_on(left_by_a_demo().await, options).await;
    let workers = [cluster.worker("one").await, cluster.worker("two").await];
    assert_eq!(cluster.run(&["channel", "append", "interval", "0.002"]).await.only_line(), "1");
    (cluster, workers)
}

/// Reads along. Each offset must come once, in order.
struct Tail {
    process: Process,
    records: BTreeMap<u64, Value>,
    next: Option<u64>,
    caught_up: Option<u64>,
}

impl Tail {
    fn start(cluster: &Cluster, channel: &str, from: &str) -> Self {
        let process = cluster.spawn(&["channel", "tail", channel, "--from", from, "--follow", "--json"]);
        Tail { process, records: BTreeMap::new(), next: None, caught_up: None }
    }

    /// Reads a line, and gives it if it is a record.
    async fn read(&mut self) -> Option<Value> {
        let line = self.process.json().await;
        if line["marker"] == "caught_up" {
            let offset = line["offset"].as_u64();
            assert_eq!(self.caught_up.replace(offset.unwrap()), None, "said once");
            assert!(self.next.is_none() || self.next == offset, "{line}");
            self.next = offset;
            return None;
        }
        let offset = line["offset"].as_u64().unwrap();
        assert!(self.next.is_none_or(|next| next == offset), "a gap, a repeat or a reorder: {line}");
        self.next = Some(offset + 1);
        self.records.insert(offset, line.clone());
        Some(line)
    }

    async fn read_to(&mut self, offset: u64) {
        while self.next.is_none_or(|next| next < offset) {
            self.read().await;
        }
    }

    /// Reads so many lines more.
    async fn read_more(&mut self, lines: u64) -> u64 {
        for _ in 0..lines {
            self.read().await;
        }
        self.next.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_monitors_see_everything_once_across_kills_of_the_scheduler() {
    let (mut cluster, _workers) = by_hand(&[]).await;
    let mut all = Tail::start(&cluster, "adds", "0");
    let head = all.read_more(30).await;
    assert_eq!(all.records.first_key_value().unwrap().0, &0);
    let mut middle = Tail::start(&cluster, "adds", "7");
    let mut end = Tail::start(&cluster, "adds", "end");
    for _ in 0..3 {
        for tail in [&mut all, &mut middle, &mut end] {
            tail.read_more(30).await;
        }
        cluster.kill_scheduler().await;
        cluster.start_scheduler().await;
    }
    let last = end.read_more(30).await;
    all.read_to(last).await;
    middle.read_to(last).await;
    assert_eq!(middle.records.first_key_value().unwrap().0, &7);
    assert!(*end.records.first_key_value().unwrap().0 >= head);
    for late in [middle, end] {
        assert!(late.caught_up.is_some());
        let same = |(offset, record): (&u64, &Value)| all.records.get(offset).is_none_or(|it| it == record);
        assert!(late.records.iter().all(same), "everyone sees the same");
    }
    let info = cluster.run(&["log", "info", "--json"]).await.json().remove(0);
    assert_eq!(info["epoch"], 5, "the demo's, the first by hand, and three after kills");
    assert!(info["workers"].as_array().unwrap().iter().all(|worker| worker["connected"] == true), "{info}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_that_stands_still_delays_nobody_and_catches_up() {
    let (cluster, _workers) = by_hand(&["--client-lease", "1s"]).await;
    let mut stuck = Tail::start(&cluster, "adds", "0");
    let mut other = Tail::start(&cluster, "adds", "0");
    let mut sessions = Tail::start(&cluster, "$tasks", "end");
    stuck.read_more(10).await;
    stuck.process.signal("STOP").await;
    cluster.run(&["channel", "append", "interval", "0"]).await;
    // So long that the scheduler gives it up.
    let is_given_up = |line: Value| line["because"] == "it was not heard of for its lease";
    while !sessions.read().await.is_some_and(is_given_up) {}
    // What comes in that moment comes before the mark.
    let before = cluster.run(&["channel", "tail", "adds", "--from", "end"]).await.lines().pop().unwrap();
    let before: u64 = before.strip_prefix("-- caught up at offset ").expect(&before).parse().unwrap();
    other.read_to(before + 100).await;
    stuck.process.signal("CONT").await;
    stuck.read_to(before + 100).await;
    for offset in 0..before + 100 {
        assert_eq!(stuck.records[&offset], other.records[&offset]);
    }
}
