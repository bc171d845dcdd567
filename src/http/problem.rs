//! What goes wrong, as who asked is told: a status, and JSON with a code, a message and a hint.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::client::Error;
use crate::protocol::TaskKey;
use crate::protocol::command::Rejection;
use crate::protocol::start::RecoveryProgress;
use crate::scheduler::{NotTold, Opening};

/// A refusal, or a failure.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: &'static str,
    /// After how many seconds to come again, if that helps.
    retry_after_s: Option<u64>,
}

/// What to do next, where the message does not say it.
const READ_THE_API: &str = "GET /openapi.json says what there is";
const UNKNOWN_TASK: &str = "unknown_task";
const ASK_AGAIN: &str = "ask again in a moment: what was acknowledged is kept";

impl Problem {
    fn new(
        status: StatusCode,
        code: &'static str,
        message: impl std::fmt::Display,
        hint: &'static str,
    ) -> Self {
        Problem { status, code, message: message.to_string(), hint, retry_after_s: None }
    }

    /// The same, with when to come again.
    fn after(self, wait: Duration) -> Self {
        Problem { retry_after_s: Some(wait.as_millis().div_ceil(1000) as u64), ..self }
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl std::fmt::Display) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", message, READ_THE_API)
    }

    /// There is nothing at that path.
    pub fn no_such_path(path: &str) -> Self {
        let message = format!("there is nothing at {path}");
        Problem::new(StatusCode::NOT_FOUND, "unknown_path", message, READ_THE_API)
    }

    /// What is there cannot be asked so.
    pub fn no_such_method(method: &str, path: &str) -> Self {
        let message = format!("{path} does not take {method}");
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "unknown_method", message, READ_THE_API)
    }

    /// No token, or another.
    pub fn unauthorized() -> Self {
        let hint = "send the cluster's token: `Authorization: Bearer TOKEN`";
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "this scheduler wants a token", hint)
    }

    /// Somebody wants to come in with another token.
    pub fn wrong_token() -> Self {
        let hint = "it is the one in the scheduler's --token-file";
        Problem::new(StatusCode::UNAUTHORIZED, "wrong_token", "this is not the cluster's token", hint)
    }

    /// Too many wrong tokens were tried from this address.
    pub fn too_many_tries(wait: Duration) -> Self {
        let message = "too many wrong tokens were tried from this address";
        let hint = "wait as many seconds as Retry-After says; the right one is let in meanwhile if it has 24 letters or more";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", message, hint).after(wait)
    }

    /// The scheduler recovers, and has not got to it. `progress`: how far it is.
    pub fn recovering(progress: Option<RecoveryProgress>, wait: Duration) -> Self {
        let so_far = progress.map(|progress| format!(" ({progress})")).unwrap_or_default();
        let message = format!("the scheduler recovers{so_far}: nothing was done");
        let hint =
            "ask again: GET /readyz says when it is there; GET /api/v1/channels/NAME/records reads meanwhile";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "recovering", message, hint).after(wait)
    }

    /// The store is not open yet. `opening`: how far that is.
    pub fn opening(opening: &Opening, wait: Duration) -> Self {
        let message = format!("the scheduler cannot be asked yet ({opening}): nothing was done");
        let hint = "ask again: GET /readyz says how far it is, and when it is there";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "recovering", message, hint).after(wait)
    }

    /// A page from elsewhere has a browser ask.
    pub fn foreign(what: &str, value: &str) -> Self {
        let message = format!("a request with the {what} `{value}` is not answered here");
        let hint = "ask at the address that the scheduler printed, from no page of another site; or give the scheduler a token";
        Problem::new(StatusCode::FORBIDDEN, "foreign", message, hint)
    }

    /// A body that has not come in the time that it has.
    pub fn too_slow(max: Duration) -> Self {
        let message = format!("the body has not come within {} s", max.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message, "send it at once, or in several parts")
    }

    /// A body of another type.
    pub fn media_type(wanted: &str) -> Self {
        let message = format!("the body must be {wanted}, and the header Content-Type must say so");
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", message, READ_THE_API)
    }

    /// The same; a task that is not known is named as it was asked for, by its key or its name.
    pub fn of_task(self, asked: &str) -> Self {
        if self.code != UNKNOWN_TASK {
            return self;
        }
        let message = format!("there is no task `{asked}`: it never was, or nobody keeps it any more");
        Problem { message, ..self }
    }

    /// A key with the name of one task and the hash of another is that of none.
    pub fn another_task(asked: &str, found: &TaskKey) -> Self {
        let problem = Problem::from(Error::Rejected(Rejection::UnknownTask(found.id)));
        Problem { message: format!("there is no task `{asked}`: `{found}` has that hash"), ..problem }
    }

    /// The task has not ended in the time that was given.
    pub fn too_early(status: &str) -> Self {
        let message = format!("the task is {status}");
        let hint = "ask again, or wait for it: ?wait_ms=30000";
        Problem::new(StatusCode::CONFLICT, "not_ended", message, hint)
    }

    /// Something else was answered than what was asked for.
    pub fn unanswered() -> Self {
        Problem::internal("the scheduler answered something else")
    }

    /// It is ours.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            error,
            "the scheduler's log lines say more",
        )
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, code, hint) = match &error {
            Error::Rejected(rejection) => of_rejection(rejection),
            Error::Closed(_) | Error::Connect { .. } | Error::Stopped => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", ASK_AGAIN)
            }
            Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the message says what to do"),
            Error::TooManyInFlight { .. } => (StatusCode::TOO_MANY_REQUESTS, "busy", ASK_AGAIN),
            Error::BadName(_) | Error::BadKey(_) | Error::BadEquipment(_) => {
                (StatusCode::BAD_REQUEST, "bad_request", READ_THE_API)
            }
            Error::Task(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "task_failed",
                "POST …/retry tries it again, GET the task for its history",
            ),
            Error::Cancelled(_) => (StatusCode::GONE, "task_cancelled", "POST …/retry tries it again"),
            Error::Fetch { .. } => (StatusCode::BAD_GATEWAY, "unreachable_result", ASK_AGAIN),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "the scheduler's log lines say more"),
        };
        Problem::new(status, code, error, hint)
    }
}

