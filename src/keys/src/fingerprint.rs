//! SHA-256 fingerprints as OpenSSH writes them.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64Unpadded, Encoding};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// The maximum number of leading bits of a fingerprint that choose a shard: 2^24 shards hold four
/// billion keys at 256 each, and four base64 characters hold exactly 24 bits.
pub const SHARD_BITS_MAX: u8 = 24;

const PREFIX: &str = "SHA256:";
const DIGEST_BYTES: usize = 32;
/// Unpadded base64 of 32 bytes.
const BASE64_CHARACTERS: usize = 43;
const TEXT_BYTES: usize = PREFIX.len() + BASE64_CHARACTERS;

/// The SHA-256 of a public key's canonical encoding, shown as `SHA256:` and unpadded base64
/// (`ssh-keygen -l`, and sshd's token `%f`; RFC 4648 section 4 without padding).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; DIGEST_BYTES]);

/// Why a text is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseFingerprintError {
    /// A fingerprint of another kind, or no fingerprint at all.
    #[error("a fingerprint begins with `SHA256:`")]
    Prefix,
    /// Truncated, or padded with `=`.
    #[error("a SHA-256 fingerprint has 43 characters after `SHA256:`, this one has {0}")]
    Length(usize),
    /// A character outside base64's alphabet, or unused bits in the last character that are not zero,
    /// which would give one key two texts.
    #[error("a fingerprint is written in canonical base64")]
    Base64,
}

impl Fingerprint {
    /// The fingerprint of a key's canonical encoding.
    #[must_use]
    pub fn of(blob: &[u8]) -> Self {
        Self(Sha256::digest(blob).into())
    }

    /// The fingerprint whose digest is `bytes`.
    #[must_use]
    pub fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// The digest. Its order is the order of entries in a snapshot.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }

    /// The first `bits` bits as a number: which of 2^`bits` shards holds the key.
    /// More than [`SHARD_BITS_MAX`] bits are treated as [`SHARD_BITS_MAX`].
    #[must_use]
    pub fn leading_bits(&self, bits: u8) -> u32 {
        let [first, second, third, ..] = self.0;
        let leading = u32::from_be_bytes([0, first, second, third]);
        leading >> (SHARD_BITS_MAX - bits.min(SHARD_BITS_MAX))
    }

    /// The first `bits` bits of the digest in the fingerprint `text`, of which only the characters that hold these bits
    /// are read: for scans of millions of lines, which need not decode each of them.
    #[must_use]
    pub fn leading_bits_of(text: &str, bits: u8) -> Option<u32> {
        let characters = text.strip_prefix(PREFIX)?.as_bytes().get(..LEADING_CHARACTERS)?;
        let leading = characters.iter().try_fold(0, |bits, &byte| Some(bits << 6 | sextet(byte)?))?;
        Some(leading >> (SHARD_BITS_MAX - bits.min(SHARD_BITS_MAX)))
    }

    /// The text, without an allocation.
    #[must_use]
    pub fn to_text(&self) -> FingerprintText {
        let mut text = [0; TEXT_BYTES];
        let (prefix, base64) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        // The buffer has exactly the size that 32 bytes take, so this cannot fail.
        let _ = Base64Unpadded::encode(&self.0, base64);
        FingerprintText(text)
    }
}

/// The text of a [`Fingerprint`] on the stack. Its order is that of the text, not of the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FingerprintText([u8; TEXT_BYTES]);

impl FingerprintText {
    /// The text as ASCII bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or(PREFIX)
    }
}

/// The number of characters that hold the bits that choose a shard.
const LEADING_CHARACTERS: usize = 4;
const _: () = assert!(6 * LEADING_CHARACTERS == SHARD_BITS_MAX as usize);

/// The six bits that the base64 character encodes (RFC 4648 section 4).
fn sextet(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, ParseFingerprintError> {
        let base64 = text.strip_prefix(PREFIX).ok_or(ParseFingerprintError::Prefix)?;
        if base64.len() != BASE64_CHARACTERS {
            return Err(ParseFingerprintError::Length(base64.chars().count()));
        }
        let mut digest = [0; DIGEST_BYTES];
        Base64Unpadded::decode(base64, &mut digest).map_err(|_| ParseFingerprintError::Base64)?;
        Ok(Self(digest))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.to_text().as_str())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";

    #[test]
    fn a_fingerprint_is_parsed_and_printed_as_in_openssh() {
        let fingerprint: Fingerprint = TEXT.parse().unwrap();
        assert_eq!(fingerprint.to_string(), TEXT);
        assert_eq!(&fingerprint.as_bytes()[..4], &[0x0f, 0x23, 0x78, 0x39]);
        assert_eq!(fingerprint.leading_bits(0), 0);
        assert_eq!(fingerprint.leading_bits(12), 0x0f2);
        assert_eq!(fingerprint.leading_bits(24), 0x0f_2378);
        assert_eq!(fingerprint.leading_bits(255), 0x0f_2378);
    }

    #[test]
    fn a_fingerprint_has_one_text() {
        let check = |text: &str, expected| assert_eq!(text.parse::<Fingerprint>(), Err(expected), "{text}");
        check("MD5:01:0e:e5:2d", ParseFingerprintError::Prefix);
        check("sha256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww", ParseFingerprintError::Prefix);
        check("SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww=", ParseFingerprintError::Length(44));
        check("SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6W", ParseFingerprintError::Length(42));
        check("SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6W\n", ParseFingerprintError::Base64);
        check("SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6-w", ParseFingerprintError::Base64);
        check("SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Wx", ParseFingerprintError::Base64);
    }

    proptest! {
        #[test]
        fn a_fingerprint_round_trips(bytes in any::<[u8; 32]>()) {
            let fingerprint = Fingerprint::from_bytes(bytes);
            prop_assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
            for bits in 0..=SHARD_BITS_MAX {
                let leading = Fingerprint::leading_bits_of(&fingerprint.to_string(), bits);
                prop_assert_eq!(leading, Some(fingerprint.leading_bits(bits)));
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<Fingerprint>();
            let _ = format!("SHA256:{text}").parse::<Fingerprint>();
            let _ = Fingerprint::leading_bits_of(&format!("SHA256:{text}"), 24);
        }
    }
}
