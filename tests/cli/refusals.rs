//! What is refused on the command line: exit code, and one line that says what to do next.

use std::fs;

use headwater::protocol::version::STORE_VERSION;

use crate::cluster::{Cluster, Dir, free_address};
use crate::process::{Ended, headwater, run};

fn assert_starts_with(said: &str, expected: &str) {
    assert!(said.starts_with(expected), "{said:?} does not start with {expected:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_and_tasks_that_are_not_there_or_not_to_be_had() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.run(&["channel", "append", "notes", "1"]).await.only_line(), "0");
    for command in [&["channel", "tail", "note"], &["channel", "stop", "note"]] {
        let expected = "there is no channel `note`: did you mean `notes`? `headwater channel list` shows those \
                        there are, `headwater channel append note VALUE` makes it";
        assert_eq!(cluster.run(command).await.refusal(), expected);
    }
    let expected = "offset 9 is past the head of channel `notes`, which is 1: give 1 or less";
    assert_eq!(cluster.run(&["channel", "tail", "notes", "--from", "9"]).await.refusal(), expected);
    let expected = "channel `$tasks` is the scheduler's own: it can be read, not written";
    assert_eq!(cluster.run(&["channel", "append", "$tasks", "1"]).await.refusal(), expected);
    let said = cluster.run(&["channel", "append", "notes", &"x".repeat(70_000)]).await.refusal();
    assert_starts_with(&said, "the value is 70005, over the limit of 61440: keep it elsewhere, and pass");
    cluster.run(&["channel", "stop", "notes"]).await.only_line();
    let expected = "channel `notes` is stopped at 1 element: append to another one, or let it go on with \
                    `headwater channel resume`";
    assert_eq!(cluster.run(&["channel", "append", "notes", "2"]).await.refusal(), expected);
    assert_eq!(cluster.run(&["channel", "list", "--json"]).await.json()[0]["elements"], 1, "nothing changed");

    let said = cluster.run(&["task", "show", "nightly"]).await.refusal();
    assert_starts_with(&said, "there is no task `nightly`: ");
    assert!(
        said.ends_with("nobody keeps it any more; `headwater task list` shows those there are"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_lines_that_make_no_sense() {
    for (arguments, expected) in [
        (&["channel", "append", "two words", "1"][..], "it has other characters; use 1 to 200"),
        (&["channel", "append", "x"], "required arguments were not provided"),
        (
            &["channel", "tail", "x", "--from", "soon"],
            "give an offset (a number from 0), `start`, `end`, `last:N` or `time:T`",
        ),
        (&["channel", "tail", "x", "--from", "last:few"], "give a number of elements, like last:20"),
        (
            &["channel", "tail", "x", "--from", "time:10"],
            "give a time like 2026-11-23T08:21:16Z, as it is printed (2026-11-23 08:21:16.865), or how long ago it \
             was, like -10m",
        ),
        (&["channel", "tail", "x", "--until", "end"], "give an offset (a number from 0), `now` or `time:T`"),
        (&["demo", "--interval", "1"], "give a number with its unit, like 200ms, 1s or 2m"),
        (&["demo", "--count", "0"], "--count"),
        (&["worker", "--slots", "0"], "0 is not in 1..=65536"),
        (&["channels"], "a similar subcommand exists: 'channel'"),
        (&[], "Usage: headwater [OPTIONS] <COMMAND>"),
    ] {
        let Ended { code, stdout, stderr } = run(arguments).await;
        assert_eq!((code, &stdout[..]), (Some(2), &[][..]), "{arguments:?}");
        assert!(stderr.join("\n").contains(expected), "{arguments:?}: {stderr:#?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["channel", "tail", "--help"]] {
        assert!(!run(arguments).await.lines().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_cannot_start() {
    let mut cluster = Cluster::start().await;
    let (data, other) = (cluster.dir.text("data"), cluster.dir.text("other"));
    let said = run(&["scheduler", "--listen", &cluster.address, "--data", &other]).await.refusal();
    let expected = "is in use by another process: stop it, or choose another port with --listen";
    assert_eq!(said, format!("{} {expected}", cluster.address));
    for command in ["scheduler", "up", "demo"] {
        let said = run(&[command, "--listen", "127.0.0.1:0", "--data", &data]).await.refusal();
        let expected = "is held by another process: stop that one, or use another directory";
        assert_eq!(said, format!("the store {data} {expected}"));
    }
    let said = run(&["scheduler", "--listen", "0.0.0.0:0", "--data", &other]).await.refusal();
    let expected = "0.0.0.0:0 can be reached from other machines, and there is no token: give one with \
                    --token-file, or let anyone in with --insecure";
    assert_eq!(said, expected);
    assert!(!cluster.dir.path("other").exists(), "who may not listen makes no store");

    assert_eq!(cluster.take_scheduler().interrupt().await.code, Some(0));
    let head = cluster.dir.path("data").join("head");
    let mut bytes = fs::read(&head).unwrap();
    // Its version, and the checksum over it.
    bytes[4] = 9;
    let checksum = crc32c::crc32c(&bytes[..32]);
    bytes[32..36].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&head, bytes).unwrap();
    let said = run(&["scheduler", "--listen", "127.0.0.1:0", "--data", &data]).await.refusal();
    let expected = format!(
        "store version 9 is newer than {STORE_VERSION}: run a newer headwater, or restore a backup of version {STORE_VERSION}"
    );
    assert_eq!(said, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there() {
    let address = free_address();
    for command in [&["channel", "list"][..], &["worker"]] {
        let connect = ["--connect", &address, "--connect-timeout", "200ms"];
        let said = run(&[command, &connect].concat()).await.refusal();
        assert_starts_with(&said, &format!("cannot connect to {address}: "));
        let next = ": is the scheduler running there? `headwater scheduler` starts one";
        assert!(said.ends_with(next), "{said}");
    }
    let said = run(&["channel", "list", "--connect", "nonsense"]).await.refusal();
    assert_eq!(said, "cannot connect to nonsense: invalid socket address: give it as host:port");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_of_everyone() {
    let dir = Dir::new();
    let (token, wrong) = (dir.text("token"), dir.text("wrong"));
    fs::write(&token, "open sesame\n").unwrap();
    fs::write(&wrong, "open barley\n").unwrap();
    let options = ["--data", &dir.text("data"), "--token-file", &token];
    // With a token, it may be reached from other machines.
    let mut scheduler = headwater(&[&["scheduler", "--listen", "0.0.0.0:0"], &options[..]].concat());
    let address = scheduler.said("listening on ").await.replace("0.0.0.0", "127.0.0.1");
    let expected = "the token is missing or wrong: give the scheduler's with --token-file";
    for token in [&[][..], &["--token-file", &wrong]] {
        for command in [&["channel", "list"][..], &["worker"]] {
            let said = run(&[command, &["--connect", &address], token].concat()).await.refusal();
            assert_eq!(said, expected);
        }
    }
    let listed = run(&["log", "info", "--connect", &address, "--token-file", &token]).await.lines();
    assert_starts_with(&listed[0], "store     sled store in ");
    let mut worker = headwater(&["worker", "--connect", &address, "--token-file", &token]);
    worker.said("joined").await;
    let said = run(&["log", "info", "--token-file", &dir.text("nowhere")]).await.refusal();
    assert_starts_with(&said, &format!("cannot read the token file {}: ", dir.text("nowhere")));
}
