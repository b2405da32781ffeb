//! `[github]` in the configuration.

use std::path::PathBuf;

use serde::Deserialize;

use crate::files::{FileError, read_secret};
use crate::outbound::RemoteUrl;

/// An OAuth app that is registered at GitHub, or at a GitHub Enterprise Server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The app's public name.
    pub(crate) client_id: String,
    /// A file with the app's secret.
    pub(crate) client_secret_file: PathBuf,
    /// Where people sign in.
    #[serde(default = "base_url")]
    pub(crate) base_url: RemoteUrl,
    /// Where programs ask; with GitHub Enterprise Server, `https://HOST/api/v3`.
    #[serde(default = "api_url")]
    pub(crate) api_url: RemoteUrl,
    /// Whether the addresses may be plain http on this machine, which is meant for tests.
    #[serde(default)]
    pub(crate) allow_http_loopback: bool,
}

impl Settings {
    /// The app's secret.
    pub(crate) fn client_secret(&self) -> Result<String, FileError> {
        read_secret(&self.client_secret_file)
    }

    /// The setting that cannot be, and what it is to be.
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
