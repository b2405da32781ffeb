//! One key of one source, as JSON and in words. The names of fields are those of the feed.

use pushkeys_cache::{Entry, Revocation};
use pushkeys_keys::SourceName;
use serde::Serialize;

/// One key of one source.
#[derive(Debug, Serialize)]
pub(crate) struct KeyRecord<'a> {
    source: &'a str,
    fingerprint: String,
    #[serde(rename = "type")]
    key_type: &'a str,
    key: &'a str,
    account: &'a str,
    key_id: &'a str,
    account_name: Option<&'a str>,
    name: Option<&'a str>,
    logins: Vec<&'a str>,
    expires_at: Option<String>,
    /// Since when it has been revoked on this host, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_since: Option<String>,
}

impl<'a> KeyRecord<'a> {
    pub(crate) fn of(source: &'a SourceName, entry: &'a Entry, revocation: Option<&Revocation>) -> Self {
        Self {
            source: source.as_str(),
            fingerprint: entry.fingerprint.to_string(),
            key_type: key_type(entry),
            key: entry.line.public_key(),
            account: entry.account.as_str(),
            key_id: entry.key_id.as_str(),
            account_name: entry.account_name.as_ref().map(pushkeys_keys::Name::as_str),
            name: entry.key_name.as_ref().map(pushkeys_keys::Name::as_str),
            logins: entry.logins.iter().map(pushkeys_keys::Login::as_str).collect(),
            expires_at: expiry(entry),
            revoked_since: revocation.map(|revocation| revocation.since.to_string()),
        }
    }
}

/// The key's type, such as `ssh-ed25519`.
pub(crate) fn key_type(entry: &Entry) -> &str {
    entry.line.public_key().split(' ').next().unwrap_or_default()
}

/// From when on sshd refuses the key: as a time, or as it stands in the line where that is none.
pub(crate) fn expiry(entry: &Entry) -> Option<String> {
    match entry.expires_at() {
        Ok(instant) => instant.map(|instant| instant.to_string()),
        Err(_) => entry.line.expiry_time().map(str::to_owned),
    }
}

/// The logins that the key opens.
pub(crate) fn logins(entry: &Entry) -> String {
    entry.logins.iter().map(pushkeys_keys::Login::as_str).collect::<Vec<_>>().join(",")
}

/// `acct_7 (ana)`, or the id alone.
pub(crate) fn account(entry: &Entry) -> String {
    with_name(entry.account.as_str(), entry.account_name.as_ref())
}

/// `key_42 (laptop)`, or the id alone.
pub(crate) fn key(entry: &Entry) -> String {
    with_name(entry.key_id.as_str(), entry.key_name.as_ref())
}

fn with_name(id: &str, name: Option<&pushkeys_keys::Name>) -> String {
    name.map_or_else(|| id.to_owned(), |name| format!("{id} ({name})"))
}
