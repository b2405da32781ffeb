//! Requests to GitHub's REST API, and how its responses are read.
//!
//! Only the owner's token gets the titles of keys (`GET /user/keys`, scope `read:public_key`). The public list at
//! `/users/LOGIN/keys` has no titles, allows 60 requests an hour per address, and is found by a login that GitHub may
//! reassign to another user.

use std::time::{Duration, SystemTime};

use axum::http::header::{ACCEPT, ETAG, IF_NONE_MATCH, LINK, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::{GithubError, PAGE_KEYS, PAGES_MAX, SCOPE};
use super::link_header;
use crate::outbound::{Outbound, OutboundResponse, RemoteUrl};

/// Scopes that include it.
const SCOPES_TOO: [&str; 2] = ["write:public_key", "admin:public_key"];
/// How long all pages together may take.
const LISTING_TIME_MAX: Duration = Duration::from_secs(12);
/// The wait when GitHub names none, and the longest wait that is accepted from it, in seconds.
const WAIT_S: u64 = 60;
const WAIT_S_MAX: u64 = 3600;

const ACCEPTED: &str = "application/vnd.github+json";
const VERSION_HEADER: HeaderName = HeaderName::from_static("x-github-api-version");
const VERSION: &str = "2022-11-28";
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// A GitHub account. Its login may change and be reassigned; its id is permanent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct GithubUser {
    pub(crate) id: i64,
    /// Its current login.
    pub(crate) login: String,
}

/// A key that GitHub lists, not validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GithubKey {
    /// GitHub's id of the key; 0 if the record has none.
    pub(crate) id: i64,
    /// The title that its owner chose; empty if the record has none.
    pub(crate) title: String,
    /// Type and base64; empty if the record has none.
    pub(crate) key: String,
}

impl GithubKey {
    /// What can be read of `record`. An unexpected record must not hide the others.
    fn of(record: &Value) -> Self {
        let text = |member: &str| record.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            id: record.get("id").and_then(Value::as_i64).unwrap_or_default(),
            title: text("title"),
            key: text("key"),
        }
    }
}

/// All keys that GitHub lists for one account.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing {
    pub(crate) keys: Vec<GithubKey>,
    /// For a conditional request; only if the list has a single page.
    pub(crate) etag: Option<String>,
}

/// The REST API.
#[derive(Clone)]
pub(super) struct GithubApi {
    outbound: Outbound,
    url: RemoteUrl,
}

impl GithubApi {
    pub(super) fn new(outbound: Outbound, url: RemoteUrl) -> Self {
        Self { outbound, url }
    }

    /// The account that `token` belongs to.
    pub(super) async fn user(&self, token: &str) -> Result<GithubUser, GithubError> {
        let answer = self.outbound.send(self.get(&self.url.join("/user"), token)).await?;
        read(&check(answer)?)
    }

    /// The keys of the account that `token` belongs to. `None`: unchanged since the listing with `etag`.
    pub(super) async fn keys(&self, token: &str, etag: Option<&str>) -> Result<Option<Listing>, GithubError> {
        let listing = tokio::time::timeout(LISTING_TIME_MAX, self.pages(token, etag)).await;
        listing.map_err(|_| GithubError::TooSlow)?
    }

    async fn pages(&self, token: &str, etag: Option<&str>) -> Result<Option<Listing>, GithubError> {
        let mut url = self.url.join(&format!("/user/keys?per_page={PAGE_KEYS}"));
        let mut listing = Listing::default();
        for page in 0..PAGES_MAX {
            let mut request = self.get(&url, token);
            if let Some(etag) = etag.filter(|_| page == 0) {
                request = request.header(IF_NONE_MATCH, etag);
            }
            let answer = self.outbound.send(request).await?;
            if page == 0 && etag.is_some() && answer.status == StatusCode::NOT_MODIFIED {
                return Ok(None);
            }
            // GitHub answers 404, not 403, to a token without the scope.
            if answer.status == StatusCode::NOT_FOUND {
                return Err(GithubError::LinkAgain);
            }
            let answer = check(answer)?;
            listing.keys.extend(read::<Vec<Value>>(&answer)?.iter().map(GithubKey::of));
            let Some(next) = next_page(&answer.headers, &url)? else {
                let etag = answer.headers.get(ETAG).and_then(|etag| etag.to_str().ok());
                listing.etag = etag.filter(|_| page == 0).map(str::to_owned);
                return Ok(Some(listing));
            };
            url = self.url.beneath(next.as_str()).ok_or(GithubError::Elsewhere)?.into();
        }
        Err(GithubError::TooMany)
    }

