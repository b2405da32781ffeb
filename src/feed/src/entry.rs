//! One key of the feed: who holds it, and which logins it opens.

use std::borrow::Cow;
use std::str::FromStr;

use pushkeys_keys::{
    AccountId, AccountName, Expiry, Fingerprint, KEY_TEXT_BYTES_MAX, KeyId, KeyName, Login, ParseExpiryError,
    ParseFingerprintError, ParseIdError,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::{KeyDigest, KeySum, ParseKeyDigestError};
use crate::protocol::{LINE_BYTES_MAX, LOGINS_MAX};

/// One key as the key service states it. Its form is right; the key itself is not validated yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the service says the key's fingerprint is.
    pub fingerprint: Fingerprint,
    /// `type base64`, at most [`KEY_TEXT_BYTES_MAX`] bytes, not validated.
    pub key: String,
    /// Who holds the key.
    pub account: AccountId,
    /// This registration of the key.
    pub key_id: KeyId,
    /// What the account goes by. Of a text that is no name, the [nearest](AccountName::nearest): a key must work whatever
    /// it is called.
    pub account_name: Option<AccountName>,
    /// What the key is called, likewise.
    pub name: Option<KeyName>,
    /// The logins that the key opens; `None` leaves it to the host's own configuration. Never empty,
    /// at most [`LOGINS_MAX`].
    pub logins: Option<Vec<Login>>,
    /// From when on the key is refused.
    pub expires_at: Option<Expiry>,
}

/// An entry that cannot be used, with its fingerprint where that much could be read.
#[derive(Debug, Error)]
#[error("the entry{} is malformed", shown(fingerprint.as_ref()))]
pub struct EntryError {
    /// Which key the entry was about.
    pub fingerprint: Option<Fingerprint>,
    /// What is wrong with it.
    #[source]
    pub fault: EntryFault,
}