fn of_rejection(rejection: &Rejection) -> (StatusCode, &'static str, &'static str) {
    match rejection {
        Rejection::UnknownChannel(_) => {
            (StatusCode::NOT_FOUND, "unknown_channel", "GET /api/v1/channels lists those there are")
        }
        Rejection::UnknownTask(_) => {
            (StatusCode::NOT_FOUND, UNKNOWN_TASK, "GET /api/v1/tasks lists those that are kept")
        }
        Rejection::UnknownWorker(_) => {
            (StatusCode::NOT_FOUND, "unknown_worker", "GET /api/v1/workers lists those there are")
        }
        Rejection::ChannelStopped(..) => {
            (StatusCode::CONFLICT, "channel_stopped", "POST …/resume lets it go on")
        }
        Rejection::KeyTaken { .. } => (StatusCode::CONFLICT, "key_taken", "choose another name"),
        Rejection::ChannelExists(_) => {
            (StatusCode::CONFLICT, "channel_exists", "GET the channel to see what it keeps")
        }
        Rejection::ReservedChannel(_) => {
            (StatusCode::FORBIDDEN, "reserved_channel", "append to another channel")
        }
        Rejection::PastHead { .. } => {
            (StatusCode::RANGE_NOT_SATISFIABLE, "past_head", "read from its head or before")
        }
        Rejection::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the message says what to do"),
        Rejection::Invalid(_) => (StatusCode::BAD_REQUEST, "bad_request", READ_THE_API),
        Rejection::DiskLow { .. } => {
            (StatusCode::INSUFFICIENT_STORAGE, "disk_low", "free some space, and ask again")
        }
        Rejection::SessionEnded(_) | Rejection::ShuttingDown | Rejection::LogFailed(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", ASK_AGAIN)
        }
        _ => (StatusCode::CONFLICT, "conflict", "the message says what to do"),
    }
}

impl From<NotTold> for Problem {
    fn from(error: NotTold) -> Self {
        match error {
            NotTold::Future { .. } => {
                let hint = "GET /api/v1/overview has the head, as tasks_head";
                Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "past_head", error, hint)
            }
            NotTold::Trimmed { .. } => {
                let hint = "ask for a later one; --task-log-age and --task-log-records say how much is kept";
                Problem::new(StatusCode::GONE, "trimmed", error, hint)
            }
            NotTold::Log(_) => Problem::internal(error),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Problem::bad_request(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Problem::bad_request(rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let message = format!("the body has more than {} bytes", super::body::BYTES_MAX);
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message, "send it in several parts")
            }
            _ => Problem::bad_request(rejection.body_text()),
        }
    }
}

impl Problem {
    /// What is told.
    pub fn to_json(&self) -> serde_json::Value {
        json!({ "error": { "code": self.code, "message": self.message, "hint": self.hint } })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json())).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
