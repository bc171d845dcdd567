//! The examples as their user runs them: their binaries.

use serde_json::json;

use crate::cluster::{Cluster, Dir};
use crate::process::{Ended, Process, command, example};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_one_runs_on_its_own() {
    let lines = Process::of(command(&example("first"), &[])).end().await.lines();
    // The keys differ from run to run.
    let lines: Vec<String> = lines.iter().map(|line| without_keys(line)).collect();
    assert_eq!(
        lines,
        [
            "1 + 2 + 39 = 42",
            "called as an ordinary function: 42",
            "parse: invalid float literal",
            "add: dependency parse-KEY failed: invalid float literal",
            "add is at offset 0",
            "parse is at offset 2",
            "add is at offset 4",
            "on the channel: 3",
            "on the channel: 39",
            "on the channel: 42",
        ]
    );
}

/// A text with `KEY` in the place of each key's digits.
fn without_keys(text: &str) -> String {
    let is_digits = |word: &str| word.len() == 32 && word.chars().all(|digit| digit.is_ascii_hexdigit());
    let pieces = text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()).map(|piece| {
        let word = piece.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        if is_digits(word) { piece.replace(word, "KEY") } else { piece.to_owned() }
    });
    pieces.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_own_binary_is_scheduler_worker_and_client() {
    let (dir, pipeline) = (Dir::new(), example("pipeline"));
    let mut up =
        Process::of(command(&pipeline, &["up", "--listen", "127.0.0.1:0", "--data", &dir.text("data")]));
    let address = up.said("listening on ").await;
    let run = async |arguments: &[&str]| -> Ended {
        let mut command = command(&pipeline, arguments);
        command.env("HEADWATER_CONNECT", &address);
        Process::of(command).end().await
    };
    // It does not need the one who started it: the second time, it shows the same.
    for _ in 0..2 {
        let lines: Vec<String> =
            run(&["start"]).await.lines().iter().map(|line| without_keys(line)).collect();
        let failed = "dependency parse-KEY failed: invalid float literal: its log ends with:";
        assert_eq!(lines, ["20", "22.5", failed, "INFO pipeline: reads \"n/a\"", "100"]);
    }
    let records = run(&["channel", "tail", "celsius", "--json"]).await.json();
    let states = records.iter().filter_map(|record| record["state"].as_str());
    // What began before it was appended has no `started` there.
    let states: Vec<&str> = states.filter(|state| *state != "started").collect();
    assert_eq!(states, ["finished", "finished", "failed", "finished"]);
    let failed = records.iter().find(|record| record["state"] == "failed").unwrap();
    let error = without_keys(failed["error"].as_str().unwrap());
    let log = "its log ends with:\nINFO pipeline: reads \"n/a\"";
    assert_eq!(error, format!("dependency parse-KEY failed: invalid float literal: {log}"));

    let key = failed["key"].as_str().unwrap();
    let shown: Vec<String> =
        run(&["task", "show", key]).await.lines().iter().map(|line| without_keys(line)).collect();
    assert_eq!(
        shown[2..8].to_vec(),
        [
            "status     error",
            "kept by    channel celsius: 1 element",
            "error      invalid float literal",
            "           because its log ends with:",
            "             INFO pipeline: reads \"n/a\"",
            "           through parse-KEY",
        ]
    );
    let shown = run(&["task", "show", key, "--json"]).await.json().remove(0);
    assert_eq!(
        (&shown["status"], &shown["error"]["message"]),
        (&json!("error"), &json!("invalid float literal"))
    );
    assert_eq!(shown["error"]["path"].as_array().unwrap().len(), 1);
    let shown = run(&["task", "show", "convert", "--json"]).await.json().remove(0);
    assert_eq!(shown["value"], 4);
    assert_eq!(up.interrupt().await.code, Some(0));
}

/// How much memory a process may take, beside files that the system reads again as it needs them: 96 MiB.
#[cfg(target_os = "linux")]
const MEMORY_KIB: u64 = 96 * 1024;

/// How long its lines are.
#[cfg(target_os = "linux")]
const LINE_BYTES: u64 = 80;

/// A program that may not take more memory than that.
#[cfg(target_os = "linux")]
fn with_little_memory(program: &std::path::Path, arguments: &[&str]) -> tokio::process::Command {
    let script = format!("ulimit -d {MEMORY_KIB} && exec \"$0\" \"$@\"");
    let program = program.to_str().expect("its path is text");
    let mut command = command("sh".as_ref(), &[&["-c", &script, program], arguments].concat());
    // The stack of each thread counts, and a machine may have many cores.
    command.env("TOKIO_WORKER_THREADS", "2");
    command
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_is_larger_than_memory_passes_through_workers_and_comes_to_the_client() {
    let (cluster, blob) = (Cluster::start().await, example("blob"));
    let worker = async |name: &str| {
        let results = ["--results-memory", "16MiB", "--slots", "1", "--connect", &cluster.address];
        let arguments = [&["worker", "--name", name], &results[..]].concat();
        let mut worker = Process::of(with_little_memory(&blob, &arguments));
        worker.said("joined").await;
        worker
    };
    let one = worker("one").await;
    // More than any of them may have in memory.
    let lines = 1_300_000_u64;
    let mut start = with_little_memory(&blob, &["start", &lines.to_string(), "two"]);
    start.env("HEADWATER_CONNECT", &cluster.address);
    let start = Process::of(start);
    let two = worker("two").await;
    let told = start.end().await.lines();
    assert_eq!(told, [format!("{} errors in {} bytes", lines / 1000, lines * LINE_BYTES)]);
    assert!(lines * LINE_BYTES > MEMORY_KIB * 1024);
    for worker in [one, two] {
        assert_eq!(worker.interrupt().await.code, Some(0));
    }
}
