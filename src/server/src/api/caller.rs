//! Who asks.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use keys::AccountId;

use super::{Api, ApiError};
use crate::auth::AuthError;

/// The account whose credential the request carries. A handler that takes one serves nobody else.
pub(super) struct Caller(pub(super) AccountId);

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(request: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let found = api.authenticator.account(request).await.map_err(|error| match error {
            AuthError::Store(error) => ApiError::unavailable(&error),
            AuthError::TooManySigned => ApiError::busy(&error.to_string()),
            _ => ApiError::unauthorized(&error),
        });
        let checked = found.and_then(|account| api.limits.check_account(&account).map(|()| Self(account)));
        checked.map_err(|error| error.for_method(&request.method))
    }
}
