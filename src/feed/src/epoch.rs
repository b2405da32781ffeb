//! The epoch: in which life of a service's database a change was numbered.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One life of a key service's database: numbers of different epochs are not comparable, so a restored
/// backup takes a new one. `[a-z0-9]{1,32}`.
///
/// The epochs of a service with a chain sort by the time they began, and a host goes back to no smaller one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(Box<str>);

/// Why a text is not an epoch: other characters, none, or too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an epoch is 1 to {EPOCH_BYTES_MAX} of a-z and 0-9")]
pub struct ParseEpochError;

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
    type Err = ParseEpochError;

    fn from_str(text: &str) -> Result<Self, ParseEpochError> {
        let is_valid = (1..=EPOCH_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if is_valid { Ok(Self(text.into())) } else { Err(ParseEpochError) }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
