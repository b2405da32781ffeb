//! Why a request of a host failed, and the response to it.

use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use pushkeys_keys::ErrorReport;

use crate::auth::HostAuthError;
use crate::store::StoreError;

/// Why a request of a host failed.
#[derive(Debug)]
pub(super) enum FeedError {
    Unauthorized(HostAuthError),
    Malformed(String),
    TooManySnapshots,
    NewEpoch,
    Store(StoreError),
}

impl From<StoreError> for FeedError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl IntoResponse for FeedError {
    fn into_response(self) -> Response {
        let text = match self {
            Self::Unauthorized(error) => {
                let text = ErrorReport::of(&error).lines() + "\n";
                return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], text).into_response();
            }
            Self::Malformed(why) => {
                let text = format!("the report cannot be read: {}\n", pushkeys_keys::escape(&why));
                return (StatusCode::BAD_REQUEST, text).into_response();
            }
            Self::TooManySnapshots => "too many snapshots are being sent\n",
            Self::NewEpoch => "the database has a new epoch\n",
            Self::Store(error) => {
                tracing::error!("a request of a host failed: {}", ErrorReport::of(&error));
                "the database does not answer\n"
            }
        };
        (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], text).into_response()
    }
}
