//! What `submit` refuses, and with which words.

use std::fs;

use headwater::{Client, task};

use super::submit;
use crate::cluster::{Cluster, Dir};
use crate::process::run;

const NO_TIME: &str = "that is less than no time: give a number with its unit, like 200ms, 1s or 2m";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_lines_that_make_no_sense() {
    for (arguments, told) in [
        (&["submit"][..], "required arguments were not provided"),
        (&["submit", "--"], "required"),
        (&["submit", "make"], "unexpected argument 'make' found"),
        (&["submit", "--array", "3-1", "--", "true"], "`3-1` has nothing in it: give the lower number first"),
        (&["submit", "--array", "1-1000001", "--", "true"], "names more than 1000000 indexes"),
        (&["submit", "--array", "1", "--each-line", "f", "--", "true"], "cannot be used with"),
        (&["submit", "--no-output", "--output-channel", "c", "--", "true"], "cannot be used with"),
        (&["submit", "--env", "A", "--", "true"], "a variable is NAME=VALUE, as in --env LANG=C"),
        (&["submit", "--time-limit", "5", "--", "true"], "give a number with its unit, like 200ms, 1s or 2m"),
        (&["submit", "--time-limit", "0s", "--", "true"], "nothing is done in no time: give at least 1ms"),
        (&["submit", "--deadline", "0", "--", "true"], "nothing is done in no time: give at least 1ms"),
        (&["submit", "--name", "", "--", "true"], "a value is required"),
        (
            &["submit", "--tag", "two words", "--", "true"],
            "`two words` cannot name a tag: it has other characters",
        ),
        (&["submit", "--backoff", "5", "--", "true"], "give a number with its unit, like 200ms, 1s or 2m"),
        (&["submit", "--backoff", "5s", "--", "true"], "--retries <"),
        (&["submit", "--needs", "gpus", "--", "true"], "`gpus`: give a resource and how much of it: cpus=2"),
        (
            &["submit", "--needs", "gpus=x", "--", "true"],
            "`x` is no amount: give a number like 2, 0.5 or 16GiB",
        ),
        (&["submit", "--needs", "gpus=0.00001", "--", "true"], "finer than a ten-thousandth"),
        (
            &["submit", "--on", "rack=7", "--", "true"],
            "`rack=7` names no workers: give worker=NAME, host=NAME or",
        ),
        (&["submit", "--prefer", "label=a b", "--", "true"], "`a b` cannot name a label"),
        (&["worker", "--resource", "gpus=[0", "--name", "w"], "`[0` is no amount"),
        (
            &["submit", "--needs", "memory=500TiB", "--", "true"],
            "`500TiB` is too much: give a number like 2, 0.5 or 16GiB; 100000000000000 is the most, of bytes 90TiB",
        ),
        (
            &["submit", "--needs", "cpus=-1", "--", "true"],
            "`-1` is less than nothing: give a number like 2, 0.5 or 16GiB",
        ),
        (
            &["submit", "--needs", "=", "--", "true"],
            "`=` names no resource: give a resource and how much of it: cpus=2, gpus=0.5, memory=4GiB",
        ),
        (
            &["submit", "--on", "worker", "--", "true"],
            "`worker` names no workers: give worker=NAME, host=NAME or label=WORD, as in host=rack-7",
        ),
        (
            &["submit", "--priority", "x", "--", "true"],
            "give a whole number from -2147483648 to 2147483647, like 10 or -5",
        ),
        (&["submit", "--priority", "-2147483649", "--", "true"], "give a whole number from -2147483648"),
        (&["submit", "--retries", "-1", "--", "true"], "give a whole number from 0 to 4294967295, like 3"),
        (&["submit", "--timeout", "1s", "--", "true"], "'--time-limit'"),
        (&["submit", "--time-limit", "-1s", "--", "true"], NO_TIME),
        (&["submit", "--deadline", "-1s", "--", "true"], NO_TIME),
        (&["submit", "--grace", "-1s", "--", "true"], NO_TIME),
        (&["submit", "--retries", "1", "--backoff", "-1s", "--", "true"], NO_TIME),
        (&["bench", "tasks", "--tasks", "5,0"], "0 is not in 1.."),
    ] {
        let ended = run(arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}");
        assert!(ended.stderr.join("\n").contains(told), "{arguments:?}: {:#?}", ended.stderr);
    }
    let refused = run(&["submit", "--stdin", "-", "--each-line", "-", "--", "cat"]).await.refusal();
    assert_eq!(refused, "stdin can be read once: give a file for --stdin or for --each-line");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_submitted() {
    let cluster = Cluster::start().await;
    let dir = Dir::new();
    let (large, lines) = (dir.text("large"), dir.text("lines"));
    fs::write(&large, vec![b'x'; 61_441]).unwrap();
    fs::write(&lines, "a\n\u{0}\n").unwrap();
    let long = "x".repeat(61_440);
    for (options, command, told) in [
        (
            &["--stdin", &large][..],
            &["cat"][..],
            "has more than 61440 bytes, as much as travels with a task: let",
        ),
        (&["--stdin", "/no/such"], &["cat"], "cannot read /no/such for --stdin: No such file or directory"),
        (&["--each-line", "/no/such"], &["cat"], "cannot read the lines of /no/such: No such file"),
        (&["--each-line", &lines], &["cat"], "line 2 has a NUL, which no program can be given: remove it"),
        (&[], &["echo", &long], "the command `echo` with its environment and stdin is "),
        (
            &["--name", &"n".repeat(199), "--array", "1,10"],
            &["true"],
            "the task's name is 201, over the limit of 200",
        ),
        (&["--needs", "cpus=0"], &["true"], "0 of `cpus` is nothing: give more, or leave it out"),
        (&["--needs", "cpus=1", "--needs", "cpus=2"], &["true"], "`cpus` is needed twice: say once how much"),
        (&["--output-channel", "$tasks"], &["true"], "channel `$tasks` is the scheduler's own"),
    ] {
        let refused = submit(&cluster, options, command).await.refusal();
        assert!(refused.contains(told), "{refused}");
    }
    let tasks = cluster.run(&["task", "list", "--json"]).await.lines();
    assert!(tasks.is_empty(), "{tasks:?}");
    let channels = cluster.run(&["channel", "list", "--json"]).await.lines();
    assert!(channels.is_empty(), "what is refused makes no channel: {channels:?}");
}

#[task]
fn square(n: u64) -> u64 {
    n * n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_a_call_has_stands_for_no_program() {
    let cluster = Cluster::start().await;
    let client = Client::connect(&cluster.address).await.unwrap();
    let call = client.submit(square, (3,)).key("nightly").await.unwrap();
    let refused =
        submit(&cluster, &["--name", "nightly", "--output-channel", "out"], &["true"]).await.refusal();
    let told =
        "the task `nightly` is a call of `rust:cli::submit::refusals::square`, and no program: give another";
    assert!(refused.contains(told), "{refused}");
    let info = client.channel::<u64>("out").await.unwrap().info().await.unwrap();
    assert_eq!(info.head, 0, "its future is not there");
    drop(call);
}
