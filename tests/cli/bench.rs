//! `headwater bench`: that each scenario runs and ends, in a short form, and that a program can read what it
//! says. Never how fast it was.

use serde_json::Value;

use crate::cluster::{Cluster, Dir};
use crate::process::{Ended, fields, json, run};

/// What the machine can do, as every scenario gives it that has a ratio to it.
const LIMITS: [&str; 8] = [
    "bare_file_records_per_s",
    "fdatasync_128_p50_us",
    "fdatasync_128_p99_us",
    "fdatasync_32k_p50_us",
    "loopback_bytes_per_s",
    "paced_p50_us",
    "pingpong_p50_us",
    "pingpong_p99_us",
];

/// Runs a scenario once, on a store that must be gone afterwards. Gives its lines.
async fn bench(arguments: &[&str]) -> Vec<Value> {
    let dir = Dir::new();
    let data = dir.text("bench");
    let ended = run(&[&["bench"], arguments, &["--runs", "1", "--json", "--data", &data]].concat()).await;
    assert!(!dir.path("bench").exists(), "the store is removed");
    lines(&ended)
}

fn lines(ended: &Ended) -> Vec<Value> {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout.iter().map(|line| json(line)).collect()
}

/// Checks what a line has: its variant, and the names of its figures, each with an order and a unit.
fn check(line: &Value, scenario: &str, variant: &str, figures: &[&str]) {
    assert_eq!((&line["scenario"], &line["variant"]), (&scenario.into(), &variant.into()), "{line}");
    assert!(line["hardware"].is_string() && line["commit"].is_string(), "{line}");
    assert!(line["params"].is_object() && line["durability"] == "fsynced", "{line}");
    assert_eq!(fields(&line["figures"]), figures, "{line}");
    let all = line["figures"].as_object().unwrap().iter();
    for (name, figure) in
        all.chain(line.get("limits").into_iter().flat_map(|limits| limits.as_object().unwrap()))
    {
        let number = |of: &str| figure[of].as_f64().unwrap();
        let (min, median, max) = (number("min"), number("median"), number("max"));
        assert!(
            0.0 <= min && min <= median && median <= max && figure["unit"].is_string(),
            "{name}: {figure}"
        );
    }
}

