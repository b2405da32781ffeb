//! One random name per request, in its response and in the log.

use std::fmt;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::Response;

use crate::secret;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The request's name. It is always ours: one that a client sent could be another request's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Gives every response of `router` an `x-request-id`, by which a person's report leads to the line in the log.
pub(crate) fn with_request_ids(router: Router) -> Router {
    router.layer(middleware::from_fn(assign))
}

async fn assign(mut request: Request, next: Next) -> Response {
    // Without random bytes nothing else works either; a request is served without a name of its own.
    let id = secret::random_id("req").unwrap_or_else(|_| "req".into());
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}
