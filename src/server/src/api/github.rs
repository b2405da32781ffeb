//! Keys that an account could import from GitHub.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::caller::Caller;
use super::error::ApiError;
use super::state::Api;
use crate::github::ProposeError;

#[derive(Serialize)]
pub(super) struct ListedImportableKey {
    /// A name that no key of the account has, so that an import under this name replaces nothing.
    name: String,
    key: String,
    fingerprint: String,
}

/// `GET /v2/github/keys`: the keys that an import could add. Keys that the policy refuses are left out, since a client
/// imports all of the list.
pub(super) async fn keys(
    State(api): State<Api>,
    Caller { account, .. }: Caller,
) -> Result<Json<Vec<ListedImportableKey>>, ApiError> {
    let github = api.github.as_ref().ok_or_else(ApiError::no_github_account)?;
    let proposal = github.propose(&api.store, &api.policy, &account).await?;
    let proposal = proposal.ok_or_else(ApiError::no_github_account)?;
    let rows = proposal.importable.into_iter().map(|candidate| ListedImportableKey {
        name: candidate.name.to_string(),
        key: candidate.key.canonical_text().to_owned(),
        fingerprint: candidate.key.fingerprint().to_string(),
    });
    Ok(Json(rows.collect()))
}

impl From<ProposeError> for ApiError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Store(error) => Self::unavailable(&error),
            ProposeError::Github(error) => Self::github(&error),
        }
    }
}
