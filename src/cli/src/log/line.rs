//! One line of the system's log: its time, the program's tag, and the message.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// Who writes lines that are read here; sshd's name depends on its release.
pub(super) const TAGS: [&str; 4] = ["pushkeys-lookup", "pushkeys-shell", "sshd", "sshd-session"];

/// Time, tag and message. Both the traditional `Nov 24 12:00:00 host tag[7]: …` and ISO 8601 in place of the first three words
/// are known.
pub(super) fn split(line: &str) -> Option<(&str, &str, &str)> {
    let words_of_time = if line.starts_with(|first: char| first.is_ascii_digit()) { 1 } else { 3 };
    let mut rest = line;
    for _ in 0..words_of_time {
        rest = after_word(rest)?;
    }
    let at = line.get(..line.len() - rest.len())?.trim_end();
    let rest = after_word(rest)?;
    let (tag, message) = rest.split_once(": ")?;
    let tag = tag.split('[').next()?;
    TAGS.contains(&tag).then_some((at, tag, message))
}

/// When `line` was written. The traditional form has neither year nor zone: it is of the last year before `now`, in local time.
pub(super) fn time_of(line: &str, now: Timestamp) -> Option<Timestamp> {
    let (at, _, _) = split(line)?;
    if let Ok(at) = at.parse() {
        return Some(at);
    }
    let now = now.to_zoned(TimeZone::system());
    // Clocks of two machines that write one log may differ.
    let latest = now.checked_add(Span::new().days(1)).ok()?;
    let in_year = |year: i16| {
        let text = format!("{year} {}", at.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
        let time = DateTime::strptime("%Y %b %d %H:%M:%S", text).ok()?;
        time.to_zoned(TimeZone::system()).ok()
    };
    let years = [now.year(), now.year().checked_sub(1)?];
    // The 29th of February is not in every year.
    years.into_iter().filter_map(in_year).find(|at| *at <= latest).map(|at| at.timestamp())
}

fn after_word(text: &str) -> Option<&str> {
    Some(text.trim_start().split_once(' ')?.1.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_line_is_known_in_every_form() {
        let local = |text: &str| {
            let time: DateTime = text.parse().unwrap();
            time.to_zoned(TimeZone::system()).unwrap().timestamp()
        };
        let now = local("2026-11-24T12:00:00");
        let check = |at: &str, expected: Option<Timestamp>| {
            let line = format!("{at} push-1 sshd[7]: Connection closed");
            assert_eq!(time_of(&line, now), expected, "{line}");
        };
        let utc = |text: &str| Some(text.parse().unwrap());
        check("2026-11-24T12:00:01.5+00:00", utc("2026-11-24T12:00:01.5Z"));
        check("2026-11-24T12:00:01+0200", utc("2026-11-24T10:00:01Z"));
        check("Nov 24 11:59:01", Some(local("2026-11-24T11:59:01")));
        check("Nov  4 11:59:01", Some(local("2026-11-04T11:59:01")));
        check("Nov 24 12:00:09", Some(local("2026-11-24T12:00:09")));
        check("Dec 31 23:59:59", Some(local("2025-12-31T23:59:59")));
        check("Nov 31 23:59:59", None);
    }
}
