//! Periods as operators write them, in every setting and option: `500ms`, `24h`, `7d`, `1h 30m`.

use std::str::FromStr;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// Ten years. Settings that allow more have a word for it, such as `never`.
const PERIOD_MAX: Duration = Duration::from_hours(3660 * 24);

/// A period of at most 3660 days of 24 hours. It may be zero: each setting has its own bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// A period, or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeriodOrNever(pub Option<Duration>);

/// Why a text is not a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParsePeriodError {
    /// No number, no unit, a unit without a fixed length such as a month, or something else.
    #[error("a length of time is written like 500ms, 30s, 5m, 24h, 7d or 2w")]
    Format,
    /// Longer than the maximum of [`Period`].
    #[error("a length of time is at most 3660d")]
    TooLong,
    /// The same error where `never` is allowed, too.
    #[error("{0}, or \"never\"")]
    NotNever(&'static Self),
}

impl FromStr for Period {
    type Err = ParsePeriodError;

    fn from_str(text: &str) -> Result<Self, ParsePeriodError> {
        let span: Span = text.parse().map_err(|_| ParsePeriodError::Format)?;
        let duration =
            span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| ParsePeriodError::Format)?;
        let duration = Duration::try_from(duration).map_err(|_| ParsePeriodError::Format)?;
        if duration > PERIOD_MAX { Err(ParsePeriodError::TooLong) } else { Ok(Self(duration)) }
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for PeriodOrNever {
    type Err = ParsePeriodError;

    fn from_str(text: &str) -> Result<Self, ParsePeriodError> {
        match text.parse() {
            _ if text == "never" => Ok(Self(None)),
            Ok(Period(duration)) => Ok(Self(Some(duration))),
            Err(ParsePeriodError::TooLong) => Err(ParsePeriodError::NotNever(&ParsePeriodError::TooLong)),
            Err(_) => Err(ParsePeriodError::NotNever(&ParsePeriodError::Format)),
        }
    }
}

impl<'de> Deserialize<'de> for PeriodOrNever {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_numbers_and_units() {
        let check = |text: &str, milliseconds| {
            assert_eq!(text.parse(), Ok(Period(Duration::from_millis(milliseconds))), "{text}");
        };
        check("250ms", 250);
        check("0s", 0);
        check("30s", 30_000);
        check("5m", 300_000);
        check("24h", 86_400_000);
        check("7d", 604_800_000);
        check("2w", 1_209_600_000);
        check("3660d", 316_224_000_000);
        check("1h 30m", 5_400_000);
        check("1h30m", 5_400_000);
        check("1.5h", 5_400_000);
        check("2 weeks", 1_209_600_000);
        check("PT5M", 300_000);
    }

    #[test]
    fn texts_that_are_not_periods_are_refused() {
        for text in ["", "s", "5", "-5s", "5s ago", "1 month", "1y", "soon", "never", "5 5"] {
            assert_eq!(text.parse::<Period>(), Err(ParsePeriodError::Format), "{text}");
        }
        for text in ["3661d", "99999999999h"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
        assert_eq!("3661d".parse::<Period>(), Err(ParsePeriodError::TooLong));
    }

    #[test]
    fn never_is_accepted_where_it_is_allowed() {
        assert_eq!("never".parse(), Ok(PeriodOrNever(None)));
        assert_eq!("1s".parse(), Ok(PeriodOrNever(Some(Duration::from_secs(1)))));
        let message = |text: &str| text.parse::<PeriodOrNever>().unwrap_err().to_string();
        assert!(message("Never").ends_with("7d or 2w, or \"never\""));
        assert!(message("3661d").ends_with("at most 3660d, or \"never\""));
    }
}
