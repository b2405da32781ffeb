//! The account that sends a request.

use std::net::SocketAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use jiff::Timestamp;
use pushkeys_keys::AccountId;

use super::error::ApiError;
use super::state::Api;
use crate::auth::AuthError;
use crate::request_id::RequestId;
use crate::store::{Actor, Via};

/// The account whose credential the request carries. A handler that takes one rejects all other requests.
pub(super) struct Caller {
    pub(super) account: AccountId,
    pub(super) actor: Actor,
    /// When the credential expires.
    pub(super) expires_at: Option<Timestamp>,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(request: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        Self::find(request, api).await.map_err(|error| error.for_method(&request.method))
    }
}

impl Caller {
    async fn find(request: &Parts, api: &Api) -> Result<Self, ApiError> {
        let shown = api.authenticator.account(request).await.map_err(|error| match error {
            AuthError::Store(error) => ApiError::unavailable(&error),
            AuthError::TooManySigned => ApiError::busy(&error.to_string()),
            _ => ApiError::unauthorized(&error),
        })?;
        let checked = api.limits.check_account(&shown.account);
        checked.map_err(|wait_s| ApiError::too_many("this account sends too many requests", wait_s))?;
        let connection = request.extensions.get::<SocketAddr>();
        let address = connection.map(|connection| api.limits.address(*connection, &request.headers));
        let request = request.extensions.get::<RequestId>().cloned();
        let actor = Actor { via: Via::Token(shown.label), address, request };
        Ok(Self { account: shown.account, actor, expires_at: shown.expires_at })
    }
}
