//! The beginning of what is shown: a day, a time, or how long ago.

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use pushkeys_daemon::Period;
use pushkeys_keys::Hint;
use thiserror::Error;

/// A text that names no time.
#[derive(Debug, Error)]
#[error("--since `{text}` is not a time")]
pub(crate) struct SinceError {
    text: String,
    #[source]
    hint: Hint,
}

const ACCEPTED: &str =
    "a day (2026-11-23, monday, yesterday), a time (2026-11-23T16:54:00Z), or how long ago (36h, 14d)";

/// The moment that `text` names, seen from `now`. Days are those of UTC; a weekday is today or the last one before.
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, SinceError> {
    let error = || SinceError { text: text.to_owned(), hint: Hint::new(ACCEPTED) };
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    if let Ok(Period(ago)) = text.parse() {
        return now.checked_sub(ago).map_err(|_| error());
    }
    let today = now.to_zoned(TimeZone::UTC).date();
    let day = day(&text.to_ascii_lowercase(), today).ok_or_else(error)?;
    day.to_zoned(TimeZone::UTC).map(|start| start.timestamp()).map_err(|_| error())
}

fn day(text: &str, today: Date) -> Option<Date> {
    let weekday = match text {
        "today" => return Some(today),
        "yesterday" => return today.yesterday().ok(),
        "monday" => Weekday::Monday,
        "tuesday" => Weekday::Tuesday,
        "wednesday" => Weekday::Wednesday,
        "thursday" => Weekday::Thursday,
        "friday" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        "sunday" => Weekday::Sunday,
        date => return date.parse().ok(),
    };
    if today.weekday() == weekday { Some(today) } else { today.nth_weekday(-1, weekday).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_a_day_a_time_or_how_long_ago() {
        // A Saturday.
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse(text, now).ok(), expected.map(|time| time.parse().unwrap()), "{text}");
        };
        check("2026-11-23", Some("2026-11-23T00:00:00Z"));
        check("2026-11-23T16:54:00+01:00", Some("2026-11-23T15:54:00Z"));
        check("today", Some("2026-11-28T00:00:00Z"));
        check("Yesterday", Some("2026-11-27T00:00:00Z"));
        check("saturday", Some("2026-11-28T00:00:00Z"));
        check("Monday", Some("2026-11-23T00:00:00Z"));
        check("sunday", Some("2026-11-22T00:00:00Z"));
        check("36h", Some("2026-11-27T00:00:00Z"));
        check("14d", Some("2026-11-14T12:00:00Z"));
        for text in ["", "soon", "2026-13-01", "-1d", "mon"] {
            check(text, None);
        }
    }
}
