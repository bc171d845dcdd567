//! What is told while the store is being opened, which takes long where it is repaired: that the process lives, how far it is, and
//! that nothing else can be asked yet.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::door::{CONNECTIONS_MAX, accept, note_panic, serve};
use super::health;
use super::problem::Problem;
use crate::scheduler::Opening;

/// When to come again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Answers whoever comes. Dropped once the store is open, it closes their connections.
pub(super) async fn answer(
    listener: &TcpListener,
    opening: &Opening,
    stop: watch::Receiver<bool>,
) -> Infallible {
    let router = Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(ready))
        .fallback(refuse)
        .with_state(opening.clone());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = connections.join_next() => note_panic(ended),
            (socket, from) = accept(listener), if connections.len() < CONNECTIONS_MAX => {
                connections.spawn(serve(socket, from, router.clone(), stop.clone()));
            }
        }
    }
}

async fn ready(State(opening): State<Opening>) -> Response {
    let told = json!({ "ready": false, "recovering": opening.to_string() });
    (StatusCode::SERVICE_UNAVAILABLE, Json(told)).into_response()
}

async fn refuse(State(opening): State<Opening>) -> Problem {
    Problem::opening(&opening, AGAIN_AFTER)
}
