//! The configuration as resolved: every source with its own settings, nothing left to default.
//!
//! `file` reads the text as it was written; what leaves this module is right.

mod file;
mod modes;
mod removal_limit;
mod values;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pushkeys_keys::{CommandTemplate, Login, SourceName};
use reqwest::Url;
use sha2::{Digest as _, Sha256};

pub(crate) use file::ConfigError;
pub(crate) use modes::{UnsafeFile, check_program, check_readable_secret, check_trusted};
pub(crate) use removal_limit::{Share, must_hold};

/// The configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// The cache's folder.
    pub(crate) cache: PathBuf,
    /// A list of what is revoked on this host, for sshd's `RevokedKeys`.
    pub(crate) revoked_keys_file: Option<PathBuf>,
    /// At least one source, in the order of their names.
    pub(crate) sources: Vec<Settings>,
    /// Where Prometheus reads, if it does.
    pub(crate) metrics: Option<pushkeys_metrics::Address>,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) name: SourceName,
    pub(crate) kind: Kind,
    /// The logins of an entry that names none.
    pub(crate) logins: Vec<Login>,
    pub(crate) command: CommandTemplate,
    /// The text of `command`, whose first word is the program.
    pub(crate) command_text: String,
    /// How long look-ups are answered after the last contact; `None` is for ever.
    pub(crate) max_stale: Option<Duration>,
    /// What a snapshot may remove; `None` is everything.
    pub(crate) shrink_max: Option<Share>,
}

/// Where the keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The host feed of a key service.
    Feed(Remote),
    /// A snapshot at any URL, asked for again and again.
    Poll { remote: Remote, interval: Duration },
    /// Key files in a local folder.
    Directory { path: PathBuf },
}

/// A web server, and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) url: Url,
    pub(crate) token_file: Option<PathBuf>,
    /// With it, only these authorities are trusted.
    pub(crate) ca_file: Option<PathBuf>,
    /// Certificate and key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    /// After so long without a byte the connection counts as lost.
    pub(crate) silence_max: Duration,
}

impl Config {
    /// Reads the configuration at `path`, and refuses it if others could have written it.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        file::load(path)
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl Remote {
    /// Whether the server is this machine, where compressing costs more than it saves.
    pub(crate) fn is_loopback(&self) -> bool {
        self.url.host_str().is_some_and(file::is_loopback)
    }
}

impl Settings {
    /// The kind's name in the configuration.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Feed(_) => "feed",
            Kind::Poll { .. } => "poll",
            Kind::Directory { .. } => "directory",
        }
    }

    /// Everything that decides what an entry is rendered to, in eight hexadecimal digits: lines that were
    /// rendered by other settings, or by another release with another key policy, are not kept.
    pub(crate) fn rendering(&self) -> String {
        let place = match &self.kind {
            Kind::Feed(remote) | Kind::Poll { remote, .. } => remote.url.as_str().to_owned(),
            Kind::Directory { path } => path.display().to_string(),
        };
        let logins: Vec<&str> = self.logins.iter().map(Login::as_str).collect();
        let parts =
            [env!("CARGO_PKG_VERSION"), self.kind_name(), &place, &self.command_text, &logins.join(",")]
                .join("\0");
        hex(Sha256::digest(parts).iter().take(4))
    }

    /// The files besides the configuration whose change concerns this source.
    pub(crate) fn files(&self) -> Vec<&Path> {
        let (Kind::Feed(remote) | Kind::Poll { remote, .. }) = &self.kind else { return Vec::new() };
        let client = remote.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        remote.token_file.iter().chain(&remote.ca_file).chain(client).map(PathBuf::as_path).collect()
    }
}
