//! Which path leads where.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::handler::Handler;
use axum::http::{Method, header};
use axum::middleware::{from_fn_with_state, map_request};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::door::Door;
use super::problem::Problem;
use super::{
    append, assets, body, channels, guard, health, login, metrics, overview, records, recovering, submit,
    tasks, workers,
};

/// What it says of itself.
const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// All that can be asked, with what is asked before each.
pub(super) fn router(door: Arc<Door>) -> Router {
    let mut router = Router::new();
    for (path, _, answers) in routes().into_iter().chain(assets::routes()) {
        router = router.route(path, answers);
    }
    router
        .fallback(async |OriginalUri(uri): OriginalUri| Problem::no_such_path(uri.path()))
        .method_not_allowed_fallback(async |method: Method, OriginalUri(uri): OriginalUri| {
            Problem::no_such_method(method.as_str(), uri.path())
        })
        .layer(map_request(body::whole))
        .layer(DefaultBodyLimit::max(body::BYTES_MAX))
        .layer(from_fn_with_state(door.clone(), recovering::bounded))
        .layer(from_fn_with_state(door.clone(), guard::guard))
        .layer(from_fn_with_state(door.clone(), metrics::counted))
        .with_state(door)
}

type Answers = MethodRouter<Arc<Door>>;

/// Each path, how it is asked, and who answers.
pub(super) fn routes() -> Vec<(&'static str, Method, Answers)> {
    fn get<T: 'static, H: Handler<T, Arc<Door>>>(
        path: &'static str,
        answers: H,
    ) -> (&'static str, Method, Answers) {
        (path, Method::GET, on(MethodFilter::GET, answers))
    }
    fn post<T: 'static, H: Handler<T, Arc<Door>>>(
        path: &'static str,
        answers: H,
    ) -> (&'static str, Method, Answers) {
        (path, Method::POST, on(MethodFilter::POST, answers))
    }
    fn put<T: 'static, H: Handler<T, Arc<Door>>>(
        path: &'static str,
        answers: H,
    ) -> (&'static str, Method, Answers) {
        (path, Method::PUT, on(MethodFilter::PUT, answers))
    }
    vec![
        get("/healthz", health::alive),
        get("/readyz", health::ready),
        get("/openapi.json", openapi),
        get("/metrics", metrics::metrics),
        post(login::IN, login::come_in),
        post(login::OUT, login::go_out),
        get("/api/v1/overview", overview::show),
        get("/api/v1/channels", channels::list),
        get("/api/v1/channels/{name}", channels::show),
        put("/api/v1/channels/{name}", channels::create),
        get("/api/v1/channels/{name}/records", records::read),
        post("/api/v1/channels/{name}/values", append::append),
        post("/api/v1/channels/{name}/stop", channels::stop),
        post("/api/v1/channels/{name}/resume", channels::resume),
        post("/api/v1/channels/{name}/trim", channels::trim),
        get("/api/v1/tasks", tasks::list),
        post("/api/v1/tasks", submit::submit),
        get("/api/v1/tasks/{key}", tasks::show),
        get("/api/v1/tasks/{key}/result", tasks::result),
        get("/api/v1/tasks/{key}/explanation", tasks::explain),
        post("/api/v1/tasks/{key}/cancel", tasks::cancel),
        post("/api/v1/tasks/{key}/retry", tasks::retry),
        get("/api/v1/workers", workers::list),
    ]
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, body::JSON)], OPENAPI)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_can_be_asked_is_what_is_documented() {
        let documented: serde_json::Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        let paths = documented["paths"].as_object().expect("it has paths");
        let documented: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().into_iter().flatten().map(|(name, _)| name);
                methods
                    .filter(|name| *name != "parameters")
                    .map(move |name| (path.clone(), name.to_uppercase()))
            })
            .collect();
        let routes = routes().into_iter().map(|(path, method, _)| (path.to_owned(), method.to_string()));
        assert_eq!(routes.collect::<BTreeSet<_>>(), documented);
    }
}
