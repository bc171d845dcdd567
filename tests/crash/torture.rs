//! `headwater torture`: a few rounds hold, and it can fail. `.ci/run` does 25 rounds with the release
//! binary; the checker's own tests are in `src/cli/torture/check/tests.rs`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

fn torture(data: &Path, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.args(["torture", "--json", "--data"]).arg(data).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary can be started")
}

/// The exit code, the lines that were not read yet, and stderr.
fn end(mut child: Child, stdout: impl BufRead) -> (Option<i32>, Vec<Value>, String) {
    let lines = stdout.lines().map(|line| parse(&line.expect("text")));
    let lines = lines.collect();
    let mut stderr = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut stderr).expect("text");
    (child.wait().expect("it is our child").code(), lines, stderr)
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn a_few_rounds_of_torture_hold() {
    let outer = tempfile::tempdir().expect("a temporary folder can be made");
    let data = outer.path().join("torture");
    let mut child = torture(&data, &["--rounds", "6", "--seed", "1", "--check-every", "3"]);
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let (code, lines, stderr) = end(child, stdout);
    assert_eq!((code, &*stderr), (Some(0), ""), "{lines:#?}");
    let (report, rounds) = lines.split_last().expect("it reports");
    assert_eq!(rounds.len(), 6);
    assert_eq!((&report["verdict"], &report["rounds"]), (&"held".into(), &6.into()), "{report:#}");
    assert_eq!(report["checks"], 3, "two on the way and one at the end");
    let seen = |name: &str| report["seen"][name].as_u64().expect(name);
    assert!(seen("acks") > 50 && seen("outcomes") > 10, "{report:#}");
    assert!(!data.exists(), "what held leaves nothing behind");
}

#[test]
fn an_acknowledgement_that_is_not_in_the_log_is_found_and_everything_kept() {
    let outer = tempfile::tempdir().expect("a temporary folder can be made");
    let data = outer.path().join("torture");
    let mut child = torture(&data, &["--rounds", "50", "--seed", "2", "--check-every", "1"]);
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let acks = data.join("acks/client-1-00000");
    // At the end of a round, at the latest of a few.
    while !acks.exists() {
        let mut line = String::new();
        assert_ne!(stdout.read_line(&mut line).expect("text"), 0, "it ended before its clients began");
        assert!(parse(&line)["round"].is_u64(), "{line}");
    }
    // The client was told of a value that no log has.
    let mut file = File::options().append(true).open(acks).expect("it is there");
    file.write_all(b"value 1000000 values/1 1000000\n").expect("it can be written");
    let (code, lines, stderr) = end(child, stdout);
    assert_eq!(code, Some(1), "{stderr}");
    let report = lines.last().expect("it reports");
    assert_eq!((&report["verdict"], &report["seed"]), (&"violated".into(), &2.into()), "{report:#}");
    assert_eq!(report["violations"][0]["violation"], "lost", "{report:#}");
    let round = report["rounds"].as_u64().expect("a number");
    assert!(stderr.contains(&format!("a promise was broken in round {round} of seed 2: lost: ")), "{stderr}");
    // All is kept, and not overwritten.
    assert!(data.join("store").exists() && data.join("verdict").exists());
    let (code, _, stderr) = {
        let mut child = torture(&data, &[]);
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        end(child, stdout)
    };
    assert_eq!((code, stderr.contains("found a violation: keep it elsewhere")), (Some(1), true), "{stderr}");
    assert!(fs::read_dir(data.join("acks")).expect("it is there").count() > 0);
}
