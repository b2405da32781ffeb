//! From what a source says of a key to what the cache holds of it.

use std::error::Error;
use std::fmt;

use pushkeys_cache::Entry;
use pushkeys_keys::{
    AccountId, AccountName, CommandTemplate, ErrorReport, Expiry, Fingerprint, KeyId, KeyName, Login, Name,
    Policy, Refusal, RenderError, ValidKey,
};
use thiserror::Error;

use crate::config::SourceSettings;

/// How many skipped entries of a snapshot are named.
const SKIPS_NAMED_MAX: usize = 20;

/// Validates the keys of one source and renders their lines.
#[derive(Debug)]
pub(crate) struct Validator {
    policy: Policy,
    /// Those of an entry that names none.
    logins: Vec<Login>,
    command: CommandTemplate,
}

/// What a source says of a key besides the key itself.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) account: AccountId,
    pub(crate) key_id: KeyId,
    pub(crate) account_name: Option<AccountName>,
    pub(crate) key_name: Option<KeyName>,
    pub(crate) logins: Option<Vec<Login>>,
    pub(crate) expires_at: Option<Expiry>,
}

/// What became of some entries, in their order.
#[derive(Debug, Default)]
pub(crate) struct Validated {
    pub(crate) entries: Vec<Entry>,
    pub(crate) skipped: Vec<Skip>,
}

/// An entry that is not put into the cache.
#[derive(Debug)]
pub(crate) struct Skip {
    /// Of which key, where that could be read.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Why, in one line that is safe to print.
    pub(crate) reason: String,
}

/// The skipped entries of one snapshot: their number, and the first [`SKIPS_NAMED_MAX`] of them.
#[derive(Debug, Default)]
pub(crate) struct Skips {
    pub(crate) count: u64,
    pub(crate) first: Vec<Skip>,
}

