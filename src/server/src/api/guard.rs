//! Limits of every request: the rate of its address, and its time.

use std::net::SocketAddr;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::time::{Duration, timeout};

use super::error::ApiError;
use crate::rate_limit::Limits;

/// How long an API request may take, including its wait for the database.
pub(super) const REQUEST_TIME_MAX: Duration = Duration::from_secs(20);

/// Applies the rate limit of the client's address.
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

/// Ends a request that takes too long.
pub(super) async fn bound_time(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    timeout(REQUEST_TIME_MAX, next.run(request))
        .await
        .unwrap_or_else(|_| ApiError::timed_out().for_method(&method).into_response())
}
