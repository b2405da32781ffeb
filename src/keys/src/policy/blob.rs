//! The encoding of a public key (RFC 4253 section 6.6): read strictly, so that a key that passes has
//! this encoding only, and sshd's fingerprint of its own re-encoding is the one that is stored.
//!
//! The crate `ssh-key` is not used for this, because it takes what has to be refused here: numbers with
//! needless zeros, negative numbers, compressed points and points off the curve. The tests compare with it.

use super::algorithm::Algorithm;
use super::ed25519::Candidate;
use super::limits::APPLICATION_BYTES_MAX;
use super::refusal::Refusal;
use super::{ecdsa, rsa};

/// What a decoded key is.
#[derive(Debug)]
pub(super) struct Contents {
    /// Its size in bits.
    pub(super) bits: u32,
    /// The point of a key of Ed25519, of which it is still to be shown that it is on the curve.
    pub(super) point: Option<Candidate>,
}

/// Judges a decoded key, but for the one question that is answered of many keys at once.
pub(super) fn read(algorithm: Algorithm, blob: &[u8]) -> Result<Contents, Refusal> {
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
        Algorithm::Rsa => {
            let (exponent, modulus) = (fields.number()?, fields.number()?);
            Contents { bits: rsa::check(modulus, exponent)?, point: None }
        }
    };
    if matches!(algorithm, Algorithm::SkEd25519 | Algorithm::SkEcdsaP256) {
        application(&mut fields)?;
    }
    fields.end()?;
    Ok(contents)
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

/// The relying party of a FIDO key. sshd hashes it as it is; it is bounded and printable because
/// people are shown it.
fn application(fields: &mut Fields<'_>) -> Result<(), Refusal> {
    let application = fields.string()?;
    let is_short = (1..=APPLICATION_BYTES_MAX).contains(&application.len());
    if is_short && application.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        Ok(())
    } else {
        Err(Refusal::SkApplication)
    }
}

/// The fields that are not read yet (RFC 4251 section 5).
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// A `string`: four bytes of length, then that many bytes.
    fn string(&mut self) -> Result<&'a [u8], Refusal> {
        let (length, rest) = self.0.split_first_chunk().ok_or(Refusal::Truncated)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Refusal::Truncated)?;
        let (value, rest) = rest.split_at_checked(length).ok_or(Refusal::Truncated)?;
        self.0 = rest;
        Ok(value)
    }

    /// An `mpint` that is not negative, as its bytes from the highest on, without the zero that keeps
    /// its sign. sshd reads one with more zeros too, and prints it without them.
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
