//! When a key ends.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, date};
use jiff::fmt::temporal::{DateTimeParser, PiecesOffset};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};
use thiserror::Error;

use crate::escape::escape;

/// The first instant that sshd reads.
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);
const MS_PER_SECOND: i64 = 1_000;

/// The instant from which sshd refuses a key, to the second (sshd(8), `expiry-time`): any from 1970 to the last second of the
/// year 9999, which is how many systems write "never".
///
/// Kept as a date and a time in UTC, since a [`Timestamp`] ends a day and some hours before the year 9999 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry(DateTime);

/// Why a text is not an expiry.
#[derive(Debug, Error)]
pub enum ParseExpiryError {
    /// Not an instant of RFC 3339.
    #[error("`{}` is not a time such as 2027-01-31T12:00:00Z", escape(text))]
    Format {
        /// The refused text, at most 40 characters of it.
        text: String,
    },
    /// sshd reads years of four digits, from 1970 on.
    #[error("the year of an expiry must be between 1970 and 9999, in UTC")]
    Year,
}

impl Expiry {
    /// The expiry `ms` milliseconds after 1970. A fraction of a second is dropped.
    pub fn from_millisecond(ms: i64) -> Result<Self, ParseExpiryError> {
        let time = EPOCH.checked_add(SignedDuration::from_millis(ms)).map_err(|_| ParseExpiryError::Year)?;
        Self::at(time)
    }

    /// In seconds since 1970.
    #[must_use]
    pub fn as_second(self) -> i64 {
        self.0.duration_since(EPOCH).as_secs()
    }

    /// In milliseconds since 1970.
    #[must_use]
    pub fn as_millisecond(self) -> i64 {
        self.as_second().saturating_mul(MS_PER_SECOND)
    }

    /// The end of `day` in UTC: a key works on that day, to its last second.
    pub fn end_of(day: Date) -> Result<Self, ParseExpiryError> {
        let end = day.tomorrow().map_or_else(|_| day.at(23, 59, 59, 0), |next| next.at(0, 0, 0, 0));
        Self::at(end)
    }

    /// The expiry that `text` gives in an `expiry-time` option: `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, in UTC with
    /// a `Z` after it, and else in the time zone of the machine that reads it, `zone`.
    pub fn from_option(text: &str, zone: &TimeZone) -> Result<Self, ParseExpiryError> {
        let format = || ParseExpiryError::Format { text: text.chars().take(40).collect() };
        let (digits, is_utc) = text.strip_suffix(['Z', 'z']).map_or((text, false), |digits| (digits, true));
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format());
        }
        let time = match digits.len() {
            8 => Date::strptime("%Y%m%d", digits).map(DateTime::from),
            12 => DateTime::strptime("%Y%m%d%H%M", digits),
            14 => DateTime::strptime("%Y%m%d%H%M%S", digits),
            _ => return Err(format()),
        };
        let time = time.map_err(|_| format())?;
        if is_utc {
            return Self::at(time);
        }
        let local: Zoned = time.to_zoned(zone.clone()).map_err(|_| ParseExpiryError::Year)?;
        Self::at(TimeZone::UTC.to_datetime(local.timestamp()))
    }

    /// The text of an `expiry-time` option, `YYYYMMDDHHMMSSZ`.
    #[must_use]
    pub fn to_option(self) -> String {
        self.0.strftime("%Y%m%d%H%M%SZ").to_string()
    }

    /// Whether sshd refuses the key `now`.
    #[must_use]
    pub fn is_past(self, now: Timestamp) -> bool {
        self.0 <= Offset::UTC.to_datetime(now)
    }

    /// How long after `now` it is; negative where it is past.
    #[must_use]
    pub fn after(self, now: Timestamp) -> SignedDuration {
        self.0.duration_since(Offset::UTC.to_datetime(now))
    }

    /// The date and the time in UTC.
    #[must_use]
    pub fn utc(self) -> DateTime {
        self.0
    }

    fn at(time: DateTime) -> Result<Self, ParseExpiryError> {
        let second = time.with().subsec_nanosecond(0).build().map_err(|_| ParseExpiryError::Year)?;
        if second >= EPOCH { Ok(Self(second)) } else { Err(ParseExpiryError::Year) }
    }
}

impl FromStr for Expiry {
    type Err = ParseExpiryError;

