//! Values of the configuration that TOML has no type for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use super::removal_limit::RemovalLimit;

/// A value that is written as text and parsed, so that an error is reported at its line.
#[derive(Debug, Clone)]
pub(super) struct Parsed<T>(pub(super) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// A duration such as `24h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

/// A duration or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpanOrNever(pub(super) Option<Duration>);

/// A share or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShareOrNever(pub(super) Option<RemovalLimit>);

/// A template of the forced command, and the text it was made of.
#[derive(Debug, Clone)]
pub(super) struct ForcedCommand {
    pub(super) template: pushkeys_keys::CommandTemplate,
    pub(super) text: String,
}

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum ParseSpanError {
    #[error("a duration is written like \"500ms\", \"30s\", \"5m\", \"24h\" or \"7d\"")]
    Format,
    #[error("a duration is at most 3650d")]
    TooLong,
}

/// Ten years. Longer is `never`.
const SPAN_MAX: Duration = Duration::from_hours(3650 * 24);

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, ParseSpanError> {
        let end = text.find(|character: char| !character.is_ascii_digit()).ok_or(ParseSpanError::Format)?;
        let (digits, unit) = text.split_at(end);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(ParseSpanError::Format),
        };
        if digits.is_empty() {
            return Err(ParseSpanError::Format);
        }
        let number: u64 = digits.parse().map_err(|_| ParseSpanError::TooLong)?;
        let span = number.checked_mul(unit_ms).map(Duration::from_millis).ok_or(ParseSpanError::TooLong)?;
        if span > SPAN_MAX { Err(ParseSpanError::TooLong) } else { Ok(Self(span)) }
    }
}

impl FromStr for SpanOrNever {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        text.parse::<Span>().map(|span| Self(Some(span.0))).map_err(|error| format!("{error}, or \"never\""))
    }
}

impl FromStr for ShareOrNever {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|share| Self(Some(share)))
            .map_err(|error| format!("{error}, or \"never\" to hold nothing back"))
    }
}

impl FromStr for ForcedCommand {
    type Err = pushkeys_keys::ParseTemplateError;

    fn from_str(text: &str) -> Result<Self, pushkeys_keys::ParseTemplateError> {
        Ok(Self { template: text.parse()?, text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_number_and_a_unit() {
        let check = |text: &str, expected| {
            assert_eq!(text.parse::<Span>().map(|span| span.0.as_millis()), expected, "{text}");
        };
        check("250ms", Ok(250));
        check("30s", Ok(30_000));
        check("5m", Ok(300_000));
        check("24h", Ok(86_400_000));
        check("7d", Ok(604_800_000));
        check("0s", Ok(0));
        check("3651d", Err(ParseSpanError::TooLong));
        check("99999999999999999999s", Err(ParseSpanError::TooLong));
        for text in ["", "s", "5", "5 m", "5w", "-5s", "1.5h", "5h30m", "never"] {
            check(text, Err(ParseSpanError::Format));
        }
        assert_eq!("never".parse(), Ok(SpanOrNever(None)));
        assert!("Never".parse::<SpanOrNever>().is_err());
        assert_eq!("never".parse(), Ok(ShareOrNever(None)));
    }
}