/// What is wrong with an entry. No variant repeats the text of a field that could hold a secret.
#[derive(Debug, Error)]
pub enum EntryFault {
    /// Longer than a line may be.
    #[error("it is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// Not the JSON of an entry.
    #[error("it is not the JSON object of an entry: {what} at byte {column}")]
    Json {
        /// The class of the fault, without the words at fault.
        what: &'static str,
        /// Where the parser stopped, counted from 1.
        column: usize,
    },
    /// A field without which there is no entry.
    #[error("it has no `{0}`")]
    Missing(&'static str),
    /// Not a SHA-256 fingerprint.
    #[error("its fingerprint is refused")]
    Fingerprint(#[source] ParseFingerprintError),
    /// More than a key's text may have.
    #[error("its key is longer than {KEY_TEXT_BYTES_MAX} bytes")]
    KeyTooLong,
    /// Not an account id.
    #[error("its account is refused")]
    Account(#[source] ParseIdError),
    /// Not a key id.
    #[error("its key id is refused")]
    KeyId(#[source] ParseIdError),
    /// Not a login name.
    #[error("one of its logins is refused")]
    Login(#[source] ParseIdError),
    /// A key that opens no login is no key.
    #[error("its list of logins is empty")]
    NoLogin,
    /// More than [`LOGINS_MAX`].
    #[error("it names more than {LOGINS_MAX} logins")]
    TooManyLogins,
    /// The key stands in the snapshot more than once.
    #[error("it stands there more than once, so none of its entries is used")]
    Twice,
    /// Not an instant that sshd can read.
    #[error("its expiry is refused")]
    Expiry(#[source] ParseExpiryError),
    /// A heartbeat's or a header's digest of all keys is malformed.
    #[error("its digest is refused")]
    KeyDigest(#[source] ParseKeyDigestError),
}

impl Entry {
    /// The digest of its key: see [`KeyDigest::of_key`].
    #[must_use]
    pub fn key_digest(&self) -> KeyDigest {
        let Self { fingerprint, account, key_id, expires_at, logins, .. } = self;
        KeyDigest::of_key(fingerprint, account, key_id, *expires_at, logins.as_deref())
    }

    /// The entry that `json` states. Fields that this version does not know are passed over.
    pub fn from_json(json: &[u8]) -> Result<Self, EntryError> {
        WireLine::parse(json)?.into_entry()
    }

    /// The entry as one line of JSON, without a newline.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(512);
        self.append_json(&mut json);
        json
    }

    /// Appends [`Entry::to_json`] to `out`.
    pub fn append_json(&self, out: &mut Vec<u8>) {
        let text = self.fingerprint.to_text();
        let wire = WireEntry {
            fingerprint: text.as_str(),
            key: &self.key,
            account: self.account.as_str(),
            key_id: self.key_id.as_str(),
            account_name: self.account_name.as_ref().map(AccountName::as_str),
            name: self.name.as_ref().map(KeyName::as_str),
            logins: self.logins.as_ref().map(|logins| logins.iter().map(Login::as_str).collect()),
            expires_at: self.expires_at.map(|expiry| expiry.to_string()),
        };
        append(&wire, out);
    }
}

/// Appends the JSON of `value`, one of this crate's own flat structs, to `out`.
pub(crate) fn append(value: &impl Serialize, out: &mut Vec<u8>) {
    // Strings and numbers always have a JSON form, and writing to a Vec cannot fail.
    let _ = serde_json::to_writer(out, value);
}

#[derive(Serialize)]
struct WireEntry<'a> {
    fingerprint: &'a str,
    key: &'a str,
    account: &'a str,
    key_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logins: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

/// Text that borrows from its line unless it held an escape. (Serde borrows a bare `Cow` only.)
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// An entry or the trailer of a snapshot, told apart after one pass over the line.
#[derive(Deserialize)]
pub(crate) struct WireLine<'a> {
    #[serde(borrow)]
    fingerprint: Option<Text<'a>>,
    #[serde(borrow)]
    key: Option<Text<'a>>,
    #[serde(borrow)]
    account: Option<Text<'a>>,
    #[serde(borrow)]
    key_id: Option<Text<'a>>,
    #[serde(borrow)]
    account_name: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    logins: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    expires_at: Option<Text<'a>>,

    pub(crate) end: Option<bool>,
    pub(crate) entries: Option<u64>,
    #[serde(borrow)]
    pub(crate) sha256: Option<Text<'a>>,
}

impl<'a> WireLine<'a> {
    pub(crate) fn parse(json: &'a [u8]) -> Result<Self, EntryError> {
        if json.len() > LINE_BYTES_MAX {
            return Err(EntryError { fingerprint: None, fault: EntryFault::TooLong });
        }
        serde_json::from_slice(json).map_err(|error| EntryError {
            fingerprint: fingerprint_alone(json),
            fault: EntryFault::Json { what: class(&error), column: error.column() },
        })
    }

    pub(crate) fn into_entry(self) -> Result<Entry, EntryError> {
        let text = required(self.fingerprint.as_ref(), "fingerprint")
            .map_err(|fault| EntryError { fingerprint: None, fault })?;
        let fingerprint = text
            .parse()
            .map_err(|source| EntryError { fingerprint: None, fault: EntryFault::Fingerprint(source) })?;
        self.with_fingerprint(fingerprint)
            .map_err(|fault| EntryError { fingerprint: Some(fingerprint), fault })
    }

    fn with_fingerprint(self, fingerprint: Fingerprint) -> Result<Entry, EntryFault> {
        let key = required(self.key.as_ref(), "key")?;
        if key.len() > KEY_TEXT_BYTES_MAX {
            return Err(EntryFault::KeyTooLong);
        }
        Ok(Entry {
            fingerprint,
            account: required(self.account.as_ref(), "account")?.parse().map_err(EntryFault::Account)?,
            key_id: required(self.key_id.as_ref(), "key_id")?.parse().map_err(EntryFault::KeyId)?,
            key: key.to_owned(),
            account_name: self.account_name.and_then(|text| AccountName::nearest(&text.0)),
            name: self.name.and_then(|text| KeyName::nearest(&text.0)),
            logins: self.logins.map(|logins| parse_logins(&logins)).transpose()?,
            expires_at: self
                .expires_at
                .map(|text| Expiry::from_str(&text.0))
                .transpose()
                .map_err(EntryFault::Expiry)?,
        })
    }
}

fn required<'a>(text: Option<&'a Text<'_>>, field: &'static str) -> Result<&'a str, EntryFault> {
    text.map(|text| text.0.as_ref()).ok_or(EntryFault::Missing(field))
}

fn parse_logins(logins: &[Text<'_>]) -> Result<Vec<Login>, EntryFault> {
    if logins.is_empty() {
        return Err(EntryFault::NoLogin);
    }
    if logins.len() > LOGINS_MAX {
        return Err(EntryFault::TooManyLogins);
    }
    logins.iter().map(|login| login.0.parse().map_err(EntryFault::Login)).collect()
}

/// The fingerprint of an object whose other fields are at fault.
fn fingerprint_alone(json: &[u8]) -> Option<Fingerprint> {
    #[derive(Deserialize)]
    struct Alone<'a> {
        #[serde(borrow)]
        fingerprint: Text<'a>,
    }
    serde_json::from_slice::<Alone<'_>>(json).ok()?.fingerprint.0.parse().ok()
}

/// The parser's own words may quote the value at fault, which could be a pasted key.
pub(crate) fn class(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Data => "a field has the wrong type or stands there twice",
        serde_json::error::Category::Eof => "the text ends early",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "the syntax is wrong",
    }
}

fn shown(fingerprint: Option<&Fingerprint>) -> String {
    fingerprint.map(|fingerprint| format!(" of `{fingerprint}`")).unwrap_or_default()
}

/// The two fields of a header or a heartbeat, which has both or none.
pub(crate) fn key_sum(keys: Option<u64>, digest: Option<&str>) -> Result<Option<KeySum>, EntryFault> {
    match (keys, digest) {
        (None, None) => Ok(None),
        (Some(keys), Some(digest)) => {
            digest.parse().map(|digest| Some(KeySum { keys, digest })).map_err(EntryFault::KeyDigest)
        }
        (None, Some(_)) => Err(EntryFault::Missing("keys")),
        (Some(_), None) => Err(EntryFault::Missing("digest")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FINGERPRINT: &str = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";

    fn minimal() -> String {
        format!(
            r#"{{"fingerprint":"{FINGERPRINT}","key":"ssh-ed25519 AAAA","account":"acct_7","key_id":"key_42"}}"#
        )
    }

    #[test]
    fn an_entry_reads_as_the_design_writes_it() {
        let entry = Entry::from_json(minimal().as_bytes()).unwrap();
        assert_eq!((entry.key.as_str(), entry.account.as_str()), ("ssh-ed25519 AAAA", "acct_7"));
        assert_eq!((entry.logins, entry.expires_at, entry.name), (None, None, None));

        let full = format!(
            r#"{{"fingerprint":"{FINGERPRINT}","key":"ssh-ed25519 AAAA","account":"acct_7","key_id":"key_42","account_name":"ana","name":"my \"laptop\"","logins":["git"],"expires_at":"2027-01-31T12:00:00Z"}}"#
        );
        let entry = Entry::from_json(full.as_bytes()).unwrap();
        assert_eq!(entry.name.as_ref().map(KeyName::as_str), Some("my \"laptop\""));
        assert_eq!(String::from_utf8(entry.to_json()).unwrap(), full);
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let text = minimal().replace("\"key\":", "\"colour\":{\"r\":[1,2]},\"name\":null,\"key\":");
        assert!(Entry::from_json(text.as_bytes()).is_ok());
    }

    #[test]
    fn a_key_is_read_whatever_it_is_called() {
        let names = |account: &str, key: &str| {
            let text =
                minimal().replace("\"key\":", &format!("\"account_name\":{account},\"name\":{key},\"key\":"));
            let Entry { account_name, name, .. } = Entry::from_json(text.as_bytes()).unwrap();
            (account_name.map(|name| name.to_string()), name.map(|name| name.to_string()))
        };
        assert_eq!(names(r#""\u001b[2J""#, r#""lap\ntop""#), (Some("[2J".into()), Some("laptop".into())));
        assert_eq!(names(r#""\u3164""#, r#"".""#), (None, None));
    }

    #[test]
    fn a_malformed_entry_is_named_by_its_fingerprint() {
        let check = |from: &str, to: &str, has_fingerprint: bool, expected: &str| {
            let text = minimal().replace(from, to);
            assert_ne!(text, minimal(), "the row changes something");
            let error = Entry::from_json(text.as_bytes()).unwrap_err();
            assert_eq!(error.fingerprint.is_some(), has_fingerprint, "{text}");
            assert!(error.fault.to_string().contains(expected), "{text}: {}", error.fault);
        };
        check("\"ssh-ed25519 AAAA\"", "7", true, "wrong type");
        check("ssh-ed25519 AAAA", &"A".repeat(KEY_TEXT_BYTES_MAX + 1), true, "longer than 16384");
        check("ssh-ed25519 AAAA", &"A".repeat(LINE_BYTES_MAX), false, "longer than 65536");
        check("\"key\":", "\"kex\":", true, "no `key`");
        check("\"account\":", "\"key\":\"x\",\"account\":", true, "twice");
        check("acct_7", "acct 7", true, "account is refused");
        check("key_42", "../42", true, "key id is refused");
        check("SHA256:", "MD5:", false, "fingerprint is refused");
        check("\"fingerprint\"", "\"finger\"", false, "no `fingerprint`");
        check("\"}", "\",\"logins\":[]}", true, "empty");
        check("\"}", "\",\"logins\":[\"Root\"]}", true, "logins is refused");
        check("\"}", &format!("\",\"logins\":[{}\"a\"]}}", "\"a\",".repeat(16)), true, "more than 16");
        check("\"}", "\",\"expires_at\":\"soon\"}", true, "expiry is refused");
        check("\"}", "\"", false, "ends early");
        check("\"}", "\"} x", false, "syntax");
        check("ssh", "\u{1}", false, "syntax");
    }

    #[test]
    fn an_error_never_repeats_the_text_of_a_field() {
        let text = minimal().replace("\"ssh-ed25519 AAAA\"", "[\"-----BEGIN OPENSSH PRIVATE KEY-----\"]");
        let error = Entry::from_json(text.as_bytes()).unwrap_err();
        assert!(!format!("{error:?} {} {error}", error.fault).contains("PRIVATE"));
    }

    pub(crate) fn any_entry() -> impl Strategy<Value = Entry> {
        let ids = ("[a-z0-9_-]{1,64}", "[a-z0-9_-]{1,64}");
        let names = (proptest::option::of(any::<String>()), proptest::option::of(any::<String>()));
        let logins = proptest::option::of(proptest::collection::vec("[a-z_][a-z0-9_-]{0,31}", 1..4));
        let expiry = proptest::option::of(0_i64..4_000_000_000);
        (any::<[u8; 32]>(), any::<String>(), ids, names, logins, expiry).prop_map(
            |(digest, key, (account, key_id), (account_name, name), logins, expiry)| Entry {
                fingerprint: Fingerprint::from_bytes(digest),
                key,
                account: account.parse().unwrap(),
                key_id: key_id.parse().unwrap(),
                account_name: account_name.as_deref().and_then(AccountName::nearest),
                name: name.as_deref().and_then(KeyName::nearest),
                logins: logins.map(|logins| logins.iter().map(|login| login.parse().unwrap()).collect()),
                expires_at: expiry.map(|second| instant(second).parse().unwrap()),
            },
        )
    }

    /// The RFC 3339 text of a day and a second of it, for years 1970 to 2096.
    fn instant(second: i64) -> String {
        let (year, rest) = (1970 + second / 31_536_000, second % 86_400);
        format!("{year}-06-15T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
    }

    proptest! {
        #[test]
        fn an_entry_reads_as_it_was_written_on_one_line(entry in any_entry()) {
            let json = entry.to_json();
            prop_assert!(!json.iter().any(|&byte| byte < b' '));
            prop_assert_eq!(Entry::from_json(&json).unwrap(), entry);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Entry::from_json(&bytes);
        }
    }
}
