//! The number and the digest of all keys of a feed, by which a host and its service know that they hold the same.
//!
//! It finds faults, not forgers: anyone who may choose keys freely can make two sets with one digest.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use pushkeys_keys::{AccountId, Expiry, Fingerprint, KeyId, Login};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The sum modulo 2^128, over some keys, of what [`KeyDigest::of_key`] gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct KeyDigest(u128);

/// All keys of a feed in two numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct KeySum {
    /// How many keys there are.
    pub keys: u64,
    /// Their digest.
    pub digest: KeyDigest,
}

/// Why a text is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a digest of keys is 32 lower-case hexadecimal digits")]
pub struct ParseKeyDigestError;

impl KeyDigest {
    /// The digest of one key: the first 128 bits of SHA-256 over fingerprint, account, key id, expiry in Unix seconds and
    /// logins joined by commas, each followed by a newline; the last two are empty where the feed does not name them.
    #[must_use]
    pub fn of_key(
        fingerprint: &Fingerprint,
        account: &AccountId,
        key_id: &KeyId,
        expires_at: Option<Expiry>,
        logins: Option<&[Login]>,
    ) -> Self {
        let mut hash = Sha256::new();
        hash.update(fingerprint.to_text().as_str());
        hash.update("\n");
        hash.update(account.as_str());
        hash.update("\n");
        hash.update(key_id.as_str());
        hash.update("\n");
        if let Some(expiry) = expires_at {
            hash.update(expiry.as_second().to_string());
        }
        hash.update("\n");
        for (nth, login) in logins.unwrap_or_default().iter().enumerate() {
            hash.update(if nth == 0 { "" } else { "," });
            hash.update(login.as_str());
        }
        hash.update("\n");
        let hash: [u8; 32] = hash.finalize().into();
        Self(hash.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes)))
    }
}

impl KeySum {
    /// Adds a key with the digest `key`.
    pub fn add(&mut self, key: KeyDigest) {
        self.keys = self.keys.wrapping_add(1);
        self.digest.0 = self.digest.0.wrapping_add(key.0);
    }

    /// Takes away a key with the digest `key`, which was added before.
    pub fn remove(&mut self, key: KeyDigest) {
        self.keys = self.keys.wrapping_sub(1);
        self.digest.0 = self.digest.0.wrapping_sub(key.0);
    }
}

impl fmt::Display for KeyDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl fmt::Display for KeySum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} keys, digest {}", self.keys, self.digest)
    }
}

impl FromStr for KeyDigest {
    type Err = ParseKeyDigestError;

    fn from_str(text: &str) -> Result<Self, ParseKeyDigestError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| ParseKeyDigestError)?;
        bytes.try_into().map(|bytes| Self(u128::from_be_bytes(bytes))).map_err(|_| ParseKeyDigestError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FINGERPRINT: &str = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";

    fn digest(expires_at: Option<&str>, logins: Option<&[&str]>) -> KeyDigest {
        let logins =
            logins.map(|logins| logins.iter().map(|login| login.parse().unwrap()).collect::<Vec<_>>());
        KeyDigest::of_key(
            &FINGERPRINT.parse().unwrap(),
            &"acct_7".parse().unwrap(),
            &"key_42".parse().unwrap(),
            expires_at.map(|time| time.parse().unwrap()),
            logins.as_deref(),
        )
    }

    /// Computed with Python's hashlib.
    #[test]
    fn a_digest_is_made_as_the_design_says() {
        let plain = digest(None, None);
        assert_eq!(plain.to_string(), "a7a522fd0bd28a2449f8238d1d12599e");
        let full = digest(Some("2027-01-31T12:00:00Z"), Some(&["git", "deploy"]));
        assert_eq!(full.to_string(), "f57672db776b17296b7ceb8609be2a2b");

        let mut sum = KeySum::default();
        sum.add(plain);
        sum.add(full);
        assert_eq!(sum.to_string(), "2 keys, digest 9d1b95d8833da14db5750f1326d083c9");
        sum.remove(plain);
        assert_eq!(sum, KeySum { keys: 1, digest: full });
        sum.remove(full);
        assert_eq!(sum, KeySum::default());
    }

    #[test]
    fn every_field_that_decides_who_logs_in_counts() {
        let one_login = digest(None, Some(&["git"]));
        let another_time = digest(Some("2027-01-31T12:00:01Z"), None);
        let swapped = digest(None, Some(&["deploy", "git"]));
        let all = [
            digest(None, None),
            digest(Some("2027-01-31T12:00:00Z"), None),
            another_time,
            one_login,
            swapped,
            digest(None, Some(&["git", "deploy"])),
        ];
        for (nth, digest) in all.iter().enumerate() {
            assert!(all.split_at(nth).0.iter().all(|other| other != digest), "{nth}");
        }
    }

    #[test]
    fn a_digest_has_one_text() {
        for text in ["", "0", "A7A522FD0BD28A2449F8238D1D12599E", "a7a522fd0bd28a2449f8238d1d12599e0"] {
            assert_eq!(text.parse::<KeyDigest>(), Err(ParseKeyDigestError), "{text}");
        }
        assert_eq!("0".repeat(32).parse(), Ok(KeyDigest::default()));
    }

    proptest! {
        #[test]
        fn the_order_of_keys_makes_no_difference(digests in proptest::collection::vec(any::<u128>(), 0..20)) {
            let sum = |digests: &mut dyn Iterator<Item = &u128>| {
                let mut sum = KeySum::default();
                digests.for_each(|&digest| sum.add(KeyDigest(digest)));
                sum
            };
            let there = sum(&mut digests.iter());
            prop_assert_eq!(there, sum(&mut digests.iter().rev()));
            prop_assert_eq!(there.digest.to_string().parse(), Ok(there.digest));
        }
    }
}
