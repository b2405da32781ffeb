//! `status.json`: what syncd is doing, for people and their tools. No lookup reads it and nothing is decided by
//! it: what is in force stands in HEAD.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The file's name in the cache's folder.
pub const STATUS_FILE: &str = "status.json";

/// A status is read up to this size; syncd's own bounds keep it far below.
const STATUS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Everything that syncd says of itself. Times are texts of RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// syncd's process id.
    pub pid: u32,
    /// syncd's version.
    pub version: String,
    /// When syncd started.
    pub started_at: String,
    /// When this was written.
    pub written_at: String,
    /// The configuration file.
    pub config: PathBuf,
    /// Why the newest configuration is not in force, if it is not: the one before it still is.
    pub config_error: Option<Problem>,
    /// Why changes of some files are not noticed at once, if they are not.
    #[serde(default)]
    pub watch_error: Option<Problem>,
    /// The sources, in the order of their names.
    pub sources: Vec<SourceStatus>,
    /// How many keys two sources give to different accounts; every one of them is refused.
    pub conflicts_count: u64,
    /// The first of these keys.
    pub conflicts: Vec<Conflict>,
    /// What key services were told of the keys that are revoked on this host.
    #[serde(default)]
    pub reports: Vec<RevocationReport>,
}

/// What one key service was told, and what it said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationReport {
    /// What is revoked, as [`Revoked`](crate::Revoked) shows it.
    pub what: String,
    /// The source.
    pub source: String,
    /// When the service was told last.
    pub told_at: String,
    /// What it said.
    pub answer: ReportAnswer,
}

/// What a key service says of a revocation on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportAnswer {
    /// Its operator has not decided.
    Pending,
    /// It has no such key: either it never had, or has removed it.
    Settled,
    /// Its operator keeps the key; the revocation of this host stays.
    Dismissed,
}

impl ReportAnswer {
    /// The answer in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "its operator has not decided",
            Self::Settled => "it has no such key",
            Self::Dismissed => "its operator keeps the key, so it stays revoked here alone",
        }
    }
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name in the configuration.
    pub name: String,
    /// `feed`, `poll` or `directory`.
    pub kind: String,
    /// How it is doing.
    pub state: State,
    /// Since when it has been in this state.
    pub since: String,
    /// How many keys are in force.
    pub keys: u64,
    /// The generation in force.
    pub generation: Option<u64>,
    /// Where in its source's history the cache stands.
    pub cursor: Option<String>,
    /// The last change that the source said it has, where it numbers them.
    pub sequence_at_source: Option<u64>,
    /// When the cache was last in sync with its source.
    pub synced_at: Option<String>,
    /// The longest time in seconds between two refreshes of HEAD while the source answers and syncd works; absent where HEAD is
    /// only written when something changes.
    #[serde(default)]
    pub refresh_interval_s: Option<u64>,
    /// Until when lookups are answered; absent for ever, or while nothing is in force.
    pub valid_until: Option<String>,
    /// When a key was last added, changed or removed.
    pub last_change_at: Option<String>,
    /// Which it was, in one line that is safe to print.
    #[serde(default)]
    pub last_change: Option<String>,
    /// The last thing that went wrong, kept after it was cured.
    pub last_error: Option<Problem>,
    /// Entries that were left out since the last full sync.
    pub skipped: Skipped,
    /// The snapshot that waits for a person.
    pub held: Option<HeldStatus>,
    /// The host keys that were reported to a key service.
    #[serde(default)]
    pub host_keys: Option<HostKeysStatus>,
}

/// This host's own keys as reported to a key service, and the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKeysStatus {
    /// What users connect to, if it is configured at the service.
    pub push_host: Option<String>,
    /// Fingerprints of the host keys that were reported.
    pub shown: Vec<String>,
    /// Those that the service does not publish until its operator accepts them.
    pub waiting: Vec<String>,
}

/// How a source is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing was tried yet.
    Starting,
    /// A full sync is on its way.
    Syncing,
    /// The cache says what the source says.
    InStep,
    /// Changes are known to be on their way.
    Behind,
    /// A snapshot that removes too much waits for `pushkeys accept`.
    Held,
    /// The source does not answer.
    Unreachable,
    /// The source answers, and the answer is of no use.
    Refused,
    /// The cache cannot be written.
    Failed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Starting,
        Self::Syncing,
        Self::InStep,
        Self::Behind,
        Self::Held,
        Self::Unreachable,
        Self::Refused,
        Self::Failed,
    ];

    /// The state in words, as in `in step`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Syncing => "syncing",
            Self::InStep => "in step",
            Self::Behind => "behind",
            Self::Held => "held",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// When.
    pub at: String,
    /// What, in one line that is safe to print.
    pub what: String,
    /// What to do about it, where that is known.
    #[serde(default)]
    pub hint: Option<String>,
}

/// Entries of a source that were left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// How many.
    pub count: u64,
    /// The last few, each in one line that is safe to print.
    pub recent: Vec<String>,
}

/// A snapshot that waits for a person, in keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStatus {
    /// Since when a snapshot has been held back.
    pub since: String,
    /// How many keys are in force.
    pub keys_in_force: u64,
    /// How many keys the snapshot has.
    pub keys_offered: u64,
    /// How many it would remove.
    pub removed: u64,
    /// How many it would add.
    pub added: u64,
}

/// One key that two sources give to different accounts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Conflict {
    /// The key.
    pub fingerprint: String,
    /// Who claims it: pairs of source and account, in the order of the sources' names.
    pub claims: Vec<(String, String)>,
}

/// Why there is no status.
#[derive(Debug, Error)]
pub enum StatusError {
    /// The system said no. A file that is missing means that syncd never ran here.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a status, or that of a newer syncd.
    #[error("`{}` is not a status that this program reads", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
}

impl Status {
    /// The status in the folder `cache`.
    pub fn read(cache: &Path) -> Result<Self, StatusError> {
        let path = cache.join(STATUS_FILE);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(STATUS_BYTES_MAX).read_to_end(&mut bytes))
            .map_err(|source| StatusError::Read { path: path.clone(), source })?;
        serde_json::from_slice(&bytes).map_err(|source| StatusError::Parse { path, source })
    }

    /// The status as it stands in the file.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and numbers always have a JSON form.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let status = Status {
            pid: 7,
            version: "0.1.0".into(),
            started_at: "2026-11-23T16:54:00Z".into(),
            written_at: "2026-11-23T16:54:01Z".into(),
            config: "/etc/pushkeys/syncd.toml".into(),
            config_error: None,
            watch_error: None,
            sources: Vec::new(),
            conflicts_count: 1,
            conflicts: vec![Conflict {
                fingerprint: "SHA256:x".into(),
                claims: vec![("api".into(), "acct_1".into()), ("local".into(), "acct_2".into())],
            }],
            reports: vec![RevocationReport {
                what: "account acct_7".into(),
                source: "api".into(),
                told_at: "2026-11-23T16:54:01Z".into(),
                answer: ReportAnswer::Pending,
            }],
        };
        std::fs::write(folder.path().join(STATUS_FILE), status.to_json()).unwrap();
        assert_eq!(Status::read(folder.path()).unwrap(), status);
        std::fs::write(folder.path().join(STATUS_FILE), "{}").unwrap();
        assert!(matches!(Status::read(folder.path()), Err(StatusError::Parse { .. })));
        std::fs::remove_file(folder.path().join(STATUS_FILE)).unwrap();
        assert!(matches!(Status::read(folder.path()), Err(StatusError::Read { .. })));
    }
}
