//! The beginning of a fingerprint.

use std::ops::Range;
use std::str::FromStr;

use pushkeys_keys::Fingerprint;
use thiserror::Error;

const HASH_PREFIX: &str = "SHA256:";
const CHARACTERS_MAX: usize = 43;

/// The beginning of a fingerprint's text.
///
/// Invariant: `SHA256:` and 1 to 43 characters of base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FingerprintPrefix(String);

/// Why a text is not the beginning of a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a fingerprint begins with `SHA256:` and up to 43 characters of base64")]
pub(crate) struct ParsePrefixError;

impl FromStr for FingerprintPrefix {
    type Err = ParsePrefixError;

    fn from_str(text: &str) -> Result<Self, ParsePrefixError> {
        let base64 = text.strip_prefix(HASH_PREFIX).unwrap_or(text);
        let is_base64 =
            base64.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
        if is_base64 && (1..=CHARACTERS_MAX).contains(&base64.len()) {
            Ok(Self(format!("{HASH_PREFIX}{base64}")))
        } else {
            Err(ParsePrefixError)
        }
    }
}

impl FingerprintPrefix {
    /// Whether `fingerprint` begins with it.
    pub(crate) fn matches(&self, fingerprint: &str) -> bool {
        fingerprint.starts_with(&self.0)
    }

    /// The shards that such fingerprints are in when `bits` bits choose the shard.
    pub(crate) fn shards(&self, bits: u8) -> Range<u32> {
        let filled = |with: &str| {
            let missing = CHARACTERS_MAX.saturating_sub(self.0.len() - HASH_PREFIX.len());
            Fingerprint::leading_bits_of(&format!("{}{}", self.0, with.repeat(missing)), bits)
        };
        // The lowest and the highest digit of base64.
        filled("A").unwrap_or(0)..filled("/").map_or(0, |last| last + 1)
    }
}

#[cfg(test)]
mod tests {
    use pushkeys_keys::SHARD_BITS_MAX;

    use super::*;

    #[test]
    fn the_beginning_of_a_fingerprint_is_base64() {
        let check =
            |text: &str, expected| assert_eq!(text.parse::<FingerprintPrefix>().is_ok(), expected, "{text}");
        check("SHA256:D", true);
        check("DyN4+/", true);
        check("SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww", true);
        check("SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww=", false);
        check("SHA256:", false);
        check("", false);
        check("MD5:01:0e", false);
        check("../x", false);
    }

    #[test]
    fn every_fingerprint_is_in_the_shards_of_its_beginnings() {
        for number in 0..200_u32 {
            let fingerprint = Fingerprint::of(&number.to_be_bytes());
            let text = fingerprint.to_string();
            for end in HASH_PREFIX.len() + 1..=text.len() {
                let prefix: FingerprintPrefix = text.get(..end).unwrap().parse().unwrap();
                assert!(prefix.matches(&text));
                for bits in 0..=SHARD_BITS_MAX {
                    assert!(
                        prefix.shards(bits).contains(&fingerprint.leading_bits(bits)),
                        "{prefix:?} {bits}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_longer_beginning_leaves_fewer_shards() {
        let shards = |text: &str| text.parse::<FingerprintPrefix>().unwrap().shards(12);
        assert_eq!(shards("D"), 0x0c0..0x100);
        assert_eq!(shards("Dy"), 0x0f2..0x0f3);
        assert_eq!(shards("DyN4OQ"), 0x0f2..0x0f3);
    }
}
