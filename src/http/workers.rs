//! The workers.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde_json::{Value, json};

use super::as_of::Asked;
use super::door::Door;
use super::health::At;
use super::problem::Problem;
use crate::protocol::Producer;
use crate::protocol::command::{self, Answer};
use crate::protocol::session::WorkerStatus;
use crate::rows::worker::{Listed, state};

/// All of them. As of another time it is not known who was connected, and what they had.
pub(super) async fn list(
    State(door): State<Arc<Door>>,
    query: Result<Query<At>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let asked = door.asked(query?.0.at).await?;
    let mut workers: Vec<WorkerStatus> = Vec::new();
    loop {
        let after = workers.last().map_or(Producer(0), |last| last.session);
        match asked.query(command::Query::Workers { after }).await? {
            Answer::Workers(page) if page.is_empty() => break,
            Answer::Workers(page) => workers.extend(page),
            _ => return Err(Problem::internal("no workers were answered")),
        }
    }
    let state = |worker| if matches!(asked, Asked::Now(_)) { state(worker) } else { "joined" };
    let rows: Vec<_> = workers.iter().map(|worker| Listed::of(worker, state(worker))).collect();
    Ok(Json(asked.dated(json!({ "workers": rows }))))
}
