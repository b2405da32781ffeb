//! The account itself.

use std::net::SocketAddr;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::Serialize;

use super::caller::Caller;
use super::error::ApiError;
use super::state::Api;
use crate::auth::AuthError;
use crate::percent;
use crate::request_id::RequestId;
use crate::secret::{self, Token, TokenDigest, is_cli_token};
use crate::store::{Actor, Email, NewToken};

#[derive(Serialize)]
pub(super) struct SelfAccount {
    id: String,
    /// Absent if there is none: `clever login` cannot read a `null` back from its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    name: String,
    /// Clients look for `"github"` in it.
    #[serde(rename = "oauthApps")]
    oauth_apps: Vec<&'static str>,
}

/// `GET /v2/self`
pub(super) async fn show(
    State(api): State<Api>,
    Caller { account: id, .. }: Caller,
) -> Result<Json<SelfAccount>, ApiError> {
    let account = api.store.account(id.as_str()).await.map_err(|error| ApiError::unavailable(&error))?;
    let account = account.ok_or_else(|| ApiError::unauthorized(&AuthError::Unknown))?;
    let link = api.store.github_link(&id).await.map_err(|error| ApiError::unavailable(&error))?;
    Ok(Json(SelfAccount {
        id: account.id.to_string(),
        email: account.email.as_ref().map(Email::to_string),
        name: account.name.to_string(),
        oauth_apps: link.map(|_| "github").into_iter().collect(),
    }))
}

/// The expiry of a token that does not expire. A known client would show `null` as 1970.
const NEVER: &str = "9999-12-31T23:59:59Z";

#[derive(Serialize)]
pub(super) struct CurrentToken {
    #[serde(rename = "expirationDate")]
    expiration_date: String,
}

/// `GET /v2/self/tokens/current`
pub(super) async fn current_token(caller: Caller) -> Json<CurrentToken> {
    Json(CurrentToken { expiration_date: expiration_date(caller.expires_at) })
}

/// The credential that `clever login` polls for.
#[derive(Serialize)]
pub(super) struct CliToken {
    token: String,
    secret: String,
    #[serde(rename = "expirationDate")]
    expiration_date: String,
}

/// `GET /v2/self/cli_tokens?cli_token=T`: once, after its user approved T in the console.
pub(super) async fn cli_token(
    State(api): State<Api>,
    Extension(connection): Extension<SocketAddr>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Json<CliToken>, ApiError> {
    let sent =
        query.as_deref().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("cli_token=")));
    let cli_token = sent.and_then(percent::decode).filter(|token| is_cli_token(token));
    let digest = TokenDigest::of(&cli_token.ok_or_else(ApiError::not_approved)?);
    let approved = api.store.is_cli_login_approved(digest).await;
    if !approved.map_err(|error| ApiError::unavailable(&error))? {
        return Err(ApiError::not_approved());
    }
    let oauth_token = secret::random_id("oauth").map_err(|error| ApiError::failed(&error))?;
    let id = secret::random_id("tok").map_err(|error| ApiError::failed(&error))?;
    // The bearer token is not revealed, since the command line uses OAuth.
    let bearer = Token::new("pkt").map_err(|error| ApiError::failed(&error))?.digest();
    let expires_at = Timestamp::now().saturating_add(api.cli_token_max).unwrap_or(Timestamp::MAX);
    let token = NewToken { id: &id, bearer, oauth_token: &oauth_token, expires_at: Some(expires_at) };
    let actor = Actor::console(Some(api.limits.address(connection, &headers)), Some(request_id));
    let fetched = api.store.take_cli_login(digest, &token, &actor).await;
    if !fetched.map_err(|error| ApiError::unavailable(&error))? {
        return Err(ApiError::not_approved());
    }
    let secret = api.authenticator.oauth_secret(&oauth_token);
    Ok(Json(CliToken { token: oauth_token, secret, expiration_date: expiration_date(Some(expires_at)) }))
}

/// In the form that clients expect.
pub(super) fn expiration_date(expires_at: Option<Timestamp>) -> String {
    expires_at.map_or_else(|| NEVER.to_owned(), |instant| instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}
