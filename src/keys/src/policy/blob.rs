//! The encoding of a public key (RFC 4253 section 6.6): read strictly, so that a key that passes has
//! this encoding only, and sshd's fingerprint of its own re-encoding is the one that is stored.
//!
//! The crate `ssh-key` is not used for this, because it takes what has to be refused here: numbers with
//! needless zeros, negative numbers, compressed points and points off the curve. The tests compare with it.

use super::{Algorithm, Refusal, point, rsa};

/// The longest FIDO application of an sk- key in bytes. `ssh-keygen` writes `ssh:` and a short name.
pub(super) const APPLICATION_BYTES_MAX: usize = 255;

/// Judges a decoded key, and tells its size in bits.
pub(super) fn check(algorithm: Algorithm, blob: &[u8]) -> Result<u32, Refusal> {
    let mut fields = Fields(blob);
    if fields.string()? != algorithm.name().as_bytes() {
        return Err(Refusal::TypeMismatch(algorithm));
    }
    let bits = match algorithm {
        Algorithm::Ed25519 => ed25519(&mut fields)?,
        Algorithm::SkEd25519 => {
            let bits = ed25519(&mut fields)?;
            application(&mut fields)?;
            bits
        }
        Algorithm::EcdsaP256 | Algorithm::EcdsaP384 | Algorithm::EcdsaP521 => ecdsa(algorithm, &mut fields)?,
        Algorithm::SkEcdsaP256 => {
            let bits = ecdsa(algorithm, &mut fields)?;
            application(&mut fields)?;
            bits
        }
        Algorithm::Rsa => {
            let (exponent, modulus) = (fields.number()?, fields.number()?);
            rsa::check(modulus, exponent)?
        }
    };
    fields.end()?;
    Ok(bits)
}

fn ed25519(fields: &mut Fields<'_>) -> Result<u32, Refusal> {
    point::check_ed25519(fields.string()?)?;
    Ok(256)
}

fn ecdsa(algorithm: Algorithm, fields: &mut Fields<'_>) -> Result<u32, Refusal> {
    let (curve, bits): (&[u8], u32) = match algorithm {
        Algorithm::EcdsaP384 => (b"nistp384", 384),
        Algorithm::EcdsaP521 => (b"nistp521", 521),
        _ => (b"nistp256", 256),
    };
    if fields.string()? != curve {
        return Err(Refusal::EcdsaCurve(algorithm));
    }
    point::check_ecdsa(algorithm, fields.string()?)?;
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
