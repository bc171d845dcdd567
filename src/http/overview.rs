//! The log and the cluster at a glance.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;

use super::as_of::{Asked, At};
use super::door::Door;
use super::problem::Problem;
use crate::protocol::command::{self, Answer, Overview};
use crate::rows::task::Counts;
use crate::rows::task_record::of_receipt;
use crate::rows::time::rfc3339;
use crate::scheduler::receipts::Found;

/// Most starts that are told: 10.
const STARTS_MAX: usize = 10;

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
    tasks: Counts,
    /// Unless it is as of another time: `$tasks` has them all.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Map<String, Value>>,
    /// The last ones, newest first.
    starts: Vec<Map<String, Value>>,
}

pub(super) async fn show(
    State(door): State<Arc<Door>>,
    query: Result<Query<At>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let asked = door.asked(query?.0.at).await?;
    let Answer::Overview(overview) = asked.query(command::Query::Overview).await? else {
        return Err(Problem::unanswered());
    };
    let tasks = Counts::of(&overview);
    let Overview { epoch, seq, receipt, store, tasks_head, records, channels, workers, .. } = overview;
    let receipts = door.receipts.clone();
    let found = spawn_blocking(move || receipts.last(seq, STARTS_MAX));
    let found = found.await.map_err(Problem::internal)?.map_err(Problem::internal)?;
    let shown = Shown {
        version: env!("CARGO_PKG_VERSION"),
        epoch: epoch.0,
        seq: seq.0,
        store,
        records,
        tasks_head,
        channels,
        workers: workers.len(),
        tasks,
        receipt: matches!(asked, Asked::Now(_)).then(|| of_receipt(&receipt)),
        starts: found.iter().map(of_start).collect(),
    };
    let shown = serde_json::to_value(shown).map_err(Problem::internal)?;
    Ok(Json(asked.dated(shown)))
}

/// A start's receipt, with where it stands and when it was written.
fn of_start(Found { offset, time_ms, receipt }: &Found) -> Map<String, Value> {
    let mut fields = of_receipt(receipt);
    fields.insert("offset".to_owned(), json!(offset));
    fields.insert("time".to_owned(), json!(rfc3339(*time_ms)));
    fields
}
