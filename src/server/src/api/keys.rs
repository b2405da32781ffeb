//! The keys of the account that asks.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use jiff::Timestamp;
use pushkeys_daemon::Period;
use pushkeys_keys::{ErrorReport, Expiry, ParseExpiryError};
use serde::Serialize;
use tokio::time::Duration;

use super::caller::Caller;
use super::error::ApiError;
use super::guard::REQUEST_TIME_MAX;
use super::key_request::{BODY_TIME_MAX, check_key, json_string, name_in_path, text_in_path};
use super::state::Api;
use crate::percent;
use crate::store::{AccountRevocation, KeyToPut, KeyUse, Propagation, StoreError, StoredKey};

#[derive(Serialize)]
pub(super) struct Row {
    name: String,
    key: String,
    fingerprint: String,
    /// Whether the account showed that it holds the private key.
    verified: bool,
    /// From when on hosts refuse it; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(flatten)]
    reported: Reported,
}

/// What push hosts say of a key. What none has said is absent.
#[derive(Serialize)]
struct Reported {
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_host: Option<String>,
    /// When the account was last greeted by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_checked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_checked_host: Option<String>,
    /// The hosts whose sysadmins have revoked it there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    revoked_on: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Done {
    id: u32,
    message: &'static str,
    r#type: &'static str,
    /// On how many hosts it is in force, for who asked to wait for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    hosts: Option<Propagation>,
}

