//! Public keys of ML-DSA-44 (FIPS 204): those for which only the holder of a private key can sign.
//!
//! Every encoding of the right length is a key, and no key has two encodings. But with t1 = 0, verification checks A·z
//! alone, which holds for any z: the challenge, which a forger cannot choose, is multiplied by t1.

use super::refusal::Refusal;

/// The length of a key in bytes: ρ, and t1 in ten bits for each coefficient.
pub(super) const BYTES: usize = 32 + POLYNOMIALS * POLYNOMIAL_BYTES;

/// k of ML-DSA-44.
const POLYNOMIALS: usize = 4;
const COEFFICIENTS: usize = 256;
const COEFFICIENT_BITS: usize = 10;
const POLYNOMIAL_BYTES: usize = COEFFICIENTS * COEFFICIENT_BITS / 8;

/// t1 is multiplied by 2^13, and the largest coefficient is then −1 modulo q. The hints of a signature can compensate
/// for coefficients this close to 0 or −1.
const NEAR: u64 = 2;

/// The maximum number of coefficients of a polynomial near 0. A real key has five of them in a thousand, by chance.
const NEAR_ZERO_MAX: usize = COEFFICIENTS / 2;

/// Validates a key by its encoding.
pub(super) fn check(encoded: &[u8; BYTES]) -> Result<(), Refusal> {
    let (_, t1) = encoded.split_at(BYTES - POLYNOMIALS * POLYNOMIAL_BYTES);
    // A polynomial near zero removes one row from the problem that a forger has to solve.
    if t1.chunks(POLYNOMIAL_BYTES).any(|polynomial| count_near_zero(polynomial) > NEAR_ZERO_MAX) {
        return Err(Refusal::MlDsaDegenerate);
    }
    Ok(())
}

fn count_near_zero(polynomial: &[u8]) -> usize {
    // Five bytes are four coefficients, the lowest bits first (FIPS 204, algorithm 16).
    let groups = polynomial
        .as_chunks::<5>()
        .0
        .iter()
        .map(|&[a, b, c, d, e]| u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]));
    let coefficients =
        groups.flat_map(|group| (0..4).map(move |place| group >> (place * COEFFICIENT_BITS) & 0x3ff));
    coefficients.filter(|&coefficient| coefficient <= NEAR || coefficient >= 0x400 - NEAR).count()
}
