//! The account that sends a request.

use std::net::SocketAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use jiff::Timestamp;
use pushkeys_keys::AccountId;

use super::error::ApiError;
use super::state::Api;
use crate::auth::{AuthError, Presented};
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

fn refusal(error: AuthError) -> ApiError {
    match error {
        AuthError::Store(error) => ApiError::unavailable(&error),
        AuthError::NotRecorded => ApiError::busy(&error.to_string()),
        _ => ApiError::unauthorized(&error),
    }
}

impl Caller {
    async fn find(request: &Parts, api: &Api) -> Result<Self, ApiError> {
        let Presented { token, nonce } = api.authenticator.account(request).await.map_err(refusal)?;
        let checked = api.limits.check_account(&token.account);
        checked.map_err(|wait_s| ApiError::too_many("this account sends too many requests", wait_s))?;
        // A request that is refused for another reason costs no room among those that were served.
        if let Some(nonce) = nonce {
            let checked = api.limits.check_signed(&token.account);
            checked.map_err(|wait_s| {
                ApiError::too_many("this account signs too many requests, use a bearer token", wait_s)
            })?;
            api.authenticator.use_once(nonce).await.map_err(refusal)?;
        }
        let connection = request.extensions.get::<SocketAddr>();
        let address = connection.map(|connection| api.limits.address(*connection, &request.headers));
        let request = request.extensions.get::<RequestId>().cloned();
        let actor = Actor { via: Via::Token(token.label), address, request };
        Ok(Self { account: token.account, actor, expires_at: token.expires_at })
    }
}
