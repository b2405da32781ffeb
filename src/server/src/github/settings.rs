//! `[github]` in the configuration.

use std::path::PathBuf;

use serde::Deserialize;

use crate::files::{FileError, read_secret};
use crate::outbound::RemoteUrl;

/// An OAuth app or GitHub App, registered at GitHub or at a GitHub Enterprise Server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GithubSettings {
    /// The app's client id.
    pub(crate) client_id: String,
    /// A file with the app's client secret.
    pub(crate) client_secret_file: PathBuf,
    /// The address at which users sign in.
    #[serde(default = "base_url")]
    pub(crate) base_url: RemoteUrl,
    /// The address of the API; with GitHub Enterprise Server, `https://HOST/api/v3`.
    #[serde(default = "api_url")]
    pub(crate) api_url: RemoteUrl,
    /// Allows plain http to a loopback address, for tests.
    #[serde(default)]
    pub(crate) allow_http_loopback: bool,
}

impl GithubSettings {
    /// The app's client secret.
    pub(crate) fn client_secret(&self) -> Result<String, FileError> {
        read_secret(&self.client_secret_file)
    }

    /// A setting with an invalid value, and what it must be.
    pub(crate) fn wrong_value(&self) -> Option<(&'static str, &'static str)> {
        let is_plain = self.base_url.is_plain() || self.api_url.is_plain();
        if is_plain && !self.allow_http_loopback {
            return Some(("github.base_url` or `github.api_url", "https"));
        }
        self.client_id.is_empty().then_some(("github.client_id", "that of an OAuth app"))
    }
}

fn base_url() -> RemoteUrl {
    RemoteUrl::constant("https://github.com")
}

fn api_url() -> RemoteUrl {
    RemoteUrl::constant("https://api.github.com")
}
