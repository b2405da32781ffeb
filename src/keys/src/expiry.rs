//! When a key expires.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use thiserror::Error;

use crate::escape::escape;

/// The instant from which sshd refuses a key, to the second (sshd(8), `expiry-time`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry(Timestamp);

/// Why a text is not an expiry.
#[derive(Debug, Error)]
pub enum ParseExpiryError {
    /// Not an instant of RFC 3339.
    #[error("`{}` is not a time such as 2027-01-31T12:00:00Z", escape(text))]
    Format {
        /// The refused text, at most 40 characters of it.
        text: String,
        /// The parser's error.
        source: jiff::Error,
    },
    /// sshd reads years of four digits, from 1970 on.
    #[error("the year of an expiry must be between 1970 and 9999")]
    Year,
}

impl Expiry {
    /// The expiry at `instant`. Fractions of a second are dropped, since sshd reads whole seconds.
    pub fn new(instant: Timestamp) -> Result<Self, ParseExpiryError> {
        let year = instant.to_zoned(jiff::tz::TimeZone::UTC).year();
        let second = Timestamp::from_second(instant.as_second()).map_err(|_| ParseExpiryError::Year)?;
        if (1970..=9999).contains(&year) && second.as_second() >= 0 {
            Ok(Self(second))
        } else {
            Err(ParseExpiryError::Year)
        }
    }

    /// The instant.
    #[must_use]
    pub fn instant(self) -> Timestamp {
        self.0
    }
}

impl FromStr for Expiry {
    type Err = ParseExpiryError;

    fn from_str(text: &str) -> Result<Self, ParseExpiryError> {
        let instant = text
            .parse::<Timestamp>()
            .map_err(|source| ParseExpiryError::Format { text: text.chars().take(40).collect(), source })?;
        Self::new(instant)
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_in_the_range_that_sshd_reads() {
        assert!("2027-01-31T12:00:00Z".parse::<Expiry>().is_ok());
        assert!("9999-12-30T22:00:00Z".parse::<Expiry>().is_ok());
        for text in ["", "tomorrow", "2027-01-31", "1969-12-31T23:59:59Z", "+010000-01-01T00:00:00Z"] {
            assert!(text.parse::<Expiry>().is_err(), "{text}");
        }
    }
}
