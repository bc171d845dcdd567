//! What programs write, and what they find.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Tail, lines, records, runs, submit, submitted, until, wait_for};
use crate::cluster::Cluster;
use crate::process::{HEADWATER, Process, command};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_output_is_on_the_channel_in_its_order_before_the_outcome() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let script = "seq 1 3000; echo oops >&2; printf 'no end'";
    let ended = submit(&cluster, &["--wait", "--output-channel", "out"], &["sh", "-c", script]).await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    // Read late, from the first line.
    let records = records(&cluster, "out").await;
    let mut expected: Vec<String> = (1..=3000).map(|n| n.to_string()).collect();
    expected.push("no end".to_owned());
    assert_eq!(lines(&records, "stdout"), expected);
    assert_eq!(lines(&records, "stderr"), ["oops"]);
    assert_eq!(ended.stdout, expected, "what --wait prints is the same");
    let last = records.last().unwrap();
    assert_eq!((&last["state"], &last["value"]["code"]), (&json!("finished"), &json!(0)));
    assert!(last["value"]["took_ms"].is_u64());
    let key = records[0]["key"].as_str().unwrap();
    assert!(key.starts_with("exec-"));
    assert!(
        records.iter().all(|record| record["key"] == key || record["headers"]["task"] == key),
        "each line says whose it is"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_followed_while_the_program_runs() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let go = cluster.dir.text("go");
    let script = format!("echo first; {}; echo second", wait_for(&go));
    submitted(&cluster, &[], "live", &script).await;
    let mut tail = Tail::start(&cluster, "live");
    tail.state("started").await;
    assert_eq!(tail.line().await, "first");
    fs::write(&go, "").unwrap();
    assert_eq!(tail.line().await, "second");
    tail.state("finished").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_has_its_environment_its_directory_and_its_stdin() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let (here, data) = (cluster.dir.text(""), cluster.dir.text("stdin"));
    fs::write(&data, "from\na file").unwrap();
    let script =
        "echo $A; pwd; cat; echo; echo $HEADWATER_TASK {key}; echo $HEADWATER_ATTEMPT $HEADWATER_CONNECT";
    let options = ["--wait", "--env", "A=b c", "--cwd", &here, "--stdin", &data];
    let ended = submit(&cluster, &options, &["sh", "-c", script]).await;
    let [a, directory, from, file, keys, last] = &ended.stdout[..] else { panic!("{ended:?}") };
    assert_eq!([a, from, file], ["b c", "from", "a file"]);
    assert_eq!(fs::canonicalize(directory).unwrap(), fs::canonicalize(&here).unwrap());
    let (of_environment, of_placeholder) = keys.split_once(' ').unwrap();
    assert!(of_environment == of_placeholder && of_environment.starts_with("exec-"), "{keys}");
    assert_eq!(*last, format!("1 {}", cluster.address));

    // Without a directory it is this one, and without stdin there is none.
    let ended = submit(&cluster, &["--wait"], &["sh", "-c", "pwd; cat"]).await;
    assert_eq!(ended.stdout, [std::env::current_dir().unwrap().to_str().unwrap()]);
    // This command's own, through a shell.
    let piped =
        format!("echo piped | {HEADWATER} submit --connect {} --wait --stdin - -- cat", cluster.address);
    let ended = Process::of(command(Path::new("sh"), &["-c", &piped])).end().await;
    assert_eq!((ended.code, &ended.stdout[..]), (Some(0), &["piped".to_owned()][..]));
    // A program that is a client finds the scheduler by itself.
    let ended = submit(&cluster, &["--wait"], &[HEADWATER, "channel", "append", "inner", "7"]).await;
    assert_eq!((ended.code, &ended.stdout[..]), (Some(0), &["0".to_owned()][..]));
    assert_eq!(records(&cluster, "inner").await[0]["value"], 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lines_come_in_pieces_and_bytes_that_are_no_text_are_replaced() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let script = "head -c 40000 /dev/zero | tr '\\0' x; echo; printf 'a\\377b\\r\\n'";
    let ended = submit(&cluster, &["--wait", "--output-channel", "long"], &["sh", "-c", script]).await;
    let records = records(&cluster, "long").await;
    let of_output = |record: &&Value| record["headers"]["stream"] == "stdout";
    let pieces: Vec<(usize, bool)> = records
        .iter()
        .filter(of_output)
        .map(|record| (record["value"].as_str().unwrap().len(), record["headers"]["goes_on"] == "true"))
        .collect();
    assert_eq!(pieces, [(16384, true), (16384, true), (7232, false), (5, false)]);
    assert_eq!(ended.stdout, ["x".repeat(40_000), "a\u{fffd}b".to_owned()], "one line again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_may_close_its_pipes_early_and_leave_them_to_others() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let go = cluster.dir.text("go");
    let script = format!("echo a; exec >&- 2>&-; {}; exit 3", wait_for(&go));
    let key = submitted(&cluster, &[], "closes", &script).await;
    assert_eq!(Tail::start(&cluster, "closes").line().await, "a");
    fs::write(&go, "").unwrap();
    let ended = cluster.run(&["task", "wait", &key]).await;
    assert_eq!(ended.code, Some(1));
    let shown = cluster.run(&["task", "show", &key, "--json"]).await.json().remove(0);
    assert_eq!(shown["error"]["message"], "exit code 3");

    // What it leaves behind would have its pipes for ever.
    let ended = submit(&cluster, &["--wait"], &["sh", "-c", "sleep 1000 & echo $!"]).await;
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 1), "{ended:?}");
    until(|| !runs(&ended.stdout[0])).await;
    // And so would what has left the group: nobody waits for that.
    let pid = cluster.dir.text("pid");
    let script = format!("setsid sh -c 'echo $$ > {pid}; exec sleep 1000' & {}; echo done", wait_for(&pid));
    let ended = submit(&cluster, &["--wait"], &["sh", "-c", &script]).await;
    assert_eq!((ended.code, &ended.stdout[..]), (Some(0), &["done".to_owned()][..]));
    let left = fs::read_to_string(&pid).unwrap();
    assert!(runs(left.trim()), "it is not of the group any more");
    assert!(std::process::Command::new("kill").arg(left.trim()).status().unwrap().success());
}

