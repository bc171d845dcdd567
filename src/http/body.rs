//! What comes with a request.

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// Most bytes of a body: 1 MiB, as of an append.
pub const BYTES_MAX: usize = crate::protocol::limits::APPEND_BYTES_MAX;

/// JSON, and JSON with a value a line.
pub const JSON: &str = "application/json";
pub const LINES: &str = "application/x-ndjson";

/// The body's type, without its parameters.
pub fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// A body that is one JSON value.
///
/// # Errors
/// What is wrong with it, and where.
pub fn json<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, Problem> {
    if media_type(headers) != JSON {
        return Err(Problem::media_type(JSON));
    }
    serde_json::from_slice(body)
        .map_err(|why| Problem::bad_request(format!("the body is not what is wanted: {why}")))
}
