//! Values as pages show them.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pushkeys_keys::Expiry;

/// A sentence with code between backticks. It is escaped when it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentence(String);

impl Sentence {
    /// The sentence `text`, with a capital letter and a full stop.
    pub(super) fn new(text: &str) -> Self {
        let mut characters = text.chars();
        let mut sentence: String =
            characters.next().map(char::to_uppercase).into_iter().flatten().chain(characters).collect();
        if !sentence.ends_with(['.', '?', '!', ':']) {
            sentence.push('.');
        }
        Self(sentence)
    }
}

impl fmt::Display for Sentence {
    /// As HTML.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.split('`').enumerate() {
            let is_code = number % 2 == 1;
            out.write_str(if is_code { "<code>" } else { "" })?;
            for character in part.chars() {
                match character {
                    '&' => out.write_str("&amp;")?,
                    '<' => out.write_str("&lt;")?,
                    '>' => out.write_str("&gt;")?,
                    '"' => out.write_str("&quot;")?,
                    '\'' => out.write_str("&#39;")?,
                    _ => fmt::Write::write_char(out, character)?,
                }
            }
            out.write_str(if is_code { "</code>" } else { "" })?;
        }
        Ok(())
    }
}

impl askama::filters::HtmlSafe for Sentence {}

/// An instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(DateTime);

impl From<Timestamp> for Moment {
    fn from(instant: Timestamp) -> Self {
        Self(TimeZone::UTC.to_datetime(instant))
    }
}

impl From<Expiry> for Moment {
    fn from(expiry: Expiry) -> Self {
        Self(expiry.utc())
    }
}

impl Moment {
    /// For the attribute `datetime`.
    pub(super) fn machine(self) -> String {
        self.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0.strftime("%Y-%m-%d %H:%M UTC"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_shows_code_and_nothing_that_acts() {
        let check = |text: &str, html: &str| assert_eq!(Sentence::new(text).to_string(), html);
        check("run `a & b`", "Run <code>a &amp; b</code>.");
        check("<script>'\"", "&lt;script&gt;&#39;&quot;.");
        check("`<b>` once", "<code>&lt;b&gt;</code> once.");
        check("Sure?", "Sure?");
        check("", ".");
    }

    #[test]
    fn a_moment_is_told_in_utc_to_the_minute() {
        let moment = Moment::from("2027-01-31T12:34:56Z".parse::<Timestamp>().unwrap());
        assert_eq!(
            (moment.to_string().as_str(), moment.machine().as_str()),
            ("2027-01-31 12:34 UTC", "2027-01-31T12:34:56Z")
        );
        let never = Moment::from("9999-12-31T23:59:59Z".parse::<Expiry>().unwrap());
        assert_eq!(never.machine(), "9999-12-31T23:59:59Z");
    }
}
