//! The account that asks.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::caller::Caller;
use super::{Api, ApiError};
use crate::auth::AuthError;
use crate::store::Email;

#[derive(Serialize)]
pub(super) struct SelfAccount {
    id: String,
    /// Absent where there is none: `clever login` cannot read a `null` back from what it stores.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    name: String,
    /// Clients search this array for `"github"`.
    #[serde(rename = "oauthApps")]
    oauth_apps: Vec<&'static str>,
}

/// `GET /v2/self`
pub(super) async fn show(State(api): State<Api>, Caller(id): Caller) -> Result<Json<SelfAccount>, ApiError> {
    let account = api.store.find_account(id.as_str()).await.map_err(|error| ApiError::unavailable(&error))?;
    let account = account.ok_or_else(|| ApiError::unauthorized(&AuthError::Unknown))?;
    let link = api.store.github_link(&id).await.map_err(|error| ApiError::unavailable(&error))?;
    Ok(Json(SelfAccount {
        id: account.id.to_string(),
        email: account.email.as_ref().map(Email::to_string),
        name: account.name.to_string(),
        oauth_apps: link.map(|_| "github").into_iter().collect(),
    }))
}

/// A token is good until it is revoked. Of `null`, a known client makes 1970.
const NEVER: &str = "9999-12-31T23:59:59Z";

#[derive(Serialize)]
pub(super) struct CurrentToken {
    #[serde(rename = "expirationDate")]
    expiration_date: &'static str,
}

/// `GET /v2/self/tokens/current`
pub(super) async fn current_token(_: Caller) -> Json<CurrentToken> {
    Json(CurrentToken { expiration_date: NEVER })
}
