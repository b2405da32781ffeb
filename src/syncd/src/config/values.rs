//! Values of the configuration that TOML has no type for.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

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

/// A share or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShareOrNever(pub(super) Option<RemovalLimit>);

/// A template of the forced command, and the text it was made of.
#[derive(Debug, Clone)]
pub(super) struct ForcedCommand {
    pub(super) template: pushkeys_keys::CommandTemplate,
    pub(super) text: String,
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
    fn a_share_may_be_never() {
        assert_eq!("never".parse(), Ok(ShareOrNever(None)));
        assert!("Never".parse::<ShareOrNever>().is_err());
    }
}
