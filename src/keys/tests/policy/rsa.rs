//! Strong and weak RSA moduli.

use std::sync::LazyLock;

use num_bigint::BigUint;
use num_integer::Integer as _;

/// The exponent of every key that `ssh-keygen` makes.
pub(crate) fn f4() -> BigUint {
    BigUint::from(65537_u32)
}

/// The smallest number of `bits` bits that no prime below 2^20 divides.
pub(crate) fn sound(bits: u32) -> BigUint {
    let mut number = (BigUint::from(1_u32) << (bits - 1)) + 1_u32;
    while !is_rough(&number) {
        number += 2_u32;
    }
    number
}

/// Whether no prime below 2^20 divides `number`.
pub(crate) fn is_rough(number: &BigUint) -> bool {
    number.bit(0) && number.gcd(&(&*ODD_PRIMES % number)) == BigUint::from(1_u32)
}

/// The product of all odd primes below 2^20.
static ODD_PRIMES: LazyLock<BigUint> = LazyLock::new(|| {
    let mut is_prime = vec![true; 1 << 20];
    let mut primes = Vec::new();
    for number in (3_usize..1 << 20).step_by(2) {
        if is_prime[number] {
            primes.push(BigUint::from(number));
            (number * number..1 << 20).step_by(number).for_each(|multiple| is_prime[multiple] = false);
        }
    }
    while primes.len() > 1 {
        primes = primes.chunks(2).map(|pair| pair.iter().product()).collect();
    }
    primes.remove(0)
});

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

/// Exponent and modulus of 2048 bits of a key whose private exponent is the first possible one of `bits` bits.
pub(crate) fn with_private_exponent(bits: u32) -> (BigUint, BigUint) {
    let one = BigUint::from(1_u32);
    let (first, second) =
        (next_prime(BigUint::from(3_u32) << 1022_u32), next_prime(BigUint::from(7_u32) << 1021_u32));
    let totient = (&first - &one) * (&second - &one);
    let mut private = (&one << (bits - 1)) + &one;
    loop {
        match private.modinv(&totient) {
            Some(exponent) => return (exponent, first * second),
            None => private += 2_u32,
        }
    }
}
