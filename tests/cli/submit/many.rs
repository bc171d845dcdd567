//! Many tasks of one command: by their numbers, and by the lines of a file.

use std::fs;

use serde_json::json;

use super::{records, submit};
use crate::cluster::Cluster;
use crate::process::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_array_runs_once_for_each_index() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let script = "echo {index} $HEADWATER_INDEX; echo '{print}' {{index}} >&2; exit $(( {index} == 30 ))";
    let options = ["--array", "1-3,20,30-40:5", "--wait", "--progress", "--output-channel", "many"];
    let ended = submit(&cluster, &options, &["sh", "-c", script]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let indexes = [1, 2, 3, 20, 30, 35, 40];
    let mut printed = ended.stdout.clone();
    let mut expected = indexes.map(|index| format!("[{index}] {index} {index}"));
    printed.sort();
    expected.sort();
    assert_eq!(printed, expected);
    for index in indexes {
        assert!(ended.stderr.contains(&format!("[{index}] {{print}} {{index}}")), "{:?}", ended.stderr);
    }
    assert!(ended.stderr.contains(&"[30] failed: exit code 1".to_owned()), "{:?}", ended.stderr);
    let [.., progress, error] = &ended.stderr[..] else { panic!("{ended:?}") };
    assert_eq!(progress, "6 finished, 1 failed, 0 running, 0 waiting of 7 tasks");
    assert_eq!(error, "error: 1 of 7 tasks did not finish: `headwater task show KEY` says why of each");
    // The futures say which is which.
    let records = records(&cluster, "many").await;
    let futures = records.iter().filter(|record| record["kind"] == "appended" && record["key"].is_string());
    let said: Vec<&str> = futures.map(|future| future["headers"]["index"].as_str().unwrap()).collect();
    assert_eq!(said, ["1", "2", "3", "20", "30", "35", "40"]);
    let line = records.iter().find(|record| record["value"] == "35 35").unwrap();
    assert_eq!(line["headers"]["index"], "35");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_in_two_braces_are_themselves_in_an_array_and_outside_of_one() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let lines = cluster.dir.text("lines");
    fs::write(&lines, "a\n").unwrap();
    let words = "{{index}} {{line}} {index} {line} {{else}}";
    for (options, printed) in [
        (&[][..], "{index} {line} {index} {line} {{else}}"),
        (&["--array", "7"], "[7] {index} {line} 7 {line} {{else}}"),
        (&["--each-line", &lines], "[1] {index} {line} 1 a {{else}}"),
    ] {
        let ended = submit(&cluster, &[&["--wait"], options].concat(), &["echo", words]).await;
        assert_eq!((ended.code, &ended.stdout[..]), (Some(0), &[printed.to_owned()][..]), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_of_a_file_is_a_task() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let file = cluster.dir.text("lines");
    fs::write(&file, "one 1\n\ntwo's\n").unwrap();
    let options = ["--each-line", &file, "--wait", "--json"];
    let ended =
        submit(&cluster, &options, &["sh", "-c", "echo \"$HEADWATER_LINE\" \"$0\"", "<{line}>"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let mut lines: Vec<_> = ended.stdout.iter().map(|line| json(line)).collect();
    lines.sort_by_key(|line| (line["index"].as_u64(), line["status"].is_string()));
    for line in &mut lines {
        assert!(line.as_object_mut().unwrap().remove("key").unwrap().as_str().unwrap().starts_with("exec-"));
    }
    let written = |index, text| json!({ "index": index, "stream": "stdout", "line": text });
    let finished = |index| json!({ "index": index, "status": "finished", "code": 0 });
    assert_eq!(
        lines,
        [written(1, "one 1 <one 1>"), finished(1), written(3, "two's <two's>"), finished(3)],
        "a line's index is its number"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_read_of_an_end_the_word_that_task_wait_has_for_it() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    for waits in ["--wait", "--progress"] {
        let ended = submit(&cluster, &[waits, "--json"], &["sh", "-c", "exit 3"]).await;
        let [end] = &ended.stdout[..] else { panic!("{ended:?}") };
        let end = json(end);
        assert_eq!((&end["status"], &end["code"]), (&json!("error"), &json!(3)));
        let key = end["key"].as_str().unwrap();
        let waited = cluster.run(&["task", "wait", key, "--json"]).await;
        assert_eq!(json(&waited.stdout[0])["status"], end["status"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_are_submitted_and_followed() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let options = ["--array", "1-600", "--progress", "--no-output", "--json"];
    let ended = submit(&cluster, &options, &["true"]).await;
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 600), "{:?}", ended.stderr);
    assert_eq!(ended.stderr.last().unwrap(), "600 finished, 0 running, 0 waiting of 600 tasks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_stands_for_one_task() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let options = ["--name", "build", "--array", "7,8", "--output-channel", "builds", "--wait"];
    let ended = submit(&cluster, &options, &["echo", "built"]).await;
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 2), "{ended:?}");
    assert_eq!(cluster.run(&["task", "wait", "build-7", "build-8"]).await.code, Some(0));
    let again = submit(&cluster, &options, &["echo", "built"]).await;
    assert_eq!((again.code, again.stdout.len()), (Some(0), 0), "{again:?}");
    let told = "there is a task `build-7` already: it stays as it is, and is not run again (`headwater task show build-7`)";
    assert!(again.stderr.contains(&told.to_owned()), "{:?}", again.stderr);
    let lines = records(&cluster, "builds").await;
    assert_eq!(super::lines(&lines, "stdout"), ["built", "built"], "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_submitted_and_left_is_printed() {
    let cluster = Cluster::start().await;
    let options = ["--array", "1-2", "--output-channel", "out", "--json"];
    let lines = submit(&cluster, &options, &["true"]).await.json();
    let said: Vec<_> = lines.iter().map(|line| (&line["channel"], &line["index"])).collect();
    assert_eq!(said, [(&json!("out"), &json!(1)), (&json!("out"), &json!(2))]);
    let ended = submit(&cluster, &["--array", "1-2", "--output-channel", "out"], &["true"]).await;
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 2));
    let told = "2 tasks submitted: `headwater channel tail out --follow` shows all of it";
    assert_eq!(ended.stderr, [told]);
    assert_eq!(records(&cluster, "out").await[0]["key"], lines[0]["key"]);
}
