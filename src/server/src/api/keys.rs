//! The keys of the account that asks.

use axum::body::BodyDataStream;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Uri};
use axum::{Extension, Json};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use pushkeys_keys::{
    AccountId, ErrorReport, Expiry, Fingerprint, KEY_TEXT_BYTES_MAX, Name, ParseExpiryError, Refusal,
    ValidKey,
};
use serde::Serialize;
use tokio::time::{Duration, timeout};

use super::caller::Caller;
use super::{Api, ApiError};
use crate::percent;
use crate::request_id::RequestId;
use crate::store::{AccountRevocation, KeyChange, KeyToPut, KeyUse, Propagation, StoreError, StoredKey};

/// The longest body of a PUT in bytes: the longest key with every byte of it written as `\u00xx`, in quotes.
const BODY_BYTES_MAX: usize = 6 * KEY_TEXT_BYTES_MAX + 2;
/// How much of a longer body is read and dropped: a client that is still sending when the connection ends
/// may never see the answer.
const DRAINED_BYTES_MAX: usize = 1024 * 1024;
/// How long a client may take to send it.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(BODY_BYTES_MAX < DRAINED_BYTES_MAX);
const _: () =
    assert!(BODY_TIME_MAX.as_secs() < super::REQUEST_TIME_MAX.as_secs(), "a slow body has its own answer");

/// What precedes a key's name in a path.
const KEYS_PATH: &str = "/v2/self/keys/";

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
    BODY_TIME_MAX.as_secs() + WAIT_MAX.as_secs() < super::REQUEST_TIME_MAX.as_secs(),
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
    Extension(request_id): Extension<RequestId>,
    caller: Caller,
    request: Request,
) -> Result<Json<Done>, ApiError> {
    let method = request.method().clone();
    store_key(&api, &request_id, &caller, request).await.map_err(|error| error.for_method(&method))
}

async fn store_key(
    api: &Api,
    request_id: &RequestId,
    caller: &Caller,
    request: Request,
) -> Result<Json<Done>, ApiError> {
    let name = name_in_path(request.uri().path())?;
    let (wait, query) = wait_in(request.uri()).map_err(ApiError::refused_put)?;
    let expires_at = expiry(&query)?;
    let text = json_string(api, request).await?;
    let text = text.trim();
    let key = check_key(api, text)?;
    let wanted = KeyToPut { name: &name, key: &key, text, expires_at, may_replace: true };
    let changes = api.store.put_key(&caller.account, &wanted, &caller.actor).await?;
    for change in &changes {
        log_change(&caller.account, change, request_id);
    }
    let sequence = changes.iter().map(|change| change.sequence).max();
    Ok(Json(Done { hosts: propagation(api, wait, sequence).await, ..STORED }))
}

/// `DELETE /v2/self/keys/{name}`, or with `?compromised=true` so that nobody can register it again.
pub(super) async fn delete_key(
    State(api): State<Api>,
    Extension(request_id): Extension<RequestId>,
    Caller { account, actor, .. }: Caller,
    uri: Uri,
) -> Result<Json<Done>, ApiError> {
    // No key has a name that cannot be read.
    let name = name_in_path(uri.path()).map_err(|_| ApiError::no_such_key())?;
    let (wait, query) = wait_in(&uri).map_err(ApiError::refused)?;
    let change = if is_compromised(&query)? {
        api.store.report_key(&account, &name, &actor).await?
    } else {
        let removed = api.store.delete_key(&account, &name, &actor).await;
        removed.map_err(|error| ApiError::unavailable(&error))?.ok_or_else(ApiError::no_such_key)?
    };
    log_change(&account, &change, &request_id);
    Ok(Json(Done { hosts: propagation(&api, wait, Some(change.sequence)).await, ..REMOVED }))
}

/// How long to wait for the hosts, and the query without it.
fn wait_in(uri: &Uri) -> Result<(Option<Duration>, String), &'static str> {
    let mut wait = None;
    let mut rest = Vec::new();
    for part in uri.query().unwrap_or_default().split('&') {
        match part.strip_prefix("wait=") {
            Some(text) => {
                let limit = parse_wait(text).filter(|limit| wait.is_none() && *limit <= WAIT_MAX);
                wait =
                    Some(limit.ok_or("`wait` is one time of at most 5s, such as `wait=2s` or `wait=500ms`")?);
            }
            None => rest.push(part),
        }
    }
    Ok((wait, rest.join("&")))
}

