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
    let end = "; 1 lines were appended before, the last at offset 2, lines 2 to 3 were not appended";
    let one = "; 1 lines were appended before, the last at offset 2, lines 2 to 2 were not appended";
    assert!(last.ends_with(end) || last.ends_with(one), "{last}");
}
