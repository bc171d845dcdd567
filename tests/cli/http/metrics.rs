//! The figures for Prometheus: that they are true, and that all are documented.

use std::collections::{BTreeMap, BTreeSet};

use super::Site;

/// The value of each line: by its name, and what it has in braces.
fn read(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let read = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
    };
    lines.map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_is_what_has_happened() {
    let site = Site::start(&["--workers", "2", "--slots", "3"]).await;
    site.joined(2).await;
    for n in 0..3_u64 {
        assert_eq!(site.post(&n.to_string(), "/api/v1/channels/a/values").await.0, 201);
    }
    for (script, name) in [("true", "good"), ("exit 1", "bad")] {
        let program = serde_json::json!({ "command": ["sh", "-c", script], "name": name, "retries": 1 });
        assert_eq!(site.post(&program.to_string(), "/api/v1/tasks").await.0, 201);
        site.ask(&[], &format!("/api/v1/tasks/{name}/result?wait_ms=30000")).await;
    }
    let (status, text) = site.ask_text(&[], "/metrics").await;
    assert_eq!(status, 200);
    is_of_prometheus(&text);
    let figures = read(&text);
    let figure =
        |name: &str| figures.get(name).copied().unwrap_or_else(|| panic!("there is no {name}: {text}"));
    for (name, value) in [
        ("headwater_ready", 1.0),
        ("headwater_tasks_submitted_total", 2.0),
        ("headwater_attempts_started_total", 3.0),
        ("headwater_tasks_ended_total{outcome=\"finished\"}", 1.0),
        ("headwater_tasks_ended_total{outcome=\"failed\"}", 1.0),
        ("headwater_attempts_ended_total{outcome=\"retried\"}", 1.0),
        // Three values, and the futures of two programs.
        ("headwater_elements_total", 5.0),
        ("headwater_tasks{state=\"finished\"}", 1.0),
        ("headwater_tasks{state=\"failed\"}", 1.0),
        ("headwater_tasks{state=\"pending\"}", 0.0),
        ("headwater_workers{state=\"connected\"}", 2.0),
        ("headwater_slots", 6.0),
        ("headwater_epoch", 1.0),
        ("headwater_used{of=\"channels\"}", 3.0),
        ("headwater_bound{of=\"connections\"}", 4096.0),
        ("headwater_http_requests_total{path=\"/api/v1/tasks\",method=\"POST\",status=\"201\"}", 2.0),
    ] {
        assert_eq!(figure(name), value, "{name}");
    }
    // Each attempt had waited before, and has run; one of them for the second time.
    for (name, value) in [
        ("headwater_task_wait_seconds_count", 3.0),
        ("headwater_attempt_seconds_count", 3.0),
        ("headwater_answer_seconds_count{kind=\"append\"}", 5.0),
        ("headwater_answer_seconds_count{kind=\"submit\"}", 2.0),
        ("headwater_answer_seconds_count{kind=\"cancel\"}", 0.0),
    ] {
        assert_eq!(figure(name), value, "{name}: {text}");
    }
    for kind in ["append", "submit", "report", "query"] {
        assert!(figure(&format!("headwater_answer_seconds_sum{{kind=\"{kind}\"}}")) > 0.0, "{kind}");
    }
    let commits = figure("headwater_commits_total");
    assert!(commits > 5.0 && figure("headwater_commit_seconds_count") == commits);
    assert!(figure("headwater_commit_seconds_sum") > 0.0 && figure("headwater_commit_bytes_total") > 100.0);
    // Each record is in a commit, and counted.
    assert_eq!(figure("headwater_records_total"), figure("headwater_log_records"));
    assert!(figure("headwater_disk_free_bytes") > 1e6 && figure("process_resident_memory_bytes") > 1e6);
    // A worker is a connection, and so is the door's own client.
    assert!(figure("headwater_used{of=\"connections\"}") >= 3.0);
    // Who accepts the format of OpenMetrics gets the same in that.
    let accepts = ["-H", "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5"];
    let (status, open) = site.ask_text(&accepts, "/metrics").await;
    assert_eq!((status, open.lines().last()), (200, Some("# EOF")));
    let names = |text: &str| read(text).into_keys().collect::<BTreeSet<_>>();
    assert!(names(&open).is_superset(&names(&text)), "a request more is counted");
    documented(&open);
}

/// Each sample is of a figure that was introduced by that name, as `promtool check metrics` wants it.
fn is_of_prometheus(text: &str) {
    let mut known = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("it has a type");
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        known.insert(name, kind);
    }
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let name = sample.split(['{', ' ']).next().expect("it has a name");
        let of = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let is_histogram = of.is_some_and(|of| known.get(of) == Some(&"histogram"));
        assert!(is_histogram || known.get(name).is_some_and(|kind| *kind != "histogram"), "{sample}");
    }
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_and_paths_that_anyone_makes_up_are_no_figures_of_their_own() {
    let site = Site::start(&[]).await;
    for n in 0..3 {
        site.ask(&["-X", &format!("MADEUP{n}")], &format!("/made/up/{n}")).await;
    }
    let (_, text) = site.ask_text(&[], "/metrics").await;
    assert!(!text.contains("MADEUP") && !text.contains("made/up"), "{text}");
    let refused = "headwater_http_requests_total{path=\"none\",method=\"other\",status=\"404\"}";
    assert_eq!(read(&text)[refused], 3.0);
}

/// Each figure's name and meaning is in the table, and nothing else is.
fn documented(text: &str) {
    let help = |line: &str| {
        let (name, help) = line.strip_prefix("# HELP ")?.split_once(' ')?;
        Some((name.to_owned(), help.trim_end_matches('.').to_owned()))
    };
    let told: BTreeSet<(String, String)> = text.lines().filter_map(help).collect();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.split(['`', '{']).next()?.to_owned();
        let is_kind = |cell: &&str| ["counter", "gauge", "histogram"].contains(cell);
        cells.next().filter(is_kind)?;
        Some((name, cells.next()?.trim_end_matches(" |").to_owned()))
    };
    let table = include_str!("../../../docs/metrics.md");
    let documented: BTreeSet<(String, String)> = table.lines().filter_map(row).collect();
    assert_eq!(documented, told);
    // What one is told to look at, here and on the board, is there.
    let board = include_str!("../../../ops/grafana.json");
    for word in [table, board].concat().split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let is_there = || text.lines().any(|line| line.starts_with(word));
        assert!(!word.starts_with("headwater_") || is_there(), "{word}");
    }
}
