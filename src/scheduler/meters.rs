//! What is measured of a running scheduler, at its edges: the core knows no clock. `docs/metrics.md` has the names for those
//! who watch it; [`Meters::register`] gives them.
//!
//! All of it begins anew with each start, as those who read such figures expect.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::histogram;
use super::latencies::Kind;
use super::tally::Tally;

/// Bounds of what takes about as long as a disk does: from 50 us, doubled 16 times, to 1.6 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 16))
}

/// Bounds of what waits for the driver and the disk: from 50 us, doubled 18 times, to 6.5 s.
fn answer_seconds() -> histogram::Histogram {
    histogram::Histogram::new(Duration::from_micros(50), 2, 18)
}

/// Bounds of what tasks take: from 1 ms, four times as much 13 times, to 4.7 hours.
fn task_seconds() -> histogram::Histogram {
    histogram::Histogram::new(Duration::from_millis(1), 4, 13)
}

/// How a task or an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What was asked, by its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    kind: &'static str,
}

/// A bound, and what it bounds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    of: &'static str,
}

/// The figures. Cheap to clone: all clones are the same.
#[derive(Debug, Clone)]
pub struct Meters {
    commits: Counter,
    commit_bytes: Counter,
    commit_seconds: Histogram,
    records: Counter,
    elements: Counter,
    submitted: Counter,
    attempts: Counter,
    tasks_ended: Family<Outcome, Counter>,
    attempts_ended: Family<Outcome, Counter>,
    results_lost: Counter,
    answers: Family<Asked, histogram::Histogram>,
    /// Those of each kind, in the order of [`Kind::ALL`].
    pub(super) answer_seconds: [histogram::Histogram; Kind::ALL.len()],
    pub(super) task_wait_seconds: histogram::Histogram,
    pub(super) attempt_seconds: histogram::Histogram,
    is_ready: Gauge,
    recovery_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    recovery_records: Gauge,
    disk_free_bytes: Gauge,
    used: Family<Of, Gauge>,
    bounds: Family<Of, Gauge>,
    spans: Family<Outcome, Counter>,
    trace_lag: Gauge,
}

impl Default for Meters {
    fn default() -> Self {
        let answers = Family::new_with_constructor(answer_seconds as fn() -> histogram::Histogram);
        let answer_seconds = Kind::ALL.map(|(_, kind)| answers.get_or_create(&Asked { kind }).clone());
        Meters {
            commits: Counter::default(),
            commit_bytes: Counter::default(),
            commit_seconds: seconds(),
            records: Counter::default(),
            elements: Counter::default(),
            submitted: Counter::default(),
            attempts: Counter::default(),
            tasks_ended: Family::default(),
            attempts_ended: Family::default(),
            results_lost: Counter::default(),
            answers,
            answer_seconds,
            task_wait_seconds: task_seconds(),
            attempt_seconds: task_seconds(),
            is_ready: Gauge::default(),
            recovery_seconds: Gauge::default(),
            recovery_records: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            used: Family::default(),
            bounds: Family::default(),
            spans: Family::default(),
            trace_lag: Gauge::default(),
        }
    }
}

