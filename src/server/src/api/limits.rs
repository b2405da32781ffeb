//! How often an account and an address may use the API.

use std::net::SocketAddr;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::ApiError;
use crate::rate_limit::Limits;

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
