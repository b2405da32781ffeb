//! `POST /v1/feed/applied`

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use pushkeys_feed::EventId;
use serde::Deserialize;

use super::error::FeedError;
use super::state::{FromConnection, FromFeed};

/// The longest body in bytes: one cursor.
pub(super) const BODY_BYTES_MAX: usize = 1024;

#[derive(Deserialize)]
struct Applied<'a> {
    cursor: &'a str,
}

/// Records what a host has applied.
pub(super) async fn note(
    State(feed): FromFeed,
    certificate: FromConnection,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, FeedError> {
    let host = feed.host(&headers, &certificate).await?.host;
    let cursor =
        serde_json::from_slice(&body).ok().and_then(|Applied { cursor }| cursor.parse::<EventId>().ok());
    let Some(EventId { cursor, .. }) = cursor else { return Ok(StatusCode::BAD_REQUEST) };
    feed.store.record_acknowledgement(host, cursor);
    Ok(StatusCode::NO_CONTENT)
}
