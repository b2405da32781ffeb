//! `POST /v1/feed/applied`

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use pushkeys_feed::EventId;
use serde::Deserialize;

use super::body;
use super::error::FeedError;
use super::state::{FromConnection, FromFeed};

/// The longest body in bytes: a cursor and its name.
const BODY_BYTES_MAX: usize = 1024;

/// What a host has applied.
#[derive(Deserialize)]
struct Applied {
    cursor: String,
}

/// Records what a host has applied.
pub(super) async fn note(
    State(feed): FromFeed,
    certificate: FromConnection,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, FeedError> {
    let host = feed.host(&headers, &certificate).await?.host;
    let Applied { cursor } = body::read(&headers, body, BODY_BYTES_MAX).await?;
    let cursor: Result<EventId, _> = cursor.parse();
    let EventId { cursor, .. } =
        cursor.map_err(|_| FeedError::Malformed("`cursor` is no cursor".to_owned()))?;
    feed.store.record_acknowledgement(host, cursor);
    Ok(StatusCode::NO_CONTENT)
}
