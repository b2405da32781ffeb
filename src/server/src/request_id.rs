//! A random id for each request, in its response and in the log.

use std::fmt;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::Response;

use crate::secret;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request. An id that the client sent is ignored, since it could be another request's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Returns every response of `router` an `x-request-id`, which leads from a user's report to the line in the log.
pub(crate) fn with_request_ids(router: Router) -> Router {
    router.layer(middleware::from_fn(assign))
}

async fn assign(mut request: Request, next: Next) -> Response {
    // Without random bytes nothing else works either; the request is served all the same.
    let id = secret::random_id("req").unwrap_or_else(|_| "req".into());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