    /// Revokes `token` alone: another account here may be linked by another token of the same GitHub user.
    pub(super) async fn revoke(
        &self,
        client_id: &str,
        client_secret: &str,
        token: &str,
    ) -> Result<(), GithubError> {
        let url = self.url.join(&format!("/applications/{client_id}/token"));
        let request = self.outbound.client().delete(url).basic_auth(client_id, Some(client_secret));
        let answer =
            self.outbound.send(with_headers(request).json(&json!({ "access_token": token }))).await?;
        match answer.status {
            // Already revoked.
            StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY => Ok(()),
            _ => check(answer).map(|_| ()),
        }
    }

    fn get(&self, url: &str, token: &str) -> RequestBuilder {
        with_headers(self.outbound.client().get(url).bearer_auth(token))
    }
}

/// Whether the granted `scopes` allow keys to be listed.
pub(super) fn suffice(scopes: Option<&[String]>) -> bool {
    let is_one = |scope: &String| scope == SCOPE || SCOPES_TOO.contains(&scope.as_str());
    scopes.is_none_or(|scopes| scopes.iter().any(is_one))
}

fn with_headers(request: RequestBuilder) -> RequestBuilder {
    request.header(ACCEPT, ACCEPTED).header(VERSION_HEADER, VERSION)
}

