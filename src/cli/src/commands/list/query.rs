//! Which keys match. Every line of the cache is tested, so the tests work on the line as it is, without allocating.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use pushkeys_cache::EntryLine;
use pushkeys_daemon::Period;
use pushkeys_keys::AuthorizedKeysLine;

use super::filter::ListFilter;
use crate::account::AccountText;

/// What a key has to match.
pub(super) struct Query<'a> {
    filter: &'a ListFilter,
    account: Option<AccountText>,
    /// Whether any key of the account was seen.
    has_account: AtomicBool,
    /// The text to find in a name, in lower case.
    name: Option<String>,
    /// Keys that expire later than this do not match.
    last_expiry: Option<Timestamp>,
}

impl<'a> Query<'a> {
    pub(super) fn new(filter: &'a ListFilter, now: Timestamp) -> Self {
        let within = filter.expires_within.or_else(|| filter.expired.then_some(Period(Duration::ZERO)));
        let last_expiry = within.map(|Period(within)| now.saturating_add(within).unwrap_or(Timestamp::MAX));
        let account = filter.account.as_deref().map(AccountText::new);
        let has_account = AtomicBool::new(false);
        Self {
            filter,
            account,
            has_account,
            name: filter.name.as_ref().map(|text| text.to_lowercase()),
            last_expiry,
        }
    }

    pub(super) fn matches(&self, line: &EntryLine<'_>) -> bool {
        let Self { filter: ListFilter { login, fingerprint, .. }, name, last_expiry, .. } = self;
        self.is_of_account(line)
            && login.as_ref().is_none_or(|login| line.logins.split(',').any(|one| one == login.as_str()))
            && fingerprint.as_ref().is_none_or(|prefix| prefix.matches(line.fingerprint))
            && name.as_ref().is_none_or(|text| is_named(line, text))
            && last_expiry.is_none_or(|last| expires_by(line, last))
    }
}

impl Query<'_> {
    /// The account whose keys are asked for, if none was seen.
    pub(super) fn missing_account(&self) -> Option<&AccountText> {
        self.account.as_ref().filter(|_| !self.has_account.load(Ordering::Relaxed))
    }

    fn is_of_account(&self, line: &EntryLine<'_>) -> bool {
        let Some(account) = &self.account else { return true };
        let is_match = account.matches(line);
        if is_match {
            self.has_account.store(true, Ordering::Relaxed);
        }
        is_match
    }
}

fn is_named(line: &EntryLine<'_>, text: &str) -> bool {
    [line.key_name, line.account_name].into_iter().any(|name| !name.is_empty() && contains(name, text))
}

/// Whether `escaped` contains `text`, which is in lower case, in any case.
fn contains(escaped: &str, text: &str) -> bool {
    if escaped.is_ascii() && !escaped.contains('\\') {
        return text.is_empty()
            || escaped.as_bytes().windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()));
    }
    pushkeys_keys::unescape(escaped).is_some_and(|name| name.to_lowercase().contains(text))
}

/// A key whose expiry cannot be read is refused by sshd, as one that has expired.
fn expires_by(line: &EntryLine<'_>, last: Timestamp) -> bool {
    AuthorizedKeysLine::expiry_time_in(line.rendered).is_some()
        && line
            .entry()
            .and_then(|entry| entry.expires_at())
            .map_or(true, |at| at.is_some_and(|at| at.is_past(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_capitals_or_not() {
        let check = |name: &str, text: &str, expected| {
            assert_eq!(
                contains(&pushkeys_keys::escape(name), &text.to_lowercase()),
                expected,
                "{name} {text}"
            );
        };
        check("Work Laptop", "LAPTOP", true);
        check("laptop", "laptops", false);
        check("été", "ÉTÉ", true);
        check("a\\b", "\\B", true);
        check("a\\b", "\\\\", false);
        check("", "a", false);
        check("a", "", true);
        check("Straße", "STRASSE", false);
        check("ﬁ 🔑", "🔑", true);
    }
}
