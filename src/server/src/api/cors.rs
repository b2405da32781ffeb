//! Pages of other origins that may use the API (the CORS protocol of the Fetch standard).
//!
//! The API accepts no cookie, so a page of an allowed origin can only send credentials that it has itself.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::origin::Origin;

const METHODS: HeaderValue = HeaderValue::from_static("GET, PUT, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type");
const EXPOSED: HeaderValue = HeaderValue::from_static("x-request-id, retry-after");
/// How long a browser may cache the response to `OPTIONS`, in seconds.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");

/// Answers `OPTIONS`, and adds to other responses which origin may read them.
pub(super) async fn allow(State(origins): State<Arc<[Origin]>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN);
    let allowed =
        origin.and_then(|origin| origins.iter().find(|allowed| allowed.is(origin))).map(Origin::header_value);
    let is_options = *request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    if is_options && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allow = response.headers_mut().remove(ALLOW);
        response = StatusCode::NO_CONTENT.into_response();
        response.headers_mut().extend(allow.map(|allow| (ALLOW, allow)));
    }
    let headers = response.headers_mut();
    // Also without an `Origin`: a cache must not serve this response to a page of another origin.
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        if is_options {
            allow_request(headers);
        }
    }
    response
}

fn allow_request(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
}
