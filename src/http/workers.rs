//! The workers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::door::Door;
use super::problem::Problem;
use crate::rows::worker::{Listed, state};

pub(super) async fn list(State(door): State<Arc<Door>>) -> Result<Json<Value>, Problem> {
    let workers = door.client().await?.workers().await?;
    let rows: Vec<_> = workers.iter().map(|worker| Listed::of(worker, state(worker))).collect();
    Ok(Json(json!({ "workers": rows })))
}
