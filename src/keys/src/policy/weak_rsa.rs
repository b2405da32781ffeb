//! RSA moduli that can be factored: with a small factor, made by Infineon's faulty prime generation, or
//! of two primes close to each other.

use num_bigint::BigUint;

use super::refusal::Refusal;
use super::small_primes::{GROUPS, Group};

/// Steps of Fermat's factorisation. Primes chosen at random need more steps than anybody could take;
/// generators that take the next prime after the first one fall within a few (CVE-2022-26320).
const FERMAT_STEPS_MAX: u64 = 100;

/// Judges an odd modulus, given from its highest byte on.
pub(super) fn check(modulus: &[u8]) -> Result<(), Refusal> {
    let modulus = BigUint::from_bytes_be(modulus);
    if is_infineon(&modulus.to_u64_digits())? {
        return Err(Refusal::Roca);
    }
    match GROUPS.first() {
        Some(group) if has_close_primes(&modulus, group) => Err(Refusal::ClosePrimes),
        _ => Ok(()),
    }
}

/// Whether the modulus is a power of Infineon's generator by every prime that the library used (Nemec
/// and others, "The Return of Coppersmith's Attack", CCS 2017, section 2.3). One random modulus in
/// 240 million is, too. A small factor, which is met on the way, is an error.
fn is_infineon(limbs: &[u64]) -> Result<bool, Refusal> {
    let mut is_infineon = true;
    for group in GROUPS.iter() {
        let remainder = group.remainder(limbs);
        for prime in &group.primes {
            let remainder = remainder % prime.value;
            if remainder == 0 {
                return Err(Refusal::SmallFactor);
            }
            is_infineon &= prime.infineon.contains(remainder);
        }
    }
    Ok(is_infineon)
}

/// Whether Fermat's factorisation ends within [`FERMAT_STEPS_MAX`]: with a from the square root of n on,
/// a² - n is a square when a is the mean of n's factors.
///
/// Few numbers are squares by every prime of `group`, so that hardly any step needs the numbers themselves.
fn has_close_primes(modulus: &BigUint, group: &Group) -> bool {
    let mut root = modulus.sqrt();
    if &root * &root < *modulus {
        root += 1_u32;
    }
    let mean = group.remainder(&root.to_u64_digits());
    let mut difference = group.difference(group.square(mean), group.remainder(&modulus.to_u64_digits()));
    for step in 0..FERMAT_STEPS_MAX {
        let may_be_square = group.primes.iter().all(|prime| prime.squares.contains(difference % prime.value));
        if may_be_square && is_square(&((&root + step).pow(2) - modulus)) {
            return true;
        }
        // (a + 1)² is a² + 2a + 1.
        difference = group.reduce(difference + 2 * (mean + step) + 1);
    }
    false
}

fn is_square(number: &BigUint) -> bool {
    number.sqrt().pow(2) == *number
}
