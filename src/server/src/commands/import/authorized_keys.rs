//! Parsing of lines of an `authorized_keys` file.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pushkeys_keys::{AccountName, Expiry, Fingerprint, KeyName, NAME_BYTES_MAX, ValidKey};

use super::line::{ImportLine, LineName};

/// Prefixes of key types; a line that begins otherwise begins with options.
const TYPES: [&str; 3] = ["ssh-", "ecdsa-", "sk-"];
/// Options that only take permissions away. Registered keys never have these permissions, so nothing is lost with the option.
const RESTRICTIONS: [&str; 6] =
    ["restrict", "no-agent-forwarding", "no-port-forwarding", "no-pty", "no-user-rc", "no-X11-forwarding"];
const EXPIRY: &str = "expiry-time";
/// How much of an option's name is shown.
const OPTION_CHARACTERS_MAX: usize = 40;
/// How many characters of a fingerprint tell keys with the same comment apart.
const ENDING_CHARACTERS: usize = 8;

/// Who imports which file, and when.
pub(super) struct KeysFile {
    /// The account that gets the keys.
    pub(super) account: AccountName,
    /// The time zone of expiries that name none.
    pub(super) zone: TimeZone,
    pub(super) now: Timestamp,
}

impl KeysFile {
    /// The key in a line of the file, not validated yet; `None` for an empty line or a comment.
    pub(super) fn read(&self, line: &[u8]) -> Result<Option<ImportLine>, String> {
        let line = text(line);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let (options, key) = if is_key(line) { ("", line) } else { split(line, &[' ', '\t']) };
        let key = key.trim_start();
        if !is_key(key) {
            return Err("the line is not a key, with or without options before it".to_owned());
        }
        let expires_at = self.expiry(options)?;
        let mut words = key.split_ascii_whitespace();
        let (kind, data) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let comment = words.collect::<Vec<_>>().join(" ");
        // What acts on a terminal has no use in a comment, and would get the whole key refused.
        let comment: String = comment.chars().filter(|character| !character.is_control()).collect();
        let text = format!("{kind} {data} {comment}").trim_end().to_owned();
        let (account, name) = (self.account.clone(), LineName::Comment(comment));
        Ok(Some(ImportLine { account, name, text, expires_at }))
    }

    /// The first expiry in `options`, or the name of an option that a registered key cannot have.
    fn expiry(&self, options: &str) -> Result<Option<Expiry>, String> {
        let mut expiry: Option<Expiry> = None;
        let mut rest = options;
        while !rest.is_empty() {
            let (option, after) = split(rest, &[',']);
            rest = after;
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if RESTRICTIONS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                continue;
            }
            if !name.eq_ignore_ascii_case(EXPIRY) {
                return Err(refused(name));
            }
            let end = Expiry::from_option(value.trim_matches('"'), &self.zone)
                .map_err(|error| format!("the option `{EXPIRY}`: {error}"))?;
            if end.is_past(self.now) {
                return Err(format!("the key expired at {end}"));
            }
            expiry = Some(expiry.map_or(end, |before| before.min(end)));
        }
        Ok(expiry)
    }
}

fn refused(option: &str) -> String {
    let name: String = option.chars().take(OPTION_CHARACTERS_MAX).collect();
    let why = match name.to_ascii_lowercase().as_str() {
        "cert-authority" => "the key is that of a CA, and not of a user",
        "no-touch-required" => "push hosts require a touch of every security key",
        _ => {
            "registered keys do not have it; remove it, if the key may have the same rights as any other key"
        }
    };
    format!("the option `{name}` cannot be imported: {why}")
}

fn is_key(text: &str) -> bool {
    TYPES.iter().any(|kind| text.starts_with(kind))
}

/// `text` up to the first of `separators` outside double quotes, and what follows it, as sshd splits options.
fn split<'a>(text: &'a str, separators: &[char]) -> (&'a str, &'a str) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (place, character) in text.char_indices() {
        if !is_quoted && separators.contains(&character) {
            let (before, after) = text.split_at(place);
            return (before, after.get(character.len_utf8()..).unwrap_or_default());
        }
        is_quoted ^= character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
    }
    (text, "")
}

/// The text of a line. Old files have comments in Latin-1, which sshd does not look at.
fn text(line: &[u8]) -> Cow<'_, str> {
    let latin = || line.iter().map(|byte| char::from(*byte)).collect::<String>();
    std::str::from_utf8(line).map_or_else(|_| Cow::Owned(latin()), Cow::Borrowed)
}

/// The names of earlier lines with their keys: in many files all keys have the same comment.
#[derive(Default)]
pub(super) struct Names(HashMap<KeyName, Fingerprint>);

impl Names {
    /// The name of `key`, and the one that it gets if another key of the account has that name. Both depend on the key and its
    /// comment, and not on the line's number, so that an import of a file that was edited changes nothing else.
    pub(super) fn of(&mut self, comment: &str, key: &ValidKey) -> Result<(KeyName, KeyName), String> {
        let unique = unique_name(comment, key)?;
        let wanted = KeyName::nearest(comment).unwrap_or_else(|| unique.clone());
        let holder = *self.0.entry(wanted.clone()).or_insert_with(|| key.fingerprint());
        let name = if holder == key.fingerprint() { wanted } else { unique.clone() };
        Ok((name, unique))
    }
}

