//! Workers.

use serde::Serialize;

use crate::protocol::equipment::{Equipment, Label};
use crate::protocol::session::WorkerStatus;

/// A worker, and what it runs.
#[derive(Debug, Serialize)]
pub struct Listed<'a> {
    name: &'a str,
    session: u64,
    state: &'a str,
    slots: u32,
    running: u32,
    results: u64,
    result_bytes: u64,
    runs: Vec<RunLine>,
    host: &'a str,
    labels: Vec<&'a str>,
    resources: Vec<ResourceLine<'a>>,
}

/// Amounts are text, as they are exact to a ten-thousandth.
#[derive(Debug, Serialize)]
struct ResourceLine<'a> {
    name: &'a str,
    total: String,
    free: String,
}

#[derive(Debug, Serialize)]
struct RunLine {
    key: String,
    attempt: u32,
    is_client: bool,
    has_paused: bool,
}

impl<'a> Listed<'a> {
    /// A worker in a state.
    pub fn of(worker: &'a WorkerStatus, state: &'a str) -> Self {
        let runs = worker.runs.iter().map(|run| RunLine {
            key: run.key.to_string(),
            attempt: run.attempt.0,
            is_client: run.is_client,
            has_paused: run.has_paused,
        });
        let Equipment { host, labels, resources } = &worker.equipment;
        let resources = resources.iter().zip(&worker.free).map(|(resource, free)| ResourceLine {
            name: resource.name.as_str(),
            total: resource.supply.total().to_string(),
            free: free.to_string(),
        });
        let WorkerStatus { name, session, slots, running, results, result_bytes, .. } = worker;
        Listed {
            name,
            session: session.0,
            state,
            slots: *slots,
            running: *running,
            results: *results,
            result_bytes: *result_bytes,
            runs: runs.collect(),
            host,
            labels: labels.iter().map(Label::as_str).collect(),
            resources: resources.collect(),
        }
    }
}

/// Where a worker stands, in a word.
pub fn state(worker: &WorkerStatus) -> &'static str {
    match (worker.connected, worker.retiring) {
        (_, true) => "retiring",
        (true, false) => "connected",
        (false, false) => "away",
    }
}
