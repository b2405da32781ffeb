//! Any number of public keys without known private keys.

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use data_encoding::BASE64;
use pushkeys_keys::Fingerprint;

/// The encoding of an Ed25519 key up to its point (RFC 8709 section 4).
const PREFIX: &[u8] = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20";

/// A valid Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntheticKey {
    /// `ssh-ed25519 AAAA…`.
    pub text: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// An endless sequence of valid Ed25519 public keys, determined by its seed: consecutive multiples of the base point.
#[derive(Debug, Clone)]
pub struct SyntheticKeys(EdwardsPoint);

impl SyntheticKeys {
    /// The keys of `seed`. Two seeds have no common key among the first 2^64.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Far from other seeds and from the small multiples, which are used in examples.
        let start = (u128::from(seed) + 1) << 64;
        Self(EdwardsPoint::mul_base(&Scalar::from(start)))
    }
}

impl Iterator for SyntheticKeys {
    type Item = SyntheticKey;

    fn next(&mut self) -> Option<SyntheticKey> {
        self.0 += ED25519_BASEPOINT_POINT;
        let blob = [PREFIX, self.0.compress().as_bytes()].concat();
        let text = format!("ssh-ed25519 {}", BASE64.encode(&blob));
        Some(SyntheticKey { text, fingerprint: Fingerprint::of(&blob) })
    }
}