/// The comment, or the key's type, with the end of the fingerprint.
fn unique_name(comment: &str, key: &ValidKey) -> Result<KeyName, String> {
    let fingerprint = key.fingerprint().to_string();
    let ending = fingerprint.get(fingerprint.len().saturating_sub(ENDING_CHARACTERS)..).unwrap_or_default();
    let comment = KeyName::nearest(comment);
    let start = comment.as_ref().map_or_else(|| key.algorithm().to_string(), ToString::to_string);
    let cut = start.floor_char_boundary(NAME_BYTES_MAX - ENDING_CHARACTERS - 1);
    let start = start.get(..cut).unwrap_or_default().trim_end();
    KeyName::nearest(&format!("{start} {ending}")).ok_or_else(|| "the key cannot be named".to_owned())
}

#[cfg(test)]
mod tests {
    use pushkeys_keys::Policy;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";
    const OTHER: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";

    fn file() -> KeysFile {
        KeysFile {
            account: AccountName::parse("ana").unwrap(),
            zone: TimeZone::UTC,
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    /// The comment and the expiry that are read of `line`, or a part of the reason why nothing is.
    #[track_caller]
    fn check(line: &[u8], expected: Result<Option<(&str, Option<&str>)>, &str>) {
        let shown = String::from_utf8_lossy(line);
        let read = file().read(line).map(|line| {
            let ImportLine { name: LineName::Comment(comment), text, expires_at, .. } = line? else {
                return None;
            };
            assert!(text.starts_with(KEY), "{text}");
            Some((comment, expires_at.map(|expiry| expiry.to_string())))
        });
        match (&read, expected) {
            (Ok(read), Ok(expected)) => {
                let read = read.as_ref().map(|(comment, expiry)| (comment.as_str(), expiry.as_deref()));
                assert_eq!(read, expected, "{shown}");
            }
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{shown}: {reason}"),
            _ => panic!("{shown}: {read:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn a_line_is_read_as_sshd_reads_it() {
        let with = |before: &str, after: &str| format!("{before}{KEY}{after}").into_bytes();
        check(b"", Ok(None));
        check(b"  # ana's", Ok(None));
        check(&with("", ""), Ok(Some(("", None))));
        check(&with(" ", " ana@laptop\r"), Ok(Some(("ana@laptop", None))));
        check(&with("", "  old  laptop"), Ok(Some(("old laptop", None))));
        check(&[&with("", " J")[..], b"\xf6rg@laptop"].concat(), Ok(Some(("Jörg@laptop", None))));
        check(&[&with("", " x")[..], b"\x92y\x07"].concat(), Ok(Some(("xy", None))));
        check(b"-----BEGIN OPENSSH PRIVATE KEY-----", Err("not a key"));
        check(b"1024 35 1234 ana", Err("not a key"));
        check(b"restrict", Err("not a key"));
    }

    #[test]
    fn options_that_only_restrict_are_taken_and_others_are_named() {
        let with = |options: &str| format!("{options} {KEY} x").into_bytes();
        check(&with("restrict"), Ok(Some(("x", None))));
        check(&with("no-pty,NO-X11-Forwarding,no-user-rc"), Ok(Some(("x", None))));
        check(&with("expiry-time=\"20270131\",no-pty"), Ok(Some(("x", Some("2027-01-31T00:00:00Z")))));
        check(
            &with("expiry-time=\"203001311200Z\",expiry-time=\"99991231235959Z\""),
            Ok(Some(("x", Some("2030-01-31T12:00:00Z")))),
        );
        check(&with("expiry-time=\"99991231235959Z\""), Ok(Some(("x", Some("9999-12-31T23:59:59Z")))));
        check(&with("expiry-time=\"20200101\""), Err("the key expired at 2020-01-01T00:00:00Z"));
        check(&with("expiry-time=\"soon\""), Err("the option `expiry-time`: `soon` is not a time"));
        check(&with("from=\"10.0.0.0/8\""), Err("the option `from` cannot be imported"));
        check(
            &with("restrict,command=\"echo \\\"a, b\\\" ssh-rsa x\",no-pty"),
            Err("the option `command` cannot"),
        );
        check(
            &with("cert-authority"),
            Err("the option `cert-authority` cannot be imported: the key is that of a CA"),
        );
        check(&with("no-touch-required"), Err("the option `no-touch-required` cannot"));
        check(&with("restrict,pty"), Err("the option `pty` cannot"));
        check(&with("verify-required"), Err("the option `verify-required` cannot"));
        check(&with("environment=\"A=secret\""), Err("the option `environment` cannot"));
    }

    #[test]
    fn a_name_depends_on_the_key_and_its_comment_alone() {
        let key = |text: &str| ValidKey::check(text, &Policy::default()).unwrap();
        let mut names = Names::default();
        let mut name =
            |comment: &str, text: &str| names.of(comment, &key(text)).unwrap().0.as_str().to_owned();
        assert_eq!(name("ana@laptop", KEY), "ana@laptop");
        assert_eq!(name("ana@laptop", KEY), "ana@laptop");
        let ending = key(OTHER).fingerprint().to_string();
        let (_, ending) = ending.split_at(ending.len() - 8);
        assert_eq!(name("ana@laptop", OTHER), format!("ana@laptop {ending}"));
        assert_eq!(name("", OTHER), format!("ecdsa-sha2-nistp256 {ending}"));
        assert_eq!(name("..", OTHER), format!("ecdsa-sha2-nistp256 {ending}"));
        let long = names.of(&"é".repeat(200), &key(OTHER)).unwrap();
        assert!(long.0.as_str().len() <= NAME_BYTES_MAX && long.1.as_str().ends_with(&format!("é {ending}")));
    }
}
