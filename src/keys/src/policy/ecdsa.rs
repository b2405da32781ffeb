//! Points of the ECDSA curves: those for which only the holder of a private key can sign.

use p256::NistP256;
use p256::elliptic_curve::Curve;
use p256::elliptic_curve::bigint::{ArrayEncoding, Integer};
use p384::NistP384;
use p521::NistP521;

use super::algorithm::Algorithm;
use super::refusal::Refusal;

/// Validates an ECDSA point (SEC 1 section 2.3.3) on `algorithm`'s curve.
pub(super) fn check(algorithm: Algorithm, encoded: &[u8]) -> Result<(), Refusal> {
    match algorithm {
        Algorithm::EcdsaP384 => {
            let (x, y) = coordinates::<48>(algorithm, encoded)?;
            let is_point = p384::PublicKey::from_sec1_bytes(encoded).is_ok();
            check_range::<NistP384>(is_point, x, y, 384)
        }
        Algorithm::EcdsaP521 => {
            let (x, y) = coordinates::<66>(algorithm, encoded)?;
            let is_point = p521::PublicKey::from_sec1_bytes(encoded).is_ok();
            check_range::<NistP521>(is_point, x, y, 521)
        }
        _ => {
            let (x, y) = coordinates::<32>(algorithm, encoded)?;
            let is_point = p256::PublicKey::from_sec1_bytes(encoded).is_ok();
            check_range::<NistP256>(is_point, x, y, 256)
        }
    }
}

/// The two coordinates of an uncompressed point, the only form that sshd reads.
fn coordinates<const BYTES: usize>(
    algorithm: Algorithm,
    encoded: &[u8],
) -> Result<(&[u8; BYTES], &[u8; BYTES]), Refusal> {
    match encoded {
        [0] => Err(Refusal::EcdsaIdentity),
        [2 | 3, x @ ..] if x.len() == BYTES => Err(Refusal::EcdsaCompressed),
        [4, rest @ ..] => rest
            .split_first_chunk()
            .and_then(|(x, y)| Some((x, y.try_into().ok()?)))
            .ok_or(Refusal::EcdsaForm(algorithm)),
        _ => Err(Refusal::EcdsaForm(algorithm)),
    }
}

/// Beyond the curve's equation, sshd requires each coordinate to have more than half the bits of the
/// order, and to be less than the order minus one (openssh-portable, `sshkey_ec_validate_public`).
/// A key outside these bounds could never log in, and no key generator makes one.
fn check_range<C: Curve>(is_point: bool, x: &[u8], y: &[u8], order_bits: u32) -> Result<(), Refusal> {
    if !is_point {
        return Err(Refusal::EcdsaOffCurve);
    }
    // The order is odd, so clearing its lowest bit subtracts one.
    debug_assert!(bool::from(C::ORDER.is_odd()));
    let mut limit = C::ORDER.to_be_byte_array();
    if let Some(lowest) = limit.last_mut() {
        *lowest &= !1;
    }
    // P-521's order is held in more bytes than its coordinates have.
    let limit = limit.get(limit.len() - x.len()..).unwrap_or_default();
    let is_in_range = |coordinate: &[u8]| bit_length(coordinate) > order_bits / 2 && coordinate < limit;
    if is_in_range(x) && is_in_range(y) { Ok(()) } else { Err(Refusal::EcdsaCoordinate) }
}

/// The number of bits of a big-endian number.
pub(super) fn bit_length(number: &[u8]) -> u32 {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    let highest = number.get(zeros).map_or(0, |byte| u8::BITS - byte.leading_zeros());
    let below = number.len().saturating_sub(zeros + 1);
    // Numbers come from texts of at most 16 KiB.
    highest + u32::try_from(below).unwrap_or(u32::MAX / 8).saturating_mul(8)
}
