//! Keys whose private half has been published.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use thiserror::Error;

use crate::error_report::Hint;
use crate::fingerprint::Fingerprint;

/// The maximum number of lines of a list. Debian's weak keys of 2008 are less than a million.
const LINES_MAX: usize = 4_000_000;

/// The published keys that this crate knows, with their sources.
const BUILT_IN: &str = include_str!("compromised.txt");

/// Fingerprints of keys that are refused because their private half is known.
///
/// Its text has one fingerprint (`SHA256:…`) or public key (`type base64`) per line, with anything after
/// it; empty lines and lines that begin with `#` are ignored. The default is empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CompromisedList {
    /// Shared, so that copies of a policy cost nothing.
    fingerprints: Arc<HashSet<Fingerprint>>,
}

/// Why a text is not a list of compromised keys.
#[derive(Debug, Error)]
pub enum ParseCompromisedListError {
    /// A line that is neither a fingerprint nor a key.
    #[error("line {line} is neither a SHA-256 fingerprint nor a public key")]
    Line {
        /// The number of the line, from 1 on.
        line: usize,
        /// How to get a fingerprint.
        #[source]
        hint: Hint,
    },
    /// More than four million lines.
    #[error("the list has more than {LINES_MAX} lines")]
    TooLong,
}

impl CompromisedList {
    /// The built-in list. It is short, since a complete list would soon be out of date.
    #[must_use]
    pub fn built_in() -> Self {
        // A test reads the text that is built in.
        BUILT_IN.parse().unwrap_or_default()
    }

    /// Whether the key is on the list.
    #[must_use]
    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.fingerprints.contains(fingerprint)
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fingerprints.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fingerprints.is_empty()
    }

    pub(super) fn merge(&mut self, other: Self) {
        Arc::make_mut(&mut self.fingerprints).extend(Arc::unwrap_or_clone(other.fingerprints));
    }
}

impl fmt::Debug for CompromisedList {
    /// Only the number of keys, which can be a million.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CompromisedList({} keys)", self.len())
    }
}

impl FromStr for CompromisedList {
    type Err = ParseCompromisedListError;

    fn from_str(text: &str) -> Result<Self, ParseCompromisedListError> {
        let mut fingerprints = HashSet::new();
        for (index, line) in text.lines().enumerate() {
            if index >= LINES_MAX {
                return Err(ParseCompromisedListError::TooLong);
            }
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fingerprint = parse_line(line).ok_or_else(|| ParseCompromisedListError::at(index + 1))?;
            fingerprints.insert(fingerprint);
        }
        Ok(Self { fingerprints: Arc::new(fingerprints) })
    }
}

impl ParseCompromisedListError {
    fn at(line: usize) -> Self {
        let hint = Hint::new("`ssh-keygen -lf FILE` prints the fingerprint of the key in FILE");
        Self::Line { line, hint }
    }
}

/// Only the framing is validated, since a list may hold keys that the policy refuses for other reasons.
fn parse_line(line: &str) -> Option<Fingerprint> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if first.starts_with("SHA256:") {
        return first.parse().ok();
    }
    let blob = Base64::decode_vec(words.next()?).ok()?;
    let (length, rest) = blob.split_first_chunk()?;
    let name = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    (name == first.as_bytes()).then(|| Fingerprint::of(&blob))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAGRANT: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN1YdxBpNlzxDqfJyw/QKow1F+wvG9hXGoqiysfJOn5Y";

    #[test]
    fn the_built_in_list_is_readable_and_has_every_line() {
        let lines = BUILT_IN.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        assert_eq!(CompromisedList::built_in().len(), lines.count());
        assert!(!CompromisedList::built_in().is_empty());
    }

    #[test]
    fn a_key_and_its_fingerprint_are_one_entry() {
        let list: CompromisedList = format!("# why\n\n  {VAGRANT} vagrant\r\n").parse().unwrap();
        let [fingerprint] = list.fingerprints.iter().copied().collect::<Vec<_>>()[..] else {
            panic!("one key, not {list:?}")
        };
        assert_eq!(format!("{fingerprint} where it was found").parse::<CompromisedList>().unwrap(), list);
    }

    #[test]
    fn an_invalid_line_is_named() {
        let check = |line: &str| {
            let text = format!("# one\n{VAGRANT}\n{line}\n");
            let error = text.parse::<CompromisedList>().unwrap_err();
            assert!(matches!(error, ParseCompromisedListError::Line { line: 3, .. }), "{line}: {error}");
        };
        check("SHA256:short");
        check("MD5:01:0e:e5:2d");
        check("ssh-ed25519");
        check("ssh-ed25519 not-base64");
        check("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIN1YdxBpNlzxDqfJyw/QKow1F+wvG9hXGoqiysfJOn5Y");
        check("ssh-ed25519 AAAAC3");
    }

    #[test]
    fn a_list_is_bounded() {
        let lines = "\n".repeat(LINES_MAX);
        assert_eq!(lines.parse::<CompromisedList>().unwrap(), CompromisedList::default());
        let longer = format!("{lines}\n").parse::<CompromisedList>();
        assert!(matches!(longer, Err(ParseCompromisedListError::TooLong)));
    }
}