#[derive(Debug, Error)]
enum EntryFault {
    #[error("the key is refused")]
    Key(#[source] Refusal),
    #[error("the key's own fingerprint is `{0}`")]
    Fingerprint(Fingerprint),
    #[error("its line cannot be rendered")]
    Render(#[source] RenderError),
}

impl Validator {
    /// A validator by the settings of one source.
    pub(crate) fn of(settings: &SourceSettings) -> Self {
        Self::new(settings.logins.clone(), settings.command.clone())
    }

    fn new(logins: Vec<Login>, command: CommandTemplate) -> Self {
        Self { policy: Policy::default(), logins, command }
    }

    /// The cache's entry for each of `entries`, in their order, if its key passes the policy and has the fingerprint that
    /// the source says. Many at once take less time.
    pub(crate) fn entries(&self, entries: Vec<pushkeys_feed::Entry>) -> Vec<Result<Entry, Skip>> {
        let keys = ValidKey::check_all(entries.iter().map(|entry| &*entry.key), &self.policy);
        let validate = |(entry, key): (pushkeys_feed::Entry, Result<ValidKey, Refusal>)| {
            let fingerprint = entry.fingerprint;
            self.entry(entry, key).map_err(|fault| Skip::new(Some(fingerprint), &fault))
        };
        entries.into_iter().zip(keys).map(validate).collect()
    }

    /// The cache's entry for `entry`, by the same rules.
    pub(crate) fn validate(&self, entry: pushkeys_feed::Entry) -> Result<Entry, Skip> {
        let fingerprint = entry.fingerprint;
        let key = ValidKey::check(&entry.key, &self.policy);
        self.entry(entry, key).map_err(|fault| Skip::new(Some(fingerprint), &fault))
    }

    /// The key in one line of a key file.
    pub(crate) fn key(&self, line: &str) -> Result<ValidKey, Refusal> {
        ValidKey::check(line, &self.policy)
    }

    /// The cache's entry for `key`.
    pub(crate) fn render(&self, key: &ValidKey, registration: Registration) -> Result<Entry, RenderError> {
        let Registration { account, key_id, account_name, key_name, logins, expires_at } = registration;
        let line = self.command.render(key, &account, &key_id, expires_at)?;
        Ok(Entry {
            fingerprint: key.fingerprint(),
            logins: logins.unwrap_or_else(|| self.logins.clone()),
            account,
            key_id,
            account_name: account_name.map(Name::from),
            key_name: key_name.map(Name::from),
            line,
        })
    }

    fn entry(
        &self,
        entry: pushkeys_feed::Entry,
        key: Result<ValidKey, Refusal>,
    ) -> Result<Entry, EntryFault> {
        let key = key.map_err(EntryFault::Key)?;
        if key.fingerprint() != entry.fingerprint {
            return Err(EntryFault::Fingerprint(key.fingerprint()));
        }
        let registration = Registration {
            account: entry.account,
            key_id: entry.key_id,
            account_name: entry.account_name,
            key_name: entry.name,
            logins: entry.logins,
            expires_at: entry.expires_at,
        };
        self.render(&key, registration).map_err(EntryFault::Render)
    }
}

impl Validated {
    pub(crate) fn push(&mut self, entry: Result<Entry, Skip>) {
        match entry {
            Ok(entry) => self.entries.push(entry),
            Err(skip) => self.skipped.push(skip),
        }
    }
}

impl Skip {
    pub(crate) fn new(fingerprint: Option<Fingerprint>, error: &(dyn Error + 'static)) -> Self {
        Self { fingerprint, reason: ErrorReport::of(error).to_string() }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fingerprint {
            Some(fingerprint) => write!(out, "`{fingerprint}`: {}", self.reason),
            None => out.write_str(&self.reason),
        }
    }
}

impl Skips {
    pub(crate) fn extend(&mut self, more: Vec<Skip>) {
        self.count += more.len() as u64;
        let room = SKIPS_NAMED_MAX.saturating_sub(self.first.len());
        self.first.extend(more.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";
    const FINGERPRINT: &str = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";

    fn validated(entry: pushkeys_feed::Entry) -> Result<Entry, Skip> {
        let command = "/bin/shell --account {account}".parse().unwrap();
        Validator::new(vec!["git".parse().unwrap()], command).entries(vec![entry]).remove(0)
    }

    fn entry(key: &str) -> pushkeys_feed::Entry {
        pushkeys_feed::Entry {
            fingerprint: FINGERPRINT.parse().unwrap(),
            key: key.to_owned(),
            account: "acct_7".parse().unwrap(),
            key_id: "key_42".parse().unwrap(),
            account_name: AccountName::parse("ana").ok(),
            name: KeyName::parse("laptop").ok(),
            logins: None,
            expires_at: None,
        }
    }

    #[test]
    fn a_valid_key_becomes_a_line() {
        let valid = validated(entry(KEY)).unwrap();
        assert_eq!(valid.line.as_str(), format!("restrict,command=\"/bin/shell --account acct_7\" {KEY}"));
        assert_eq!(valid.logins, vec!["git".parse().unwrap()]);
        assert_eq!(valid.key_name.unwrap().as_str(), "laptop");
        assert_eq!(valid.account_name.unwrap().as_str(), "ana");
    }

    #[test]
    fn an_entry_may_name_its_own_logins() {
        let deploy = pushkeys_feed::Entry { logins: Some(vec!["deploy".parse().unwrap()]), ..entry(KEY) };
        assert_eq!(validated(deploy).unwrap().logins, vec!["deploy".parse().unwrap()]);
    }

    #[test]
    fn a_key_with_another_fingerprint_and_an_invalid_key_are_skipped() {
        let other = KEY.replace("IFKttpn0", "IFKttpn1");
        let skip = validated(entry(&other)).unwrap_err();
        assert_eq!(skip.fingerprint.unwrap().to_string(), FINGERPRINT);
        let skip = validated(entry("ssh-ed25519 AAAA")).unwrap_err();
        assert!(skip.to_string().starts_with(&format!("`{FINGERPRINT}`: ")), "{skip}");
    }
}
