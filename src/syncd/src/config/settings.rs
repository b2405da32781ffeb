//! The configuration as resolved: every source with its own settings, nothing left to default.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use pushkeys_keys::{CommandTemplate, Login, SourceName};
use reqwest::Url;
use sha2::{Digest as _, Sha256};

use super::removal_limit::RemovalLimit;

/// HEAD is written for the sake of its times alone at most once in a hundredth of `max_stale`, within these.
const TOUCH_INTERVAL_MIN: Duration = Duration::from_secs(1);
const TOUCH_INTERVAL_MAX: Duration = Duration::from_mins(1);

/// The configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// The cache's folder.
    pub(crate) cache: PathBuf,
    /// A list of what is revoked on this host, for sshd's `RevokedKeys`.
    pub(crate) revoked_keys_file: Option<PathBuf>,
    /// The public halves of sshd's host keys; `None` stands for those in sshd's folder.
    pub(crate) host_keys: Option<Vec<PathBuf>>,
    /// At least one source, in the order of their names.
    pub(crate) sources: Vec<SourceSettings>,
    /// Where metrics are served, if they are.
    pub(crate) metrics: Option<pushkeys_daemon::metrics::Address>,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceSettings {
    pub(crate) name: SourceName,
    pub(crate) kind: SourceKind,
    /// The logins of an entry that names none.
    pub(crate) logins: Vec<Login>,
    pub(crate) command: CommandTemplate,
    /// The text of `command`, whose first word is the program.
    pub(crate) command_text: String,
    /// How long lookups are answered after the last contact; `None` is for ever.
    pub(crate) max_stale: Option<Duration>,
    /// What a snapshot may remove; `None` is everything.
    pub(crate) removal_limit: Option<RemovalLimit>,
}

/// Where the keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SourceKind {
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
    /// With it, only these CAs are trusted.
    pub(crate) ca_file: Option<PathBuf>,
    /// Certificate and key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    /// After this time without a byte the connection counts as lost.
    pub(crate) silence_max: Duration,
}

impl Remote {
    /// Whether the server is this machine, where compressing costs more than it saves.
    pub(crate) fn is_loopback(&self) -> bool {
        self.url.host_str().is_some_and(is_loopback)
    }
}

/// Whether `host`, as a URL writes it, is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// The time within which HEAD is not written again for the sake of its times alone.
pub(crate) fn touch_interval(max_stale: Option<Duration>) -> Duration {
    max_stale.map_or(TOUCH_INTERVAL_MAX, |span| (span / 100).clamp(TOUCH_INTERVAL_MIN, TOUCH_INTERVAL_MAX))
}

impl SourceSettings {
    /// The kind's name in the configuration.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            SourceKind::Feed(_) => "feed",
            SourceKind::Poll { .. } => "poll",
            SourceKind::Directory { .. } => "directory",
        }
    }

    /// A digest, in eight hexadecimal digits, of everything that decides what an entry is rendered to: lines that were
    /// rendered by other settings, or by another release with another key policy, are not kept.
    pub(crate) fn renderer_tag(&self) -> String {
        let logins: Vec<&str> = self.logins.iter().map(Login::as_str).collect();
        tag(&[
            env!("CARGO_PKG_VERSION"),
            self.kind_name(),
            &self.location(),
            &self.command_text,
            &logins.join(","),
        ])
    }

    /// A digest, in eight hexadecimal digits, of where the keys come from.
    pub(crate) fn origin_tag(&self) -> String {
        tag(&[self.kind_name(), &self.location()])
    }

    fn location(&self) -> String {
        match &self.kind {
            SourceKind::Feed(remote) | SourceKind::Poll { remote, .. } => remote.url.as_str().to_owned(),
            SourceKind::Directory { path } => path.display().to_string(),
        }
    }

    /// The longest time between two refreshes of HEAD while the source answers; `None` where nothing but a change writes HEAD.
    pub(crate) fn refresh_interval(&self) -> Option<Duration> {
        let contact = match &self.kind {
            SourceKind::Feed(remote) => remote.silence_max,
            SourceKind::Poll { interval, .. } => *interval,
            SourceKind::Directory { .. } => return None,
        };
        Some(contact + touch_interval(self.max_stale))
    }

    /// The program that sshd starts for every session.
    pub(crate) fn program(&self) -> &Path {
        Path::new(self.command_text.split(' ').next().unwrap_or_default())
    }

    /// The files besides the configuration whose change concerns this source.
    pub(crate) fn files(&self) -> Vec<&Path> {
        let (SourceKind::Feed(remote) | SourceKind::Poll { remote, .. }) = &self.kind else {
            return Vec::new();
        };
        let client = remote.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        remote.token_file.iter().chain(&remote.ca_file).chain(client).map(PathBuf::as_path).collect()
    }
}

fn tag(parts: &[&str]) -> String {
    HEXLOWER.encode(&Sha256::digest(parts.join("\0"))).chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_touched_a_hundred_times_within_its_validity() {
        let check =
            |max_stale, expected| assert_eq!(touch_interval(max_stale), Duration::from_secs(expected));
        check(None, 60);
        check(Some(Duration::from_hours(24)), 60);
        check(Some(Duration::from_mins(10)), 6);
        check(Some(Duration::from_secs(5)), 1);
    }
}
