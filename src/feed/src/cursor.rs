//! Where a host or a service is in the numbered changes.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::chain::{Chain, ChainPrefix};

/// One life of a key service's database: numbers of different epochs are not comparable, so a restored
/// backup takes a new one. `[a-z0-9]{1,32}`.
///
/// The epochs of a service with a chain sort by the time they began, and a host goes back to no smaller one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(Box<str>);

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
    /// Not the hexadecimal digits of a chain value.
    #[error(
        "a chain value is {} lower-case hexadecimal digits, in an event's id the first {}",
        Chain::DIGITS,
        ChainPrefix::DIGITS
    )]
    Chain,
}

const EPOCH_BYTES_MAX: usize = 32;

/// Crockford's base32 in lower case.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 128 bits in base32.
const ULID_CHARACTERS: usize = 26;
/// The time in a ULID has 48 bits.
const ULID_MS_MAX: u64 = (1 << 48) - 1;

impl Epoch {
    /// A new epoch, a ULID in lower case: 48 bits of Unix milliseconds, at most [`ULID_MS_MAX`], and 80 bits of `random`. If
    /// `before` is such an epoch the new one is greater, even if the clock was set back.
    #[must_use]
    pub fn new(now_ms: u64, random: [u8; 10], before: Option<&Self>) -> Self {
        let after = before.and_then(Self::began_at_ms).map_or(0, |before_ms| before_ms + 1);
        let began_at_ms = now_ms.max(after).min(ULID_MS_MAX);
        let random = random.iter().fold(0_u128, |bits, &byte| bits << 8 | u128::from(byte));
        let bits = u128::from(began_at_ms) << 80 | random;
        let digits = (0..ULID_CHARACTERS).rev().map(|place| (bits >> (5 * place)) & 31);
        let digit = |value| usize::try_from(value).ok().and_then(|value| BASE32.get(value));
        Self(digits.filter_map(digit).map(|&digit| char::from(digit)).collect())
    }

    /// The Unix time in milliseconds that is in an epoch of [`Epoch::new`]; `None` of another text.
    #[must_use]
    pub fn began_at_ms(&self) -> Option<u64> {
        let time = self.0.get(..10).filter(|_| self.0.len() == ULID_CHARACTERS)?;
        let ms = time.bytes().try_fold(0_u64, |bits, digit| {
            let value = BASE32.iter().position(|&known| known == digit)?;
            Some(bits << 5 | value as u64)
        })?;
        (ms <= ULID_MS_MAX).then_some(ms)
    }

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
        check("-1", Err(E::Epoch));
        check("A-1", Err(E::Epoch));
        check("a\n-1", Err(E::Epoch));
        check(&format!("{}-1", "a".repeat(33)), Err(E::Epoch));
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
        check("b1946ac9-4711-", Err(E::Chain));
        check("b1946ac9-4711-0123456789abcde", Err(E::Chain));
        check("b1946ac9-4711-0123456789abcdef0", Err(E::Chain));
        check("b1946ac9-4711-0123456789ABCDEF", Err(E::Chain));
        check("b1946ac9-4711-0123456789abcdef-0", Err(E::Chain));
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

    /// Computed with `python-ulid` 4.1: `ULID.from_bytes(…)`, in lower case.
    #[test]
    fn an_epoch_is_a_ulid() {
        let check = |now_ms: u64, random: [u8; 10], expected: &str| {
            let epoch = Epoch::new(now_ms, random, None);
            assert_eq!(epoch.as_str(), expected);
            assert_eq!(epoch.began_at_ms(), Some(now_ms));
        };
        check(0, [0; 10], "00000000000000000000000000");
        check(1_796_000_000_123, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "01m8mz2a3v041061050r3gg28a");
        check(ULID_MS_MAX, [255; 10], "7zzzzzzzzzzzzzzzzzzzzzzzzz");
        for text in ["b1946ac9", "80000000000000000000000000", "0u000000000000000000000000"] {
            assert_eq!(text.parse::<Epoch>().unwrap().began_at_ms(), None, "{text}");
        }
    }

    #[test]
    fn epochs_sort_by_when_they_began_whatever_the_clock_does() {
        let first = Epoch::new(1_796_000_000_123, [255; 10], None);
        let set_back = Epoch::new(5, [0; 10], Some(&first));
        let later = Epoch::new(1_796_000_000_999, [0; 10], Some(&set_back));
        assert!(first < set_back && set_back < later);
        assert_eq!(set_back.began_at_ms(), Some(1_796_000_000_124));
        let unchained: Epoch = "zzzzzz".parse().unwrap();
        assert_eq!(Epoch::new(7, [0; 10], Some(&unchained)), Epoch::new(7, [0; 10], None));
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