impl Meters {
    /// A commit was made durable, alone or with those before it.
    pub(super) fn flushed(&self, bytes: usize, took: Duration) {
        self.commits.inc();
        self.commit_bytes.inc_by(bytes as u64);
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// So much has happened, and is durable.
    pub(super) fn happened(&self, tally: Tally) {
        let Tally { records, elements, submitted, started, finished, failed, cancelled, retried, died, lost } =
            tally;
        self.records.inc_by(records);
        self.elements.inc_by(elements);
        self.submitted.inc_by(submitted);
        self.attempts.inc_by(started);
        self.results_lost.inc_by(lost);
        for (outcome, count) in [("finished", finished), ("failed", failed), ("cancelled", cancelled)] {
            self.tasks_ended.get_or_create(&Outcome { outcome }).inc_by(count);
        }
        for (outcome, count) in [("retried", retried), ("died", died)] {
            self.attempts_ended.get_or_create(&Outcome { outcome }).inc_by(count);
        }
    }

    /// The state is there, and commands are taken.
    pub(super) fn recovered(&self, took: Duration, records: u64) {
        self.recovery_seconds.set(took.as_secs_f64());
        self.recovery_records.set(signed(records));
        self.is_ready.set(1);
    }

    /// So much is free where the log is kept.
    pub(super) fn sees(&self, free_bytes: Option<u64>) {
        self.disk_free_bytes.set(free_bytes.map_or(-1, signed));
    }

    /// So much of something is taken, of which there is no more than that.
    pub fn uses(&self, of: &'static str, count: usize, bound: usize) {
        self.used.get_or_create(&Of { of }).set(signed(count as u64));
        self.bounds.get_or_create(&Of { of }).set(signed(bound as u64));
    }

    /// So many spans were exported, were refused, or were left out: what became of them, in a word.
    pub fn spans(&self, outcome: &'static str, count: u64) {
        self.spans.get_or_create(&Outcome { outcome }).inc_by(count);
    }

    /// So many records of the task log are still to be read for traces.
    pub fn lags(&self, records: u64) {
        self.trace_lag.set(signed(records));
    }

    /// Names them all.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("headwater");
        registry.register(
            "commits",
            "Commits made durable, those that are flushed together as one",
            self.commits.clone(),
        );
        registry.register_with_unit(
            "commit",
            "Bytes of commits made durable",
            Unit::Bytes,
            self.commit_bytes.clone(),
        );
        registry.register_with_unit(
            "commit",
            "How long the writing and the flushing of commits took; of those that are flushed together, that of the last",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        registry.register("records", "Records of all logs", self.records.clone());
        registry.register("elements", "Elements appended to channels", self.elements.clone());
        registry.register("tasks_submitted", "Tasks submitted", self.submitted.clone());
        registry.register("attempts_started", "Attempts at tasks given to workers", self.attempts.clone());
        registry.register("tasks_ended", "Tasks that have ended", self.tasks_ended.clone());
        registry.register(
            "attempts_ended",
            "Attempts that did not end their tasks",
            self.attempts_ended.clone(),
        );
        registry.register(
            "results_lost",
            "Large results lost with all workers that kept them",
            self.results_lost.clone(),
        );
        registry.register_with_unit(
            "answer",
            "How long it took from when commands and questions had come until all that had come together was answered",
            Unit::Seconds,
            self.answers.clone(),
        );
        registry.register_with_unit(
            "task_wait",
            "How long tasks that could start waited until an attempt was given to a worker",
            Unit::Seconds,
            self.task_wait_seconds.clone(),
        );
        registry.register_with_unit(
            "attempt",
            "How long it took from when attempts were given to workers until they brought a result or an error",
            Unit::Seconds,
            self.attempt_seconds.clone(),
        );
        registry.register("ready", "1 once the scheduler has recovered", self.is_ready.clone());
        let (took, folded) = (self.recovery_seconds.clone(), self.recovery_records.clone());
        registry.register_with_unit("recovery", "How long the recovery took", Unit::Seconds, took);
        registry.register("recovery_records", "Records that the recovery folded", folded);
        let free = self.disk_free_bytes.clone();
        registry.register_with_unit(
            "disk_free",
            "Free where the log is kept; -1: not known",
            Unit::Bytes,
            free,
        );
        registry.register("used", "How much is taken of what has a bound", self.used.clone());
        registry.register("bound", "The most there may be of it", self.bounds.clone());
        for outcome in ["exported", "refused", "left_out"] {
            self.spans(outcome, 0);
        }
        registry.register("spans", "Spans for a collector of traces", self.spans.clone());
        registry.register(
            "trace_lag_records",
            "Records of the task log that are still to be read for traces",
            self.trace_lag.clone(),
        );
    }
}

/// As a gauge has it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
