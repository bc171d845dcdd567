//! `channel append`: what it expects, headers, and lines from stdin.

use std::path::Path;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::process::{self, Ended, HEADWATER, Process};

/// Runs `channel append` with what a shell command writes on its stdin.
async fn pipe(cluster: &Cluster, writes: &str, arguments: &str) -> Ended {
    let line = format!("{writes} | \"$0\" channel append --connect {} {arguments}", cluster.address);
    Process::of(process::command(Path::new("sh"), &["-c", &line, HEADWATER])).end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_says_what_it_expects_and_shows_its_headers() {
    let cluster = Cluster::start().await;
    let append = async |arguments: &[&str]| {
        let all = [&["channel", "append", "notes"], arguments].concat();
        cluster.run(&all).await
    };
    let acks =
        append(&["1", "2", "--expect", "0", "--json", "--header", "by=me", "--header", "x=a=b"]).await.json();
    assert_eq!(acks.len(), 2);
    assert_eq!(process::fields(&acks[0]), ["durability", "epoch", "offset", "seq"]);
    assert_eq!(
        (&acks[0]["offset"], &acks[1]["offset"], &acks[0]["epoch"]),
        (&json!(0), &json!(1), &json!(1))
    );
    assert_eq!(acks[0]["seq"], acks[1]["seq"]);
    let refused = append(&["3", "--expect", "1"]).await.refusal();
    let told = "channel `notes` was written to at offset 1 or behind it, and nothing was appended: read on from 1, \
                and expect 2, its head now, if it is still to be appended";
    assert_eq!(refused, told);
    assert_eq!(append(&["3", "--expect", "2"]).await.only_line(), "2");
    let read = cluster.run(&["channel", "tail", "notes", "--json"]).await.json();
    assert_eq!(read[0]["headers"], json!({"by": "me", "x": "a=b"}));
    assert_eq!((&read[2]["value"], &read[2]["headers"]), (&json!(3), &Value::Null));
    let read = cluster.run(&["channel", "tail", "notes"]).await.lines();
    assert!(read[0].ends_with("  appended   1  by=me  x=a=b"), "{}", read[0]);
    let refused = append(&["4", "--header", &format!("{}=v", "k".repeat(65))]).await.refusal();
    assert!(
        refused.ends_with("is 65, over the limit of 64: keep it elsewhere, or in the value"),
        "{refused}"
    );
    let bad = append(&["4", "--header", "by"]).await;
    assert_eq!(bad.code, Some(2));
    assert!(bad.stderr.iter().any(|line| line.contains("a header is KEY=WORDS, as in --header by=me")));
    let refused = append(&["-", "4"]).await.refusal();
    assert!(refused.contains("- stands for the lines of stdin, and alone"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_stdin_are_appended_as_they_come() {
    let cluster = Cluster::start().await;
    let many = pipe(&cluster, "seq 10000", "numbers -").await.lines();
    assert_eq!(many, (0..10_000).map(|offset| offset.to_string()).collect::<Vec<_>>());
    let read = cluster.run(&["channel", "tail", "numbers", "--from", "9998", "--json"]).await.json();
    assert_eq!((&read[0]["value"], &read[1]["value"]), (&json!(9999), &json!(10000)));
    assert!(pipe(&cluster, "true", "numbers -").await.lines().is_empty());
    // What is there is appended, though more may come: the second line is written once the first is acknowledged.
    let slow =
        pipe(&cluster, "(echo one; sleep 0.3; echo '{\"two\": 2}')", "slow - --expect 0 --json").await.json();
    assert_eq!(slow.iter().map(|ack| ack["offset"].clone()).collect::<Vec<_>>(), [json!(0), json!(1)]);
    assert_ne!(slow[0]["seq"], slow[1]["seq"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_in_the_middle_names_what_was_appended() {
    let cluster = Cluster::start().await;
    let broken = pipe(&cluster, "(echo a; echo b; sleep 0.5; printf '\\377\\n'; echo c)", "broken -").await;
    assert_eq!((broken.code, &broken.stdout[..]), (Some(1), &["0".to_owned(), "1".to_owned()][..]));
    let told = "error: line 3 is not UTF-8: encode it; 2 lines were appended before, the last at offset 1";
    assert_eq!(broken.stderr, [told]);
    // Somebody else comes in between.
    let stop = format!("\"{HEADWATER}\" channel append broken x --connect {} >&2", cluster.address);
    let raced =
        pipe(&cluster, &format!("(echo c; sleep 0.5; {stop}; echo d; echo e)"), "broken - --expect 2").await;
    assert_eq!((raced.code, &raced.stdout[..]), (Some(1), &["2".to_owned()][..]));
    let last = raced.stderr.last().expect("an error");
    assert!(last.starts_with("error: channel `broken` was written to at offset 3 or behind it"), "{last}");
    let end = "; 1 line was appended before, the last at offset 2, lines 2 to 3 were not appended";
    let one = "; 1 line was appended before, the last at offset 2, lines 2 to 2 were not appended";
    assert!(last.ends_with(end) || last.ends_with(one), "{last}");
}

/// An import of a file of lines, as a producer: the process is the command itself.
fn import(cluster: &Cluster, file: &str) -> Process {
    let line = format!(
        "exec \"$0\" channel append numbers - --producer import --connect {} < '{file}'",
        cluster.address
    );
    Process::of(process::command(Path::new("sh"), &["-c", &line, HEADWATER]))
}

async fn producers(cluster: &Cluster) -> Vec<Value> {
    cluster.run(&["channel", "producer", "list", "numbers", "--json"]).await.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_killed_again_and_again_appends_each_line_once() {
    const LINES: u64 = 40_000;
    let mut cluster = Cluster::start().await;
    let file = cluster.dir.text("lines");
    std::fs::write(&file, (1..=LINES).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let mut before = 0;
    for kills_scheduler in [false, true, false] {
        let mut running = import(&cluster, &file);
        // It is somewhere behind this.
        running.line().await;
        if kills_scheduler {
            cluster.kill_scheduler().await;
        }
        running.kill().await;
        if kills_scheduler {
            cluster.start_scheduler().await;
        }
        let [known] = &producers(&cluster).await[..] else { panic!("one producer") };
        let number = known["number"].as_u64().expect("a number");
        assert!(before < number && number < LINES, "it was killed in the middle: {number} behind {before}");
        before = number;
    }
    let ended = import(&cluster, &file).end().await;
    let rest: Vec<String> = (before..LINES).map(|offset| offset.to_string()).collect();
    let told = format!("{before} lines were in already, and are skipped");
    assert_eq!((ended.code, ended.stderr, ended.stdout), (Some(0), vec![told], rest));
    let read = cluster.run(&["channel", "tail", "numbers", "--until", "now", "--json"]).await.json();
    let values: Vec<u64> = read.iter().filter_map(|record| record["value"].as_u64()).collect();
    assert!(values.iter().copied().eq(1..=LINES), "each line once, in order: {} of them", values.len());
    // Once more, when all is in.
    let ended = import(&cluster, &file).end().await;
    let told = format!("{LINES} lines were in already, and are skipped");
    assert_eq!((ended.code, ended.stderr, ended.stdout), (Some(0), vec![told], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producers_number_is_appended_once_and_shown() {
    let cluster = Cluster::start().await;
    let append = async |arguments: &[&str]| {
        let all = [&["channel", "append", "numbers", "--producer", "shop"], arguments].concat();
        cluster.run(&all).await
    };
    assert_eq!(append(&["--number", "17", "1", "2"]).await.lines(), ["0", "1"]);
    let again = append(&["--number", "17", "1", "2", "--json"]).await.json();
    assert_eq!(again.iter().map(|ack| ack["offset"].clone()).collect::<Vec<_>>(), [json!(0), json!(1)]);
    let before = append(&["--number", "16", "1"]).await;
    let told = "nothing is appended: producer `shop` is at number 17 already";
    assert_eq!((before.code, before.stdout, before.stderr), (Some(0), vec![], vec![told.to_owned()]));
    assert_eq!(append(&["--number", "20", "3", "--header", "by=me"]).await.only_line(), "2");
    let read = cluster.run(&["channel", "tail", "numbers", "--until", "now"]).await.lines();
    assert!(read[0].ends_with("  appended   1  number=17  producer=shop"), "{read:?}");
    assert!(read[1].ends_with("  appended   2"), "{read:?}");
    assert!(read[2].ends_with("  appended   3  by=me  number=20  producer=shop"), "{read:?}");
    let known = producers(&cluster).await;
    assert_eq!(process::fields(&known[0]), ["count", "name", "number", "offset", "seq"]);
    assert_eq!(
        (&known[0]["name"], &known[0]["number"], &known[0]["offset"]),
        (&json!("shop"), &json!(20), &json!(2))
    );
    let table = cluster.run(&["channel", "producer", "list", "numbers"]).await.lines();
    let words: Vec<Vec<&str>> = table.iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words, [vec!["PRODUCER", "NUMBER", "OFFSET", "ELEMENTS"], vec!["shop", "20", "2", "1"]]);
    let told = cluster.run(&["channel", "producer", "delete", "numbers", "shop"]).await.only_line();
    assert_eq!(told, "shop of numbers is forgotten");
    assert!(producers(&cluster).await.is_empty());
    assert_eq!(
        append(&["--number", "1", "4"]).await.only_line(),
        "4",
        "one record says that it was forgotten"
    );
    let last = cluster.run(&["channel", "tail", "numbers", "--from", "3", "--json"]).await.json();
    assert_eq!((&last[0]["kind"], &last[0]["producer"]), (&json!("forgotten"), &json!("shop")));
    for (arguments, told) in [
        (&["1"][..], "an append of a producer has a number: add --number"),
        (&["-", "--number", "3"], "the lines of stdin are numbered from 1: leave --number out"),
    ] {
        let refused = append(arguments).await.refusal();
        assert!(refused.starts_with(told), "{refused}");
    }
    let bad = cluster.run(&["channel", "append", "numbers", "--number", "1", "1"]).await;
    assert_eq!(bad.code, Some(2), "a number is a producer's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_imports_at_once_append_each_line_once() {
    const LINES: u64 = 10_000;
    let cluster = Cluster::start().await;
    let slow = "(seq 1 50; sleep 0.3; seq 51 10000)";
    let ahead = "(seq 1 7; sleep 0.1; seq 8 4000; sleep 0.3; seq 4001 10000)";
    let arguments = "numbers - --producer import";
    let (one, two) = tokio::join!(pipe(&cluster, slow, arguments), pipe(&cluster, ahead, arguments));
    assert_eq!((one.code, two.code), (Some(0), Some(0)), "{:?} {:?}", one.stderr, two.stderr);
    let read = cluster.run(&["channel", "tail", "numbers", "--until", "now", "--json"]).await.json();
    let values: Vec<u64> = read.iter().filter_map(|record| record["value"].as_u64()).collect();
    assert!(values.iter().copied().eq(1..=LINES), "each line once, in order: {} of them", values.len());
}
