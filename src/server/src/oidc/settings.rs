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
pub(crate) struct Settings {
    /// The provider, exactly as it calls itself in its tokens.
    pub(crate) issuer: RemoteUrl,
    /// What people know it as; shown on the button.
    #[serde(default = "label")]
    pub(crate) label: String,
    /// Our public name there.
    pub(crate) client_id: String,
    /// A file with our secret there.
    pub(crate) client_secret_file: PathBuf,
    /// What is asked for.
    #[serde(default = "scopes")]
    pub(crate) scopes: Vec<String>,
    /// The claim of the ID token that names an account which is created.
    #[serde(default = "account_claim")]
    pub(crate) account_claim: String,
    /// Whether a stranger's first sign-in creates an account. Without, people sign in by password once and link.
    #[serde(default)]
    pub(crate) create_accounts: bool,
    /// Whether the provider has to say when a person signed in. Without, nobody can tell an answer to a confirmation from
    /// one of an old session; it is for providers that cannot say it.
    #[serde(default = "require_auth_time")]
    pub(crate) require_auth_time: bool,
    /// Whether the provider's addresses may be plain http on this machine, which is meant for tests.
    #[serde(default)]
    pub(crate) allow_http_loopback: bool,
}

impl Settings {
    /// Our secret at the provider.
    pub(crate) fn client_secret(&self) -> Result<String, FileError> {
        read_secret(&self.client_secret_file)
    }

    /// The setting that cannot be, and what it is to be.
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
