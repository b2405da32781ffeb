//! From what a source says of a key to what the cache holds of it.

use std::error::Error;

use pushkeys_keys::{
    CommandTemplate, ErrorReport, Fingerprint, Login, Name, Policy, Refusal, RenderError, ValidKey,
};
use thiserror::Error;

/// Judges entries of one source and renders their lines.
#[derive(Debug)]
pub(crate) struct Judge {
    policy: Policy,
    logins: Vec<Login>,
    command: CommandTemplate,
}

/// An entry that was left out.
#[derive(Debug)]
pub(crate) struct Skip {
    /// Whose, where that could be read.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Why, in one line that is safe to print.
    pub(crate) reason: String,
}

/// Entries that were left out of one snapshot. However many there are, only the first of them are kept.
#[derive(Debug, Default)]
pub(crate) struct Skips {
    pub(crate) count: u64,
    pub(crate) first: Vec<Skip>,
}

/// How many left-out entries of a snapshot are named.
const SKIPS_NAMED_MAX: usize = 20;

impl Skips {
    pub(crate) fn extend(&mut self, more: Vec<Skip>) {
        self.count += more.len() as u64;
        let room = SKIPS_NAMED_MAX.saturating_sub(self.first.len());
        self.first.extend(more.into_iter().take(room));
    }
}

/// What became of some entries, in their order.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) entries: Vec<pushkeys_cache::Entry>,
    pub(crate) skipped: Vec<Skip>,
}

#[derive(Debug, Error)]
enum Fault {
    #[error("the key is refused")]
    Key(#[source] Refusal),
    #[error("the key's own fingerprint is `{0}`")]
    Fingerprint(Fingerprint),
    #[error("its line cannot be rendered")]
    Render(#[source] RenderError),
}

impl Judge {
    pub(crate) fn new(logins: Vec<Login>, command: CommandTemplate) -> Self {
        Self { policy: Policy::default(), logins, command }
    }

    /// The cache's entries: of each whose key is good and is the one it is said to be, in their order. Many at once take
    /// less time.
    pub(crate) fn entries(
        &self,
        entries: Vec<pushkeys_feed::Entry>,
    ) -> Vec<Result<pushkeys_cache::Entry, Skip>> {
        let keys = ValidKey::check_all(entries.iter().map(|entry| &*entry.key), &self.policy);
        let judge = |(entry, key): (pushkeys_feed::Entry, Result<ValidKey, Refusal>)| {
            let fingerprint = entry.fingerprint;
            self.render(entry, key).map_err(|fault| Skip::new(Some(fingerprint), &fault))
        };
        entries.into_iter().zip(keys).map(judge).collect()
    }

    fn render(
        &self,
        entry: pushkeys_feed::Entry,
        key: Result<ValidKey, Refusal>,
    ) -> Result<pushkeys_cache::Entry, Fault> {
        let key = key.map_err(Fault::Key)?;
        if key.fingerprint() != entry.fingerprint {
            return Err(Fault::Fingerprint(key.fingerprint()));
        }
        let line = self
            .command
            .render(&key, &entry.account, &entry.key_id, entry.expires_at)
            .map_err(Fault::Render)?;
        Ok(pushkeys_cache::Entry {
            fingerprint: entry.fingerprint,
            logins: entry.logins.unwrap_or_else(|| self.logins.clone()),
            account: entry.account,
            key_id: entry.key_id,
            account_name: entry.account_name.as_deref().and_then(Name::nearest),
            key_name: entry.name.as_deref().and_then(Name::nearest),
            line,
        })
    }
}

impl Skip {
    pub(crate) fn new(fingerprint: Option<Fingerprint>, error: &(dyn Error + 'static)) -> Self {
        Self { fingerprint, reason: ErrorReport::of(error).to_string() }
    }
}

impl std::fmt::Display for Skip {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.fingerprint {
            Some(fingerprint) => write!(out, "`{fingerprint}`: {}", self.reason),
            None => out.write_str(&self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";
    const FINGERPRINT: &str = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";

    fn judge() -> Judge {
        Judge::new(vec!["git".parse().unwrap()], "/bin/shell --account {account}".parse().unwrap())
    }

    fn judged(entry: pushkeys_feed::Entry) -> Result<pushkeys_cache::Entry, Skip> {
        judge().entries(vec![entry]).remove(0)
    }

    fn entry(key: &str) -> pushkeys_feed::Entry {
        pushkeys_feed::Entry {
            fingerprint: FINGERPRINT.parse().unwrap(),
            key: key.to_owned(),
            account: "acct_7".parse().unwrap(),
            key_id: "key_42".parse().unwrap(),
            account_name: Some("\u{1b}[2J".to_owned()),
            name: Some("lap\ntop".to_owned()),
            logins: None,
            expires_at: None,
        }
    }

    #[test]
    fn a_good_key_becomes_a_line_and_its_names_what_can_be_shown() {
        let judged = judged(entry(KEY)).unwrap();
        assert_eq!(judged.line.as_str(), format!("restrict,command=\"/bin/shell --account acct_7\" {KEY}"));
        assert_eq!(judged.logins, vec!["git".parse().unwrap()]);
        assert_eq!(judged.key_name.unwrap().as_str(), "laptop");
        assert_eq!(judged.account_name.unwrap().as_str(), "[2J");
    }

    #[test]
    fn an_entry_may_name_its_own_logins() {
        let deploy = pushkeys_feed::Entry { logins: Some(vec!["deploy".parse().unwrap()]), ..entry(KEY) };
        assert_eq!(judged(deploy).unwrap().logins, vec!["deploy".parse().unwrap()]);
    }

    #[test]
    fn a_key_that_is_not_the_one_it_is_said_to_be_is_left_out() {
        let other = KEY.replace("IFKttpn0", "IFKttpn1");
        let skip = judged(entry(&other)).unwrap_err();
        assert_eq!(skip.fingerprint.unwrap().to_string(), FINGERPRINT);
        let skip = judged(entry("ssh-ed25519 AAAA")).unwrap_err();
        assert!(skip.to_string().starts_with(&format!("`{FINGERPRINT}`: ")), "{skip}");
    }
}
