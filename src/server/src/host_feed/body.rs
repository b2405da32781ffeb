//! The body of a report.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use pushkeys_feed::REPORT_MEDIA_TYPE;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::FeedError;

/// How long a host may take to send a report.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// The JSON object in `body`, of at most `bytes_max` bytes.
pub(super) async fn read<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<T, FeedError> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(REPORT_MEDIA_TYPE) {
        return Err(FeedError::NotJson);
    }
    let bytes = match timeout(BODY_TIME_MAX, to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => bytes,
        // The only other error is a broken connection, on which nobody reads the response.
        Ok(Err(_)) => return Err(FeedError::TooLarge { bytes_max }),
        Err(_) => return Err(FeedError::TooSlow { limit: BODY_TIME_MAX }),
    };
    // A struct can also be read from an array of its members.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(FeedError::Malformed("it is no JSON object".to_owned()));
    }
    serde_json::from_slice(&bytes).map_err(|error| FeedError::Malformed(error.to_string()))
}
