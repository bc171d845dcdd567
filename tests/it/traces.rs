//! Traces as a collector gets them: one that reads them by OpenTelemetry's own definitions.

use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use headwater::local::{Local, Options, Store};
use headwater::{Client, Context, Error, Result, local_client, task, traces};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(30);

/// What a collector has taken, and how it answers.
#[derive(Clone)]
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
    not_taken: Arc<Mutex<Vec<Span>>>,
    status: Arc<AtomicU16>,
    answer: Arc<Mutex<&'static str>>,
}

impl Collector {
    async fn start(status: StatusCode) -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = Collector {
            url: format!("http://{}", listener.local_addr().unwrap()),
            spans: Arc::default(),
            not_taken: Arc::default(),
            status: Arc::new(AtomicU16::new(status.as_u16())),
            answer: Arc::new(Mutex::new("{}")),
        };
        let here = collector.clone();
        let take = async move |headers: HeaderMap, body: Bytes| here.take(&headers, &body);
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        collector
    }

    fn take(&self, headers: &HeaderMap, body: &[u8]) -> (StatusCode, &'static str) {
        assert_eq!(headers["content-type"], "application/json");
        let status = StatusCode::from_u16(self.status.load(Ordering::SeqCst)).unwrap();
        let place = if status.is_success() { &self.spans } else { &self.not_taken };
        place.lock().unwrap().extend(spans_of(body));
        (status, *self.answer.lock().unwrap())
    }

    fn options(&self) -> traces::Options {
        traces::Options { endpoint: self.url.parse().unwrap(), service: "tests".to_owned() }
    }

    /// What it has taken, once that is enough.
    async fn taken(&self, is_enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        enough(&self.spans, is_enough).await
    }
}

async fn enough(spans: &Mutex<Vec<Span>>, is_enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
    let is_there = async {
        while !is_enough(&spans.lock().unwrap()) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(SOON, is_there).await.is_err() {
        panic!("there is not enough: {:#?}", spans.lock().unwrap());
    }
    spans.lock().unwrap().clone()
}

/// The spans of a request, which is of the service that was named.
fn spans_of(request: &[u8]) -> Vec<Span> {
    let request: ExportTraceServiceRequest = serde_json::from_slice(request).expect("it is a request");
    let [of_resource] = &request.resource_spans[..] else { panic!("one resource") };
    let service = &of_resource.resource.as_ref().unwrap().attributes[0];
    assert_eq!(service.key, "service.name");
    let [of_scope] = &of_resource.scope_spans[..] else { panic!("one scope") };
    of_scope.spans.clone()
}

/// Which span it is, and a part of which.
type Id = (Vec<u8>, Vec<u8>, Vec<u8>, String);

fn ids(spans: &[Span]) -> BTreeSet<Id> {
    let id = |span: &Span| {
        (span.trace_id.clone(), span.span_id.clone(), span.parent_span_id.clone(), span.name.clone())
    };
    spans.iter().map(id).collect()
}

fn text<'a>(span: &'a Span, name: &str) -> &'a str {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name);
    match attribute.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{name} of {} is {other:?}", span.name),
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    match &named(spans, name)[..] {
        [span] => span,
        other => panic!("{} spans {name}", other.len()),
    }
}

#[task]
fn flaky() -> Result<u64> {
    match Context::current().unwrap().attempt().0 {
        1 => Err(Error::msg("not at once")),
        _ => Ok(20),
    }
}

#[task]
fn doubled(number: u64) -> u64 {
    2 * number
}

#[task]
async fn outer() -> Result<u64> {
    let client = local_client().await?;
    let first = client.submit(flaky, ()).retries(1).await?;
    let second = client.submit(doubled, (&first,)).await?;
    client.channel::<u64>("traced").await?.append(&second).await?;
    second.await
}

/// A scheduler with a worker, whose traces go there.
async fn cluster(collector: &Collector) -> Local {
    let traces = Some(collector.options());
    Local::start(Options { traces, workers: 1, ..options() }).await.expect("it starts")
}

