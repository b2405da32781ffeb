//! The `authorized_keys` line for sshd.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The longest line in bytes, without its newline: the longest forced command, the options, and an
/// RSA key of 16384 bits.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// One rendered line, `restrict,command="…"[,expiry-time="…Z"] type base64`, without a newline.
///
/// Invariant: printable ASCII, begins with `restrict,command="`, at most [`LINE_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizedKeysLine(Box<str>);

/// Why bytes are not a line as this crate renders it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseLineError {
    /// A line without a forced command would be a full shell.
    #[error("the line does not begin with `restrict,command=\"`")]
    Prefix,
    /// A newline would begin a second line, and a NUL would end the line early.
    #[error("the line contains a byte that is not printable ASCII")]
    Unprintable,
    /// More than [`LINE_BYTES_MAX`].
    #[error("the line is longer than {LINE_BYTES_MAX} bytes")]
    TooLong,
}

pub(crate) const PREFIX: &str = "restrict,command=\"";
pub(crate) const EXPIRY: &str = ",expiry-time=";

impl AuthorizedKeysLine {
    /// The line as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The `type base64` at the end of the line.
    #[must_use]
    pub fn public_key(&self) -> &str {
        // The key's two words hold no blank, and the options end with a quote and a blank.
        self.0.rsplit_once("\" ").map_or("", |(_, key)| key)
    }

    /// When the key expires: the text of `expiry-time=`, `YYYYMMDDHHMMSSZ`.
    #[must_use]
    pub fn expiry_time(&self) -> Option<&str> {
        Self::expiry_time_in(&self.0)
    }

    /// The same for a line as text.
    #[must_use]
    pub fn expiry_time_in(line: &str) -> Option<&str> {
        // The key's two words hold no quote. Searching for one byte is faster than for the option's name, which most lines
        // do not have.
        let options = line.get(..line.rfind('"')?)?;
        let (before, time) = options.rsplit_once('"')?;
        before.ends_with(EXPIRY).then_some(time)
    }

    /// Checks the invariant of `bytes`, for readers that pass them on without a copy.
    pub fn check(bytes: &[u8]) -> Result<(), ParseLineError> {
        if bytes.len() > LINE_BYTES_MAX {
            return Err(ParseLineError::TooLong);
        }
        if !bytes.starts_with(PREFIX.as_bytes()) {
            return Err(ParseLineError::Prefix);
        }
        if bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            Ok(())
        } else {
            Err(ParseLineError::Unprintable)
        }
    }
}

impl FromStr for AuthorizedKeysLine {
    type Err = ParseLineError;

    fn from_str(text: &str) -> Result<Self, ParseLineError> {
        Self::check(text.as_bytes())?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for AuthorizedKeysLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_a_forced_command_is_refused() {
        let check = |text: &str, expected| {
            assert_eq!(text.parse::<AuthorizedKeysLine>().map(|_| ()), expected, "{text}");
        };
        check("restrict,command=\"/x\" ssh-ed25519 AAAA", Ok(()));
        check("ssh-ed25519 AAAA", Err(ParseLineError::Prefix));
        check("command=\"/x\" ssh-ed25519 AAAA", Err(ParseLineError::Prefix));
        check("restrict,command=\"/x\" ssh-ed25519 AAAA\nssh-ed25519 AAAA", Err(ParseLineError::Unprintable));
        check("restrict,command=\"/x\0\" ssh-ed25519 AAAA", Err(ParseLineError::Unprintable));
        check(&format!("restrict,command=\"{}", "x".repeat(LINE_BYTES_MAX)), Err(ParseLineError::TooLong));
    }
}
