//! Coming in with a browser: the token is shown once, and a cookie carries it from then on.
//!
//! No script can read the cookie, and no page of another site has it sent. It is the token in other letters, so that it
//! holds over a restart of the scheduler, and ends with the token.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;

use super::body;
use super::door::Door;
use super::problem::Problem;
use super::tries::{From, Verdict};
use crate::protocol::secret;

/// What leads in and out: neither says anything of the cluster.
pub(super) const IN: &str = "/login";
pub(super) const OUT: &str = "/logout";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    token: String,
}

/// Gives the cookie to who shows the token.
pub(super) async fn come_in(
    State(door): State<Arc<Door>>,
    Extension(from): Extension<From>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Shown { token } = body::json(&headers, &body?)?;
    let token = token.trim();
    let is_right = secret::admits(door.token.as_deref(), Some(token));
    match door.tries.judge(from, is_right, &[token]) {
        Verdict::Right => {}
        Verdict::Wrong => return Err(Problem::wrong_token()),
        Verdict::TooMany(wait) => return Err(Problem::too_many_tries(wait)),
    }
    let told = Json(json!({ "admitted": true }));
    Ok(match &door.token {
        None => told.into_response(),
        Some(token) => ([(header::SET_COOKIE, cookie(&headers, &letters(token)))], told).into_response(),
    })
}

/// Takes the cookie back.
pub(super) async fn go_out(headers: HeaderMap) -> Response {
    let ended = format!("{}; Max-Age=0", cookie(&headers, ""));
    ([(header::SET_COOKIE, ended)], Json(json!({ "admitted": false }))).into_response()
}

/// The cookie that a browser sends, if it does. Of several the first: each other one would be a guess more.
pub(super) fn shown(headers: &HeaderMap) -> Option<&str> {
    let name = name(headers);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split("; "))
        .filter_map(|cookie| cookie.split_once('='))
        .find(|(cookie, shown)| *cookie == name && !shown.is_empty())
        .map(|(_, shown)| shown)
}

/// Whether it is that of this token.
pub(super) fn admits(wanted: &str, shown: &str) -> bool {
    secret::admits(Some(&letters(wanted)), Some(shown))
}

fn cookie(headers: &HeaderMap, value: &str) -> String {
    format!("{}={value}; Path=/; HttpOnly; SameSite=Strict", name(headers))
}

/// Browsers have the same cookies for all ports of a host, and there may be a scheduler at more than one.
fn name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit(':').next().filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    format!("headwater-{}", port.unwrap_or_default())
}

/// The token in letters that a cookie may have.
fn letters(token: &str) -> String {
    token.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, cookies: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        headers.insert(header::COOKIE, cookies.parse().unwrap());
        headers
    }

    #[test]
    fn the_cookie_is_that_of_the_token_and_of_the_port() {
        let admitted = |host: &str, cookies: &str| {
            shown(&headers(host, cookies)).is_some_and(|shown| admits("a b", shown))
        };
        assert!(admitted("127.0.0.1:8787", "headwater-8787=612062"));
        assert!(admitted("[::1]:8787", "x=1; headwater-8787=612062; y=2"));
        assert!(admitted("cluster.example", "headwater-=612062"));
        for (host, cookies) in [
            ("127.0.0.1:8787", "headwater-8788=612062"),
            ("127.0.0.1:8787", "headwater-8787=61206"),
            ("127.0.0.1:8787", "headwater-8787="),
            ("127.0.0.1:8787", "headwater-8787"),
            // One guess in a request, and no more.
            ("127.0.0.1:8787", "headwater-8787=00; headwater-8787=612062"),
            ("127.0.0.1:8787", "xheadwater-8787=612062"),
        ] {
            assert!(!admitted(host, cookies), "{host} {cookies}");
        }
    }
}
