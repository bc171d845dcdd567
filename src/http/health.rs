//! Whether it is there, and whether it is ready.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::door::Door;

/// The process lives.
pub(super) async fn alive() -> Json<Value> {
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