    fn from_str(text: &str) -> Result<Self, ParseExpiryError> {
        let format = || ParseExpiryError::Format { text: text.chars().take(40).collect() };
        let pieces = DateTimeParser::new().parse_pieces(text).map_err(|_| format())?;
        let (Some(time), Some(offset)) = (pieces.time(), pieces.offset()) else { return Err(format()) };
        let offset = match offset {
            PiecesOffset::Numeric(offset) => offset.offset(),
            _ => Offset::UTC,
        };
        let local = DateTime::from_parts(pieces.date(), time);
        let ahead = SignedDuration::from_secs(offset.seconds().into());
        Self::at(local.checked_sub(ahead).map_err(|_| ParseExpiryError::Year)?)
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}Z", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_expiry_is_in_the_range_that_sshd_reads() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            let expiry = text.parse::<Expiry>().ok().map(|expiry| expiry.to_string());
            assert_eq!(expiry.as_deref(), expected, "{text}");
        }
        check("2027-01-31T12:00:00Z", Some("2027-01-31T12:00:00Z"));
        check("2027-01-31T12:00:00.999z", Some("2027-01-31T12:00:00Z"));
        check("2027-01-31T12:00:00+02:00", Some("2027-01-31T10:00:00Z"));
        check("1970-01-01T00:00:00Z", Some("1970-01-01T00:00:00Z"));
        check("9999-12-31T23:59:59Z", Some("9999-12-31T23:59:59Z"));
        check("9999-12-31T23:59:59.999999999Z", Some("9999-12-31T23:59:59Z"));
        check("9999-12-31T23:59:59+14:00", Some("9999-12-31T09:59:59Z"));
        for text in [
            "",
            "tomorrow",
            "2027-01-31",
            "2027-01-31T12:00:00",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "+010000-01-01T00:00:00Z",
            "2027-02-30T00:00:00Z",
        ] {
            check(text, None);
        }
        let error = "9999-12-31T23:59:59-01:00".parse::<Expiry>().unwrap_err();
        assert_eq!(error.to_string(), "the year of an expiry must be between 1970 and 9999, in UTC");
    }

    #[test]
    fn an_option_is_read_as_sshd_reads_it() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            // An hour ahead of UTC in winter.
            let zone = TimeZone::posix("CET-1").unwrap();
            let expiry = Expiry::from_option(text, &zone).ok().map(|expiry| expiry.to_string());
            assert_eq!(expiry.as_deref(), expected, "{text}");
        }
        check("20270131Z", Some("2027-01-31T00:00:00Z"));
        check("20270131", Some("2027-01-30T23:00:00Z"));
        check("202701311200Z", Some("2027-01-31T12:00:00Z"));
        check("20270131120005", Some("2027-01-31T11:00:05Z"));
        check("99991231235959Z", Some("9999-12-31T23:59:59Z"));
        for text in ["", "Z", "2027", "20270230", "tomorrow", "2027013112", "+2027013", "20270131120000ZZ"] {
            check(text, None);
        }
    }

    #[test]
    fn the_last_day_of_the_year_9999_ends_with_its_last_second() {
        let end = |day: Date| Expiry::end_of(day).unwrap().to_string();
        assert_eq!(end(date(2027, 1, 31)), "2027-02-01T00:00:00Z");
        assert_eq!(end(date(9999, 12, 31)), "9999-12-31T23:59:59Z");
        assert!(Expiry::end_of(date(1960, 1, 1)).is_err());
    }

    #[test]
    fn an_expiry_is_past_from_its_second_on() {
        let expiry: Expiry = "2027-01-31T12:00:00Z".parse().unwrap();
        let now = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(!expiry.is_past(now("2027-01-31T11:59:59.999Z")));
        assert!(expiry.is_past(now("2027-01-31T12:00:00Z")));
        assert_eq!(expiry.after(now("2027-01-31T11:59:00Z")), SignedDuration::from_secs(60));
        assert!(!"9999-12-31T23:59:59Z".parse::<Expiry>().unwrap().is_past(Timestamp::MAX));
    }

    proptest! {
        #[test]
        fn an_expiry_is_read_as_it_was_written(second in 0_i64..=253_402_300_799) {
            let expiry = Expiry::from_millisecond(second * 1_000).unwrap();
            prop_assert_eq!(expiry.as_millisecond(), second * 1_000);
            prop_assert_eq!(expiry.to_string().parse::<Expiry>().unwrap(), expiry);
            prop_assert_eq!(Expiry::from_option(&expiry.to_option(), &TimeZone::UTC).unwrap(), expiry);
            if let Ok(timestamp) = Timestamp::from_second(second) {
                prop_assert_eq!(expiry.to_string(), timestamp.to_string());
            }
        }
    }
}
