//! The chain of hashes over the changes of an epoch, by which two places with one number are known to be the same.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::epoch::Epoch;

/// The hash of an epoch and of all its changes up to one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chain([u8; 32]);

/// The first 8 bytes of a [`Chain`], which is what an event's id has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainPrefix([u8; 8]);

/// Why a text is not a chain value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a chain value is {} lower-case hexadecimal digits, in an event's id the first {}",
    Chain::DIGITS,
    ChainPrefix::DIGITS
)]
pub struct ParseChainError;

impl Chain {
    /// Hexadecimal digits of a value.
    pub const DIGITS: usize = 64;

    /// The value before the first change of `epoch`: SHA-256 of its text.
    #[must_use]
    pub fn start(epoch: &Epoch) -> Self {
        Self(Sha256::digest(epoch.as_str()).into())
    }

    /// The value after one more change: SHA-256 of the value before it, the event's name, a zero byte, and the event's data,
    /// which are the bytes behind `data: `.
    #[must_use]
    pub fn next(&self, event: &[u8], data: &[u8]) -> Self {
        Self(
            Sha256::new()
                .chain_update(self.0)
                .chain_update(event)
                .chain_update([0])
                .chain_update(data)
                .finalize()
                .into(),
        )
    }

    /// The value whose bytes are stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The part that is in the id of an event.
    #[must_use]
    pub fn prefix(&self) -> ChainPrefix {
        ChainPrefix(self.0.first_chunk().copied().unwrap_or_default())
    }
}

impl ChainPrefix {
    /// Hexadecimal digits of a prefix.
    pub const DIGITS: usize = 16;
}

impl fmt::Display for Chain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Display for ChainPrefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Chain {
    type Err = ParseChainError;

    fn from_str(text: &str) -> Result<Self, ParseChainError> {
        bytes(text).map(Self)
    }
}

impl FromStr for ChainPrefix {
    type Err = ParseChainError;

    fn from_str(text: &str) -> Result<Self, ParseChainError> {
        bytes(text).map(Self)
    }
}

/// The `N` bytes whose lower-case hexadecimal digits are `text`.
fn bytes<const N: usize>(text: &str) -> Result<[u8; N], ParseChainError> {
    let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| ParseChainError)?;
    bytes.try_into().map_err(|_| ParseChainError)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's hashlib.
    #[test]
    fn a_chain_is_made_as_the_design_says() {
        let start = Chain::start(&"b1946ac9".parse().unwrap());
        assert_eq!(start.to_string(), "e780adda8c6afdba445f1f94b4dc7bf792347cf3ecdf0a7d01aab4b6daa64b63");
        let put = start.next(b"put", b"{}");
        assert_eq!(put.to_string(), "a35850b4462a9c10fbc7ee6d9db5e976b686f22ca11ee6603907a73c3d69434a");
        let removed = r#"{"fingerprint":"SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww"}"#;
        let remove = put.next(b"remove", removed.as_bytes());
        assert_eq!(remove.to_string(), "dfe4cdde53b3decb0ecb32c4c940ba0a386077aa2a1420f4f56f665a34aad2f7");
        assert_eq!(remove.prefix().to_string(), "dfe4cdde53b3decb");
        assert_ne!(start.next(b"put", b"x"), start.next(b"putx", b""));
    }

    #[test]
    fn a_chain_has_one_text() {
        let text = "e780adda8c6afdba445f1f94b4dc7bf792347cf3ecdf0a7d01aab4b6daa64b63";
        assert_eq!(text.parse::<Chain>().unwrap().to_string(), text);
        for refused in ["", "e7", &text.to_uppercase(), &format!("{text}00"), &text.replace('e', "g")] {
            assert_eq!(refused.parse::<Chain>(), Err(ParseChainError), "{refused}");
            assert_eq!(refused.parse::<ChainPrefix>(), Err(ParseChainError), "{refused}");
        }
    }
}
