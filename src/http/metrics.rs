//! `/metrics`: the figures of the scheduler, of its process and of the door, in the text format of Prometheus, or that of
//! OpenMetrics for who asks for it. `docs/metrics.md` has the names.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::door::Door;
use super::problem::Problem;
use crate::proc;
use crate::protocol::command::Overview;
use crate::protocol::limits::CHANNELS_MAX;
use crate::scheduler::Meters;
use crate::scheduler::meters::signed;

/// How OpenMetrics is called on the wire.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How the format of Prometheus is called there.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A request, by which path it asked (what is in braces stays so) and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    path: String,
    method: String,
    status: u16,
}

/// How tasks and workers stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Standing {
    state: &'static str,
}

/// All figures. Those that are asked of the scheduler are what it answered last.
pub(super) struct Figures {
    registry: Registry,
    requests: Family<Asked, Counter>,
    request_seconds: Histogram,
    tasks: Family<Standing, Gauge>,
    workers: Family<Standing, Gauge>,
    slots: Gauge,
    epoch: Gauge,
    seq: Gauge,
    log_records: Gauge,
    rss_bytes: Gauge,
    open_fds: Gauge,
}

impl Figures {
    /// With those of a scheduler.
    pub(super) fn new(meters: &Meters) -> Figures {
        let mut figures = Figures {
            registry: Registry::default(),
            requests: Family::default(),
            request_seconds: Histogram::new(exponential_buckets(100e-6, 4.0, 9)),
            tasks: Family::default(),
            workers: Family::default(),
            slots: Gauge::default(),
            epoch: Gauge::default(),
            seq: Gauge::default(),
            log_records: Gauge::default(),
            rss_bytes: Gauge::default(),
            open_fds: Gauge::default(),
        };
        let mut registry = Registry::default();
        meters.register(&mut registry);
        let ours = registry.sub_registry_with_prefix("headwater");
        ours.register("tasks", "Tasks that are known, by how they stand", figures.tasks.clone());
        ours.register("workers", "Workers, by whether they are connected", figures.workers.clone());
        ours.register("slots", "Slots of the workers that are connected", figures.slots.clone());
        ours.register("epoch", "How often the scheduler was started on this store", figures.epoch.clone());
        ours.register("seq", "The newest commit", figures.seq.clone());
        ours.register(
            "log_records",
            "Records in all logs, trimmed ones not among them",
            figures.log_records.clone(),
        );
        ours.register("http_requests", "HTTP requests answered", figures.requests.clone());
        let seconds = figures.request_seconds.clone();
        let help = "How long it took until HTTP requests began to be answered, those that wait for a result among them";
        ours.register_with_unit("http_request", help, Unit::Seconds, seconds);
        let process = registry.sub_registry_with_prefix("process");
        process.register_with_unit(
            "resident_memory",
            "Resident memory",
            Unit::Bytes,
            figures.rss_bytes.clone(),
        );
        process.register("open_fds", "Open files and sockets", figures.open_fds.clone());
        figures.registry = registry;
        figures
    }

    fn took(&self, asked: Asked, began: Instant) {
        self.request_seconds.observe(began.elapsed().as_secs_f64());
        self.requests.get_or_create(&asked).inc();
    }

    fn stands(&self, overview: &Overview) {
        let Overview { epoch, seq, records, pending, running, finished, failed, workers, .. } = overview;
        let tasks = [("pending", pending), ("running", running), ("finished", finished), ("failed", failed)];
        for (state, count) in tasks {
            self.tasks.get_or_create(&Standing { state }).set(signed(*count));
        }
        let connected = workers.iter().filter(|worker| worker.connected);
        self.slots.set(connected.clone().map(|worker| i64::from(worker.slots)).sum());
        let connected = connected.count();
        for (state, count) in [("connected", connected), ("away", workers.len() - connected)] {
            self.workers.get_or_create(&Standing { state }).set(signed(count as u64));
        }
        self.epoch.set(signed(epoch.0));
        self.seq.set(signed(seq.0));
        self.log_records.set(signed(*records));
    }

    fn sees_process(&self) {
        let this = Path::new("/proc/self");
        self.rss_bytes.set(signed(proc::memory_bytes(this, "VmRSS").unwrap_or_default()));
        self.open_fds.set(signed(proc::open_files(this).unwrap_or_default()));
    }
}

/// All figures as they are now. While the scheduler recovers, what it would have to be asked is left as it was.
pub(super) async fn metrics(State(door): State<Arc<Door>>, headers: HeaderMap) -> Result<Response, Problem> {
    if door.scheduler.recovering().is_none() {
        let overview = door.client().await?.overview().await?;
        door.figures.stands(&overview);
        door.scheduler.meters().uses(
            "channels",
            usize::try_from(overview.channels).unwrap_or(usize::MAX),
            CHANNELS_MAX,
        );
    }
    door.figures.sees_process();
    let mut text = String::new();
    encode(&mut text, &door.figures.registry).map_err(Problem::internal)?;
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let is_open = accepted.into_iter().any(|accept| accept.contains("application/openmetrics-text"));
    let (format, text) = if is_open { (OPENMETRICS, text) } else { (PROMETHEUS, prometheus(&text)) };
    Ok(([(header::CONTENT_TYPE, format)], text).into_response())
}

/// The same in the format of Prometheus, in which counters are called what their samples are, and units and the end are not
/// said.
fn prometheus(open: &str) -> String {
    let type_of = |line: &str| {
        line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")).map(str::to_owned)
    };
    let counters: BTreeSet<String> = open.lines().filter_map(type_of).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines() {
        let about =
            ["# HELP ", "# TYPE "].into_iter().find_map(|word| Some((word, line.strip_prefix(word)?)));
        match about.and_then(|(word, rest)| Some((word, rest.split_once(' ')?))) {
            Some((word, (name, rest))) if counters.contains(name) => {
                text.extend([word, name, "_total ", rest, "\n"]);
            }
            _ if line.starts_with("# UNIT ") || line == "# EOF" => {}
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

/// Counts each request.
pub(super) async fn counted(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    // What matches nothing could have any path.
    let path = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = named(request.method()).to_owned();
    let response = next.run(request).await;
    door.figures.took(Asked { path, method, status: response.status().as_u16() }, began);
    response
}

/// A method that is known. Others could be any word, and each would be a figure of its own for ever.
fn named(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}