fn options() -> Options {
    Options { listen: "127.0.0.1:0".to_owned(), slots: 2, ..Options::default() }
}

/// Runs `headwater trace export`.
async fn export(address: &str, options: &[&str]) -> Output {
    let mut export = Command::new(env!("CARGO_BIN_EXE_headwater"));
    export.args(["trace", "export", "--connect", address]).args(options).stdin(Stdio::null());
    timeout(SOON, export.output()).await.unwrap().unwrap()
}

/// What it makes of all that is in the log.
async fn exported(address: &str) -> Vec<Span> {
    let output = export(address, &["--otlp-service", "again"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.flat_map(spans_of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_one_trace_with_what_failed_what_was_appended_and_what_needed_what() {
    let collector = Collector::start(StatusCode::OK).await;
    let local = cluster(&collector).await;
    let client = Client::connect(&local.address().to_string()).await.unwrap();
    let future = client.submit(outer, ()).await.unwrap();
    assert_eq!((&future).await.unwrap(), 40);
    let spans = collector.taken(|spans| {
        ["outer", "flaky", "doubled", "append traced"].iter().all(|name| !named(spans, name).is_empty())
    });
    let spans = spans.await;

    let (outer, flaky, doubled) = (one(&spans, "outer"), one(&spans, "flaky"), one(&spans, "doubled"));
    assert_eq!(outer.trace_id, future.key().id.0, "a trace is found by its task's key");
    assert!(outer.parent_span_id.is_empty());
    assert!(spans.iter().all(|span| span.trace_id == outer.trace_id), "{spans:#?}");
    let attempts = named(&spans, "attempt");
    let of = |task: &Span| {
        let parts = attempts.iter().copied().filter(|attempt| attempt.parent_span_id == task.span_id);
        parts.collect::<Vec<&Span>>()
    };
    let [of_outer] = of(outer)[..] else { panic!("one attempt") };
    let [failed, good] = of(flaky)[..] else { panic!("two attempts") };
    let status = |span: &Span| span.status.clone().map(|status| (status.code, status.message));
    assert_eq!(status(failed), Some((2, "not at once".to_owned())));
    assert_eq!((status(good), status(flaky)), (Some((0, String::new())), Some((0, String::new()))));
    assert_eq!((text(failed, "headwater.outcome"), text(good, "headwater.outcome")), ("retried", "finished"));
    assert_eq!(text(failed, "headwater.worker"), "local-1");
    assert!(failed.end_time_unix_nano <= good.start_time_unix_nano);

    // What the attempt submitted and appended is a part of it.
    let append = one(&spans, "append traced");
    for part in [flaky, doubled, append] {
        assert_eq!(part.parent_span_id, of_outer.span_id, "{}", part.name);
    }
    let linked = |span: &Span| match &span.links[..] {
        [link] => (link.trace_id.clone(), link.span_id.clone()),
        other => panic!("one link, not {other:?}"),
    };
    let id = |span: &Span| (span.trace_id.clone(), span.span_id.clone());
    assert_eq!((linked(doubled), linked(append)), (id(flaky), id(doubled)));

    // Read again, from the beginning and by another program, it is the same.
    let again = exported(&local.address().to_string()).await;
    let live = collector.taken(|spans| ids(spans).len() >= again.len()).await;
    assert_eq!(ids(&again), ids(&live));
    assert_eq!(again.len(), live.len(), "each was told once");
    client.close().await;
    local.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_collector_takes_waits_in_the_log_and_holds_up_nobody() {
    let collector = Collector::start(StatusCode::SERVICE_UNAVAILABLE).await;
    let local = cluster(&collector).await;
    let client = Client::connect(&local.address().to_string()).await.unwrap();
    for n in 0..20_u64 {
        let future = client.submit(doubled, (n,)).await.unwrap();
        assert_eq!(timeout(SOON, future).await.expect("nobody waits for the collector").unwrap(), 2 * n);
    }
    // Spans of the same batch again and again.
    let again =
        |spans: &[Span]| spans.iter().any(|span| spans.iter().filter(|other| *other == span).count() > 1);
    enough(&collector.not_taken, again).await;
    assert!(collector.spans.lock().unwrap().is_empty());
    collector.status.store(200, Ordering::SeqCst);
    let spans = collector.taken(|spans| named(spans, "doubled").len() >= 20).await;
    assert_eq!(named(&spans, "doubled").len(), 20);
    // What ends last is exported, too, when the scheduler ends in order.
    assert_eq!(client.submit(doubled, (7,)).await.unwrap().await.unwrap(), 14);
    client.close().await;
    local.stop().await;
    assert_eq!(named(&collector.spans.lock().unwrap(), "doubled").len(), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_collector_refuses_for_good_is_not_sent_again() {
    let collector = Collector::start(StatusCode::BAD_REQUEST).await;
    let local = cluster(&collector).await;
    let client = Client::connect(&local.address().to_string()).await.unwrap();
    assert_eq!(client.submit(doubled, (1,)).await.unwrap().await.unwrap(), 2);
    enough(&collector.not_taken, |spans| !named(spans, "doubled").is_empty()).await;
    collector.status.store(200, Ordering::SeqCst);
    assert_eq!(client.submit(outer, ()).await.unwrap().await.unwrap(), 40);
    let spans = collector.taken(|spans| !named(spans, "outer").is_empty()).await;
    // The one inside it; the first is gone.
    assert_eq!(named(&spans, "doubled").len(), 1);
    client.close().await;
    local.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_open_when_it_began_is_told_from_its_beginning() {
    let (collector, dir) = (Collector::start(StatusCode::OK).await, tempfile::tempdir().unwrap());
    let store = || Store::Directory(dir.path().to_owned());
    let local = Local::start(Options { store: store(), ..options() }).await.unwrap();
    let client = Client::connect(&local.address().to_string()).await.unwrap();
    client.channel::<u64>("traced").await.unwrap();
    let outer = client.submit(outer, ()).key("waits").detach().await.unwrap();
    client.close().await;
    local.stop().await;

    let traces = Some(collector.options());
    let local = Local::start(Options { store: store(), traces, workers: 1, ..options() }).await.unwrap();
    let spans =
        collector.taken(|spans| ["outer", "append traced"].iter().all(|name| !named(spans, name).is_empty()));
    let spans = spans.await;
    let all = exported(&local.address().to_string()).await;
    let told = one(&spans, "outer");
    assert_eq!((told, told.trace_id.clone()), (one(&all, "outer"), outer.key().id.0.to_vec()));
    let wait = named(&spans, "wait").into_iter().find(|wait| wait.parent_span_id == told.span_id).unwrap();
    assert_eq!(wait.start_time_unix_nano, told.start_time_unix_nano, "it waited for a worker all the while");
    local.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_by_hand_is_sent_and_what_is_refused_of_it_is_said() {
    let collector = Collector::start(StatusCode::OK).await;
    let local = Local::start(Options { workers: 1, ..options() }).await.unwrap();
    let address = local.address().to_string();
    let client = Client::connect(&address).await.unwrap();
    assert_eq!(client.submit(outer, ()).await.unwrap().await.unwrap(), 40);
    let sent = export(&address, &["--otlp", &collector.url]).await;
    assert!(sent.status.success() && sent.stdout.is_empty(), "{}", String::from_utf8_lossy(&sent.stderr));
    let all = exported(&address).await;
    assert_eq!(*collector.spans.lock().unwrap(), all);

    let refusal = |output: Output| {
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    *collector.answer.lock().unwrap() =
        r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#;
    let said = refusal(export(&address, &["--otlp", &collector.url]).await);
    assert!(said.contains("refuses 3 spans: too old"), "{said}");
    collector.status.store(400, Ordering::SeqCst);
    *collector.answer.lock().unwrap() = "what is that?";
    let said = refusal(export(&address, &["--otlp", &collector.url]).await);
    assert!(said.contains("400 Bad Request: what is that?: is it one for OTLP over HTTP?"), "{said}");
    client.close().await;
    local.stop().await;
}
