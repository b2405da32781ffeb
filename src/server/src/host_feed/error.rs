//! Why a request of a host failed, and the response to it.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use pushkeys_feed::REPORT_MEDIA_TYPE;
use pushkeys_keys::ErrorReport;

use crate::auth::HostAuthError;
use crate::store::StoreError;

/// Why a request of a host failed.
#[derive(Debug)]
pub(super) enum FeedError {
    Unauthorized(HostAuthError),
    /// The body of a report is not announced as JSON.
    NotJson,
    TooLarge {
        bytes_max: usize,
    },
    TooSlow {
        limit: Duration,
    },
    Malformed(String),
    TooManySnapshots,
    TooManyReports {
        wait_s: u64,
    },
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
            Self::NotJson => {
                let text = format!("the content type of a report is `{REPORT_MEDIA_TYPE}`\n");
                return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
            }
            Self::TooLarge { bytes_max } => {
                let text = format!("the report is longer than {bytes_max} bytes\n");
                return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
            }
            Self::TooSlow { limit } => {
                let text = format!("the report took longer than {} s\n", limit.as_secs());
                return (StatusCode::REQUEST_TIMEOUT, text).into_response();
            }
            Self::TooManyReports { wait_s } => {
                let text = "this host reports too much at once\n";
                return (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, wait_s.to_string())], text)
                    .into_response();
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
