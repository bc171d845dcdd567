//! Whether `log::verify` and `headwater log verify` name all damage of a store on disk, and nothing else.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use headwater::local::{Local, Options, Store};
use headwater::log::verify::{Finding, Seen, Severity, verify};
use headwater::log::{Log, SledLog};
use headwater::protocol::LogId;
use headwater::{Client, task};
use serde_json::Value;

use crate::engines::{Writer, open_sled};

#[task]
fn doubled(number: i64) -> i64 {
    2 * number
}

/// Ten commits of two elements on log 1, each second of them with one on log 2.
fn store(dir: &Path) {
    let log = open_sled(dir);
    let mut writer = Writer::begin(&log);
    for at in 0..10 {
        let parts: &[(u32, &[bool])] = &[(1, &[true, true]), (2, &[true])];
        writer.write(&log, &parts[..1 + at % 2]);
    }
}

/// Changes the batches of a closed store with sled itself, once its threads have let the file go.
fn change(dir: &Path, change: impl FnOnce(&sled::Tree)) {
    let data = std::fs::File::open(dir.join("store/db")).unwrap();
    data.lock().unwrap();
    drop(data);
    let db = sled::Config::new()
        .path(dir.join("store"))
        .mode(sled::Mode::HighThroughput)
        .segment_size(8 * 1024 * 1024)
        .flush_every_ms(None)
        .open()
        .unwrap();
    change(&db.open_tree("batches").unwrap());
    db.flush().unwrap();
}

fn key(log: u32, offset: u64) -> Vec<u8> {
    [&log.to_be_bytes()[..], &offset.to_be_bytes()].concat()
}

fn flip(tree: &sled::Tree, log: u32, offset: u64) {
    let mut bytes = tree.get(key(log, offset)).unwrap().unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    tree.insert(key(log, offset), bytes).unwrap();
}

fn findings(log: &SledLog) -> Vec<Finding> {
    let mut findings = Vec::new();
    verify(log, &mut |seen| match seen {
        Seen::Finding(finding) => findings.push(finding),
        Seen::Lost(log, damage) => findings.push(Finding::lost(log, &damage)),
        Seen::Batch(_) | Seen::End(..) => {}
    });
    findings
}

/// The check, log and offset of each finding.
fn places(findings: &[Finding]) -> Vec<(&'static str, Option<u32>, Option<u64>)> {
    findings.iter().map(|finding| (finding.check, finding.log.map(|log| log.0), finding.offset)).collect()
}

#[test]
fn a_whole_store_is_found_whole_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path());
    let mut logs = Vec::new();
    verify(&open_sled(dir.path()), &mut |seen| match seen {
        Seen::End(log, contents) => {
            logs.push((log.0, contents.records, contents.batches, contents.bounds.head))
        }
        Seen::Finding(finding) => panic!("{finding:?}"),
        Seen::Lost(log, damage) => panic!("log {log}: {damage}"),
        Seen::Batch(_) => {}
    });
    assert_eq!(logs, [(1, 20, 10, 20), (2, 5, 5, 5)]);
}

#[test]
fn every_damaged_batch_is_named_and_what_is_behind_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path());
    change(dir.path(), |tree| {
        [4, 6, 12].into_iter().for_each(|offset| flip(tree, 1, offset));
        flip(tree, 2, 0);
    });
    let found = findings(&open_sled(dir.path()));
    let lost = |log, offset| ("lost", Some(log), Some(offset));
    // Commits 3 and 7 had no other batch; commit 4 has one on log 2, and commit 2 on log 1.
    let commits = ("commits", None, None);
    assert_eq!(places(&found), [lost(1, 4), lost(1, 12), lost(2, 0), commits, commits]);
    let words = &found[0].what;
    assert!(words.starts_with("records 4 to 8 are lost: ") && words.contains("checksum"), "{words}");
    assert_eq!(found[3].what, "no whole batch of commit 3 is there");
    assert_eq!(found[4].what, "no whole batch of commit 7 is there");
}

#[test]
fn reading_goes_on_right_behind_a_damaged_batch_of_any_length() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_sled(dir.path());
    let mut writer = Writer::begin(&log);
    [1, 41, 1, 1, 90].into_iter().for_each(|length| drop(writer.write(&log, &[(1, &vec![true; length])])));
    drop(log);
    change(dir.path(), |tree| flip(tree, 1, 1));
    let found = findings(&open_sled(dir.path()));
    assert_eq!(places(&found), [("lost", Some(1), Some(1)), ("commits", None, None)]);
    assert!(found[0].what.starts_with("records 1 to 42 are lost: "), "{}", found[0].what);
}

