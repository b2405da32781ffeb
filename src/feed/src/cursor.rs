//! The place of a host in the numbered changes of a key service.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One life of a key service's database: numbers of different epochs are not comparable, so a restored
/// backup takes a new one. `[a-z0-9]{1,32}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Epoch(Box<str>);

/// The last change that a host has seen: the `id` of an event, written `epoch-sequence`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// In which life of the database.
    pub epoch: Epoch,
    /// The number of the change; 0 is before the first.
    pub sequence: u64,
}

/// Why a text is not a cursor or an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseCursorError {
    /// An epoch of other characters, or too long.
    #[error("an epoch is 1 to {EPOCH_BYTES_MAX} of a-z and 0-9")]
    Epoch,
    /// No `-` between epoch and sequence.
    #[error("a cursor is written `epoch-sequence`")]
    Separator,
    /// Not a decimal number of 64 bits in its one spelling.
    #[error("a sequence is a decimal number without sign or leading zeros, below 2^64")]
    Sequence,
}

const EPOCH_BYTES_MAX: usize = 32;

impl Epoch {
    /// The epoch as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Epoch {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let is_valid = (1..=EPOCH_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if is_valid { Ok(Self(text.into())) } else { Err(ParseCursorError::Epoch) }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let (epoch, digits) = text.split_once('-').ok_or(ParseCursorError::Separator)?;
        let sequence: u64 = digits.parse().map_err(|_| ParseCursorError::Sequence)?;
        if digits.starts_with('+') || (digits.starts_with('0') && digits.len() > 1) {
            return Err(ParseCursorError::Sequence);
        }
        Ok(Self { epoch: epoch.parse()?, sequence })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.epoch, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cursor_has_one_text() {
        use ParseCursorError as E;
        let check = |text: &str, expected: Result<(), E>| {
            assert_eq!(text.parse::<Cursor>().map(|_| ()), expected, "{text:?}");
        };
        check("b1946ac9-4711", Ok(()));
        check("a-0", Ok(()));
        check("a-18446744073709551615", Ok(()));
        check("a-18446744073709551616", Err(E::Sequence));
        check("", Err(E::Separator));
        check("a", Err(E::Separator));
        check("-1", Err(E::Epoch));
        check("A-1", Err(E::Epoch));
        check("a\n-1", Err(E::Epoch));
        check(&format!("{}-1", "a".repeat(33)), Err(E::Epoch));
        for text in ["a-", "a-+1", "a-01", "a--1", "a-1 ", "a-1\n", "a-b-1"] {
            check(text, Err(E::Sequence));
        }
    }

    proptest! {
        #[test]
        fn a_cursor_reads_as_it_was_written(epoch in "[a-z0-9]{1,32}", sequence: u64) {
            let cursor = Cursor { epoch: epoch.parse().unwrap(), sequence };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }
}
