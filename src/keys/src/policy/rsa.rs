//! RSA: the size of the modulus, and exponents for which only the holder of a private key can sign.

use super::ecdsa::bit_length;
use super::limits::{RSA_MODULUS_BITS_MAX, RSA_MODULUS_BITS_MIN};
use super::refusal::Refusal;
use super::weak_rsa;

const EXPONENT_MIN_BYTES: [u8; 3] = [1, 0, 1];

/// Judges a key of two numbers from their highest bytes on, without leading zeros, and tells the
/// modulus' size in bits.
pub(super) fn check(modulus: &[u8], exponent: &[u8]) -> Result<u32, Refusal> {
    let bits = bit_length(modulus);
    if bits < RSA_MODULUS_BITS_MIN {
        return Err(Refusal::RsaTooSmall(bits));
    }
    if bits > RSA_MODULUS_BITS_MAX {
        return Err(Refusal::RsaTooLarge(bits));
    }
    if is_even(modulus) {
        return Err(Refusal::RsaModulusEven);
    }
    if is_even(exponent) {
        return Err(Refusal::RsaExponentEven);
    }
    if is_less(exponent, &EXPONENT_MIN_BYTES) {
        return Err(Refusal::RsaExponentSmall);
    }
    if !is_less(exponent, modulus) {
        return Err(Refusal::RsaExponentLarge);
    }
    weak_rsa::check(modulus)?;
    Ok(bits)
}

/// Zero is even, and written as no bytes at all.
fn is_even(number: &[u8]) -> bool {
    number.last().is_none_or(|lowest| lowest.is_multiple_of(2))
}

/// Whether `left` is less than `right`, neither with leading zeros.
fn is_less(left: &[u8], right: &[u8]) -> bool {
    (left.len(), left) < (right.len(), right)
}
