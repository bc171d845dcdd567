//! The workers.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde_json::{Value, json};

use super::as_of::{Asked, At};
use super::door::Door;
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
    let ask = |last: Option<&WorkerStatus>| command::Query::Workers {
        after: last.map_or(Producer(0), |last| last.session),
    };
    let rows = |answer| if let Answer::Workers(page) = answer { Some(page) } else { None };
    let workers = asked.all_pages(ask, rows).await?;
    let state = |worker| if matches!(asked, Asked::Now(_)) { state(worker) } else { "joined" };
    let rows: Vec<_> = workers.iter().map(|worker| Listed::of(worker, state(worker))).collect();
    Ok(Json(asked.dated(json!({ "workers": rows }))))
}
