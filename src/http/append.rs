//! Appending values.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::body::{self, JSON, LINES};
use super::channels::Name;
use super::door::Door;
use super::problem::Problem;
use crate::client::{Channel, Produced};

/// By which an append that is sent again is known.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Appends a value, or each line's. With an idempotency key, PRODUCER/NUMBER, what has that number once: the channel
/// remembers the newest of each producer, for as long as it is there.
pub(super) async fn append(
    State(door): State<Arc<Door>>,
    name: Name,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let (Path(name), body) = (name?, body?);
    let values: Vec<Value> = match body::media_type(&headers) {
        JSON => vec![body::json(&headers, &body)?],
        LINES => lines(&body)?,
        _ => {
            return Err(Problem::media_type("application/json, or application/x-ndjson with a value a line"));
        }
    };
    let key = headers.get(IDEMPOTENCY_KEY).map(|key| produced_by(key.to_str().ok())).transpose()?;
    let channel: Channel<Value> = door.client().await?.channel(&name).await?;
    let mut batch = channel.batch();
    for value in &values {
        batch = batch.value(value);
    }
    let produced = match key {
        None => Produced::Appended(batch.append().await?),
        Some((producer, number)) => batch.produced_by(&channel.producer(&producer)?, number).append().await?,
    };
    Ok(match produced {
        Produced::Appended(ack) => {
            (StatusCode::CREATED, Json(json!({ "offset": ack.offset, "count": ack.count }))).into_response()
        }
        Produced::Before { newest } => Json(json!({ "newest": newest })).into_response(),
    })
}

fn lines(body: &Bytes) -> Result<Vec<Value>, Problem> {
    let lines = body.split(|byte| *byte == b'\n').zip(1..).filter(|(line, _)| !line.trim_ascii().is_empty());
    let value = |(line, number): (&[u8], u64)| {
        serde_json::from_slice(line)
            .map_err(|why| Problem::bad_request(format!("line {number} is no JSON: {why}")))
    };
    let values: Vec<Value> = lines.map(value).collect::<Result<_, _>>()?;
    match values.is_empty() {
        true => Err(Problem::bad_request("the body has no value")),
        false => Ok(values),
    }
}

/// Reads PRODUCER/NUMBER.
fn produced_by(key: Option<&str>) -> Result<(String, u64), Problem> {
    let read = || {
        let (producer, number) = key?.rsplit_once('/')?;
        Some((producer.to_owned(), number.parse().ok()?))
    };
    read().ok_or_else(|| {
        Problem::bad_request(
            "the header Idempotency-Key is PRODUCER/NUMBER, as in sensor-7/1042: a name, and a number that grows with \
             each append under it",
        )
    })
}