fn parse_wait(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(number) => number.parse().ok().map(Duration::from_millis),
        None => text.strip_suffix('s')?.parse().ok().map(Duration::from_secs),
    }
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

pub(crate) fn log_change(account: &AccountId, change: &KeyChange, request_id: &RequestId) {
    tracing::info!(
        %account,
        key = %change.key_id,
        fingerprint = %change.fingerprint,
        sequence = change.sequence,
        request = %request_id,
        "{}: `{}` of `{account}`",
        change.event.as_str(),
        change.fingerprint,
    );
}

/// The account has proved to hold the key of `fingerprint`, which made `changes`.
pub(crate) fn log_proof(
    account: &AccountId,
    changes: &[KeyChange],
    fingerprint: &Fingerprint,
    request_id: &RequestId,
) {
    for change in changes {
        log_change(account, change, request_id);
    }
    tracing::info!(%account, %fingerprint, request = %request_id, "proved: `{fingerprint}` of `{account}`");
}

/// The key in `text`, one line.
pub(super) fn check_key(api: &Api, text: &str) -> Result<ValidKey, ApiError> {
    ValidKey::check(text, &api.policy).map_err(|refusal| ApiError::refused_put(refusal.to_string()))
}

/// The name at the end of the raw path, percent-decoded once.
pub(super) fn name_in_path(path: &str) -> Result<Name, ApiError> {
    let encoded = path.strip_prefix(KEYS_PATH).unwrap_or_default();
    if encoded.is_empty() {
        return Err(ApiError::refused_put(
            "the name of a key cannot be empty, `.` or `..`: choose another name for this key",
        ));
    }
    let decoded = percent::decode(encoded)
        .ok_or_else(|| ApiError::refused_put("the name in the path is not percent-encoded UTF-8"))?;
    let name = Name::parse(&decoded)?;
    if matches!(name.as_str(), "." | "..") {
        // Clients resolve them as steps of a path, so such a key could never be removed.
        return Err(ApiError::refused_put(
            "a key cannot be called `.` or `..`: choose another name for this key",
        ));
    }
    Ok(name)
}

/// The body, which is a JSON string and nothing else.
pub(super) async fn json_string(api: &Api, request: Request) -> Result<String, ApiError> {
    if !is_json(request.headers()) {
        return Err(ApiError::refused_put(
            "the content type is not `application/json`: send the key as a JSON string",
        ));
    }
    let body = read_body(request).await?;
    serde_json::from_slice(&body).map_err(|_| {
        ApiError::refused_put(pasted_raw(api, &body).map_or_else(
            || "the body is not a JSON string: send the one line of the `.pub` file in quotes".to_owned(),
            |refusal| refusal.to_string(),
        ))
    })
}

/// Shells paste whole files between quotes, which is not JSON. A person who sent a private key so is told
/// just that, and for one who sent a file of several keys the quotes are not the problem either.
fn pasted_raw(api: &Api, body: &[u8]) -> Option<Refusal> {
    let text = String::from_utf8_lossy(body);
    let refusal = ValidKey::check(text.trim().trim_matches('"'), &api.policy).err()?;
    matches!(refusal, Refusal::PrivateKey | Refusal::MoreThanOneLine).then_some(refusal)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

async fn read_body(request: Request) -> Result<Vec<u8>, ApiError> {
    let stream = request.into_body().into_data_stream();
    match timeout(BODY_TIME_MAX, collect(stream)).await {
        Ok(Ok(Some(body))) => Ok(body),
        Ok(Ok(None)) => Err(ApiError::refused_put(Refusal::TooLong.to_string())),
        Ok(Err(_)) => Err(ApiError::refused_put("the key was cut short on its way: try again")),
        Err(_) => Err(ApiError::refused_put("the key was sent too slowly: try again")),
    }
}

/// `None`: it is too long.
async fn collect(mut stream: BodyDataStream) -> Result<Option<Vec<u8>>, axum::Error> {
    let (mut body, mut length) = (Vec::new(), 0);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        length += chunk.len();
        if length > DRAINED_BYTES_MAX {
            break;
        }
        if length <= BODY_BYTES_MAX {
            body.extend_from_slice(&chunk);
        }
    }
    Ok((length <= BODY_BYTES_MAX).then_some(body))
}
