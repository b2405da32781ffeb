//! The encoding of a public key (RFC 4253 section 6.6). It is read strictly, so that a valid key has
//! one encoding only, and sshd's fingerprint of its own re-encoding is the one that is stored.
//!
//! The crate `ssh-key` is not used for this, because it accepts what has to be refused here: numbers with
//! needless zeros, negative numbers, compressed points and points off the curve. The tests compare with it.

use super::algorithm::Algorithm;
use super::ed25519::Candidate;
use super::limits::APPLICATION_BYTES_MAX;
use super::refusal::Refusal;
use super::{ecdsa, ed25519, mldsa, rsa};

/// The validated contents of a key.
#[derive(Debug)]
pub(super) struct Contents {
    /// Its size in bits.
    pub(super) bits: u32,
    /// The point of an Ed25519 key, which is still to be checked for being on the curve.
    pub(super) point: Option<Candidate>,
}

/// Validates a decoded key, except for [`Contents::point`], which is checked for many keys at once. Checks that take
/// milliseconds run only if `is_thorough`.
pub(super) fn read(algorithm: Algorithm, blob: &[u8], is_thorough: bool) -> Result<Contents, Refusal> {
    let mut fields = Fields(blob);
    if fields.string()? != algorithm.name().as_bytes() {
        return Err(Refusal::TypeMismatch(algorithm));
    }
    let contents = match algorithm {
        Algorithm::Ed25519 | Algorithm::SkEd25519 => {
            Contents { bits: 256, point: Some(Candidate::read(fields.string()?)?) }
        }
        Algorithm::EcdsaP256 | Algorithm::EcdsaP384 | Algorithm::EcdsaP521 | Algorithm::SkEcdsaP256 => {
            Contents { bits: on_ecdsa_curve(algorithm, &mut fields)?, point: None }
        }
        Algorithm::MlDsa44Ed25519 => {
            let key = fields.string()?;
            let (post_quantum, point) = key.split_first_chunk().ok_or(Refusal::MlDsaLength(key.len()))?;
            if point.len() != ed25519::BYTES {
                return Err(Refusal::MlDsaLength(key.len()));
            }
            mldsa::check(post_quantum)?;
            // OpenSSH counts the bits of the two private keys.
            Contents { bits: 512, point: Some(Candidate::read(point)?) }
        }
        Algorithm::Rsa => {
            let (exponent, modulus) = (fields.number()?, fields.number()?);
            Contents { bits: rsa::check(modulus, exponent, is_thorough)?, point: None }
        }
    };
    if matches!(algorithm, Algorithm::SkEd25519 | Algorithm::SkEcdsaP256) {
        application(&mut fields)?;
    }
    fields.end()?;
    Ok(contents)
}

/// The modulus in the encoding of an RSA key, validated or not.
pub(super) fn rsa_modulus(blob: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(blob);
    let name = fields.string().ok()?;
    let (_exponent, modulus) = (fields.number().ok()?, fields.number().ok()?);
    (name == Algorithm::Rsa.name().as_bytes() && !modulus.is_empty()).then_some(modulus)
}

fn on_ecdsa_curve(algorithm: Algorithm, fields: &mut Fields<'_>) -> Result<u32, Refusal> {
    let (curve, bits): (&[u8], u32) = match algorithm {
        Algorithm::EcdsaP384 => (b"nistp384", 384),
        Algorithm::EcdsaP521 => (b"nistp521", 521),
        _ => (b"nistp256", 256),
    };
    if fields.string()? != curve {
        return Err(Refusal::EcdsaCurve(algorithm));
    }
    ecdsa::check(algorithm, fields.string()?)?;
    Ok(bits)
}

/// The relying party of a FIDO key. It has to be short and printable because it is shown
/// to users; sshd only hashes it.
fn application(fields: &mut Fields<'_>) -> Result<(), Refusal> {
    let application = fields.string()?;
    let is_short = (1..=APPLICATION_BYTES_MAX).contains(&application.len());
    if is_short && application.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        Ok(())
    } else {
        Err(Refusal::SkApplication)
    }
}

/// The remaining fields (RFC 4251 section 5).
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// A `string`: its length in four bytes, then its bytes.
    fn string(&mut self) -> Result<&'a [u8], Refusal> {
        let (length, rest) = self.0.split_first_chunk().ok_or(Refusal::Truncated)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Refusal::Truncated)?;
        let (value, rest) = rest.split_at_checked(length).ok_or(Refusal::Truncated)?;
        self.0 = rest;
        Ok(value)
    }

    /// An `mpint` that is not negative, in big-endian order, without the leading zero byte of its
    /// sign. sshd also reads numbers with more leading zeros, and prints them without.
    fn number(&mut self) -> Result<&'a [u8], Refusal> {
        match self.string()? {
            [0x80..=0xff, ..] => Err(Refusal::Negative),
            [0] | [0, 0..0x80, ..] => Err(Refusal::Number),
            [0, number @ ..] | number => Ok(number),
        }
    }

    fn end(&self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::TrailingBytes) }
    }
}
