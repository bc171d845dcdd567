//! What commands print, for people and for programs: data on stdout, and nothing on stderr.

use serde_json::{Value, json};

use crate::cluster::{Cluster, left_by_a_demo};
use crate::process::fields;

/// A scheduler on the store that a demo has left, without workers: its three tasks wait.
async fn after_a_demo() -> Cluster {
    Cluster::start_on(left_by_a_demo().await, &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_are_written_listed_read_and_stopped() {
    let cluster = Cluster::start().await;
    let append = |values: &'static [&str]| cluster.run(values);
    let values = ["channel", "append", "notes", "a text", "-2.5", r#"{"b":[1,null]}"#, r#""12""#];
    assert_eq!(cluster.run(&values).await.lines(), ["0", "1", "2", "3"]);
    assert_eq!(append(&["channel", "append", "x:y/z", "7"]).await.lines(), ["0"]);
    let stopped = cluster.run(&["channel", "stop", "x:y/z"]).await.only_line();
    let digest = stopped.strip_prefix("x:y/z stopped at 1 element, digest ").expect(&stopped).to_owned();
    assert_eq!(cluster.run(&["channel", "stop", "x:y/z"]).await.only_line(), stopped, "nothing changes");

    let listed = cluster.run(&["channel", "list"]).await.lines();
    let words = |line: &String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&listed[0]), ["CHANNEL", "FIRST", "HEAD", "ELEMENTS", "BYTES", "STATE"]);
    assert_eq!(words(&listed[1])[..4], ["notes", "0", "4", "4"]);
    assert_eq!(words(&listed[2]), ["x:y/z", "0", "2", "1", "1", "byte", "stopped"]);
    let listed = cluster.run(&["channel", "list", "--json"]).await.json();
    assert_eq!(fields(&listed[0]), ["bytes", "digest", "elements", "first", "head", "name", "stopped"]);
    let expected = json!({
        "name": "x:y/z", "first": 0, "head": 2, "elements": 1, "bytes": 1, "stopped": true, "digest": digest
    });
    assert_eq!(listed[1..], [expected]);

    let read = cluster.run(&["channel", "tail", "notes", "--from", "1", "--json"]).await.json();
    assert_eq!(fields(&read[0]), ["kind", "offset", "time", "value"]);
    let seen = |line: &Value| (line["offset"].clone(), line["kind"].clone(), line["value"].clone());
    let expected = [(1, json!(-2.5)), (2, json!({"b": [1, null]})), (3, json!("12"))];
    for (line, (offset, value)) in read.iter().zip(expected) {
        assert_eq!(seen(line), (json!(offset), json!("appended"), value));
    }
    assert_eq!(read[3..], [json!({"marker": "caught_up", "offset": 4})]);

    // Numbers are kept to the last digit.
    let numbers = ["1.6948674738744653", "0.9908701741838819", "-18014398509481985", "1e-7"];
    cluster.run(&[&["channel", "append", "numbers"], &numbers[..]].concat()).await.lines();
    let read = cluster.run(&["channel", "tail", "numbers"]).await.lines();
    for (line, number) in read.iter().zip(numbers) {
        assert!(line.ends_with(&format!("  {number}")), "{line} is not {number}");
    }

    // A channel that is stopped has an end, and so has following it.
    let read = cluster.run(&["channel", "tail", "x:y/z", "--follow"]).await.lines();
    let [value, end, mark] = &read[..] else { panic!("{read:?}") };
    assert!(value.starts_with("       0  20") && value.ends_with("  appended   7"), "{value}");
    let words = format!("  stopped    at 1 element, digest {digest}");
    assert!(end.starts_with("       1  20") && end.contains(&format!("{words}  session=")), "{end}");
    assert_eq!(mark, "-- caught up at offset 2");
    let read = cluster.run(&["channel", "tail", "x:y/z", "--json"]).await.json();
    assert_eq!(
        (fields(&read[1]), &read[1]["kind"]),
        (vec!["kind", "offset", "session", "time"], &json!("stopped"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_read_from_anywhere_up_to_anywhere() {
    let cluster = Cluster::start().await;
    for values in [["0", "1", "2"], ["3", "4", "5"]] {
        cluster.run(&[&["channel", "append", "numbers"], &values[..]].concat()).await.lines();
    }
    let all = cluster.run(&["channel", "tail", "numbers", "--json"]).await.json();
    let time = |line: &Value| format!("time:{}", line["time"].as_str().unwrap());
    let (first, second) = (time(&all[0]), time(&all[3]));
    assert_ne!(first, second);
    let people = cluster.run(&["channel", "tail", "numbers"]).await.lines();
    let words: Vec<&str> = people[3].split_whitespace().collect();
    let as_printed = format!("time:{} {}", words[1], words[2]);
    let read = async |options: &[&str]| {
        let lines = cluster.run(&[&["channel", "tail", "numbers", "--json"], options].concat()).await.json();
        let words = lines.iter().map(|line| match &line["marker"] {
            Value::Null => line["value"].to_string(),
            marker => marker.as_str().unwrap().to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    for (options, expected) in [
        (&["--from", "last:2"][..], "4 5 caught_up"),
        (&["--from", "last:99"], "0 1 2 3 4 5 caught_up"),
        (&["--from", &second], "3 4 5 caught_up"),
        (&["--from", &as_printed], "3 4 5 caught_up"),
        (&["--from", "time:-1h"], "0 1 2 3 4 5 caught_up"),
        (&["--until", &second], "0 1 2"),
        (&["--from", "1", "--until", "4"], "1 2 3"),
        (&["--from", "last:1", "--until", "now"], "5 caught_up"),
        // To follow means to wait for what comes, up to the bound and no longer.
        (&["--from", "2", "--until", "4", "--follow"], "2 3"),
        (&["--from", "last:1", "--until", "now", "--follow"], "5 caught_up"),
        (&["--until", "time:-1h", "--follow"], ""),
    ] {
        assert_eq!(read(options).await, expected, "{options:?}");
    }
    let end = ["channel", "tail", "numbers", "--json", "--from", "end", "--until"];
    // Nothing more comes, so its time ends it, or it comes.
    let quiet = cluster.spawn(&[&end[..], &["time:-0", "--follow"]].concat());
    let mut waits = cluster.spawn(&[&end[..], &["7", "--follow"]].concat());
    assert_eq!(waits.json().await["marker"], "caught_up");
    assert_eq!(quiet.end().await.json(), [json!({"marker": "caught_up", "offset": 6})]);
    cluster.run(&["channel", "append", "numbers", "6", "7"]).await.lines();
    let [line] = &waits.end().await.json()[..] else { panic!("one more line") };
    assert_eq!(line["value"], 6);
    let tasks = cluster.run(&["channel", "tail", "$tasks", "--from", "last:3"]).await.lines();
    assert_eq!(tasks.len(), 4, "three records, and where they end: {tasks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_futures_records_tell_what_became_of_it() {
    let cluster = after_a_demo().await;
    let adds = cluster.run(&["channel", "tail", "adds", "--json"]).await.json();
    let people = cluster.run(&["channel", "tail", "adds"]).await.lines();
    assert_eq!(people.len(), adds.len());
    let key = adds[0]["key"].as_str().unwrap();
    let mut states = Vec::new();
    for (line, people) in adds.iter().zip(&people) {
        let words: Vec<&str> = people.split_whitespace().skip(3).collect();
        let word = |name: &str| line[name].as_str().unwrap_or_default();
        match (word("kind"), word("state")) {
            ("appended", state) => {
                assert_eq!((fields(line), state), (vec!["key", "kind", "offset", "time"], ""));
                assert_eq!(words, ["appended", key]);
            }
            // Not there when it began before it was appended.
            ("progress", state @ "started") => {
                assert_eq!(fields(line), ["key", "kind", "offset", "state", "time", "worker"]);
                assert_eq!(words, [state, key, "on", word("worker")]);
            }
            ("progress", state @ "finished") => {
                assert_eq!(fields(line), ["key", "kind", "offset", "state", "time", "value"]);
                assert_eq!(words, [state, key, &line["value"].to_string()]);
                states.push(state);
            }
            _ => assert_eq!((fields(line), word("marker")), (vec!["marker", "offset"], "caught_up")),
        }
    }
    assert_eq!(states, ["finished"]);

    let log = cluster.run(&["channel", "tail", "$tasks", "--json"]).await.json();
    let is_about = |line: &&Value| line["key"] == key;
    let history: Vec<&str> = log.iter().filter(is_about).map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(history, ["submitted", "started", "finished"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_listed_and_shown() {
    let cluster = after_a_demo().await;
    let tasks = cluster.run(&["task", "list", "--json"]).await.json();
    let of = |name: &str| {
        let is = |task: &&Value| task["key"].as_str().unwrap().starts_with(&format!("{name}-"));
        tasks.iter().find(is).unwrap_or_else(|| panic!("{name} is not in {tasks:?}"))
    };
    let (emit, add) = (of("emit-a"), of("add"));
    assert_eq!(fields(add), ["attempt", "function", "kept_by", "key", "status", "submitted_at"]);
    assert_eq!((&add["status"], &add["attempt"]), (&json!("finished"), &json!(1)));
    assert_eq!(add["kept_by"], "channel adds: 1 element");
    assert_eq!(emit["function"], "rust:headwater::cli::demo::tasks::emit");
    assert_eq!((&emit["status"], &emit["kept_by"]), (&json!("pending"), &json!("detached")));
    let waits_for = emit["waits_for"].as_str().unwrap();
    let people = cluster.run(&["task", "list"]).await.lines();
    assert_eq!(
        people[0].split_whitespace().take(4).collect::<Vec<_>>(),
        ["TASK", "STATUS", "ATTEMPT", "FUNCTION"]
    );
    assert_eq!(people.len(), tasks.len() + 1);
    assert!(people.iter().any(|line| line.starts_with("emit-a-") && line.ends_with(waits_for)), "{people:?}");

    // By its name, and by its key.
    let key = emit["key"].as_str().unwrap();
    let shown = cluster.run(&["task", "show", "emit-a"]).await.lines();
    assert_eq!(shown[0], format!("task       {key}"));
    assert_eq!(shown[1], "function   rust:headwater::cli::demo::tasks::emit");
    assert_eq!(shown[2], "status     pending, attempt 1");
    assert_eq!(shown[3], format!("waits for  {waits_for}"));
    assert_eq!(shown[4..6], ["kept by    detached", "history"]);
    let shown = cluster.run(&["task", "show", key, "--json"]).await.json().remove(0);
    let expected = ["attempt", "function", "history", "kept_by", "key", "status", "waits_for"];
    assert_eq!(fields(&shown), expected);
    assert_eq!(shown["history"][0]["arguments"], json!(["a"]));
    let shown = cluster.run(&["task", "show", add["key"].as_str().unwrap(), "--json"]).await.json().remove(0);
    assert!(shown["value"].is_f64(), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_and_the_cluster_at_a_glance() {
    let cluster = after_a_demo().await;
    let store = format!("sled store in {}", cluster.dir.text("data"));
    let info = cluster.run(&["log", "info", "--json"]).await.json().remove(0);
    let expected =
        ["channels", "epoch", "receipt", "records", "seq", "store", "tasks", "tasks_head", "workers"];
    assert_eq!(fields(&info), expected);
    assert_eq!((&info["store"], &info["epoch"]), (&json!(store), &json!(2)));
    assert_eq!((&info["channels"], &info["workers"]), (&json!(4), &json!([])));
    assert_eq!(fields(&info["tasks"]), ["failed", "finished", "pending", "running"]);
    let expected =
        ["channels", "digest", "epoch", "records", "seq", "tasks_kept", "tasks_requeued", "tasks_running"];
    assert_eq!(fields(&info["receipt"]), expected);
    let people = cluster.run(&["log", "info"]).await.lines();
    assert_eq!(people[0], format!("store     {store}"));
    assert_eq!(people.last().unwrap(), "workers   none: `headwater worker` starts one");

    let _worker = cluster.worker("one").await;
    let info = cluster.run(&["log", "info", "--json"]).await.json().remove(0);
    assert_eq!(fields(&info["workers"][0]), ["connected", "name", "running", "slots"]);
    let worker = &info["workers"][0];
    assert_eq!((&worker["name"], &worker["slots"]), (&json!("one"), &json!(2)));
}
