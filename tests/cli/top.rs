//! `headwater top`, on a terminal and without one.

use serde_json::json;

use crate::cluster::Cluster;
use crate::process::run;
use crate::submit::{Tail, submit, submitted};
use crate::terminal::Terminal;

/// What a full-screen program takes the terminal with, and gives it back with: the alternate screen.
const TAKES: &str = "\u{1b}[?1049h";
const GIVES_BACK: &str = "\u{1b}[?1049l";

fn top(cluster: &Cluster) -> Terminal {
    Terminal::start(
        &["top", "--interval", "100ms", "--connect", &cluster.address],
        &[("HEADWATER_LOG", "debug")],
    )
}

/// Waits for its end, in order, and with the terminal as it was. Gives all that was shown.
fn gives_back(terminal: &mut Terminal) -> String {
    let (code, shown) = terminal.end();
    assert_eq!(
        (code, shown.contains(GIVES_BACK), terminal.is_sane()),
        (Some(0), true, true),
        "{}",
        terminal.screen()
    );
    shown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_view_is_printed_where_there_is_no_terminal() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("one").await;
    cluster.run(&["channel", "append", "notes", "1"]).await.lines();
    let named = submit(&cluster, &["--name", "held", "--wait"], &["true"]).await;
    assert_eq!(named.code, Some(0), "{named:?}");
    for options in [&[][..], &["--once"]] {
        let lines = cluster.run(&[&["top", "--interval", "100ms"], options].concat()).await.lines();
        assert!(lines[0].starts_with(&format!("{}: epoch 1, ", cluster.address)), "{lines:?}");
        assert_eq!(lines[1], "tasks: 0 pending, 0 running, 1 finished, 0 failed or cancelled");
        assert!(lines[2].starts_with("per second: 0.0 submitted"), "{lines:?}");
        let row = |begin: &str| {
            let found = lines.iter().find(|line| line.starts_with(begin));
            found.unwrap_or_else(|| panic!("{begin} in {lines:?}")).split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(row("held-")[1..], ["finished", "1", "exec"]);
        assert_eq!(row("one ")[..4], ["one", "connected", "2", "0"]);
        assert_eq!(row("notes ")[..4], ["notes", "0.0", "1", "1"]);
    }
    let shown = cluster.run(&["top", "--interval", "100ms", "--once", "--json"]).await.json().remove(0);
    assert_eq!((&shown["address"], &shown["epoch"]), (&json!(cluster.address), &json!(1)));
    assert_eq!(shown["tasks"], json!({"pending": 0, "running": 0, "finished": 1, "failed": 0}));
    let still = json!({"submitted": 0.0, "started": 0.0, "finished": 0.0, "failed": 0.0, "cancelled": 0.0});
    assert_eq!(shown["per_second"], still);
    let [workers, channels] = ["worker", "channel"].map(|what| [what, "list", "--json"]);
    assert_eq!(shown["workers"], json!(cluster.run(&workers).await.json()));
    let mut listed = cluster.run(&channels).await.json();
    listed.iter_mut().for_each(|channel| channel["records_per_second"] = json!(0.0));
    assert_eq!((shown["channels"].as_array().unwrap().len(), &shown["channels"]), (2, &json!(listed)));
    let refused = run(&["top", "--once", "--connect", "127.0.0.1:1", "--connect-timeout", "0"]).await;
    assert_eq!((refused.code, refused.stdout.len()), (Some(1), 0), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_submitted_long_ago_and_still_runs_has_its_function() {
    let cluster = Cluster::start().await;
    let once = ["top", "--interval", "100ms", "--once"];
    let empty = cluster.run(&once).await.lines().join("\n");
    for none in ["no tasks: `headwater submit", "no workers: `headwater worker", "no channels: `headwater"] {
        assert!(empty.contains(none), "{empty}");
    }
    let mut worker = cluster.spawn(&["worker", "--name", "one", "--slots", "1"]);
    worker.said("joined").await;
    submitted(&cluster, &["--name", "old"], "lines", "echo runs; sleep 600").await;
    let mut tail = Tail::start(&cluster, "lines");
    tail.until(|record| record["value"] == "runs").await;
    // More than are looked back for.
    let later = submit(&cluster, &["--array", "1-2100"], &["true"]).await;
    assert_eq!(later.code, Some(0), "{later:?}");
    let lines = cluster.run(&once).await.lines();
    let old = lines.iter().find(|line| line.starts_with("old-")).unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(old.split_whitespace().collect::<Vec<_>>()[1..], ["running", "1", "exec", "one"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_is_taken_obeys_keys_and_is_given_back() {
    let cluster = Cluster::start().await;
    cluster.run(&["channel", "append", "notes", "1"]).await.lines();
    let mut terminal = top(&cluster);
    terminal.shows(TAKES);
    terminal.shows("TASK");
    assert!(!terminal.is_sane(), "it reads keys, not lines");
    terminal.press("\t\t");
    terminal.shows("RECORDS/S");
    terminal.shows("notes");
    terminal.press("/nothing\r");
    terminal.shows("/nothing  Esc end");
    terminal.shows_no_more("notes");
    terminal.press("\u{1b}");
    terminal.shows_no_more("/nothing");
    terminal.shows_on_screen("notes");
    terminal.press("q");
    gives_back(&mut terminal);

    // Ctrl-C, and a signal.
    let mut terminal = top(&cluster);
    terminal.shows("TASK");
    terminal.press("\u{3}");
    gives_back(&mut terminal);
    let mut terminal = top(&cluster);
    terminal.shows("TASK");
    let mut kill = std::process::Command::new("kill");
    assert!(kill.arg("-TERM").arg(terminal.id().to_string()).status().unwrap().success());
    gives_back(&mut terminal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_is_away_is_told_and_it_goes_on_when_it_is_back() {
    let mut cluster = Cluster::start().await;
    let mut terminal = top(&cluster);
    terminal.shows("epoch 1");
    cluster.kill_scheduler().await;
    terminal.shows("not connected");
    assert!(terminal.screen().contains("tasks: 0 pending"), "what was seen stays: {}", terminal.screen());
    cluster.start_scheduler().await;
    terminal.shows("epoch 2");
    terminal.shows_no_more("not connected");
    terminal.press("q");
    let shown = gives_back(&mut terminal);
    assert!(!shown.contains("DEBUG"), "no log line is on the screen");

    // One who was never there is told as by every other command, and the terminal is left alone.
    let nobody = ["top", "--connect", "127.0.0.1:1", "--connect-timeout", "0"];
    let (code, shown) = Terminal::start(&nobody, &[]).end();
    assert_eq!((code, shown.contains(TAKES)), (Some(1), false), "{shown:?}");
    assert!(shown.starts_with("error: "), "{shown:?}");
}
