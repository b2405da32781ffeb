//! Opaque identifiers: the only names that become part of an option list, a path or an argv.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::escape::escape;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not {what}: expected {expected}", escape(shown))]
pub struct ParseIdError {
    what: &'static str,
    expected: &'static str,
    /// At most the first 80 characters of the refused text.
    shown: String,
}

impl ParseIdError {
    fn new(what: &'static str, expected: &'static str, text: &str) -> Self {
        Self { what, expected, shown: text.chars().take(80).collect() }
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $is_valid:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                if $is_valid(text) { Ok(Self(text.into())) } else { Err(ParseIdError::new($what, $expected, text)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    };
}

identifier!(
    /// The key service's id of an account: `[a-z0-9_-]{1,64}`, never chosen by a user.
    AccountId, "an account id", "1 to 64 of a-z, 0-9, `_` and `-`", is_opaque
);
identifier!(
    /// The key service's id of one registration of a key: `[a-z0-9_-]{1,64}`.
    KeyId, "a key id", "1 to 64 of a-z, 0-9, `_` and `-`", is_opaque
);
identifier!(
    /// A login name of the push host, such as `git`: what useradd(8) accepts without `--badname`.
    Login, "a login name", "1 to 32 of a-z, 0-9, `_` and `-`, beginning with a letter or `_`", is_login
);
identifier!(
    /// The name of a source in syncd's configuration, and of its folder in the cache.
    SourceName, "a source name", "1 to 32 of a-z, 0-9, `_` and `-`, beginning with a letter or a digit", is_source
);

fn is_opaque(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(is_id_byte)
}

fn is_login(text: &str) -> bool {
    let first = text.bytes().next();
    text.len() <= 32
        && first.is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && text.bytes().all(is_id_byte)
}

fn is_source(text: &str) -> bool {
    let first = text.bytes().next();
    text.len() <= 32
        && first.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && text.bytes().all(is_id_byte)
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: FromStr>(text: &str, expected: bool) {
        assert_eq!(text.parse::<T>().is_ok(), expected, "{text:?}");
    }

    #[test]
    fn an_account_id_is_opaque() {
        check::<AccountId>("acct_7", true);
        check::<AccountId>("-", true);
        check::<AccountId>(&"a".repeat(64), true);
        for text in ["", "Acct", "a b", "a\n", "a/b", "..", "a\"", "é", "a%u", &"a".repeat(65)] {
            check::<AccountId>(text, false);
        }
    }

    #[test]
    fn a_login_is_a_name_that_useradd_accepts() {
        check::<Login>("git", true);
        check::<Login>("_git-2", true);
        for text in ["", "-git", "2git", "../root", "git/", "Git", "git\0", &"g".repeat(33)] {
            check::<Login>(text, false);
        }
    }

    #[test]
    fn a_source_is_one_path_segment() {
        check::<SourceName>("api", true);
        check::<SourceName>("0-local_2", true);
        for text in ["", ".", "..", "a/b", "_a", "-a", "HEAD", "status.json", &"s".repeat(33)] {
            check::<SourceName>(text, false);
        }
    }

    #[test]
    fn an_error_shows_the_refused_text_escaped() {
        let error = "a\x1b[2J".parse::<AccountId>().unwrap_err().to_string();
        assert_eq!(error, "`a\\u{1b}[2J` is not an account id: expected 1 to 64 of a-z, 0-9, `_` and `-`");
    }
}