const STORED: Done = Done { id: 500, message: "The key was stored", r#type: "success", hosts: None };
const REMOVED: Done = Done { id: 501, message: "The key was removed", r#type: "success", hosts: None };

/// The longest time that a client may wait for the hosts.
const WAIT_MAX: Duration = Duration::from_secs(5);
const _: () = assert!(
    BODY_TIME_MAX.as_secs() + WAIT_MAX.as_secs() < REQUEST_TIME_MAX.as_secs(),
    "a slow body and a long wait have an answer"
);

/// `GET /v2/self/keys`
pub(super) async fn list(
    State(api): State<Api>,
    Caller { account, .. }: Caller,
) -> Result<Json<Vec<Row>>, ApiError> {
    let unavailable = |error: StoreError| ApiError::unavailable(&error);
    let keys = api.store.keys(&account).await.map_err(unavailable)?;
    let revocations = api.store.revocations_of(&account).await.map_err(unavailable)?;
    let keys = keys.into_iter().map(|key| Row {
        reported: reported(&key, &revocations),
        name: key.name,
        key: key.text,
        fingerprint: key.fingerprint.to_string(),
        verified: key.verified,
        expires_at: key.expires_at.map(|instant| instant.to_string()),
    });
    Ok(Json(keys.collect()))
}

fn reported(key: &StoredKey, revocations: &[AccountRevocation]) -> Reported {
    let split =
        |one: &Option<KeyUse>| one.as_ref().map(|KeyUse { at, host }| (at.to_string(), host.clone())).unzip();
    let (last_used_at, last_used_host) = split(&key.last_use);
    let (last_checked_at, last_checked_host) = split(&key.last_check);
    let revoked_on = key.revoked_on(revocations).into_iter().map(str::to_owned).collect();
    Reported { last_used_at, last_used_host, last_checked_at, last_checked_host, revoked_on }
}

/// `PUT /v2/self/keys/{name}`, or with `?expires_at=` and an instant of RFC 3339
pub(super) async fn put_key(
    State(api): State<Api>,
    caller: Caller,
    request: Request,
) -> Result<Json<Done>, ApiError> {
    let method = request.method().clone();
    store_key(&api, &caller, request).await.map_err(|error| error.for_method(&method))
}

async fn store_key(api: &Api, caller: &Caller, request: Request) -> Result<Json<Done>, ApiError> {
    let name = name_in_path(request.uri().path())?;
    let (wait, query) = wait_in(request.uri()).map_err(ApiError::refused_put)?;
    let expires_at = expiry(&query)?;
    let text = json_string(api, request).await?;
    let text = text.trim();
    let key = check_key(api, text)?;
    let wanted = KeyToPut { name: &name, key: &key, text, expires_at, may_replace: true };
    let changes = api.store.put_key(&caller.account, &wanted, &caller.actor).await?;
    let sequence = changes.iter().map(|change| change.sequence).max();
    Ok(Json(Done { hosts: propagation(api, wait, sequence).await, ..STORED }))
}

/// `DELETE /v2/self/keys/{name}`, or with `?compromised=true` so that nobody can register it again.
pub(super) async fn delete_key(
    State(api): State<Api>,
    Caller { account, actor, .. }: Caller,
    uri: Uri,
) -> Result<Json<Done>, ApiError> {
    let name = text_in_path(uri.path()).ok_or_else(ApiError::no_such_key)?;
    let (wait, query) = wait_in(&uri).map_err(ApiError::refused)?;
    let change = if is_compromised(&query)? {
        api.store.report_key(&account, &name, &actor).await?
    } else {
        let removed = api.store.delete_key(&account, &name, &actor).await;
        removed.map_err(|error| ApiError::unavailable(&error))?.ok_or_else(ApiError::no_such_key)?
    };
    Ok(Json(Done { hosts: propagation(&api, wait, Some(change.sequence)).await, ..REMOVED }))
}

/// How long to wait for the hosts, and the query without it.
fn wait_in(uri: &Uri) -> Result<(Option<Duration>, String), &'static str> {
    let mut wait = None;
    let mut rest = Vec::new();
    for part in uri.query().unwrap_or_default().split('&') {
        match part.strip_prefix("wait=") {
            Some(text) => {
                let limit = text.parse().ok().map(|Period(limit)| limit);
                let limit = limit.filter(|limit| wait.is_none() && *limit <= WAIT_MAX);
                wait =
                    Some(limit.ok_or("`wait` is one time of at most 5s, such as `wait=2s` or `wait=500ms`")?);
            }
            None => rest.push(part),
        }
    }
    Ok((wait, rest.join("&")))
}

/// Waits for the hosts, if somebody asked for it. The change is done, whatever comes of this.
async fn propagation(api: &Api, wait: Option<Duration>, sequence: Option<u64>) -> Option<Propagation> {
    let limit = wait?;
    let waited = async {
        let sequence = match sequence {
            Some(sequence) => sequence,
            // Nothing had to change, so what is there already is waited for.
            None => api.store.feed_state().await?.head.sequence,
        };
        api.store.wait_for_hosts(sequence, limit).await
    };
    match waited.await {
        Ok(propagation) => Some(propagation),
        Err(error) => {
            tracing::warn!("cannot wait for hosts: {}", ErrorReport::of(&error));
            None
        }
    }
}

/// A misspelt expiry must not look like one that was taken.
fn expiry(query: &str) -> Result<Option<Expiry>, ApiError> {
    if query.is_empty() {
        return Ok(None);
    }
    let text = query.strip_prefix("expires_at=").and_then(percent::decode);
    let text = text.ok_or_else(|| {
        ApiError::refused_put("the query is not an expiry such as `expires_at=2027-01-31T12:00:00Z`")
    })?;
    let expiry: Expiry =
        text.parse().map_err(|error: ParseExpiryError| ApiError::refused_put(error.to_string()))?;
    if expiry.instant() <= Timestamp::now() {
        return Err(ApiError::refused_put("the expiry of this key is in the past: choose a later one"));
    }
    Ok(Some(expiry))
}

/// A misspelt report must not look like one that was taken.
fn is_compromised(query: &str) -> Result<bool, ApiError> {
    match query {
        "" | "compromised=false" => Ok(false),
        "compromised=true" => Ok(true),
        _ => Err(ApiError::refused("the query of a removal is `compromised=true` or nothing")),
    }
}
