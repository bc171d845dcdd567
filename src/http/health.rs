//! Whether it is there, whether it is ready, and how it stands.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::door::Door;
use super::problem::Problem;
use crate::protocol::command::Overview;
use crate::rows::task_record::of_receipt;

/// The process lives.
pub(super) async fn alive() -> Json<serde_json::Value> {
    Json(json!({ "alive": true }))
}

/// The scheduler has recovered, and takes commands.
pub(super) async fn ready(State(door): State<Arc<Door>>) -> Response {
    match door.scheduler.recovering() {
        None => Json(json!({ "ready": true })).into_response(),
        Some(progress) => {
            let told = json!({ "ready": false, "recovering": progress.to_string() });
            (StatusCode::SERVICE_UNAVAILABLE, Json(told)).into_response()
        }
    }
}

/// The log and the cluster at a glance.
#[derive(Debug, Serialize)]
struct Shown {
    version: &'static str,
    epoch: u64,
    seq: u64,
    store: String,
    records: u64,
    tasks_head: u64,
    channels: u64,
    workers: usize,
    tasks: Tasks,
    receipt: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct Tasks {
    pending: u64,
    running: u64,
    finished: u64,
    failed: u64,
}

pub(super) async fn overview(State(door): State<Arc<Door>>) -> Result<Response, Problem> {
    let Overview {
        epoch,
        seq,
        receipt,
        store,
        tasks_head,
        records,
        pending,
        running,
        finished,
        failed,
        channels,
        workers,
    } = door.client().await?.overview().await?;
    let shown = Shown {
        version: env!("CARGO_PKG_VERSION"),
        epoch: epoch.0,
        seq: seq.0,
        store,
        records,
        tasks_head,
        channels,
        workers: workers.len(),
        tasks: Tasks { pending, running, finished, failed },
        receipt: of_receipt(&receipt),
    };
    Ok(Json(shown).into_response())
}