/// Checks that a line has all limits, and these ratios.
fn check_ratios(line: &Value, ratios: &[&str]) {
    assert_eq!(
        (fields(&line["limits"]), fields(&line["ratios"])),
        (LIMITS.to_vec(), ratios.to_vec()),
        "{line}"
    );
    assert!(
        line["ratios"].as_object().unwrap().values().all(|ratio| ratio.as_f64().unwrap() > 0.0),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_are_measured_beside_what_the_machine_can_do() {
    let lines = bench(&["append", "--seconds", "50ms"]).await;
    let variants = [
        "one client",
        "100 values a command",
        "16 clients",
        "1000 channels",
        "one in flight",
        "one in flight, buffered",
    ];
    assert_eq!(lines.len(), variants.len());
    for (line, variant) in lines.iter().zip(variants) {
        check(line, "append", variant, &["p50_us", "p99_us", "records_per_s"]);
        check_ratios(
            line,
            if variant.starts_with("one in flight") { &["p50_us", "p99_us"] } else { &["records_per_s"] },
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_measured() {
    let lines = bench(&["catchup", "--records", "2000"]).await;
    for (line, variant) in lines.iter().zip(["cold", "warm"]) {
        check(line, "catchup", variant, &["records_per_s", "seconds"]);
        check_ratios(line, &["records_per_s"]);
    }
    assert_eq!(lines.len(), 2);
    let lines = bench(&["tail", "--seconds", "50ms"]).await;
    check(&lines[0], "tail", "1000 records/s, one subscriber", &["p50_us", "p99_us", "records_per_s"]);
    check_ratios(&lines[0], &["p50_us", "p50_us_paced"]);
    let mut lines = bench(&["fanout", "--subscribers", "2,5", "--records", "300"]).await;
    // More than what may be on its way to one that takes nothing.
    lines.extend(bench(&["fanout", "--subscribers", "2", "--stuck", "3", "--records", "10000"]).await);
    for (line, variant) in lines.iter().zip(["2 subscribers", "5 subscribers", "2 subscribers, 3 stuck"]) {
        let memory: &[&str] = if cfg!(target_os = "linux") { &["bytes_per_subscriber"] } else { &[] };
        let rss: &[&str] = if cfg!(target_os = "linux") { &["rss_bytes"] } else { &[] };
        check(
            line,
            "fanout",
            variant,
            &[memory, &["deliveries_per_s", "records_per_s"], rss, &["seconds"]].concat(),
        );
        check_ratios(line, &["deliveries_per_s"]);
    }
    assert_eq!(lines.len(), 3);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_beside_readers_are_measured() {
    let lines = bench(&["replayers", "--readers", "2", "--records", "500", "--seconds", "100ms"]).await;
    let alone = ["p50_us", "p99_us", "records_per_s", "scheduler_cores"];
    check(&lines[0], "replayers", "alone", &alone);
    check_ratios(&lines[0], &["records_per_s"]);
    let beside = ["deliveries_per_s", "p50_us", "p99_us", "reader_cores", "records_per_s", "scheduler_cores"];
    check(&lines[1], "replayers", "2 readers", &beside);
    check_ratios(&lines[1], &["records_per_s", "records_per_s_cpu_aside"]);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_are_measured() {
    let lines = bench(&["tasks", "--tasks", "50,100"]).await;
    let figures =
        ["bytes_per_task", "records_per_task", "rss_bytes", "seconds", "tasks_per_s", "us_per_task"];
    check(&lines[0], "tasks", "50 tasks", &figures);
    check_ratios(&lines[0], &["tasks_per_s"]);
    check(&lines[1], "tasks", "100 tasks", &figures);
    check_ratios(&lines[1], &["tasks_per_s", "us_per_task"]);
    let shapes = [
        (&["chain"][..], "30 tasks, chains of 10", 1),
        (&["fan"], "34 tasks, 64 to 1", 64),
        (&["fan", "--width", "3"], "34 tasks, 3 to 1", 3),
        (&["tree"], "31 tasks, a tree of 2 to 1", 2),
    ];
    for (shape, variant, width) in shapes {
        let lines = bench(&[&["tasks", "--tasks", "34", "--shape"], shape].concat()).await;
        check(&lines[0], "tasks", variant, &figures);
        check_ratios(&lines[0], &["tasks_per_s"]);
        assert_eq!(
            (&lines[0]["params"]["shape"], &lines[0]["params"]["width"]),
            (&shape[0].into(), &width.into())
        );
    }
    let lines = bench(&["tasks", "--tasks", "101", "--shape", "fan", "--width", "100"]).await;
    check(&lines[0], "tasks", "101 tasks, 100 to 1", &figures);
    let said = run(&["bench", "tasks", "--shape", "chain", "--width", "3"]).await.refusal();
    assert_eq!(said, "--width is for --shape fan and --shape tree");
    let lines = bench(&["roundtrip", "--tasks", "20"]).await;
    check(&lines[0], "roundtrip", "one at a time", &["p50_us", "p99_us", "tasks_per_s"]);
    check_ratios(&lines[0], &["p50_us"]);
    let lines = bench(&["chain", "--tasks", "20"]).await;
    check(&lines[0], "chain", "20 tasks", &["seconds", "tasks_per_s", "us_per_task"]);
    check_ratios(&lines[0], &["us_per_task"]);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_starts_are_measured() {
    let lines = bench(&["memory", "--values", "100", "--tasks", "50"]).await;
    check(&lines[0], "memory", "100 values", &["rss_bytes"]);
    check(&lines[1], "memory", "50 unfinished tasks", &["bytes_per_task", "rss_bytes"]);
    check(&lines[2], "memory", "50 finished tasks, held", &["bytes_per_task", "rss_bytes"]);
    let lines = bench(&["channels", "--channels", "1030"]).await;
    let figures = ["bytes_per_channel", "rss_bytes", "seconds"];
    check(&lines[0], "channels", "1030 idle channels", &figures);
    let lines = bench(&["recovery", "--tasks", "50", "--records", "500"]).await;
    check(&lines[0], "recovery", "50 live tasks, 500 records", &["rss_bytes", "seconds"]);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soak_tells_what_it_sees_and_what_has_drifted() {
    let lines =
        bench(&["soak", "--time", "1s", "--every", "300ms", "--stay", "300ms", "--keep", "100"]).await;
    let (last, samples) = lines.split_last().unwrap();
    assert!(samples.len() >= 3 && samples.iter().all(|line| line["sample"] == "soak"), "{samples:?}");
    assert!(
        samples.iter().all(|line| line["rss_bytes"].is_u64() && line["open_files"].is_u64()),
        "{samples:?}"
    );
    let figures = [
        "append_p50_us",
        "append_p99_us",
        "disk_bytes",
        "open_files",
        "rss_bytes",
        "task_p50_us",
        "task_p99_us",
        "workers_rss_bytes",
    ];
    check(last, "soak", "mixed load", &figures);
    assert_eq!(fields(&last["ratios"]), figures);
    assert_eq!(last["params"]["keep"], 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soaked_channel_keeps_no_more_than_it_is_told_to() {
    let cluster = Cluster::start().await;
    let data = cluster.dir.text("bench");
    let soak = ["--time", "1s", "--every", "300ms", "--monitors", "1", "--keep", "50", "--data", &data];
    lines(&cluster.run(&[&["bench", "soak", "--json"], &soak[..]].concat()).await);
    let [channel] = &cluster.run(&["channel", "list", "--json"]).await.json()[..] else { panic!() };
    let (ever, bytes) = (channel["elements"].as_u64().unwrap(), channel["bytes"].as_u64().unwrap());
    assert!(ever > 50 && (1..=50 * 128).contains(&bytes), "{channel}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_is_there_is_measured_and_compared_with_an_earlier_run() {
    let cluster = Cluster::start().await;
    let (data, before) = (cluster.dir.text("bench"), cluster.dir.text("before"));
    let scenario = ["bench", "roundtrip", "--tasks", "5", "--runs", "1", "--data", &data, "--json"];
    let first = cluster.run(&scenario).await;
    let mut earlier = first.stdout.clone();
    assert_eq!(lines(&first).len(), 1);
    earlier.push(earlier[0].replace(r#""scenario":"roundtrip""#, r#""scenario":"other""#));
    std::fs::write(&before, earlier.join("\n")).unwrap();
    let again = lines(&cluster.run(&[&scenario[..], &["--compare", &before]].concat()).await);
    let seen: Vec<(&Value, &Value, &Value)> =
        again[1..].iter().map(|line| (&line["comparison"], &line["scenario"], &line["name"])).collect();
    let null = Value::Null;
    let (figure, ratio, whole) = ("figure".into(), "ratio".into(), "scenario".into());
    let (roundtrip, other) = ("roundtrip".into(), "other".into());
    let (p50, p99, rate) = ("p50_us".into(), "p99_us".into(), "tasks_per_s".into());
    let expected = [
        (&ratio, &roundtrip, &p50),
        (&figure, &roundtrip, &p99),
        (&figure, &roundtrip, &rate),
        (&whole, &other, &null),
    ];
    assert_eq!(seen, expected);
    assert_eq!(again[4]["verdict"], "missing");
    let refused = cluster.run(&["bench", "tail", "--compare", &cluster.dir.text("nothing")]).await.refusal();
    assert!(refused.starts_with("cannot read the earlier run in "), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_tasks_are_run_than_were_asked_for_and_fewer_not_in_silence() {
    let dir = Dir::new();
    let data = dir.text("bench");
    let options = ["bench", "tasks", "--runs", "1", "--json", "--data", &data, "--shape", "chain", "--tasks"];
    // What comes behind what could be run is looked at before.
    for (tasks, few) in [("5", "5"), ("10,9", "9")] {
        let refused = run(&[&options[..], &[tasks]].concat()).await.refusal();
        let told = "is too few: the least there is of this shape are 10 tasks, chains of 10; give --tasks 10 or more";
        assert_eq!(refused, format!("--tasks {few} {told}"));
    }
    let ended = run(&[&options[..], &["29"]].concat()).await;
    assert!(
        ended.stderr.contains(&"--tasks 29: 20 tasks, chains of 10 are run, as many as fit".to_owned()),
        "{ended:?}"
    );
    let line = lines(&ended).remove(0);
    assert_eq!((&line["params"]["tasks"], &line["variant"]), (&20.into(), &"20 tasks, chains of 10".into()));
}
