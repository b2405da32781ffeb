//! Styles, numbers, times and JSON. Styles are always written; the stream strips them where they do not belong.

use std::io;

use anstyle::{AnsiColor, Style};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
pub(crate) const STRONG: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();

/// Writes `value` as JSON on one line.
pub(crate) fn write_json_line(out: &mut dyn io::Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// Writes `value` as indented JSON.
pub(crate) fn write_json(out: &mut dyn io::Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// `number` with a comma between thousands.
pub(crate) fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `number` of a thing that is called `one` if there is one of it, and else `many`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", with_commas(number), if number == 1 { one } else { many })
}

/// How far `instant` is from `now`, in the largest unit of which there is at least one.
pub(crate) fn distance(instant: Timestamp, now: Timestamp) -> String {
    from_now(instant.duration_since(now))
}

/// The same of what is `distance` from now.
pub(crate) fn from_now(distance: SignedDuration) -> String {
    let seconds = distance.as_secs().unsigned_abs();
    let span = match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    };
    if distance.is_positive() { format!("in {span}") } else { format!("{span} ago") }
}

/// Writes what to do, where that is known, as it stands below an error.
pub(crate) fn write_hint(out: &mut dyn io::Write, hint: Option<&str>) -> io::Result<()> {
    hint.map_or(Ok(()), |hint| writeln!(out, "hint: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        let check = |number, expected: &str| assert_eq!(with_commas(number), expected);
        check(0, "0");
        check(999, "999");
        check(1000, "1,000");
        check(1_234_567, "1,234,567");
        assert_eq!(count(1, "key", "keys"), "1 key");
        assert_eq!(count(0, "key", "keys"), "0 keys");
    }

    #[test]
    fn a_distance_has_one_unit() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let check = |seconds, expected: &str| {
            assert_eq!(distance(now + SignedDuration::from_secs(seconds), now), expected);
        };
        check(0, "0 s ago");
        check(-59, "59 s ago");
        check(60, "in 1 min");
        check(-7199, "1 h ago");
        check(86_400, "in 24 h");
        check(-172_800, "2 days ago");
    }
}
