//! How far something long is: bars on a terminal, lines elsewhere, nothing where nobody wants to know. And log lines as JSON.

use serde_json::{Value, json};

use crate::cluster::{Cluster, Dir};
use crate::process::{fields, headwater, json, run};
use crate::submit::submit;
use crate::terminal::Terminal;

/// Tasks that wait until there is a file.
fn gated(gate: &str) -> String {
    format!("while ! test -e '{gate}'; do sleep 0.02; done; echo out")
}

/// What is written without what steers the terminal.
fn plain(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let first = pieces.next().unwrap_or_default();
    let rest = pieces.map(|piece| piece.trim_start_matches(|letter: char| !letter.is_ascii_alphabetic()));
    first.chars().chain(rest.flat_map(|piece| piece.chars().skip(1))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_has_a_bar_on_a_terminal_beside_what_is_printed_and_none_when_it_is_quiet() {
    let (cluster, dir) = (Cluster::start().await, Dir::new());
    let _worker = cluster.worker("one").await;
    let waits = |options: &[&str], gate: &str| {
        let given = ["submit", "--array", "1-2", "--wait", "--connect", &cluster.address];
        let program = ["--", "sh", "-c", &gated(gate)].map(str::to_owned);
        let program: Vec<&str> = program.iter().map(String::as_str).collect();
        Terminal::start(&[&given[..], options, &program].concat(), &[])
    };
    let gate = dir.text("gate");
    let mut terminal = waits(&[], &gate);
    terminal.shows("0 finished, 2 running, 0 waiting of 2 tasks");
    terminal.shows("tasks [");
    std::fs::write(&gate, "").unwrap();
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    // A line of output is a line, whatever stands beneath it.
    for line in ["[1] out", "[2] out"] {
        assert!(shown.split(['\r', '\n']).any(|part| plain(part) == line), "{line}: {shown:?}");
    }
    assert!(shown.ends_with("2 finished, 0 running, 0 waiting of 2 tasks\r\n"), "{shown:?}");
    let (code, shown) = waits(&["--quiet"], &gate).end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("tasks [") && shown.contains("[1] out"), "{shown:?}");

    let task = submit(&cluster, &["--name", "held"], &["sh", "-c", &gated(&dir.text("other"))]).await;
    assert_eq!(task.code, Some(0), "{task:?}");
    let mut terminal = Terminal::start(&["task", "wait", "held", "--connect", &cluster.address], &[]);
    terminal.shows("0 of 1 have ended");
    std::fs::write(dir.path("other"), "").unwrap();
    assert_eq!(terminal.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_no_terminal_a_line_says_how_many_unless_it_is_quiet() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("one").await;
    let said = submit(&cluster, &["--array", "1-2", "--progress"], &["true"]).await;
    assert_eq!(said.stderr.last().unwrap(), "2 finished, 0 running, 0 waiting of 2 tasks");
    assert!(said.stderr.iter().all(|line| !line.contains('\u{1b}')), "{said:?}");
    let quiet = submit(&cluster, &["--array", "1-2", "--progress", "--quiet"], &["true"]).await;
    assert_eq!(quiet.code, Some(0));
    assert!(quiet.stderr.iter().all(|line| !line.contains("finished")), "{quiet:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_on_stderr_are_objects_for_who_collects_them() {
    let dir = Dir::new();
    let data = dir.text("data");
    let mut up = headwater(&[
        "up",
        "--listen",
        "127.0.0.1:0",
        "--data",
        &data,
        "--slots",
        "1",
        "--log-format",
        "json",
    ]);
    // What it says itself, its log lines, and those of its worker's process.
    let (mut says, mut joined) = (None, None);
    while says.is_none() || joined.is_none() {
        let line = json(&format!("{{{}", up.said("{").await));
        let message = line["message"].as_str().unwrap().to_owned();
        if message.starts_with("listening on ") {
            says = Some(line);
        } else if message == "joined" {
            joined = Some(line);
        }
    }
    let says = says.unwrap();
    assert_eq!((fields(&says), &says["level"]), (vec!["level", "message", "timestamp"], &json!("INFO")));
    let joined = joined.unwrap();
    assert_eq!(
        (&joined["level"], &joined["target"]),
        (&json!("INFO"), &json!("headwater::worker")),
        "{joined}"
    );
    let ended = up.interrupt().await;
    assert_eq!(ended.code, Some(0));
    let is_object = |line: &String| serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object());
    assert!(ended.stderr.iter().all(is_object), "{:?}", ended.stderr);
    let refused =
        run(&["task", "list", "--log-format", "json", "--connect", "127.0.0.1:1", "--connect-timeout", "0"])
            .await;
    let error = json(refused.stderr.last().unwrap());
    assert_eq!((refused.code, &error["level"]), (Some(1), &json!("ERROR")));
    assert!(!error["message"].as_str().unwrap().starts_with("error"), "{error}");
}