#[test]
fn batches_that_are_gone_are_named_with_their_commits() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path());
    change(dir.path(), |tree| {
        for (log, offset) in [(1, 0), (1, 8), (1, 10), (2, 2)] {
            tree.remove(key(log, offset)).unwrap().unwrap();
        }
    });
    let found = findings(&open_sled(dir.path()));
    let words: Vec<&str> = found.iter().map(|finding| finding.what.as_str()).collect();
    assert_eq!(
        words,
        [
            "records 0 to 2 are lost: they are gone from the store",
            "records 8 to 12 are lost: they are gone from the store",
            "records 2 to 3 are lost: they are gone from the store",
            "no whole batch of commit 1 is there",
            "no whole batch of commits 5 to 6 is there",
        ]
    );
    assert!(found.iter().all(|finding| finding.severity == Severity::Damage));
}

#[test]
fn a_batch_of_another_place_and_commit_is_named() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path());
    let other = tempfile::tempdir().unwrap();
    let log = open_sled(other.path());
    let mut writer = Writer::begin(&log);
    writer.write(&log, &[(1, &[false; 4])]);
    let foreign = writer.commit(&[(1, &[true, true])]).batches[0].bytes().to_vec();
    drop(log);
    change(dir.path(), |tree| drop(tree.insert(key(1, 4), foreign).unwrap()));
    let found = findings(&open_sled(dir.path()));
    let at = |check, offset| (check, Some(1), Some(offset));
    // It says that no element is before it, and that it is of commit 2; so commit 3 is nowhere.
    let expected = [at("indexes", 4), at("indexes", 6), ("commits", None, None)];
    assert_eq!(places(&found), expected, "{found:?}");
}

#[test]
fn what_a_trimmed_log_may_have_taken_is_a_note() {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path());
    open_sled(dir.path()).trim(LogId(1), 8).unwrap();
    let found = findings(&open_sled(dir.path()));
    assert_eq!((found.len(), found[0].severity, found[0].check), (1, Severity::Note, "commits"), "{found:?}");
    assert!(found[0].what.starts_with("of 2 commits before commit 5 no batch is there"), "{}", found[0].what);
    // Behind what was trimmed, it is damage as ever.
    change(dir.path(), |tree| drop(tree.remove(key(1, 12)).unwrap()));
    let damage = findings(&open_sled(dir.path())).into_iter().filter(|f| f.severity == Severity::Damage);
    let words: Vec<String> = damage.map(|finding| finding.what).collect();
    assert_eq!(
        words,
        ["records 12 to 14 are lost: they are gone from the store", "no whole batch of commit 7 is there"]
    );
}

/// A store of a real scheduler: a task, a channel `sums` of futures that is stopped, and one of values.
async fn scheduled(dir: &Path) {
    let (store, listen) = (Store::Directory(dir.to_owned()), "127.0.0.1:0".to_owned());
    let local = Local::start(Options { store, listen, workers: 1, ..Options::default() }).await.unwrap();
    let client = Client::connect(local.address().to_string()).await.unwrap();
    let sums = client.channel::<i64>("sums").await.unwrap();
    for number in 0..3 {
        let future = client.submit(doubled, (number,)).await.unwrap();
        sums.append(&future).await.unwrap();
        assert_eq!(future.await.unwrap(), 2 * number);
    }
    sums.stop().await.unwrap();
    let words = client.channel::<String>("words").await.unwrap();
    for word in ["one", "two", "three", "four", "five"] {
        words.append_value(&word.to_owned()).await.unwrap();
    }
    client.close().await;
    local.stop().await;
}

