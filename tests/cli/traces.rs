//! Traces at the command line: turned on, exported by hand, and what is said when that cannot be done.

use std::collections::BTreeSet;
use std::net::TcpListener;

use serde_json::Value;

use crate::cluster::{Cluster, Dir, free_address};
use crate::http::Site;
use crate::process::{json, run, soon};

/// The spans of an export, as JSON.
fn spans(requests: &[Value]) -> Vec<Value> {
    let inner = |value: &Value, name: &str| value[name].as_array().expect(name).clone();
    let of_resources = requests.iter().flat_map(|request| inner(request, "resourceSpans"));
    let of_scopes = of_resources.flat_map(|resource| inner(&resource, "scopeSpans"));
    of_scopes.flat_map(|scope| inner(&scope, "spans")).collect()
}

/// Submits a program, and waits for its end.
async fn submit(cluster: &Cluster, options: &[&str], program: &[&str]) {
    let submit = ["submit", "--wait", "--connect", &cluster.address];
    let ended = run(&[&submit, options, &["--"], program].concat()).await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
}

fn names(spans: &[Value]) -> Vec<&str> {
    spans.iter().map(|span| span["name"].as_str().expect("it has a name")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_log_is_exported_and_a_part_of_it_is_as_it_is_in_the_whole() {
    let cluster = Cluster::start().await;
    let _worker = cluster.worker("one").await;
    let parent = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    let tag = format!("traceparent:00-{parent}-01");
    let script = ["sh", "-c", "test $HEADWATER_ATTEMPT = 2 || { echo no room; exit 1; }"];
    submit(&cluster, &["--output-channel", "out", "--retries", "1", "--tag", &tag], &script).await;
    submit(&cluster, &["--name", "second"], &["true"]).await;
    let export = async |options: &[&str]| {
        let ended = cluster.run(&[&["trace", "export"], options].concat()).await;
        let said = ended.stderr.join("\n");
        let requests: Vec<Value> = ended.lines_beside_logs().iter().map(|line| json(line)).collect();
        let all = spans(&requests);
        assert!(said.contains(&format!("exported {} span", all.len())), "{said}");
        all
    };
    let all = export(&[]).await;
    let of_program: Vec<Value> = all.iter().filter(|span| span["traceId"] == parent[..32]).cloned().collect();
    let task = of_program.iter().find(|span| span["name"] == "exec").expect("the task is told");
    assert_eq!(task["parentSpanId"], parent[33..]);
    let attempts = of_program.iter().filter(|span| span["name"] == "attempt");
    let codes: Vec<Value> = attempts.map(|span| span["status"]["code"].clone()).collect();
    assert_eq!(codes, [Value::from(2), Value::Null]);
    // Its output, which the attempt has appended, and its future, which the command has.
    let appends = names(&of_program).into_iter().filter(|name| *name == "append out").count();
    assert!(appends >= 2, "{of_program:#?}");

    // From the second on, the same spans of it, and nothing that ended before.
    let shown = cluster.run(&["task", "show", "second", "--json"]).await.json();
    let from = shown[0]["history"][0]["offset"].as_u64().expect("an offset").to_string();
    let later = export(&["--from", &from]).await;
    assert!(later.iter().all(|span| all.contains(span)), "{later:#?}");
    let id = |span: &Value| span["traceId"].as_str().unwrap().to_owned();
    assert_eq!(later.iter().map(id).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(names(&later).iter().filter(|name| **name == "exec").count(), 1);
    assert!(export(&["--from", "0", "--until", "1"]).await.is_empty());
    assert!(export(&["--from", "end"]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_down_is_said_once_and_holds_up_nobody() {
    let nobody = format!("http://{}", free_address());
    let mut cluster = Cluster::start_on(Dir::new(), &["--http", "none", "--otlp", &nobody]).await;
    let worker = cluster.worker("one").await;
    for _ in 0..3 {
        submit(&cluster, &[], &["true"]).await;
    }
    cluster.scheduler_said("wait in the log until they are taken").await;
    submit(&cluster, &[], &["true"]).await;
    let refused = cluster.run(&["trace", "export", "--otlp", &nobody]).await.refusal();
    assert!(refused.contains("does not take them") && refused.contains("export again"), "{refused}");
    assert_eq!(worker.interrupt().await.code, Some(0));
    let ended = cluster.take_scheduler().interrupt().await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    let told = ended.stderr.iter().filter(|line| line.contains("traces wait")).collect::<Vec<_>>();
    assert_eq!(told.len(), 1, "{:?}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_holds_up_no_end() {
    // What connects to it is never taken on.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let mut cluster = Cluster::start_on(Dir::new(), &["--http", "none", "--otlp", &address]).await;
    let worker = cluster.worker("one").await;
    submit(&cluster, &[], &["true"]).await;
    assert_eq!(worker.interrupt().await.code, Some(0));
    let ended = cluster.take_scheduler().interrupt().await;
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_and_not_exported_is_a_figure() {
    let nobody = format!("http://{}", free_address());
    let site = Site::start(&["--otlp", &nobody]).await;
    let lag = async || {
        let (_, text) = site.ask_text(&[], "/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix("headwater_trace_lag_records "));
        line.expect("it is there").parse::<u64>().expect("a number")
    };
    let mut tasks = 0;
    soon(async {
        while lag().await == 0 {
            let program = serde_json::json!({ "command": ["true"], "name": format!("n{tasks}") });
            site.post(&program.to_string(), "/api/v1/tasks").await;
            site.ask(&[], &format!("/api/v1/tasks/n{tasks}/result?wait_ms=30000")).await;
            tasks += 1;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_none_is_told_what_would_be() {
    for (address, words) in [
        ("https://127.0.0.1:4318", "https is not spoken here: give the http:// address"),
        ("127.0.0.1:4317", "like http://127.0.0.1:4318"),
    ] {
        for command in [&["scheduler"][..], &["trace", "export"]] {
            let ended = run(&[command, &["--otlp", address]].concat()).await;
            let said = ended.stderr.join(" ");
            assert_eq!(ended.code, Some(2), "{said}");
            assert!(said.contains(words), "{said}");
        }
    }
}
