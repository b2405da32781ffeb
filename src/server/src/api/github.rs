//! Keys that an account could import from GitHub.

use super::ApiError;
use super::caller::Caller;

/// `GET /v2/github/keys`: no account here is linked to one at GitHub.
pub(super) async fn keys(_: Caller) -> ApiError {
    ApiError::no_github_account()
}
