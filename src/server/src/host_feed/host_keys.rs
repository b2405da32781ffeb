//! `POST /v1/feed/host-keys`

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use pushkeys_feed::{HOST_KEYS_MAX, HostKeysReply, HostKeysReport, REPORT_BYTES_MAX};
use pushkeys_keys::{ErrorReport, Policy, ValidKey};

use super::body;
use super::error::FeedError;
use super::reports::check_length;
use super::state::{FromConnection, FromFeed};
use crate::store::{HostId, ShownKeys};

/// Records the host keys of a host.
pub(super) async fn note(
    State(feed): FromFeed,
    certificate: FromConnection,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<HostKeysReply>, FeedError> {
    let host = feed.host(&headers, &certificate).await?.host;
    let _share = feed.shares.report(&host).await?;
    let HostKeysReport { keys } = body::read(&headers, body, REPORT_BYTES_MAX).await?;
    check_length(keys.len(), HOST_KEYS_MAX)?;
    feed.shares.check_items(&host, keys.len())?;
    let keys: Vec<ValidKey> = keys.iter().filter_map(|text| host_key(&host, text)).collect();
    let shown = feed.store.report_host_keys(&host, &keys, feed.push_host.as_ref()).await?;
    log(&host, &shown);
    let waiting = shown.waiting.iter().map(ToString::to_string).collect();
    Ok(Json(HostKeysReply { push_host: shown.push_host, waiting }))
}

/// A key that can be published. Others are left out, and the rest of the report counts.
fn host_key(host: &HostId, text: &str) -> Option<ValidKey> {
    match ValidKey::check(text, &Policy::default()) {
        Ok(key) if !key.algorithm().name().starts_with("sk-") => Some(key),
        Ok(key) => {
            tracing::warn!(%host, "a host key of the host `{host}` is left out: no sshd has a {}", key.algorithm().name());
            None
        }
        Err(refusal) => {
            let refusal = ErrorReport::of(&refusal);
            tracing::warn!(%host, "a host key of the host `{host}` is left out: {refusal}");
            None
        }
    }
}

/// At most one line for each report, since the host decides how many keys are in it.
fn log(host: &HostId, shown: &ShownKeys) {
    let Some(push_host) = &shown.push_host else { return };
    let mut new = shown.new.iter();
    if let Some(fingerprint) = new.clone().find(|fingerprint| shown.waiting.contains(fingerprint)) {
        let hint = format!(
            "compare it on the host (ssh-keygen -lf), then pushkeys-server host keys accept {fingerprint}"
        );
        tracing::error!(%host, %fingerprint, push_host, waiting = shown.waiting.len(), hint, "the host `{host}` has a host key that is not published for {push_host}: {fingerprint}");
    } else if let Some(fingerprint) = new.next() {
        tracing::info!(%host, %fingerprint, push_host, keys = shown.new.len(), "the first host keys of {push_host} are published: {fingerprint}");
    }
}
