//! Where a host or a service is in the numbered changes.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::chain::{Chain, ChainPrefix, ParseChainError};
use crate::epoch::{Epoch, ParseEpochError};

/// The last change that a host has seen: the `id` of an event, written `epoch-sequence`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// In which life of the database.
    pub epoch: Epoch,
    /// The number of the change; 0 is before the first.
    pub sequence: u64,
}

/// The `id` of an event, and what a host resumes after: `epoch-sequence`, and of a service with a chain
/// `epoch-sequence-chain` with the first 16 hexadecimal digits of the chain value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventId {
    /// Which change.
    pub cursor: Cursor,
    /// The beginning of the chain value after that change.
    pub chain: Option<ChainPrefix>,
}

/// Where a host or a service is, with the whole chain value, of which the next one is made. Its text is that of an
/// [`EventId`] with all 64 hexadecimal digits of the chain value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position {
    /// The last change.
    pub cursor: Cursor,
    /// The chain value after it; `None` of a service without a chain.
    pub chain: Option<Chain>,
}

/// Why a text is not a cursor, an event's id or a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseCursorError {
    /// Its epoch is malformed.
    #[error(transparent)]
    Epoch(#[from] ParseEpochError),
    /// No `-` between epoch and sequence.
    #[error("a cursor is written `epoch-sequence`")]
    Separator,
    /// Not a decimal number of 64 bits in its one spelling.
    #[error("a sequence is a decimal number without sign or leading zeros, below 2^64")]
    Sequence,
    /// Its chain value is malformed.
    #[error(transparent)]
    Chain(#[from] ParseChainError),
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

impl From<Cursor> for EventId {
    fn from(cursor: Cursor) -> Self {
        Self { cursor, chain: None }
    }
}

impl From<Cursor> for Position {
    fn from(cursor: Cursor) -> Self {
        Self { cursor, chain: None }
    }
}

impl Position {
    /// The position at which the chained epoch of `cursor` begins: its first change has the next number.
    #[must_use]
    pub fn start(cursor: Cursor) -> Self {
        let chain = Some(Chain::start(&cursor.epoch));
        Self { cursor, chain }
    }

    /// Moves on by one change, an event with this name and data, and returns the chain value after it.
    pub fn follow(&mut self, event: &[u8], data: &[u8]) -> Option<Chain> {
        self.cursor.sequence = self.cursor.sequence.saturating_add(1);
        self.chain = self.chain.map(|chain| chain.next(event, data));
        self.chain
    }

    /// The position in an event's `id`.
    #[must_use]
    pub fn id(&self) -> EventId {
        EventId { cursor: self.cursor.clone(), chain: self.chain.as_ref().map(Chain::prefix) }
    }

    /// Whether `id` names this position. An `id` without a chain is compared by its numbers.
    #[must_use]
    pub fn is(&self, id: &EventId) -> bool {
        let is_chain = match (&self.chain, &id.chain) {
            (Some(chain), Some(prefix)) => chain.prefix() == *prefix,
            (None, Some(_)) => false,
            (_, None) => true,
        };
        self.cursor == id.cursor && is_chain
    }
}

impl FromStr for EventId {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let (cursor, chain) = split_chain(text);
        Ok(Self { cursor: cursor.parse()?, chain: chain.map(str::parse).transpose()? })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cursor, out)?;
        self.chain.as_ref().map_or(Ok(()), |chain| write!(out, "-{chain}"))
    }
}

impl FromStr for Position {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let (cursor, chain) = split_chain(text);
        Ok(Self { cursor: cursor.parse()?, chain: chain.map(str::parse).transpose()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cursor, out)?;
        self.chain.as_ref().map_or(Ok(()), |chain| write!(out, "-{chain}"))
    }
}

/// What is before the second `-` of `text`, and what is behind it.
fn split_chain(text: &str) -> (&str, Option<&str>) {
    let second = text.match_indices('-').nth(1);
    second
        .and_then(|(at, _)| text.split_at_checked(at))
        .map_or((text, None), |(cursor, chain)| (cursor, chain.get(1..)))
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
        check("-1", Err(E::Epoch(ParseEpochError)));
        check("A-1", Err(E::Epoch(ParseEpochError)));
        check("a\n-1", Err(E::Epoch(ParseEpochError)));
        check(&format!("{}-1", "a".repeat(33)), Err(E::Epoch(ParseEpochError)));
        for text in ["a-", "a-+1", "a-01", "a--1", "a-1 ", "a-1\n", "a-b-1"] {
            check(text, Err(E::Sequence));
        }
    }

    #[test]
    fn an_id_has_a_chain_or_none() {
        use ParseCursorError as E;
        let check = |text: &str, expected: Result<bool, E>| {
            assert_eq!(text.parse::<EventId>().map(|id| id.chain.is_some()), expected, "{text:?}");
        };
        check("b1946ac9-4711", Ok(false));
        check("b1946ac9-4711-0123456789abcdef", Ok(true));
        check("b1946ac9-4711-", Err(E::Chain(ParseChainError)));
        check("b1946ac9-4711-0123456789abcde", Err(E::Chain(ParseChainError)));
        check("b1946ac9-4711-0123456789abcdef0", Err(E::Chain(ParseChainError)));
        check("b1946ac9-4711-0123456789ABCDEF", Err(E::Chain(ParseChainError)));
        check("b1946ac9-4711-0123456789abcdef-0", Err(E::Chain(ParseChainError)));
        check("b1946ac9-047-0123456789abcdef", Err(E::Sequence));
        check("b1946ac9", Err(E::Separator));
    }

    #[test]
    fn a_position_is_named_by_ids_of_its_own() {
        let position = Position::start("b1946ac9-0".parse().unwrap());
        let is = |id: &str| position.is(&id.parse().unwrap());
        let id = position.id().to_string();
        assert!(is(&id) && is("b1946ac9-0"));
        assert!(!is("b1946ac9-1") && !is("b1946ac8-0") && !is("b1946ac9-0-0123456789abcdef"));
        let unchained = Position::from("b1946ac9-0".parse::<Cursor>().unwrap());
        assert!(unchained.is(&"b1946ac9-0".parse().unwrap()) && !unchained.is(&id.parse().unwrap()));
    }

    proptest! {
        #[test]
        fn ids_and_positions_read_as_they_were_written(epoch in "[a-z0-9]{1,32}", sequence: u64, chain: [u8; 32]) {
            let cursor = Cursor { epoch: epoch.parse().unwrap(), sequence };
            let position = Position { cursor, chain: Some(Chain::from_bytes(chain)) };
            prop_assert_eq!(position.to_string().parse(), Ok(position.clone()));
            prop_assert_eq!(position.id().to_string().parse(), Ok(position.id()));
            prop_assert!(position.is(&position.id()));
            let unchained = Position::from(position.cursor);
            prop_assert_eq!(unchained.to_string().parse(), Ok(unchained));
        }

        #[test]
        fn a_cursor_reads_as_it_was_written(epoch in "[a-z0-9]{1,32}", sequence: u64) {
            let cursor = Cursor { epoch: epoch.parse().unwrap(), sequence };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }
}
