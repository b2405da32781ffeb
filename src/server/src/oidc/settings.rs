//! `[oidc]` in the configuration.

use std::path::PathBuf;

use serde::Deserialize;

use crate::files::{FileError, read_secret};
use crate::outbound::RemoteUrl;

/// The scope without which there is no ID token.
const SCOPE: &str = "openid";

/// A client that is registered at an OpenID provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OidcSettings {
    /// The provider's issuer identifier, exactly as in its tokens.
    pub(crate) issuer: RemoteUrl,
    /// The provider's name on the sign-in button.
    #[serde(default = "label")]
    pub(crate) label: String,
    /// The client id there.
    pub(crate) client_id: String,
    /// A file with the client secret.
    pub(crate) client_secret_file: PathBuf,
    /// The scopes to request.
    #[serde(default = "scopes")]
    pub(crate) scopes: Vec<String>,
    /// The claim of the ID token that gives a new account its name.
    #[serde(default = "account_claim")]
    pub(crate) account_claim: String,
    /// Whether the first sign-in of an unknown user creates an account. Otherwise users sign in with their password and
    /// link it once.
    #[serde(default)]
    pub(crate) create_accounts: bool,
    /// Whether the provider must send `auth_time`. Without it, a confirmation cannot be told from an existing session at
    /// the provider. Only for providers that cannot send it.
    #[serde(default = "require_auth_time")]
    pub(crate) require_auth_time: bool,
    /// Allows plain http to a loopback address, for tests.
    #[serde(default)]
    pub(crate) allow_http_loopback: bool,
}

impl OidcSettings {
    /// The client secret.
    pub(crate) fn client_secret(&self) -> Result<String, FileError> {
        read_secret(&self.client_secret_file)
    }

    /// A setting with an invalid value, and what it must be.
    pub(crate) fn wrong_value(&self) -> Option<(&'static str, &'static str)> {
        if self.issuer.is_plain() && !self.allow_http_loopback {
            return Some(("oidc.issuer", "https"));
        }
        if self.client_id.is_empty() || self.account_claim.is_empty() || self.label.trim().is_empty() {
            return Some(("oidc.client_id`, `oidc.account_claim` or `oidc.label", "not empty"));
        }
        let asks_for_token = self.scopes.iter().any(|scope| scope == SCOPE);
        (!asks_for_token).then_some(("oidc.scopes", "a list with `openid` in it"))
    }
}

fn label() -> String {
    "OpenID Connect".to_owned()
}

fn scopes() -> Vec<String> {
    [SCOPE, "profile", "email"].map(str::to_owned).to_vec()
}

fn require_auth_time() -> bool {
    true
}

fn account_claim() -> String {
    "preferred_username".to_owned()
}