/// A program that writes more than the log takes waits: what is not on the channel yet is in its pipe.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_output_takes_little_memory() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w").await;
    let peak = || {
        let status = fs::read_to_string(format!("/proc/{}/status", worker.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    };
    submit(&cluster, &["--wait"], &["echo", "warm"]).await;
    let before = peak();
    // 32 MB, in lines of 8,000 bytes.
    let script = "head -c 32000000 /dev/zero | tr '\\0' x | fold -w 8000";
    let key = submitted(&cluster, &[], "much", script).await;
    assert_eq!(cluster.run(&["task", "wait", &key]).await.code, Some(0));
    let list = cluster.run(&["channel", "list", "--json"]).await.json();
    let much = list.iter().find(|channel| channel["name"] == "much").unwrap();
    assert_eq!(much["elements"], 4001, "and the task's future");
    let grown = peak() - before;
    assert!(grown < 16 * 1024, "{grown} kB more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_left_the_group_and_writes_on_holds_nobody_up() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("w").await;
    let done = cluster.dir.text("done");
    // For a minute at most, should the test be ended.
    let outside = format!("for n in $(seq 3000); do test -e {done} && exit; echo tick; sleep 0.02; done");
    let script = format!("setsid sh -c '{outside}' & echo begun; exit 0");
    let ended = submit(&cluster, &["--output-channel", "out", "--wait"], &["sh", "-c", &script]).await;
    std::fs::write(&done, "").unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(&"begun".to_owned()), "{ended:?}");
    assert!(ended.stdout.len() < 500, "{} lines, though nobody waits for more", ended.stdout.len());
}