fn headwater(arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.args(arguments).arg("--data").arg(dir).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn bytes_of(dir: &Path) -> Vec<Vec<u8>> {
    ["store/db", "head"].map(|file| fs::read(dir.join(file)).unwrap()).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_says_that_a_store_is_whole_or_what_is_damaged_and_changes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = &parent.path().join("data");
    scheduled(dir).await;
    let before = bytes_of(dir);
    let whole = headwater(&["log", "verify", "--json"], dir);
    assert!(whole.status.success(), "{whole:?}");
    let objects = lines(&whole);
    assert_eq!((objects.len(), &objects[0]["summary"]), (1, &Value::from("whole")), "{objects:?}");
    assert_eq!(objects[0]["logs"][1]["channel"], "sums");
    assert_eq!(bytes_of(dir), before);

    change(dir, |tree| {
        flip(tree, 2, 1);
        tree.remove(key(1, 0)).unwrap().unwrap();
    });
    let before = bytes_of(dir);
    let damaged = headwater(&["log", "verify", "--json", "--quiet"], dir);
    assert_eq!(damaged.status.code(), Some(1));
    let objects = lines(&damaged);
    let place = |at: usize| {
        (objects[at]["check"].as_str(), objects[at]["channel"].as_str(), objects[at]["offset"].as_u64())
    };
    assert_eq!(place(0), (Some("lost"), Some("sums"), Some(0)), "{objects:?}");
    assert!(
        objects.iter().any(|object| object["check"] == "stopped" && object["finding"] == "note"),
        "{objects:?}"
    );
    assert!(
        objects.iter().any(|object| object["check"] == "lost" && object["channel"] == "words"),
        "{objects:?}"
    );
    assert_eq!(objects.last().unwrap()["summary"], "damaged");
    let stderr = String::from_utf8(damaged.stderr).unwrap();
    assert!(stderr.starts_with("error: the store ") && stderr.lines().count() == 1, "{stderr}");
    assert_eq!(bytes_of(dir), before);
    let left: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["data"], "the copy is removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_dumps_records_also_behind_damage() {
    let parent = tempfile::tempdir().unwrap();
    let dir = &parent.path().join("data");
    scheduled(dir).await;
    let values = |output: &Output| -> Vec<String> {
        lines(output).iter().filter_map(|line| line["value"].as_str().map(str::to_owned)).collect()
    };
    let words = ["log", "dump", "--json", "--log", "words"];
    let dumped = headwater(&words, dir);
    assert!(dumped.status.success(), "{dumped:?}");
    assert_eq!(values(&dumped), ["one", "two", "three", "four", "five"]);
    assert_eq!(
        values(&headwater(&[&words[..], &["--from", "1"]].concat(), dir)),
        ["two", "three", "four", "five"]
    );
    let all = lines(&headwater(&["log", "dump", "--json"], dir));
    let marked =
        all.iter().filter(|line| line["marker"] == "log").map(|line| line["channel"].as_str().unwrap());
    assert_eq!(marked.collect::<Vec<_>>(), ["$tasks", "sums", "words"]);
    assert!(all.iter().any(|line| line["kind"] == "submitted"));

    change(dir, |tree| flip(tree, 2, 1));
    let damaged = headwater(&words, dir);
    assert_eq!(damaged.status.code(), Some(1));
    assert_eq!(values(&damaged), ["one", "three", "four", "five"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_only_reading_finds_is_neither_backed_up_nor_restored() {
    let parent = tempfile::tempdir().unwrap();
    let place = |name: &str| parent.path().join(name);
    let (data, backup) = (&place("data"), place("backup"));
    scheduled(data).await;
    let made = headwater(&["log", "backup", backup.to_str().unwrap()], data);
    assert!(made.status.success(), "{made:?}");
    for (dir, command) in [(data, "backup"), (&backup, "restore")] {
        change(dir, |tree| flip(tree, 2, 1));
        let before = bytes_of(dir);
        let (from, to) = match command {
            "backup" => (place("new"), dir.clone()),
            _ => (dir.clone(), place("new")),
        };
        let refused = headwater(&["log", command, from.to_str().unwrap()], &to);
        let said = String::from_utf8(refused.stderr).unwrap();
        let expected = format!("error: the store {} is damaged (places: ", dir.display());
        assert!(refused.status.code() == Some(1) && said.starts_with(&expected), "{said}");
        assert!(said.contains("log 2: records 1 to 2 are lost: ") && said.contains("`headwater log repair"));
        assert!(bytes_of(dir) == before && !place("new").exists() && !place("new.unfinished").exists());
    }
}

#[test]
fn a_store_that_is_held_behind_its_head_file_or_not_there_is_said_so() {
    let parent = tempfile::tempdir().unwrap();
    let dir = &parent.path().join("data");
    let stderr = |output: Output| String::from_utf8(output.stderr).unwrap();
    let none = headwater(&["log", "verify"], dir);
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(none).starts_with("error: there is no store in "));
    assert!(!dir.exists());

    store(dir);
    let holder = open_sled(dir);
    assert!(stderr(headwater(&["log", "verify"], dir)).contains("is held by another process"));
    drop(holder);

    change(dir, |tree| drop(tree.remove(key(1, 18)).unwrap().unwrap()));
    change(dir, |tree| drop(tree.remove(key(2, 4)).unwrap().unwrap()));
    let behind = lines(&headwater(&["log", "verify", "--json"], dir));
    let head = behind.iter().find(|line| line["check"] == "head").expect("the head file is ahead");
    assert!(head["what"].as_str().unwrap().contains("lost its newest commits"), "{head}");

    // The end of a log is needed to open the store.
    change(dir, |tree| flip(tree, 1, 16));
    let damaged = headwater(&["log", "verify", "--json"], dir);
    assert_eq!((damaged.status.code(), &lines(&damaged)[0]["check"]), (Some(1), &Value::from("open")));
}
