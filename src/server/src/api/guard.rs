//! What holds for every request: how often its address may ask, and how long it may take.

use std::net::SocketAddr;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::time::{Duration, timeout};

use super::error::ApiError;
use crate::rate_limit::Limits;

/// The longest that an API request may take, waiting for the database included.
pub(super) const REQUEST_TIME_MAX: Duration = Duration::from_secs(20);

/// Counts a request of an address before anything is done for it.
pub(super) async fn check_peer(
    State(limits): State<Limits>,
    Extension(connection): Extension<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match limits.check_address(limits.address(connection, request.headers())) {
        Ok(()) => next.run(request).await,
        Err(wait_s) => {
            let refusal = ApiError::too_many("too many requests come from this address", wait_s);
            refusal.for_method(request.method()).into_response()
        }
    }
}

/// Ends a request that takes too long with an answer of its own.
pub(super) async fn bound_time(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    timeout(REQUEST_TIME_MAX, next.run(request))
        .await
        .unwrap_or_else(|_| ApiError::timed_out().for_method(&method).into_response())
}
