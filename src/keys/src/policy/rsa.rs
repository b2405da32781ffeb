//! RSA: numbers with which OpenSSH can log in, and for which only the holder of a private key can sign.

use num_bigint::BigUint;

use super::ecdsa::bit_length;
use super::limits::{
    RSA_EXPONENT_BITS_MAX, RSA_EXPONENT_MIN, RSA_MODULUS_BITS_MAX, RSA_MODULUS_BITS_MIN,
    RSA_SMALL_MODULUS_BITS_MAX,
};
use super::refusal::Refusal;
use super::weak_rsa;

/// Validates a key of two big-endian numbers without leading zeros, and returns the size of the modulus in
/// bits. Checks that take milliseconds run only if `is_thorough`.
pub(super) fn check(modulus: &[u8], exponent: &[u8], is_thorough: bool) -> Result<u32, Refusal> {
    let bits = bit_length(modulus);
    if bits < RSA_MODULUS_BITS_MIN {
        return Err(Refusal::RsaTooSmall(bits));
    }
    if bits > RSA_MODULUS_BITS_MAX {
        return Err(Refusal::RsaTooLarge(bits));
    }
    let (modulus, exponent) = (BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent));
    if !modulus.bit(0) {
        return Err(Refusal::RsaModulusEven);
    }
    if !exponent.bit(0) {
        return Err(Refusal::RsaExponentEven);
    }
    if exponent < BigUint::from(RSA_EXPONENT_MIN) {
        return Err(Refusal::RsaExponentSmall);
    }
    if exponent >= modulus {
        return Err(Refusal::RsaExponentLarge);
    }
    let exponent_bits = u32::try_from(exponent.bits()).unwrap_or(u32::MAX);
    if bits > RSA_SMALL_MODULUS_BITS_MAX && exponent_bits > RSA_EXPONENT_BITS_MAX {
        return Err(Refusal::RsaExponentLong(exponent_bits));
    }
    weak_rsa::check(&modulus, &exponent)?;
    if is_thorough {
        weak_rsa::check_thoroughly(&modulus)?;
    }
    Ok(bits)
}
