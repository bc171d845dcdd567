//! Programs as tasks: `headwater submit`.
//!
//! Where a program has to be still running, it waits for a file; where it has to be gone, its process is looked for.

mod ends;
mod follow;
mod many;
mod needs;
mod output;
mod refusals;

use std::path::Path;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::process::{Ended, Process, headwater, soon};

/// `submit` with options, of a command.
pub fn spawn(cluster: &Cluster, options: &[&str], command: &[&str]) -> Process {
    headwater(&[&["submit", "--connect", &cluster.address], options, &["--"], command].concat())
}

/// The same to its end.
pub async fn submit(cluster: &Cluster, options: &[&str], command: &[&str]) -> Ended {
    spawn(cluster, options, command).end().await
}

/// Submits a script to a channel and leaves. Gives the task's key.
pub async fn submitted(cluster: &Cluster, options: &[&str], channel: &str, script: &str) -> String {
    let options = [options, &["--output-channel", channel]].concat();
    let ended = submit(cluster, &options, &["sh", "-c", script]).await;
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 1), "{ended:?}");
    ended.stdout[0].clone()
}

/// All that is on a channel.
pub async fn records(cluster: &Cluster, channel: &str) -> Vec<Value> {
    let mut records = cluster.run(&["channel", "tail", channel, "--json"]).await.json();
    assert_eq!(records.pop().unwrap()["marker"], "caught_up");
    records
}

/// The lines of a stream among them.
pub fn lines<'a>(records: &'a [Value], stream: &str) -> Vec<&'a str> {
    let of_stream = records.iter().filter(|record| record["headers"]["stream"] == stream);
    of_stream.map(|record| record["value"].as_str().unwrap()).collect()
}

/// Follows a channel, for the lines that programs write there.
pub struct Tail(Process);

impl Tail {
    pub fn start(cluster: &Cluster, channel: &str) -> Tail {
        Tail(cluster.spawn(&["channel", "tail", channel, "--follow", "--json"]))
    }

    /// The next record of which this is so.
    pub async fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let record = self.0.json().await;
            if is_it(&record) {
                return record;
            }
        }
    }

    /// The next line that a program wrote.
    pub async fn line(&mut self) -> String {
        let record = self.until(|record| record["headers"]["stream"].is_string()).await;
        record["value"].as_str().unwrap().to_owned()
    }

    /// The next record that a task has come to this state.
    pub async fn state(&mut self, state: &str) -> Value {
        self.until(|record| record["state"] == state).await
    }
}

/// The end of a script that waits until there is a file.
pub fn wait_for(path: &str) -> String {
    format!("while [ ! -e {path} ]; do sleep 0.02; done")
}

/// Waits until something is so.
pub async fn until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    soon(wait).await;
}

/// Whether a process is there, and has not ended.
pub fn runs(process: &str) -> bool {
    match std::fs::read_to_string(Path::new("/proc").join(process).join("stat")) {
        // Its name is in parentheses, its state behind them.
        Ok(stat) => !matches!(stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]), Some("Z" | "X")),
        Err(_) => false,
    }
}
