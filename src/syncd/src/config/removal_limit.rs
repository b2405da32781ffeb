//! How much a source may remove within an hour: a service that lost its data must not lock everybody out.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// This number of removals in an hour is never held back, since people leave, unless a snapshot leaves nothing at all.
const REMOVALS_FREE: u64 = 5;

/// The share of the keys in force that a source may remove within an hour, in percent: 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RemovalLimit(u8);

/// Why a text is not a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a share is written like \"20%\", from 0% to 100%")]
pub(crate) struct ParseShareError;

impl RemovalLimit {
    /// What a snapshot may remove unless the configuration sets another share.
    pub(super) const DEFAULT: Self = Self(20);

    /// Whether a snapshot that would remove `removed` of `in_force` keys waits for confirmation, of which up to
    /// `confirmed` are confirmed, after `before` others were removed within the hour.
    pub(crate) fn is_exceeded(
        self,
        in_force: u64,
        removed: u64,
        before: u64,
        confirmed: Option<u64>,
    ) -> bool {
        if removed == 0 || confirmed.is_some_and(|confirmed| removed <= confirmed) {
            return false;
        }
        removed >= in_force || removed > self.room(in_force, before)
    }

    /// How many more of `in_force` keys may be removed after `before` were within the hour.
    pub(crate) fn room(self, in_force: u64, before: u64) -> u64 {
        let keys = u128::from(in_force) + u128::from(before);
        let share = u64::try_from(keys * u128::from(self.0) / 100).unwrap_or(u64::MAX);
        share.max(REMOVALS_FREE).saturating_sub(before)
    }
}

impl FromStr for RemovalLimit {
    type Err = ParseShareError;

    fn from_str(text: &str) -> Result<Self, ParseShareError> {
        let digits = text.strip_suffix('%').ok_or(ParseShareError)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseShareError);
        }
        digits.parse().ok().filter(|&percent| percent <= 100).map(Self).ok_or(ParseShareError)
    }
}

impl fmt::Display for RemovalLimit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}%", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_removes_too_much_waits_for_confirmation() {
        let check = |in_force, removed, confirmed, expected| {
            assert_eq!(
                RemovalLimit::DEFAULT.is_exceeded(in_force, removed, 0, confirmed),
                expected,
                "{removed} of {in_force}, confirmed {confirmed:?}"
            );
        };
        check(0, 0, None, false);
        check(100, 0, None, false);
        check(100, 20, None, false);
        check(100, 21, None, true);
        check(10, 5, None, false);
        check(10, 6, None, true);
        check(6, 5, None, false);
        check(5, 5, None, true);
        check(1, 1, None, true);
        check(1, 1, Some(1), false);
        check(100, 21, Some(20), true);
        check(100, 21, Some(21), false);
        check(u64::MAX, u64::MAX, None, true);
        check(u64::MAX, u64::MAX / 10, None, false);
    }

    #[test]
    fn what_was_removed_within_the_hour_counts() {
        let check = |in_force, before, expected| {
            assert_eq!(RemovalLimit::DEFAULT.room(in_force, before), expected, "{before} before {in_force}");
        };
        check(100, 0, 20);
        check(90, 10, 10);
        check(80, 20, 0);
        check(70, 30, 0);
        check(10, 0, 5);
        check(7, 3, 2);
        check(0, 0, 5);
        check(u64::MAX, u64::MAX, 0);
        assert!(RemovalLimit::DEFAULT.is_exceeded(90, 11, 10, None));
        assert!(!RemovalLimit::DEFAULT.is_exceeded(90, 10, 10, None));
    }

    #[test]
    fn the_share_may_be_nothing_or_everything() {
        let limit = |text: &str| text.parse::<RemovalLimit>().unwrap();
        assert!(limit("0%").is_exceeded(100, 6, 0, None));
        assert!(!limit("100%").is_exceeded(100, 99, 0, None));
    }

    #[test]
    fn a_share_is_a_percentage() {
        for text in ["0%", "20%", "100%"] {
            assert_eq!(text.parse::<RemovalLimit>().unwrap().to_string(), text);
        }
        for text in ["", "%", "20", "101%", "-1%", "+1%", "1.5%", "20 %", "999%"] {
            assert_eq!(text.parse::<RemovalLimit>(), Err(ParseShareError), "{text}");
        }
    }
}
