//! Paths of pages, and redirects to them.

use axum::response::{IntoResponse as _, Redirect, Response};

/// The keys: clients open the page by this path.
pub(super) const KEYS: &str = "/users/me/ssh-keys";
pub(super) const PROFILE: &str = "/users/me";
pub(super) const SIGN_IN: &str = "/sign-in";
/// What `clever login` opens.
pub(super) const CLI: &str = "/cli-oauth";
pub(super) const PROOF: &str = "/users/me/ssh-keys/proof";
pub(super) const IMPORT_GITHUB: &str = "/users/me/ssh-keys/github";
pub(super) const LINK_GITHUB: &str = "/users/me/github/link";
pub(super) const UNLINK_GITHUB: &str = "/users/me/github/unlink";
pub(super) const LINK_OIDC: &str = "/users/me/oidc/link";
pub(super) const UNLINK_OIDC: &str = "/users/me/oidc/unlink";
/// Leads to the OpenID provider for a confirmation.
pub(super) const CONFIRM_OIDC: &str = "/users/me/confirm/oidc";

/// Redirects to the keys, where `done` selects the notice.
pub(super) fn to_keys(done: &str) -> Response {
    Redirect::to(&format!("{KEYS}?done={done}")).into_response()
}

/// Redirects to the profile, where `done` selects the notice.
pub(super) fn to_profile(done: &str) -> Response {
    Redirect::to(&format!("{PROFILE}?done={done}")).into_response()
}
