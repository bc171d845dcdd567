//! Reading and appending over HTTP.

use serde_json::{Value, json};

use super::Site;
use crate::process::{Process, soon};

const VALUES: &str = "/api/v1/channels/a/values";
const RECORDS: &str = "/api/v1/channels/a/records";

async fn append(site: &Site, values: &[u64]) {
    let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
    let options = ["-H", "Content-Type: application/x-ndjson", "--data-binary", &lines];
    assert_eq!(site.ask(&options, VALUES).await.1["count"], values.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_follow_each_other_and_lines_have_all_there_is() {
    let site = Site::start(&[]).await;
    append(&site, &(0..2_500).collect::<Vec<_>>()).await;
    let (mut from, mut all, mut pages) = (0, Vec::new(), 0);
    loop {
        let (_, page) = site.ask(&[], &format!("{RECORDS}?from={from}&limit=1000")).await;
        let values = page["records"].as_array().unwrap().iter().filter_map(|row| row["value"].as_u64());
        all.extend(values);
        (from, pages) = (page["next"].as_u64().unwrap(), pages + 1);
        if page["is_end"] == true {
            break;
        }
    }
    assert_eq!((all, from, pages), ((0..2_500).collect::<Vec<_>>(), 2_500, 3));
    let (_, lines) = site.ask_text(&["-H", "Accept: application/x-ndjson"], RECORDS).await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[2_499]["value"]), (2_501, &json!(2_499)));
    assert_eq!(lines[2_500], json!({ "marker": "caught_up", "offset": 2_500 }));
    let (_, some) = site.ask(&[], &format!("{RECORDS}?from=10&until=12")).await;
    assert_eq!((some["records"].as_array().unwrap().len(), &some["is_end"]), (2, &json!(true)));
    for until in ["2501", "time:2100-01-01T00:00:00Z"] {
        let (_, all) = site.ask(&[], &format!("{RECORDS}?from=2499&until={until}")).await;
        assert_eq!((&all["next"], &all["is_end"]), (&json!(2_500), &json!(true)), "nothing is waited for");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_large_records_is_no_larger_than_others() {
    let site = Site::start(&[]).await;
    let value = format!("\"{}\"\n", "x".repeat(60_000));
    std::fs::write(site.dir.path("values"), value.repeat(16)).unwrap();
    let body = format!("@{}", site.dir.text("values"));
    for _ in 0..6 {
        let options = ["-H", "Content-Type: application/x-ndjson", "--data-binary", &body];
        assert_eq!(site.ask(&options, VALUES).await.0, 201);
    }
    let (mut from, mut pages) = (0, Vec::new());
    loop {
        let (_, page) = site.ask(&[], &format!("{RECORDS}?from={from}&limit=10000")).await;
        pages.push(page["records"].as_array().unwrap().len());
        from = page["next"].as_u64().unwrap();
        if page["is_end"] == true {
            break;
        }
    }
    // Of 4 MiB.
    assert_eq!(pages, [70, 26]);
}

/// The id and the data of the next event that has data.
async fn event(following: &mut Process) -> (Option<String>, Value) {
    let mut id = None;
    loop {
        let line = soon(following.line()).await;
        if let Some(last) = line.strip_prefix("id: ") {
            id = Some(last.to_owned());
        } else if let Some(data) = line.strip_prefix("data: ") {
            return (id, serde_json::from_str(data).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_before_the_first_record_misses_none() {
    let site = Site::start(&[]).await;
    assert_eq!(site.ask(&["-X", "PUT"], "/api/v1/channels/a").await.0, 200);
    let follow = ["-N", "-H", "Accept: text/event-stream"];
    for n in 0..2 {
        let mut following = site.curl(&follow, &format!("{RECORDS}?from=end"));
        let (last, marker) = event(&mut following).await;
        assert_eq!(marker, json!({ "marker": "caught_up", "offset": n }));
        following.kill().await;
        append(&site, &[n]).await;
        // As a browser asks again.
        let last = format!("Last-Event-ID: {}", last.expect("it goes on behind it"));
        let mut again = site.curl(&[&follow[..], &["-H", &last]].concat(), &format!("{RECORDS}?from=end"));
        assert_eq!(event(&mut again).await.1["value"], n);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_has_history_then_what_comes_and_goes_on_behind_a_restart() {
    let mut site = Site::start(&[]).await;
    append(&site, &[0, 1]).await;
    let follow = ["-N", "-H", "Accept: text/event-stream"];
    let mut following = site.curl(&follow, RECORDS);
    let mut seen = Vec::new();
    let mut last = String::new();
    let mut is_caught_up = false;
    while seen.len() < 3 {
        let line = soon(following.line()).await;
        if let Some(id) = line.strip_prefix("id: ") {
            last = id.to_owned();
        }
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let data: Value = serde_json::from_str(data).unwrap();
        if data["marker"] == "caught_up" {
            is_caught_up = true;
            append(&site, &[2]).await;
        } else {
            seen.push(data["value"].as_u64().unwrap());
        }
    }
    assert!(is_caught_up);
    assert_eq!((seen.as_slice(), last.as_str()), (&[0, 1, 2][..], "2"));
    site.kill().await;
    let ended = following.end().await;
    assert_ne!(ended.code, Some(0), "it was cut off");
    site.start_again().await;
    append(&site, &[3]).await;
    let last = format!("Last-Event-ID: {last}");
    let again = [&follow[..], &["-H", &last]].concat();
    let (_, rest) = site.ask_text(&again, &format!("{RECORDS}?from=0&until=now")).await;
    let data: Vec<Value> = rest
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(data.iter().filter_map(|row| row["value"].as_u64()).collect::<Vec<_>>(), [3]);
    let (status, told) = site.ask(&[&follow[..], &["-H", "Last-Event-ID: x"]].concat(), RECORDS).await;
    assert_eq!((status, told["error"]["code"].as_str()), (400, Some("bad_request")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_is_sent_again_enters_once_over_a_restart_too() {
    let mut site = Site::start(&[]).await;
    let send = async |site: &Site, key: &str, value: &str| {
        let key = format!("Idempotency-Key: {key}");
        site.ask(&["-H", &key, "-H", "Content-Type: application/json", "-d", value], VALUES).await
    };
    let first = send(&site, "sensor/7", "70").await;
    assert_eq!(first, (201, json!({ "offset": 0, "count": 1 })));
    assert_eq!(send(&site, "sensor/7", "70").await, first);
    site.kill().await;
    site.start_again().await;
    assert_eq!(send(&site, "sensor/7", "70").await, first);
    assert_eq!(send(&site, "sensor/8", "80").await, (201, json!({ "offset": 1, "count": 1 })));
    assert_eq!(send(&site, "sensor/7", "70").await, (200, json!({ "newest": 8 })));
    assert_eq!(site.ask(&[], RECORDS).await.1["next"], 2);
    let wrong = ["-H", "Content-Type: application/x-ndjson", "--data-binary", "1\n{\n"];
    let (status, told) = site.ask(&wrong, VALUES).await;
    assert_eq!(status, 400);
    assert!(told["error"]["message"].as_str().unwrap().starts_with("line 2 is no JSON"), "{told}");
    assert_eq!(site.ask(&[], RECORDS).await.1["next"], 2, "none of it was appended");
}
