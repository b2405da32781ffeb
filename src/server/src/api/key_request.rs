//! The parts of a request about a key: its name in the path, and a JSON string as the body.

use axum::body::BodyDataStream;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use futures_util::StreamExt as _;
use pushkeys_keys::{KEY_TEXT_BYTES_MAX, KeyName, Refusal, ValidKey};
use tokio::time::{Duration, timeout};

use super::error::ApiError;
use super::guard::REQUEST_TIME_MAX;
use super::state::Api;
use crate::percent;

/// The longest body of a PUT in bytes: the longest key with every byte of it written as `\u00xx`, in quotes.
const BODY_BYTES_MAX: usize = 6 * KEY_TEXT_BYTES_MAX + 2;
/// How much of a longer body is read and dropped: a client that is still sending when the connection is closed may not
/// read the response.
const DRAINED_BYTES_MAX: usize = 1024 * 1024;
/// How long a client may take to send the body.
pub(super) const BODY_TIME_MAX: Duration = Duration::from_secs(10);

const _: () = assert!(BODY_BYTES_MAX < DRAINED_BYTES_MAX);
const _: () = assert!(BODY_TIME_MAX.as_secs() < REQUEST_TIME_MAX.as_secs(), "a slow body has its own answer");

/// The path before the name of a key.
const KEYS_PATH: &str = "/v2/self/keys/";

/// The key in `text`, one line.
pub(super) fn check_key(api: &Api, text: &str) -> Result<ValidKey, ApiError> {
    ValidKey::check(text, &api.policy).map_err(|refusal| ApiError::refused_put(refusal.to_string()))
}

/// The name at the end of the raw path, percent-decoded once.
pub(super) fn name_in_path(path: &str) -> Result<KeyName, ApiError> {
    let decoded = text_in_path(path)
        .ok_or_else(|| ApiError::refused_put("the name in the path is not percent-encoded UTF-8"))?;
    if decoded.is_empty() {
        // Clients resolve `.` and `..` as steps of a path, of which this is left.
        return Err(ApiError::refused_put(
            "the name of a key cannot be empty, `.` or `..`: choose another name for this key",
        ));
    }
    Ok(KeyName::parse(&decoded)?)
}

/// The same as text, for a key whose name may be older than the rules of names.
pub(super) fn text_in_path(path: &str) -> Option<String> {
    percent::decode(path.strip_prefix(KEYS_PATH).unwrap_or_default())
}

/// Refuses a change under a condition that cannot hold (RFC 9110, section 13).
pub(super) fn check_conditions(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(IF_MATCH) || headers.contains_key(IF_UNMODIFIED_SINCE) {
        return Err(ApiError::precondition_failed(
            "keys have no entity tags and no dates of change, so that `If-Match` and `If-Unmodified-Since` \
             cannot hold: send the request without them",
        ));
    }
    Ok(())
}

/// Whether a PUT may replace a key of the name: `If-None-Match: *` says no. Without entity tags, no other one matches.
pub(super) fn may_replace(headers: &HeaderMap) -> bool {
    headers.get(IF_NONE_MATCH).is_none_or(|tags| tags != "*")
}

/// The body, which is a JSON string.
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

/// What is wrong with a whole file that a shell pasted between quotes, which is not JSON. If it is a private key or has
/// several keys, the message says that rather than something about quotes.
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
