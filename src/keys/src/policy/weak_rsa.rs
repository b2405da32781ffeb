//! RSA keys that can be broken: moduli with a small factor, from Infineon's faulty prime generation, of two primes close
//! to each other or of a single prime, and short private exponents.

use std::mem;
use std::sync::LazyLock;

use num_bigint::BigUint;
use num_integer::Integer as _;

use super::limits::RSA_PRIME_TEST_BITS_MAX;
use super::refusal::Refusal;
use super::small_primes::{GROUPS, Group, product_of_odd_primes_below};

/// Steps of Fermat's factorisation. Primes chosen at random need more steps than are feasible;
/// the moduli of generators that take the next prime after the first one need few (CVE-2022-26320).
const FERMAT_STEPS_MAX: u64 = 100;

/// A thorough check tries the primes below this, which takes a millisecond. Each doubling raises the probability that
/// a damaged modulus is found by one in fourteen.
const PRIME_MAX: usize = 1 << 20;

/// Every odd prime below [`PRIME_MAX`].
static PRIMES: LazyLock<BigUint> = LazyLock::new(|| product_of_odd_primes_below(PRIME_MAX));

/// Validates a key whose modulus is odd and greater than its exponent, in some microseconds.
pub(super) fn check(modulus: &BigUint, exponent: &BigUint) -> Result<(), Refusal> {
    if is_infineon(&modulus.to_u64_digits())? {
        return Err(Refusal::Roca);
    }
    match GROUPS.first() {
        Some(group) if has_close_primes(modulus, group) => return Err(Refusal::ClosePrimes),
        _ => {}
    }
    if has_short_private_exponent(modulus, exponent) {
        return Err(Refusal::RsaPrivateExponentShort);
    }
    Ok(())
}

/// The slow checks: larger small factors, and a modulus that is a prime.
pub(super) fn check_thoroughly(modulus: &BigUint) -> Result<(), Refusal> {
    if modulus.gcd(&(&*PRIMES % modulus)) != BigUint::from(1_u32) {
        return Err(Refusal::SmallFactor);
    }
    if modulus.bits() <= RSA_PRIME_TEST_BITS_MAX && is_prime(modulus) {
        return Err(Refusal::RsaModulusPrime);
    }
    Ok(())
}

/// Whether the modulus is a power of Infineon's generator by every prime that the library used (Nemec
/// and others, "The Return of Coppersmith's Attack", CCS 2017, section 2.3), which is also true of one random modulus in
/// 240 million. A small factor that is found on the way is an error.
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

/// Whether Fermat's factorisation ends within [`FERMAT_STEPS_MAX`]: for a from the square root of n upwards,
/// a² - n is a square when a is the mean of n's factors.
///
/// Few numbers are squares modulo every prime of `group`, so hardly any step needs the numbers themselves.
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

/// Whether the private exponent d is below the fourth root of n, so that the continued fraction of e/n reveals it
/// (Wiener, "Cryptanalysis of Short RSA Secret Exponents", 1990).
///
/// Where e·d = 1 + k·φ(n), k/d is a convergent of that fraction. A convergent is right if the φ(n) that follows from it is
/// that of two primes.
fn has_short_private_exponent(modulus: &BigUint, exponent: &BigUint) -> bool {
    // φ(n) has the same number of bits as n, and no product of a smaller e with such a d reaches it.
    if exponent.bits() + modulus.bits() / 4 < modulus.bits() - 1 {
        return false;
    }
    let (mut numerator, mut denominator) = (exponent.clone(), modulus.clone());
    let (mut k_before, mut k) = (BigUint::from(1_u32), BigUint::ZERO);
    let (mut d_before, mut d) = (BigUint::ZERO, BigUint::from(1_u32));
    // The first quotient is zero, since e is below n. Denominators grow by at least half with every second one, so there
    // are at most as many as d has bits.
    while d.bits() <= modulus.bits() / 4 + 1 && numerator != BigUint::ZERO {
        mem::swap(&mut numerator, &mut denominator);
        let quotient = &numerator / &denominator;
        numerator -= &quotient * &denominator;
        k_before += &quotient * &k;
        mem::swap(&mut k_before, &mut k);
        d_before += &quotient * &d;
        mem::swap(&mut d_before, &mut d);
        if is_private_exponent(modulus, exponent, &k, &d) {
            return true;
        }
    }
    false
}

fn is_private_exponent(modulus: &BigUint, exponent: &BigUint, k: &BigUint, d: &BigUint) -> bool {
    if !d.bit(0) || *k == BigUint::ZERO {
        return false;
    }
    let product = exponent * d - 1_u32;
    let totient = &product / k;
    if &totient * k != product || totient > *modulus {
        return false;
    }
    // The sum of the primes: they are the roots of x² − sum·x + n.
    let sum = modulus - totient + 1_u32;
    let (square, four_n) = (sum.pow(2), modulus * 4_u32);
    square >= four_n && is_square(&(square - four_n))
}

fn is_square(number: &BigUint) -> bool {
    number.sqrt().pow(2) == *number
}

/// Fermat's test. Of the composite numbers that pass it, none is known of two primes chosen at random.
fn is_prime(number: &BigUint) -> bool {
    let two = BigUint::from(2_u32);
    two.modpow(&(number - 1_u32), number) == BigUint::from(1_u32)
}