fn check(answer: OutboundResponse) -> Result<OutboundResponse, GithubError> {
    let is_limited =
        number(&answer.headers, &REMAINING) == Some(0) || answer.headers.contains_key(RETRY_AFTER);
    match answer.status {
        status if status.is_success() => Ok(answer),
        StatusCode::TOO_MANY_REQUESTS => Err(limited(&answer.headers)),
        StatusCode::FORBIDDEN if is_limited || speaks_of_limit(&answer) => Err(limited(&answer.headers)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(GithubError::LinkAgain),
        status => Err(GithubError::Status { status }),
    }
}

/// A secondary rate limit is often told by a status of 403 and no header: only the text says that it is one.
fn speaks_of_limit(answer: &OutboundResponse) -> bool {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let says = |member: &str, parts: &[&str]| {
        let text = body.get(member).and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
        parts.iter().any(|part| text.contains(part))
    };
    says("message", &["rate limit", "abuse detection"])
        || says("documentation_url", &["rate-limit", "abuse-rate"])
}

/// <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>
fn limited(headers: &HeaderMap) -> GithubError {
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let until_reset = || number(headers, &RESET).map(|reset_s| reset_s.saturating_sub(now_s));
    let wait_s = number(headers, &RETRY_AFTER).or_else(until_reset).unwrap_or(WAIT_S);
    GithubError::RateLimited { wait_s: wait_s.clamp(1, WAIT_S_MAX) }
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn read<T: DeserializeOwned>(answer: &OutboundResponse) -> Result<T, GithubError> {
    serde_json::from_slice(&answer.body).map_err(|_| GithubError::Malformed)
}

/// The page that comes after the one at `url`.
fn next_page(headers: &HeaderMap, url: &str) -> Result<Option<Url>, GithubError> {
    let mut fields = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(target) = fields.find_map(|field| link_header::target(field, "next")) else { return Ok(None) };
    let page = Url::parse(url).and_then(|url| url.join(target));
    page.map(Some).map_err(|_| GithubError::Malformed)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn answer(status: u16, headers: &[(HeaderName, &'static str)]) -> OutboundResponse {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let status = StatusCode::from_u16(status).unwrap();
        OutboundResponse { status, headers: headers.collect(), body: Vec::new() }
    }

    #[test]
    fn the_next_page_is_where_the_link_header_says() {
        let check = |link: &'static str, expected: Option<&str>| {
            let page = next_page(&answer(200, &[(LINK, link)]).headers, "https://a/api/v3/user/keys?page=1");
            assert_eq!(page.unwrap().as_ref().map(Url::as_str), expected, "{link}");
        };
        check(
            "<https://a/api/v3/user/keys?page=2&x=a,b>; rel=\"next\"",
            Some("https://a/api/v3/user/keys?page=2&x=a,b"),
        );
        check("</api/v3/user/keys?page=2>; rel=next", Some("https://a/api/v3/user/keys?page=2"));
        check("<?page=2>; rel=next", Some("https://a/api/v3/user/keys?page=2"));
        check("<https://a/?page=1>; rel=\"first\"", None);
        let headers = answer(200, &[(LINK, "<https://[>; rel=next")]).headers;
        assert!(matches!(next_page(&headers, "https://a/"), Err(GithubError::Malformed)));
    }

    #[test]
    fn of_an_odd_record_what_can_be_read_is_read() {
        let check = |record: Value, id: i64, title: &str, key: &str| {
            let expected = GithubKey { id, title: title.into(), key: key.into() };
            assert_eq!(GithubKey::of(&record), expected, "{record}");
        };
        check(
            json!({"id": 7, "title": "laptop", "key": "ssh-ed25519 AAAA", "verified": "yes"}),
            7,
            "laptop",
            "ssh-ed25519 AAAA",
        );
        check(json!({"id": 7, "title": null, "key": "ssh-ed25519 AAAA"}), 7, "", "ssh-ed25519 AAAA");
        check(json!({"id": "7", "title": 7, "key": {"a": 1}}), 0, "", "");
        check(json!("ssh-ed25519 AAAA"), 0, "", "");
        check(Value::Null, 0, "", "");
    }

    #[test]
    fn a_refusal_is_told_as_what_the_person_can_do() {
        let check = |status: u16, headers: &[(HeaderName, &'static str)], expected: &str| {
            let error = check(answer(status, headers)).err().unwrap().to_string();
            assert!(error.contains(expected), "{status}: {error}");
        };
        check(401, &[], "link it again");
        check(403, &[], "link it again");
        check(403, &[(RETRY_AFTER, "7")], "in 7 s");
        check(429, &[(RETRY_AFTER, "0")], "in 1 s");
        check(429, &[(RETRY_AFTER, "99999999")], "in 3600 s");
        check(403, &[(REMAINING, "0"), (RESET, "0")], "in 1 s");
        check(429, &[], "in 60 s");
        check(500, &[], "status 500: try again in a minute");
        check(406, &[], "status 406: tell the operator");
    }

    #[test]
    fn a_rate_limit_that_only_the_text_tells_is_one() {
        let check = |body: Value, expected: &str| {
            let answer = OutboundResponse {
                body: body.to_string().into_bytes(),
                ..answer(403, &[(REMAINING, "4998")])
            };
            let error = check(answer).err().unwrap().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        };
        check(json!({"message": "You have exceeded a secondary rate limit. Please wait."}), "in 60 s");
        check(json!({"message": "You have triggered an abuse detection mechanism."}), "in 60 s");
        let url = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api";
        check(json!({"message": "Please wait", "documentation_url": url}), "in 60 s");
        check(json!({"message": "Resource not accessible by integration"}), "link it again");
        check(json!({"message": 7}), "link it again");
    }

    #[test]
    fn a_wider_scope_suffices_and_another_does_not() {
        let check = |scopes: Option<&[&str]>, expected: bool| {
            let scopes =
                scopes.map(|scopes| scopes.iter().map(|&scope| scope.to_owned()).collect::<Vec<_>>());
            assert_eq!(suffice(scopes.as_deref()), expected, "{scopes:?}");
        };
        check(None, true);
        check(Some(&["read:public_key"]), true);
        check(Some(&["user", "admin:public_key"]), true);
        check(Some(&["user"]), false);
        check(Some(&[]), false);
    }
}
