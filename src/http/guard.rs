//! Who is let in: with a token who shows it, without one who is not sent by a page from elsewhere.
//!
//! A browser sends what any page asks of it to any address, loopback too. So a page must not have the scheduler of whoever
//! looks at it run a program. Two things tell such a request from others, since a page cannot set them: its `Origin`, which
//! is not where it goes; and, when the page has its own name resolve to this address, its `Host`, which is that name. What a
//! page only has loaded, as a picture, has no `Origin`; but browsers say that it is for another site, and though the page
//! sees nothing of it, it costs: a fold of the log, a result that is computed again.
//!
//! Wrong tokens may be tried so often and no more: see `tries`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;

use super::door::Door;
use super::problem::Problem;
use super::tries::{From, Verdict};
use super::{assets, login};
use crate::protocol::secret;

/// Paths that say nothing of the cluster: whether it is there, what can be asked, and how one comes in.
pub(super) const OPEN: [&str; 5] = ["/healthz", "/readyz", "/openapi.json", login::IN, login::OUT];

/// What a browser says of a request: how far the page that has it asked is from here, and for what. Who follows a link comes
/// for a document.
const SEC_FETCH_SITE: &str = "sec-fetch-site";
const SEC_FETCH_DEST: &str = "sec-fetch-dest";

/// Lets a request pass, or refuses it.
pub(super) async fn guard(
    State(door): State<Arc<Door>>,
    Extension(from): Extension<From>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let host = text(headers, header::HOST).unwrap_or_default();
    if door.token.is_none() && !door.insecure && !is_an_address(host) {
        return Err(Problem::foreign("Host", host));
    }
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    // One that cannot be read is no less foreign.
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or("?"));
    if let Some(origin) = origin.filter(|origin| !is_read && !is_of(origin, host)) {
        return Err(Problem::foreign("Origin", origin));
    }
    if let Some(site) =
        text(headers, SEC_FETCH_SITE).filter(|site| matches!(*site, "cross-site" | "same-site"))
        && text(headers, SEC_FETCH_DEST) != Some("document")
    {
        return Err(Problem::foreign("Sec-Fetch-Site", site));
    }
    let path = request.uri().path();
    let is_open = OPEN.contains(&path) || assets::has(path);
    if !is_open && let Some(token) = &door.token {
        let (bearer, cookie) = (bearer(headers), login::shown(headers));
        // Both are compared in any case: how long it takes tells nothing.
        let is_bearer = secret::admits(Some(token), bearer);
        let is_right = is_bearer | cookie.is_some_and(|cookie| login::admits(token, cookie));
        let shown: Vec<&str> = bearer.into_iter().chain(cookie).collect();
        match door.tries.judge(from, is_right, &shown) {
            Verdict::Right => {}
            Verdict::Wrong => return Err(Problem::unauthorized()),
            Verdict::TooMany(wait) => return Err(Problem::too_many_tries(wait)),
        }
    }
    Ok(next.run(request).await)
}

fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The token that is shown as it is.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    text(headers, header::AUTHORIZATION)?.strip_prefix("Bearer ")
}

/// Whether it is a number that needs no name service, or this machine's own name for itself.
fn is_an_address(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

/// Whether a page's origin is this host.
fn is_of(origin: &str, host: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_may_have_resolve_here_are_told_from_addresses() {
        for address in
            ["127.0.0.1:8787", "[::1]:8787", "localhost:8787", "LocalHost", "10.0.0.7", "[fe80::1]"]
        {
            assert!(is_an_address(address), "{address}");
        }
        for name in [
            "",
            "evil.example:8787",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8787",
            "::1",
            "[",
            "[x]:1",
        ] {
            assert!(!is_an_address(name), "{name}");
        }
    }

    #[test]
    fn a_page_of_another_port_is_foreign() {
        assert!(is_of("http://127.0.0.1:8787", "127.0.0.1:8787"));
        for origin in
            ["http://127.0.0.1:3000", "https://evil.example", "null", "http://127.0.0.1:8787.evil.example"]
        {
            assert!(!is_of(origin, "127.0.0.1:8787"), "{origin}");
        }
    }
}
