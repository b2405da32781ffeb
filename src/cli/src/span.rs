//! Durations as they are written on the command line.

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// The time that `text` names, such as `14d` or `2 weeks`; days have 24 hours.
pub(crate) fn parse(text: &str) -> Result<SignedDuration, &'static str> {
    const FORMAT: &str = "a time is written like 36h, 14d or 2w";
    let span: Span = text.parse().map_err(|_| FORMAT)?;
    match span.to_duration(SpanRelativeTo::days_are_24_hours()) {
        Ok(duration) if !duration.is_negative() => Ok(duration),
        _ => Err(FORMAT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        let check = |text: &str, hours: Option<i64>| {
            assert_eq!(parse(text).ok(), hours.map(SignedDuration::from_hours), "{text}");
        };
        check("36h", Some(36));
        check("14d", Some(14 * 24));
        check("2w", Some(14 * 24));
        check("1d 12h", Some(36));
        check("-1d", None);
        check("1 month", None);
        check("soon", None);
        check("14", None);
    }
}
