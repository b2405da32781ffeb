//! The account's keys.

use std::borrow::Cow;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri};
use jiff::Timestamp;
use pushkeys_daemon::Period;
use pushkeys_keys::{AccountId, ErrorReport, Expiry, ParseExpiryError};
use serde::Serialize;
use tokio::time::Duration;

use super::caller::Caller;
use super::error::ApiError;
use super::guard::REQUEST_TIME_MAX;
use super::key_request::{
    BODY_TIME_MAX, check_conditions, check_key, json_string, may_replace, name_in_path, text_in_path,
};
use super::state::Api;
use crate::percent;
use crate::store::{AccountRevocation, KeyToPut, KeyUse, Propagation, PutKeyError, StoreError, StoredKey};

#[derive(Serialize)]
pub(super) struct ListedKey {
    name: String,
    key: String,
    fingerprint: String,
    /// Whether the account proved possession of the private key.
    verified: bool,
    /// When hosts begin to refuse it; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(flatten)]
    reported: Reported,
}

/// What push hosts have reported about a key.
#[derive(Serialize)]
struct Reported {
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_host: Option<String>,
    /// When a host last greeted its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_checked_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_checked_host: Option<String>,
    /// The hosts on which an operator has revoked it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    revoked_on: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Done {
    id: u32,
    message: Cow<'static, str>,
    r#type: &'static str,
    /// On how many hosts the change is live, if the client asked to wait for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    hosts: Option<Propagation>,
}

const STORED: Done =
    Done { id: 500, message: Cow::Borrowed("The key was stored"), r#type: "success", hosts: None };
const REMOVED: Done =
    Done { id: 501, message: Cow::Borrowed("The key was removed"), r#type: "success", hosts: None };

impl Done {
    /// The same, with what came of waiting for the hosts. The message names those that are silent.
    fn on(self, hosts: Option<Propagation>) -> Self {
        let message = match &hosts {
            Some(Propagation { applied, of, silent, .. }) if !silent.is_empty() => {
                let silent: Vec<String> = silent.iter().map(ToString::to_string).collect();
                format!("{}: live on {applied} of {of} hosts, {}", self.message, silent.join(", ")).into()
            }
            _ => self.message,
        };
        Self { message, hosts, ..self }
    }
}

/// The longest wait for the hosts.
const WAIT_MAX: Duration = Duration::from_secs(5);
const _: () = assert!(
    BODY_TIME_MAX.as_secs() + WAIT_MAX.as_secs() < REQUEST_TIME_MAX.as_secs(),
    "a slow body and a long wait fit into a request"
);

/// `GET /v2/self/keys`
pub(super) async fn list(
    State(api): State<Api>,
    Caller { account, .. }: Caller,
) -> Result<Json<Vec<ListedKey>>, ApiError> {
    let unavailable = |error: StoreError| ApiError::unavailable(&error);
    let keys = api.store.keys(&account).await.map_err(unavailable)?;
    let revocations = api.store.account_revocations(&account).await.map_err(unavailable)?;
    let keys = keys.into_iter().map(|key| ListedKey {
        reported: reported(&key, &revocations),
        name: key.name,
        key: key.text,
        fingerprint: key.fingerprint.to_string(),
        verified: key.verified,
        expires_at: key.expires_at.map(|expiry| expiry.to_string()),
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

/// `PUT /v2/self/keys/{name}`, optionally with `?expires_at=` and an instant of RFC 3339.
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
    check_conditions(request.headers())?;
    let may_replace = may_replace(request.headers());
    let (wait, query) = wait_in(request.uri()).map_err(ApiError::refused_put)?;
    let expires_at = expiry(&query)?;
    let text = json_string(api, request).await?;
    let text = text.trim();
    let key = check_key(api, text)?;
    let wanted = KeyToPut { name: &name, key: &key, text, expires_at, may_replace };
    let changes = match api.store.put_key(&caller.account, &wanted, &caller.actor).await {
        Err(taken @ PutKeyError::NameTaken) => return Err(ApiError::precondition_failed(taken.to_string())),
        changes => changes?,
    };
    let sequence = changes.iter().map(|change| change.sequence).max();
    Ok(Json(STORED.on(propagation(api, &caller.account, wait, sequence).await)))
}

/// `DELETE /v2/self/keys/{name}`, optionally with `?compromised=true`, which bars it from being registered again.
pub(super) async fn delete_key(
    State(api): State<Api>,
    Caller { account, actor, .. }: Caller,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Json<Done>, ApiError> {
    let name = text_in_path(uri.path()).ok_or_else(ApiError::no_such_key)?;
    check_conditions(&headers)?;
    let (wait, query) = wait_in(&uri).map_err(ApiError::refused)?;
    let change = if is_compromised(&query)? {
        api.store.report_key(&account, &name, &actor).await?
    } else {
        let removed = api.store.remove_key(&account, &name, &actor).await;
        removed.map_err(|error| ApiError::unavailable(&error))?.ok_or_else(ApiError::no_such_key)?
    };
    Ok(Json(REMOVED.on(propagation(&api, &account, wait, Some(change.sequence)).await)))
}

/// The wait for the hosts, and the rest of the query.
fn wait_in(uri: &Uri) -> Result<(Option<Duration>, String), &'static str> {
    let mut wait = None;
    let mut rest = Vec::new();
    for part in uri.query().unwrap_or_default().split('&') {
        match part.strip_prefix("wait=") {
            Some(text) => {
                let limit = text.parse().ok().map(|Period(limit)| limit);
                let limit = limit.filter(|limit| wait.is_none() && *limit <= WAIT_MAX);
                wait = Some(
                    limit.ok_or("`wait` is one duration of at most 5s, such as `wait=2s` or `wait=500ms`")?,
                );
            }
            None => rest.push(part),
        }
    }
    Ok((wait, rest.join("&")))
}

/// Waits for the hosts, if the client asked for it. The change is made in any case.
async fn propagation(
    api: &Api,
    account: &AccountId,
    wait: Option<Duration>,
    sequence: Option<u64>,
) -> Option<Propagation> {
    // A request of an account that waits too often is told how far the change has come by now.
    let waiting = api.waits.begin(account.clone());
    let limit = if waiting.is_some() { wait? } else { wait.map(|_| Duration::ZERO)? };
    let waited = async {
        let sequence = match sequence {
            Some(sequence) => sequence,
            // Nothing changed, so the wait is for the current state.
            None => api.store.feed_state().await?.head.cursor.sequence,
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

/// A misspelt expiry must not look as if it was accepted.
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
    if expiry.is_past(Timestamp::now()) {
        return Err(ApiError::refused_put("the expiry of this key is in the past: choose a later one"));
    }
    Ok(Some(expiry))
}

/// A misspelt report must not look as if it was accepted.
fn is_compromised(query: &str) -> Result<bool, ApiError> {
    match query {
        "" | "compromised=false" => Ok(false),
        "compromised=true" => Ok(true),
        _ => Err(ApiError::refused("the query of a removal is `compromised=true` or nothing")),
    }
}
