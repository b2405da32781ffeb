//! A valid key, and the options of the policy.

use std::fmt::Write as _;

use base64ct::{Base64, Encoding};
use md5::{Digest, Md5};

use super::algorithm::Algorithm;
use super::compromised::CompromisedList;
use super::ed25519::Candidate;
use super::refusal::Refusal;
use super::{blob, ed25519, text};
use crate::fingerprint::Fingerprint;

/// The options of the policy: which keys are known to be compromised, and whether slow checks, which take
/// milliseconds, are made.
///
/// The default has [`CompromisedList::built_in`] and takes some microseconds per key, since a host validates every
/// key of a snapshot.
#[derive(Debug, Clone)]
pub struct Policy {
    compromised: CompromisedList,
    is_thorough: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { compromised: CompromisedList::built_in(), is_thorough: false }
    }
}

impl Policy {
    /// This policy with slow checks of RSA keys, for registration: factors below 2^20, and a prime modulus
    /// of up to 8192 bits. They take some 10 ms for 2048 bits, and up to a quarter of a second for larger keys.
    #[must_use]
    pub fn thorough(self) -> Self {
        Self { is_thorough: true, ..self }
    }

    /// This policy, which also refuses the keys of `list`.
    #[must_use]
    pub fn with_compromised(mut self, list: CompromisedList) -> Self {
        self.compromised.merge(list);
        self
    }
}

/// A public key that the policy accepted.
///
/// Invariant: only [`ValidKey::check`] and [`ValidKey::check_all`] make one, so a key of this type needs no second check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidKey {
    algorithm: Algorithm,
    bits: u32,
    fingerprint: Fingerprint,
    /// Invariant: `type base64`, exactly as OpenSSH prints this key.
    canonical_text: Box<str>,
    /// Invariant: neither empty nor surrounded by blanks, without control characters.
    comment: Option<Box<str>>,
}

impl ValidKey {
    /// Validates `text`, one line as in a `.pub` file: type, base64 and an optional comment. Extra blanks are
    /// accepted where OpenSSH accepts them.
    pub fn check(text: &str, policy: &Policy) -> Result<Self, Refusal> {
        let (key, point) = Self::read(text, policy)?;
        if point.is_none_or(|point| point.is_on_curve()) { Ok(key) } else { Err(Refusal::Ed25519OffCurve) }
    }

    /// The result of [`ValidKey::check`] for each of `texts`, in their order. For some hundred Ed25519 keys it takes a third
    /// of the time.
    #[must_use]
    pub fn check_all<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        policy: &Policy,
    ) -> Vec<Result<Self, Refusal>> {
        let read: Vec<_> = texts.into_iter().map(|text| Self::read(text, policy)).collect();
        let points: Vec<_> = read.iter().flatten().filter_map(|(_, point)| *point).collect();
        // If one point is off the curve, each is checked on its own.
        let are_all_on_curve = ed25519::are_on_curve(&points);
        let validate = |(key, point): (Self, Option<Candidate>)| {
            let is_good = are_all_on_curve || point.is_none_or(|point| point.is_on_curve());
            if is_good { Ok(key) } else { Err(Refusal::Ed25519OffCurve) }
        };
        read.into_iter().map(|read| read.and_then(validate)).collect()
    }

    /// Validates `text`, except whether the point in it is on its curve.
    fn read(text: &str, policy: &Policy) -> Result<(Self, Option<Candidate>), Refusal> {
        let line = text::parse(text)?;
        let blob = Base64::decode_vec(line.base64).map_err(|_| Refusal::Base64)?;
        let fingerprint = Fingerprint::of(&blob);
        if policy.compromised.contains(&fingerprint) {
            return Err(Refusal::Published);
        }
        let contents = blob::read(line.algorithm, &blob, policy.is_thorough)?;
        let key = Self {
            algorithm: line.algorithm,
            bits: contents.bits,
            fingerprint,
            canonical_text: canonical_text(line.algorithm, line.base64),
            comment: line.comment.map(Box::from),
        };
        Ok((key, contents.point))
    }

    /// The key's type.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The size in bits as `ssh-keygen -l` shows it: of the modulus, or of the curve.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The SHA-256 fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The MD5 fingerprint as colon-separated hex, `01:0e:e5:…`, for users to compare. MD5 has
    /// collisions, so nothing may be decided by it.
    #[must_use]
    pub fn md5(&self) -> String {
        // By the invariant there is base64 after the type.
        md5_fingerprint(&self.canonical_text).unwrap_or_default()
    }

    /// The key as `type base64`, in the canonical encoding, without a comment.
    #[must_use]
    pub fn canonical_text(&self) -> &str {
        &self.canonical_text
    }

    /// The comment after the key, without blanks around it. It is not escaped.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }
}

/// The MD5 fingerprint, as [`ValidKey::md5`] gives it, of the key in `text`, which was validated before and is not
/// validated again. `None` if there is no base64 after the type.
#[must_use]
pub fn md5_fingerprint(text: &str) -> Option<String> {
    let blob = Base64::decode_vec(text.split_ascii_whitespace().nth(1)?).ok()?;
    let mut shown = String::with_capacity(3 * 16);
    for byte in Md5::digest(blob) {
        let separator = if shown.is_empty() { "" } else { ":" };
        // Writing to a String cannot fail.
        let _ = write!(shown, "{separator}{byte:02x}");
    }
    Some(shown)
}

fn canonical_text(algorithm: Algorithm, base64: &str) -> Box<str> {
    let name = algorithm.name();
    let mut text = String::with_capacity(name.len() + 1 + base64.len());
    text.push_str(name);
    text.push(' ');
    text.push_str(base64);
    text.into_boxed_str()
}
