//! A collector, to which spans go over HTTP.

use std::error::Error as _;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The path of traces below a collector's address.
const PATH: &str = "/v1/traces";

/// The port of OTLP over HTTP.
const PORT: u16 = 4318;

/// How long one request may take, from the connection to the end of the answer: 10 s, as OpenTelemetry's own programs have it.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// Most of an answer that is read: 64 KiB. It says what was refused, in a few words.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How much of an answer is told: 200 characters.
const TOLD_CHARS_MAX: usize = 200;

/// How long it is waited before the second try; twice as long before each one that follows.
const WAIT_MIN: Duration = Duration::from_millis(500);

/// How long it is waited at most, whatever the collector asks for: 30 s.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Where a collector takes traces: `http://HOST:PORT`, where a path `/v1/traces` may follow, or another one, below which
/// that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

/// A text that names no collector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// It is no URL.
    #[error("give the address of a collector for OTLP over HTTP, like http://127.0.0.1:4318")]
    NoUrl,
    /// TLS is not spoken here.
    #[error(
        "https is not spoken here: give the http:// address of a collector on this machine or in its network, like http://127.0.0.1:4318, which sends them on over TLS"
    )]
    Tls,
}

/// Why a request brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It cannot be reached now, or takes nothing now: another try makes sense, not before so long, if it says so.
    #[error("{why}")]
    Again {
        /// Why.
        why: String,
        /// How long it asks to be left alone.
        after: Option<Duration>,
    },
    /// It does not take this, now or later.
    #[error("{0}")]
    Refused(String),
}

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many of its spans were refused, if some were.
    pub refused: u64,
    /// Why.
    pub why: String,
}

/// A collector. It is sent one request at a time, each over a connection of its own: there is one a second at most, as a rule.
#[derive(Debug, Clone)]
pub struct Collector {
    endpoint: Endpoint,
    tries: u32,
}

impl Collector {
    /// The one at this address.
    pub fn at(endpoint: Endpoint) -> Collector {
        Collector { endpoint, tries: 0 }
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// How often in a row it has taken nothing.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Sends a request once.
    ///
    /// # Errors
    /// [`SendError`] says whether another try makes sense.
    pub async fn send(&mut self, request: Bytes) -> Result<Taken, SendError> {
        let sent = timeout(REQUEST_TIME_MAX, self.endpoint.send(request)).await;
        let too_long = || again(format!("no answer for {} s", REQUEST_TIME_MAX.as_secs()));
        let sent = sent.unwrap_or_else(|_| Err(too_long()));
        match &sent {
            Err(SendError::Again { .. }) => self.tries = self.tries.saturating_add(1),
            Ok(_) | Err(SendError::Refused(_)) => self.tries = 0,
        }
        sent
    }

    /// How long to wait before the next try, if it asks to be left alone for so long or says nothing.
    pub fn pause(&self, after: Option<Duration>) -> Duration {
        let doubled = 2_u32.saturating_pow(self.tries.saturating_sub(1));
        let pause = WAIT_MIN.saturating_mul(doubled).max(after.unwrap_or_default());
        pause.min(WAIT_MAX)
    }
}

impl Endpoint {
    async fn send(&self, body: Bytes) -> Result<Taken, SendError> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await;
        let socket = socket.map_err(|error| again(error.to_string()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(broken)?;
        let request = Request::post(&self.path)
            .header(HOST, self.authority())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("headwater/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .expect("all of it was checked when the address was read");
        let answered = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            read(response).await
        };
        let mut connection = std::pin::pin!(connection);
        let mut answered = std::pin::pin!(answered);
        tokio::select! {
            biased;
            answered = &mut answered => answered,
            // What has come before its end is read all the same.
            _ = &mut connection => answered.await,
        }
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// What a collector says of the spans of a request that it has not taken.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    partial_success: Option<PartialSuccess>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PartialSuccess {
    rejected_spans: Count,
    error_message: String,
}

/// As JSON has 64-bit numbers in OTLP, or as one would expect.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Count {
    Text(String),
    Number(u64),
}

impl Default for Count {
    fn default() -> Self {
        Count::Number(0)
    }
}

async fn read(response: Response<Incoming>) -> Result<Taken, SendError> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    if head.status.is_success() {
        // What is no JSON says nothing of spans that were refused.
        let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
        let partial = answer.partial_success.unwrap_or_default();
        let refused = match partial.rejected_spans {
            Count::Text(text) => text.parse().unwrap_or_default(),
            Count::Number(number) => number,
        };
        return Ok(Taken { refused, why: partial.error_message });
    }
    let words: String = String::from_utf8_lossy(&body).chars().take(TOLD_CHARS_MAX).collect();
    let why = match words.trim() {
        "" => format!("it answers {}", head.status),
        words => format!("it answers {}: {words}", head.status),
    };
    let seconds = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    // Those for which OTLP wants another try.
    let is_for_now = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    match is_for_now.contains(&head.status) {
        true => Err(SendError::Again { why, after: seconds.map(Duration::from_secs) }),
        false => Err(SendError::Refused(why)),
    }
}

fn again(why: String) -> SendError {
    SendError::Again { why, after: None }
}

fn broken(error: hyper::Error) -> SendError {
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    again(format!("{error}{cause}"))
}

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Self, BadEndpoint> {
        let uri: Uri = text.parse().map_err(|_| BadEndpoint::NoUrl)?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => {}
            Some(scheme) if *scheme == Scheme::HTTPS => return Err(BadEndpoint::Tls),
            _ => return Err(BadEndpoint::NoUrl),
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(BadEndpoint::NoUrl)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if uri.query().is_some() || uri.authority().is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(BadEndpoint::NoUrl);
        }
        let path = uri.path().trim_end_matches('/');
        let path = if path.ends_with(PATH) { path.to_owned() } else { format!("{path}{PATH}") };
        Ok(Endpoint { host, port: uri.port_u16().unwrap_or(PORT), path })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_others_write_it_and_what_is_none_is_told_what_would_be() {
        for (text, told) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector", "http://collector:4318/v1/traces"),
            ("http://[::1]:9/v1/traces", "http://[::1]:9/v1/traces"),
            ("http://proxy:80/otlp/", "http://proxy:80/otlp/v1/traces"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), told);
            assert_eq!(told.parse(), Ok(endpoint));
        }
        for text in
            ["", "127.0.0.1:4318", "localhost", "grpc://a:4317", "http://", "http://a?b=c", "http://u:p@a"]
        {
            assert_eq!(text.parse::<Endpoint>(), Err(BadEndpoint::NoUrl), "{text}");
        }
        assert_eq!("https://a:4318".parse::<Endpoint>(), Err(BadEndpoint::Tls));
    }

    #[test]
    fn it_is_left_alone_for_longer_each_time_and_not_for_ever() {
        let mut collector = Collector::at("http://a".parse().unwrap());
        let mut pause = |tries| {
            collector.tries = tries;
            collector.pause(None).as_millis()
        };
        assert_eq!([1, 2, 3, 8, u32::MAX].map(&mut pause), [500, 1_000, 2_000, 30_000, 30_000]);
        let asked = |seconds| collector.pause(Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!([7, 3_600].map(asked), [30, 30]);
        let collector = Collector::at("http://a".parse().unwrap());
        assert_eq!(collector.pause(Some(Duration::from_secs(7))).as_secs(), 7);
    }
}
