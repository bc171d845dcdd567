//! How programs end: by themselves, by a signal, by their task's end, and with their worker.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::{Tail, lines, records, runs, submit, submitted, until, wait_for};
use crate::cluster::{Cluster, Dir};
use crate::process::{Process, headwater};

async fn error_of(cluster: &Cluster, key: &str) -> Value {
    let shown = cluster.run(&["task", "show", key, "--json"]).await.json().remove(0);
    shown["error"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_code_is_the_outcome_and_that_of_the_command_that_waits() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let script = cluster.dir.text("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let no_interpreter =
        format!("`{script}` names an interpreter (#!) that is not on worker w: install that there");
    for (options, command, code, told) in [
        (&[][..], &["sh", "-c", "echo out; echo err >&2; exit 3"][..], 3, "exit code 3"),
        (&[], &["sh", "-c", "kill -SEGV $$"], 1, "killed by SIGSEGV (11)"),
        (&["--time-limit", "100ms"], &["sleep", "1000"], 1, "over its time limit of 100ms"),
        (&[], &[script.as_str()], 1, no_interpreter.as_str()),
        (&[], &["no-such-program"], 1, "no program `no-such-program` on worker w: install it there, or give"),
        (
            &["--cwd", "/no/such"],
            &["ls"],
            1,
            "working directory `/no/such` is not there on worker w: give one that is with --cwd",
        ),
        (
            &[],
            &["/etc/passwd"],
            1,
            "`/etc/passwd` may not be run on worker w: make it executable (chmod +x), or",
        ),
    ] {
        let options = [&["--wait", "--output-channel", "out"], options].concat();
        let ended = submit(&cluster, &options, command).await;
        assert_eq!(ended.code, Some(code), "{command:?}: {ended:?}");
        let last = ended.stderr.last().unwrap();
        let (key, why) = last.strip_prefix("error: ").unwrap().split_once(" failed: ").unwrap();
        assert!(why.starts_with(told), "{last}");
        let error = error_of(&cluster, key).await;
        assert!(error["message"].as_str().unwrap().starts_with(told), "{error}");
        if code == 3 {
            assert_eq!(ended.stdout, ["out"]);
            assert!(ended.stderr.contains(&"err".to_owned()));
            assert_eq!(error["causes"], json!(["its stderr ends with:\nerr"]));
        }
    }
    assert_eq!(submit(&cluster, &["--wait"], &["true"]).await.code, Some(0));
    // Nothing is kept of the output; an error has the end of stderr all the same.
    let ended =
        submit(&cluster, &["--wait", "--no-output"], &["sh", "-c", "echo out; echo err >&2; exit 4"]).await;
    assert_eq!((ended.code, &ended.stdout[..]), (Some(4), &[][..]));
    let key = ended.stderr.last().unwrap().split(' ').nth(1).unwrap();
    assert_eq!(error_of(&cluster, key).await["causes"], json!(["its stderr ends with:\nerr"]));
    let list = cluster.run(&["channel", "list", "--json"]).await.json();
    let names: Vec<&str> = list.iter().map(|channel| channel["name"].as_str().unwrap()).collect();
    assert!(names.len() == 2 && names[1].starts_with("submit-"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_run_again_as_often_as_was_asked() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let once = cluster.dir.text("once");
    let script = format!("echo attempt $HEADWATER_ATTEMPT; [ -e {once} ] || {{ touch {once}; exit 1; }}");
    let options = ["--wait", "--retries", "1", "--output-channel", "again"];
    let ended = submit(&cluster, &options, &["sh", "-c", &script]).await;
    assert_eq!(
        (ended.code, &ended.stdout[..]),
        (Some(0), &["attempt 1", "attempt 2"].map(str::to_owned)[..])
    );
    let records = records(&cluster, "again").await;
    let attempts: Vec<&Value> = records
        .iter()
        .filter(|record| record["headers"]["stream"] == "stdout")
        .map(|record| &record["headers"]["attempt"])
        .collect();
    assert_eq!(attempts, [&Value::Null, &json!("2")]);
    // What was printed before is of an attempt that failed: that is told.
    assert!(ended.stderr.contains(&"the program begins anew, in attempt 2".to_owned()), "{:?}", ended.stderr);
    std::fs::remove_file(&once).unwrap();
    let lines = submit(&cluster, &[&options[..], &["--json"]].concat(), &["sh", "-c", &script]).await.json();
    let attempts: Vec<&Value> = lines.iter().map(|line| &line["attempt"]).collect();
    assert_eq!(attempts, [&Value::Null, &json!(2), &Value::Null], "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_cancelled_is_asked_to_end_and_then_killed() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let asked = cluster.dir.text("asked");
    // What it writes then goes nowhere, and does not keep it.
    let script =
        format!("trap 'seq 1 100000; echo > {asked}; exit 0' TERM; echo ready; while :; do sleep 0.02; done");
    let polite = submitted(&cluster, &["--grace", "1h"], "polite", &script).await;
    assert_eq!(Tail::start(&cluster, "polite").line().await, "ready");
    cluster.run(&["task", "cancel", &polite]).await.only_line();
    until(|| fs::exists(&asked).unwrap()).await;
    assert_eq!(lines(&records(&cluster, "polite").await, "stdout"), ["ready"]);

    let script = "trap '' TERM; echo $$; while :; do sleep 0.02; done";
    let stubborn = submitted(&cluster, &["--grace", "50ms"], "stubborn", script).await;
    let mut tail = Tail::start(&cluster, "stubborn");
    let process = tail.line().await;
    assert!(runs(&process));
    cluster.run(&["task", "cancel", &stubborn]).await.only_line();
    tail.state("cancelled").await;
    until(|| !runs(&process)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_program_says_when_its_time_is_over_is_kept() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done";
    let options = ["--wait", "--time-limit", "2s", "--grace", "1h", "--output-channel", "out"];
    let ended = submit(&cluster, &options, &["sh", "-c", script]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let records = records(&cluster, "out").await;
    assert_eq!(lines(&records, "stdout"), ["up", "bye"]);
    assert_eq!(records.last().unwrap()["state"], "failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_workers_program_is_ended_and_run_again_elsewhere() {
    let cluster = Cluster::start_on(Dir::new(), &["--worker-lease", "500ms"]).await;
    let mut first = cluster.worker("first").await;
    // The number of the shell, and of a process that it has started.
    let script = "sleep 1000 & echo $$ $!; wait";
    submitted(&cluster, &[], "moves", script).await;
    let mut tail = Tail::start(&cluster, "moves");
    let processes = tail.line().await;
    assert!(processes.split(' ').all(runs));
    first.kill().await;
    until(|| !processes.split(' ').any(runs)).await;
    let _second = cluster.worker("second").await;
    let again = tail.until(|record| record["headers"]["attempt"] == "2").await;
    assert_ne!(again["value"], processes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hands_over_leaves_no_program() {
    let cluster = Cluster::start().await;
    let first = cluster.worker("first").await;
    submitted(&cluster, &[], "moves", "echo $$; exec sleep 1000").await;
    let mut tail = Tail::start(&cluster, "moves");
    let process = tail.line().await;
    // Its end is that of its guard, too.
    assert_eq!(first.interrupt().await.code, Some(0));
    assert!(!runs(&process));
    let _second = cluster.worker("second").await;
    assert_ne!(tail.line().await, process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_that_is_killed_is_replaced_and_its_successor_knows_all() {
    let cluster = Cluster::start().await;
    let mut worker = cluster.worker("w").await;
    submitted(&cluster, &[], "old", "echo $$; exec sleep 1000").await;
    let old = Tail::start(&cluster, "old").line().await;
    let guard = child_of(worker.id(), "program-guard").unwrap();
    assert!(std::process::Command::new("kill").args(["-9", &guard]).status().unwrap().success());
    until(|| !runs(&guard)).await;
    submitted(&cluster, &[], "new", "echo $$; exec sleep 1000").await;
    let new = Tail::start(&cluster, "new").line().await;
    worker.kill().await;
    until(|| !runs(&old) && !runs(&new)).await;
}

/// The child of a process that has this among its arguments.
fn child_of(parent: u32, argument: &str) -> Option<String> {
    let children = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stat = fs::read_to_string(format!("/proc/{name}/stat")).ok()?;
        let is_child = stat.rsplit_once(") ")?.1.split(' ').nth(1)? == parent.to_string();
        let line = fs::read_to_string(format!("/proc/{name}/cmdline")).ok()?;
        (is_child && line.split('\0').any(|one| one == argument)).then_some(name)
    });
    children.last()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_has_its_slot_until_it_ends() {
    let cluster = Cluster::start().await;
    let mut worker: Process = cluster.spawn(&["worker", "--name", "w", "--slots", "1"]);
    worker.said("joined").await;
    let go = cluster.dir.text("go");
    let first = submitted(&cluster, &[], "both", &format!("echo first; {}", wait_for(&go))).await;
    let mut tail = Tail::start(&cluster, "both");
    assert_eq!(tail.line().await, "first", "from now on it would be a client");
    let second = submitted(&cluster, &[], "both", "echo second").await;
    let listed = cluster.run(&["worker", "list", "--json"]).await.json().remove(0);
    assert_eq!((&listed["running"], &listed["slots"]), (&json!(1), &json!(1)), "{listed}");
    fs::write(&go, "").unwrap();
    cluster.run(&["task", "wait", &first, &second]).await.lines();
    let records = records(&cluster, "both").await;
    let of =
        |state: &str, key: &str| records.iter().position(|one| one["state"] == state && one["key"] == key);
    let [finished, started] = [of("finished", &first), of("started", &second)].map(Option::unwrap);
    assert!(finished < started);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_run_programs_unless_they_are_told_not_to() {
    let cluster = Cluster::start().await;
    let mut worker = cluster.spawn(&["worker", "--name", "w", "--no-exec"]);
    worker.said("joined").await;
    let key = submitted(&cluster, &[], "out", "echo ran").await;
    let shown = cluster.run(&["task", "show", &key, "--json"]).await.json().remove(0);
    assert_eq!(shown["status"], "pending");
    let waits_for = shown["waits_for"].as_str().unwrap();
    assert!(waits_for.contains("exec"), "{waits_for}");
    let _other = cluster.worker("other").await;
    assert_eq!(cluster.run(&["task", "wait", &key]).await.code, Some(0));

    let dir = Dir::new();
    let mut up = headwater(&["up", "--listen", "127.0.0.1:0", "--data", &dir.text("data")]);
    let address = up.said("listening on ").await;
    let ended = headwater(&["submit", "--connect", &address, "--wait", "--", "echo", "up"]).end().await;
    assert_eq!((ended.code, &ended.stdout[..]), (Some(0), &["up".to_owned()][..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_is_run_again_after_a_wait_or_when_it_is_asked_for_and_ends_with_its_deadline() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let gate = cluster.dir.text("gate");
    // It fails the first time, and as long as there is no file.
    let script = format!("test $HEADWATER_ATTEMPT -gt 1 && test -e {gate}");
    let options = ["--retries", "1", "--backoff", "10ms", "--tag", "nightly", "--name", "again", "--wait"];
    let ended = submit(&cluster, &options, &["sh", "-c", &script]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let listed =
        cluster.run(&["task", "list", "--tag", "nightly", "--status", "error", "--json"]).await.json();
    assert_eq!(listed.len(), 1);
    std::fs::write(&gate, "").unwrap();
    cluster.run(&["task", "retry", "again"]).await.only_line();
    let line = cluster.run(&["task", "wait", "again"]).await.only_line();
    assert!(line.ends_with("  finished"), "{line}");
    let shown = cluster.run(&["task", "show", "again", "--json"]).await.json().remove(0);
    let steps = shown["history"].as_array().unwrap().iter();
    let kinds: Vec<_> = steps.filter_map(|step| step["kind"].as_str()).collect();
    let ends =
        ["submitted", "started", "retried", "awaited", "started", "failed", "renewed", "started", "finished"];
    assert_eq!(kinds, ends, "{shown:#}");
    let ended = submit(&cluster, &["--deadline", "200ms", "--wait"], &["sleep", "600"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = ended.stderr.join("\n");
    assert!(told.contains("it was not done within its deadline of 200 ms"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_what_keeps_no_output_is_told_how_many_have_ended() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let of_wait = ["--wait", "--no-output"];
    let ended = submit(&cluster, &of_wait, &["echo", "unseen"]).await;
    assert_eq!((ended.code, &ended.stdout[..]), (Some(0), &[][..]));
    let last = |stderr: &[String]| stderr.last().cloned().unwrap_or_default();
    assert_eq!(last(&ended.stderr), "1 finished, 0 running, 0 waiting of 1 task", "{ended:?}");
    let ended = submit(&cluster, &[&of_wait[..], &["--array", "1-3"]].concat(), &["true"]).await;
    assert_eq!(last(&ended.stderr), "3 finished, 0 running, 0 waiting of 3 tasks", "{ended:?}");
    // What says it otherwise says it once, and who wants nothing of it has nothing.
    let ended = submit(&cluster, &[&of_wait[..], &["--json"]].concat(), &["true"]).await;
    assert!(ended.stderr.is_empty() && ended.stdout.len() == 1, "{ended:?}");
    let ended = submit(&cluster, &[&of_wait[..], &["--quiet"]].concat(), &["true"]).await;
    assert!(!last(&ended.stderr).contains("finished"), "{ended:?}");
    let ended = submit(&cluster, &["--wait"], &["echo", "seen"]).await;
    assert!(ended.stdout == ["seen"] && !last(&ended.stderr).contains("finished"), "{ended:?}");
}
