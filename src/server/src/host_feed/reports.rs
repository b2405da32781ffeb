//! `POST /v1/feed/usage` and `POST /v1/feed/revoked`

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use pushkeys_feed::{REPORT_BYTES_MAX, REPORT_ITEMS_MAX, RevokedReply, RevokedReport, UsageReport};
use serde::Serialize;

use super::body;
use super::error::FeedError;
use super::state::{FromConnection, FromFeed};

#[derive(Serialize)]
pub(super) struct Recorded {
    /// Uses that were not known yet.
    recorded: u64,
}

pub(super) async fn usage(
    State(feed): FromFeed,
    certificate: FromConnection,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Recorded>, FeedError> {
    let host = feed.host(&headers, &certificate).await?.host;
    let _share = feed.shares.report(&host).await?;
    let UsageReport { uses } = body::read(&headers, body, REPORT_BYTES_MAX).await?;
    check_length(uses.len(), REPORT_ITEMS_MAX)?;
    feed.shares.check_items(&host, uses.len())?;
    let recorded = feed.store.record_uses(&host, &uses).await?;
    Ok(Json(Recorded { recorded }))
}

pub(super) async fn revoked(
    State(feed): FromFeed,
    certificate: FromConnection,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RevokedReply>, FeedError> {
    let host = feed.host(&headers, &certificate).await?.host;
    let _share = feed.shares.report(&host).await?;
    let RevokedReport { revoked } = body::read(&headers, body, REPORT_BYTES_MAX).await?;
    check_length(revoked.len(), REPORT_ITEMS_MAX)?;
    feed.shares.check_items(&host, revoked.len())?;
    if revoked
        .iter()
        .enumerate()
        .any(|(index, one)| revoked.iter().take(index).any(|other| other.what == one.what))
    {
        return Err(FeedError::Malformed("it names a key or account twice".to_owned()));
    }
    let answers = feed.store.record_revocations(&host, &revoked).await?;
    if !revoked.is_empty() {
        tracing::debug!(host = %host, "`{host}` has revoked {} keys and accounts by itself", revoked.len());
    }
    Ok(Json(RevokedReply { answers }))
}

pub(super) fn check_length(items: usize, items_max: usize) -> Result<(), FeedError> {
    if items > items_max {
        return Err(FeedError::Malformed(format!(
            "it has {items} items, and at most {items_max} are accepted"
        )));
    }
    Ok(())
}
