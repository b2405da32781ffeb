//! RSA moduli, sound and unsound.

use num_bigint::BigUint;

/// The exponent of every key that `ssh-keygen` makes.
pub(crate) fn f4() -> BigUint {
    BigUint::from(65537_u32)
}

/// The smallest number of `bits` bits that no prime below 2^14 divides.
pub(crate) fn sound(bits: u32) -> BigUint {
    let mut number = (BigUint::from(1_u32) << (bits - 1)) + 1_u32;
    while !is_rough(&number) {
        number += 2_u32;
    }
    number
}

/// Whether no prime below 2^14 divides `number`.
pub(crate) fn is_rough(number: &BigUint) -> bool {
    let zero = BigUint::ZERO;
    number.bit(0) && (3..1_u32 << 14).step_by(2).all(|divisor| number % divisor != zero)
}

/// The next odd number from `number` on that is a prime, by Fermat's test with base two.
pub(crate) fn next_prime(number: BigUint) -> BigUint {
    let mut number = number | BigUint::from(1_u32);
    while !is_prime(&number) {
        number += 2_u32;
    }
    number
}

fn is_prime(number: &BigUint) -> bool {
    let two = BigUint::from(2_u32);
    is_rough(number) && two.modpow(&(number - 1_u32), number) == BigUint::from(1_u32)
}

/// A modulus as Infineon's library made it for 2048 bits: both primes are k·M + (65537^a mod M), where M is
/// the product of the first 126 primes (Nemec and others, CCS 2017, section 2.1).
pub(crate) fn infineon() -> BigUint {
    let primes = (2..=701_u32).filter(|&number| (2..number).all(|divisor| !number.is_multiple_of(divisor)));
    let product = primes.map(BigUint::from).product::<BigUint>();
    let prime = |power: u32, first_multiple: u64| {
        let base = f4().modpow(&BigUint::from(power), &product);
        let mut candidate = &base + &product * first_multiple;
        while !is_prime(&candidate) {
            candidate += &product;
        }
        candidate
    };
    // Multiples of this size give primes of 1024 bits.
    prime(0x1234_5678, 6_600_000_000_000_000) * prime(0x0fed_cba9, 6_700_000_000_000_000)
}

/// A modulus of a prime near 1.5 × 2^1023 and the first prime that is `distance` or more above it.
pub(crate) fn of_primes_apart(distance: &BigUint) -> BigUint {
    let first = next_prime(BigUint::from(3_u32) << 1022_u32);
    let second = next_prime(&first + distance);
    first * second
}

/// A modulus for which Fermat's factorisation takes exactly `steps`, of two numbers without small factors.
pub(crate) fn fermat(steps: u32) -> BigUint {
    let mut mean = BigUint::from(3_u32) << 1022_u32;
    loop {
        mean += 1_u32;
        // The root of n = a² - b² is a - b²/2a, and b is chosen for the middle of a step.
        let half = (&mean * (2 * steps - 1)).sqrt();
        let modulus = (&mean - &half) * (&mean + &half);
        if is_rough(&modulus) {
            let root = modulus.sqrt() + 1_u32;
            assert_eq!(&root + (steps - 1), mean);
            return modulus;
        }
    }
}
