//! The walls of the house: who may import whom, how long a file may be, where an engine is named, and
//! what postcard cannot carry.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the crate, and those of them that each may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("log", &["protocol"]),
    ("scheduler", &["protocol", "log"]),
    ("trunk", &["protocol"]),
    ("server", &["protocol", "trunk", "log", "scheduler"]),
    ("client", &["protocol", "trunk"]),
    ("worker", &["protocol", "client"]),
    ("rows", &["protocol", "client"]),
    ("traces", &["protocol", "log", "scheduler"]),
    ("http", &["protocol", "log", "scheduler", "server", "client", "worker", "rows"]),
];

/// Longest file, in lines: past this it has two subjects.
const LINES_MAX: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder, with their text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

/// The lines that are code, numbered from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let comment = |line: &str| line.trim_start().starts_with("//");
    text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(move |(_, line)| !comment(line))
}

/// The text before a file's own tests: what they look at is their business.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

#[test]
fn imports_run_one_way() {
    for (module, allowed) in MAY_IMPORT {
        for (path, text) in sources(&format!("src/{module}")) {
            for (line, code) in code(without_tests(&text)) {
                for (other, _) in MAY_IMPORT {
                    let named = [
                        format!("crate::{other}::"),
                        format!("crate::{other};"),
                        format!("crate::{{{other}"),
                    ];
                    let imports = named.iter().any(|named| code.contains(named));
                    assert!(
                        !imports || other == module || allowed.contains(other),
                        "{}:{line}: {module} must not import {other}",
                        path.display()
                    );
                }
            }
        }
    }
}

#[test]
fn the_core_is_pure() {
    for (path, text) in
        ["src/scheduler/core", "src/protocol", "src/traces/spans"].into_iter().flat_map(sources)
    {
        for (line, code) in code(&text) {
            for impure in
                ["tokio", "tracing", "std::time", "std::net", "std::fs", "fastrand", "async ", "println!"]
            {
                assert!(!code.contains(impure), "{}:{line}: `{impure}` in a pure module", path.display());
            }
        }
    }
}

#[test]
fn a_file_has_one_subject() {
    for (path, text) in ["src", "tests", "macros", "benches"].into_iter().flat_map(sources) {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, more than {LINES_MAX}", path.display());
    }
}

#[test]
fn the_files_and_tests_that_docs_name_are_there() {
    let mut named = 0;
    for document in
        ["README.md", "ARCHITECTURE.md", "docs/limits.md", "docs/operations.md", "docs/reliability.md"]
    {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let code = text.split('`').skip(1).step_by(2);
        for name in code.filter(|code| code.starts_with("src/") || code.starts_with("tests/")) {
            let (file, test) = name.split_once("::").unwrap_or((name, ""));
            let path = root().join(file);
            assert!(path.exists(), "{document} names {file}, which is not there");
            if !test.is_empty() {
                let text = fs::read_to_string(path).unwrap();
                // A test, or one of a suite that a macro makes.
                let is_there =
                    text.contains(&format!("fn {test}(")) || text.lines().any(|line| line.trim() == test);
                assert!(is_there, "{document} names {name}, which is not there");
                named += 1;
            }
        }
    }
    assert!(named > 100, "only {named} tests are named");
}

#[test]
fn each_engine_is_named_in_one_file() {
    let naming = |pattern: &str| -> Vec<String> {
        // The engine's file has the crate's name: what `log` takes from it is not the crate.
        let ours = "pub use sled::{NewStore, Purpose, SledLog, SledOptions};";
        let names =
            |text: &str| code(without_tests(text)).any(|(_, line)| line.contains(pattern) && line != ours);
        let for_tests = |path: &Path| path.ends_with("fixture.rs") || path.ends_with("tests.rs");
        let files = sources("src").into_iter().filter(|(path, text)| names(text) && !for_tests(path));
        let mut files: Vec<String> = files.map(|(path, _)| path.display().to_string()).collect();
        files.sort();
        files
    };
    assert_eq!(naming("sled::"), ["src/log/sled/trees.rs"]);
    // What loopback can do is measured without anything of ours.
    let limits = "src/cli/bench/limits.rs";
    // A worker listens, too: others fetch the results that it keeps, which go past the scheduler.
    let results = "src/worker/results/listen.rs";
    assert_eq!(naming("TcpListener::"), [limits, "src/server/listener.rs", results]);
    // Traces go to a collector, which is none of ours.
    let collector = "src/traces/collector.rs";
    assert_eq!(naming("TcpStream::connect"), [limits, "src/client/connection/transport.rs", collector]);
}

#[test]
fn postcard_can_carry_what_is_stored_and_sent() {
    for (path, text) in sources("src/protocol") {
        for (line, code) in code(&text) {
            for forbidden in [
                "serde(default",
                "skip_serializing",
                "skip_deserializing",
                "flatten",
                "untagged",
                "serde(tag",
            ] {
                assert!(!code.contains(forbidden), "{}:{line}: `{forbidden}` with postcard", path.display());
            }
        }
    }
}

#[test]
fn words_that_are_not_ours_are_not_used() {
    for (path, text) in sources("src") {
        for (line, code) in code(&text) {
            for word in code
                .replace("futures_util", "")
                .replace("hyper_util", "")
                .replace("http_body_util", "")
                .split(|c: char| !c.is_alphanumeric())
            {
                let lower = word.to_lowercase();
                let banned =
                    ["job", "jobs", "topic", "journal", "activity", "manager", "helper", "util", "utils"];
                assert!(
                    !banned.contains(&lower.as_str()),
                    "{}:{line}: `{word}`: see ARCHITECTURE.md",
                    path.display()
                );
            }
        }
    }
}
