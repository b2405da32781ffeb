//! Ids and names of hosts.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The id of a host: `host_` and 20 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HostId(Box<str>);

impl HostId {
    /// The id in a column.
    pub(crate) fn of(id: impl Into<Box<str>>) -> Self {
        Self(id.into())
    }
}

#[cfg(test)]
impl HostId {
    /// A host of this id.
    pub(crate) fn for_tests(id: &str) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The name of a host: 1 to 253 letters, digits, `.`, `_` and `-` (RFC 1035's length).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostName(Box<str>);

/// Why a text is not a host's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a host name: expected 1 to 253 of A-Z, a-z, 0-9, `.`, `_` and `-`", pushkeys_keys::escape(.0))]
pub(crate) struct ParseHostNameError(String);

impl HostName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = ParseHostNameError;

    fn from_str(text: &str) -> Result<Self, ParseHostNameError> {
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=253).contains(&text.len()) && text.bytes().all(is_name_byte) {
            Ok(Self(text.into()))
        } else {
            Err(ParseHostNameError(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_can_stand_in_a_log_line_and_a_command() {
        assert_eq!("push-1.par.example.com".parse::<HostName>().unwrap().as_str(), "push-1.par.example.com");
        for text in ["", "a b", "a\n", "a/b", "$(id)", "é", &"a".repeat(254)] {
            assert!(text.parse::<HostName>().is_err(), "{text:?}");
        }
    }
}
