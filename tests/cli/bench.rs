//! `headwater bench`: that it runs and that a program can read what it says. Never how fast it was.

use serde_json::Value;

use crate::cluster::Dir;
use crate::process::{json, run};

/// What every line has, beside its figures.
fn check(line: &Value, scenario: &str) {
    assert_eq!(line["scenario"], scenario);
    assert!(
        line["hardware"].is_string() && line["commit"].is_string() && line["params"].is_object(),
        "{line}"
    );
    for part in ["figures", "limits"] {
        for (name, figure) in line[part].as_object().unwrap() {
            let number = |of: &str| figure[of].as_f64().unwrap();
            let (min, median, max) = (number("min"), number("median"), number("max"));
            assert!(
                0.0 < min && min <= median && median <= max && figure["unit"].is_string(),
                "{name}: {figure}"
            );
        }
    }
    assert!(line["ratios"].as_object().unwrap().values().all(|ratio| ratio.as_f64().unwrap() > 0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_are_measured_beside_what_the_machine_can_do() {
    let dir = Dir::new();
    let data = dir.path("bench");
    let ended = run(&[
        "bench",
        "append",
        "--seconds",
        "50ms",
        "--runs",
        "1",
        "--json",
        "--data",
        data.to_str().unwrap(),
    ])
    .await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines: Vec<Value> = ended.stdout.iter().map(|line| json(line)).collect();
    let variants: Vec<&str> = lines.iter().map(|line| line["variant"].as_str().unwrap()).collect();
    let expected = ["one client", "100 values a command", "16 clients", "1000 channels", "one in flight"];
    assert_eq!(variants, expected);
    for line in &lines {
        check(line, "append");
        for figure in ["records_per_s", "p50_us", "p99_us"] {
            assert!(line["figures"][figure].is_object(), "{line}");
        }
        for limit in
            ["fdatasync_128_p50_us", "bare_file_records_per_s", "pingpong_p50_us", "loopback_bytes_per_s"]
        {
            assert!(line["limits"][limit].is_object(), "{line}");
        }
    }
    assert!(!data.exists(), "the store is removed");
}
