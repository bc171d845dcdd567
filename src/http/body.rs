//! What comes with a request.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::Problem;

/// Most bytes of a body: 1 MiB, as of an append.
pub const BYTES_MAX: usize = crate::protocol::limits::APPEND_BYTES_MAX;

/// How long it may take to come: 30 s, with 280 kbit/s for the largest.
const TIME_MAX: Duration = Duration::from_secs(30);

/// JSON, and JSON with a value a line.
pub const JSON: &str = "application/json";
pub const LINES: &str = "application/x-ndjson";

/// The same request once all of its body is here, so that whoever sends it slowly, or no more of it, does not stay for ever.
///
/// # Errors
/// When it takes too long, or is too large.
pub async fn whole(request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let all = Bytes::from_request(Request::from_parts(parts.clone(), body), &());
    let all = timeout(TIME_MAX, all).await.map_err(|_| Problem::too_slow(TIME_MAX))??;
    Ok(Request::from_parts(parts, Body::from(all)))
}

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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::response::IntoResponse;
    use futures_util::{StreamExt, stream};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_not_waited_for_for_ever() {
        let begun = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"["))]);
        let endless = Request::new(Body::from_stream(begun.chain(stream::pending())));
        let refused = timeout(2 * TIME_MAX, whole(endless)).await.expect("it is given up").unwrap_err();
        assert_eq!(refused.into_response().status(), 408);
        let request = whole(Request::new(Body::from("[1]"))).await.unwrap();
        assert_eq!(Bytes::from_request(request, &()).await.unwrap(), "[1]");
    }
}
