//! The key API, as existing clients use it.
//!
//! Every error is `{"id","message","type":"error"}` in JSON without other members, since one client ignores errors with
//! unknown members. `message` is for the user; causes that are only for the operator are logged.
//!
//! | status | `id` | when | reaction |
//! |---|---|---|---|
//! | 200 | 500 | a key was stored | the client prints success |
//! | 200 | 501 | a key was removed | the client prints success |
//! | 200 | 502 | a warning was dismissed | the console no longer shows it |
//! | 400 | 4000 | a removal is not valid | the user reads the message |
//! | 400 | 505 | a PUT, a challenge or a proof was refused for any reason | the CLI checks only `id == 505`; it would take 409 for success |
//! | 401 | 2001, 505 for PUT | the credential is missing or not valid | the user logs in again |
//! | 204 | | `OPTIONS` | the browser sends the actual request, or does not |
//! | 404 | 7301 | no GitHub account is linked, or GitHub no longer accepts the link | the client says how to link one |
//! | 404 | 4004 | no such key or path, or a login that was not approved | the user looks at the list |
//! | 405 | 4005, 505 for PUT | the path has other methods | the client has an error |
//! | 412 | 4012, 505 for PUT | `If-Match` or `If-Unmodified-Since`, which cannot hold; `If-None-Match: *` and a name that is taken | the client sends it without them |
//! | 429 | 4029 | too many requests of an account or address; a PUT gets 400 and 505 | the client waits for `Retry-After` |
//! | 503 | 5003 | GitHub cannot be reached, or limits the rate (`Retry-After`) | the client tries again later |
//! | 503 | 5003, 505 for PUT | the database did not answer in time | the client may try again; the operator reads the log |

mod caller;
mod cors;
mod document;
mod error;
mod github;
mod guard;
mod key_request;
mod keys;
mod known_hosts;
mod ownership;
mod self_account;
mod state;

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use tower_http::compression::{CompressionLayer, CompressionLevel};

use self::error::ApiError;
pub(crate) use self::state::Api;

/// All paths of the API.
pub(crate) fn router(api: Api) -> Router {
    // URL parsers resolve an empty name and `.` to `/v2/self/keys/`, and `..` to `/v2/self/`.
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
    let named_key = put(keys::put_key).delete(keys::delete_key);
    Router::new()
        .route("/v2/self", get(self_account::show))
        .route("/v2/self/", named_key.clone())
        .route("/v2/self/keys", get(keys::list).put(keys::put_key).layer(compression.clone()))
        .route("/v2/self/keys/", named_key.clone())
        .route("/v2/self/keys/{*name}", named_key.post(ownership::post))
        .route("/v2/self/warnings", get(ownership::warnings))
        .route("/v2/self/warnings/{id}", delete(ownership::dismiss))
        .route("/v2/self/cli_tokens", get(self_account::cli_token))
        .route("/v2/self/tokens/current", get(self_account::current_token))
        .route("/v2/github/keys", get(github::keys))
        .route("/openapi.json", get(document::show).layer(compression))
        .route("/known_hosts", get(known_hosts::show))
        .route("/healthz", get(health))
        .route("/livez", get(liveness))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn(guard::bound_time))
        .layer(middleware::from_fn_with_state(api.limits.clone(), guard::check_peer))
        .layer(middleware::from_fn_with_state(api.allowed_origins.clone(), cors::allow))
        .with_state(api)
}

/// Whether requests can be served. The causes of a failure are in the log, since anyone may ask.
async fn health(State(api): State<Api>) -> (StatusCode, Json<Value>) {
    let health = api.store.health().await;
    let word = |is_good| if is_good { "ok" } else { "failing" };
    let status = if health.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": word(health.is_good()),
        "reads": word(health.reads),
        "writes": word(health.writes),
    });
    (status, Json(body))
}

/// Answers while the process serves requests at all, whatever the database does: to restart it helps nothing else.
async fn liveness() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn unknown_path(method: Method) -> ApiError {
    ApiError::unknown_path().for_method(&method)
}

async fn unknown_method(method: Method) -> ApiError {
    ApiError::unknown_method().for_method(&method)
}

/// The response to a request with `method` that is malformed, because of `why`.
pub(crate) fn refuse(why: &str, method: &Method) -> Response {
    ApiError::refused(why).for_method(method).into_response()
}
