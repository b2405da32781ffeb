//! Remainders of a modulus by all small primes.
//!
//! A snapshot can hold a million keys, so primes are multiplied into groups, and a remainder by a group
//! takes one multiplication per 64 bits of the modulus, with weights that are computed once.

use std::sync::LazyLock;

use num_bigint::BigUint;

use super::limits::RSA_MODULUS_BITS_MAX;

/// Primes below this are tried. They divide seven of eight random odd numbers, so a damaged or
/// made-up modulus is likely found; those below 2^16, six times the number, would find a fifth of the rest.
const SMALL_PRIME_MAX: u64 = 1 << 13;

/// Infineon's library used the primes from 3 to this one for its shortest keys, and more for others.
const INFINEON_PRIME_MAX: u64 = 167;
const INFINEON_GENERATOR: u64 = 65537;

/// The longest product of a group in bits.
const PRODUCT_BITS_MAX: u32 = 55;
const LIMBS_MAX: usize = RSA_MODULUS_BITS_MAX as usize / 64;

// A sum of LIMBS_MAX products of a limb and a weight fits 128 bits, and four remainders fit 64.
const _: () = assert!(64 + PRODUCT_BITS_MAX + LIMBS_MAX.ilog2() < 128 && PRODUCT_BITS_MAX + 2 < 64);

/// All odd primes below [`SMALL_PRIME_MAX`] in ascending order.
pub(super) static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(|| {
    let mut groups = Vec::new();
    let mut members: Vec<u64> = Vec::new();
    for prime in (3..SMALL_PRIME_MAX).filter(|&number| is_odd_prime(number)) {
        if members.iter().product::<u64>() >= (1 << PRODUCT_BITS_MAX) / prime {
            groups.push(Group::new(&members));
            members.clear();
        }
        members.push(prime);
    }
    groups.push(Group::new(&members));
    groups
});

/// The product of all odd primes below `end`.
pub(super) fn product_of_odd_primes_below(end: usize) -> BigUint {
    // The index of each odd number is half of it, rounded down.
    let mut is_prime = vec![true; end / 2];
    for half in 1..is_prime.len() {
        let number = 2 * half + 1;
        if is_prime.get(half) == Some(&true) {
            is_prime
                .iter_mut()
                .skip(number.saturating_mul(number) / 2)
                .step_by(number)
                .for_each(|is_prime| *is_prime = false);
        }
    }
    let primes = is_prime.iter().enumerate().skip(1).filter(|(_, is_prime)| **is_prime);
    product(primes.map(|(half, _)| BigUint::from(2 * half + 1)).collect())
}

/// Numbers of one length multiply fastest.
pub(super) fn product(mut numbers: Vec<BigUint>) -> BigUint {
    while numbers.len() > 1 {
        numbers = numbers.chunks(2).map(|pair| pair.iter().product()).collect();
    }
    numbers.pop().unwrap_or_else(|| BigUint::from(1_u32))
}

/// Some primes and their product.
pub(super) struct Group {
    /// The primes, each with its sets of remainders.
    pub(super) primes: Vec<SmallPrime>,
    /// Invariant: at most [`PRODUCT_BITS_MAX`] bits.
    product: u64,
    /// The remainders of 1, 2^64, 2^128 … by the product.
    weights: Vec<u64>,
}

impl Group {
    fn new(primes: &[u64]) -> Self {
        let product = primes.iter().product();
        let step = (1_u128 << 64) % u128::from(product);
        let weights =
            std::iter::successors(Some(1), |&weight| Some(modulo(u128::from(weight) * step, product)));
        Self {
            primes: primes.iter().map(|&value| SmallPrime::new(value)).collect(),
            product,
            weights: weights.take(LIMBS_MAX).collect(),
        }
    }

    /// The remainder of a number of at most [`LIMBS_MAX`] limbs, the lowest first.
    pub(super) fn remainder(&self, limbs: &[u64]) -> u64 {
        debug_assert!(limbs.len() <= LIMBS_MAX);
        let products =
            limbs.iter().zip(&self.weights).map(|(&limb, &weight)| u128::from(limb) * u128::from(weight));
        modulo(products.sum(), self.product)
    }

    /// The remainder of `number`.
    pub(super) fn reduce(&self, number: u64) -> u64 {
        number % self.product
    }

    /// The remainder of `number`'s square.
    pub(super) fn square(&self, number: u64) -> u64 {
        modulo(u128::from(number) * u128::from(number), self.product)
    }

    /// The remainder of `left - right`, both remainders.
    pub(super) fn difference(&self, left: u64, right: u64) -> u64 {
        self.reduce(left + self.product - right)
    }
}

/// A prime, and for those of [`INFINEON_PRIME_MAX`] and below, sets of remainders by it.
pub(super) struct SmallPrime {
    /// The prime itself.
    pub(super) value: u64,
    /// The powers of Infineon's generator.
    pub(super) infineon: Remainders,
    /// The squares, with zero.
    pub(super) squares: Remainders,
}

impl SmallPrime {
    fn new(value: u64) -> Self {
        if value > INFINEON_PRIME_MAX {
            return Self { value, infineon: Remainders::default(), squares: Remainders::default() };
        }
        let powers = std::iter::successors(Some(1), |power| Some(power * INFINEON_GENERATOR % value));
        let squares = (0..value).map(|root| root * root % value);
        Self {
            value,
            // After this number of powers they repeat.
            infineon: Remainders::new(value, powers.zip(0..value).map(|(power, _)| power)),
            squares: Remainders::new(value, squares),
        }
    }
}

/// A set of remainders by one prime. The default contains them all.
#[derive(Default)]
pub(super) struct Remainders(Box<[bool]>);

impl Remainders {
    fn new(prime: u64, members: impl Iterator<Item = u64>) -> Self {
        let members: Vec<u64> = members.collect();
        Self((0..prime).map(|remainder| members.contains(&remainder)).collect())
    }

    /// Whether `remainder` is in the set.
    pub(super) fn contains(&self, remainder: u64) -> bool {
        usize::try_from(remainder).ok().and_then(|index| self.0.get(index)).is_none_or(|&is_member| is_member)
    }
}

fn modulo(number: u128, product: u64) -> u64 {
    // A remainder by a number of 64 bits has 64 bits. Zero, for the compiler, is the refused remainder.
    u64::try_from(number % u128::from(product)).unwrap_or(0)
}

fn is_odd_prime(number: u64) -> bool {
    let odd_divisors = (3..).step_by(2).take_while(|divisor| divisor * divisor <= number);
    number % 2 == 1 && number > 1 && !odd_divisors.into_iter().any(|divisor| number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_odd_prime_is_in_one_group() {
        let primes: Vec<u64> =
            GROUPS.iter().flat_map(|group| &group.primes).map(|prime| prime.value).collect();
        // The number of primes below 2^13, without two.
        assert_eq!((primes.len(), primes[0], primes[1026]), (1027, 3, 8191));
        assert!(primes.is_sorted_by(|left, right| left < right));
        assert!(GROUPS.iter().all(|group| group.product < 1 << PRODUCT_BITS_MAX));
    }

    #[test]
    fn the_product_is_that_of_all_groups() {
        let expected: BigUint = GROUPS.iter().map(|group| BigUint::from(group.product)).product();
        assert_eq!(product_of_odd_primes_below(1 << 13), expected);
        assert_eq!(product_of_odd_primes_below(12), BigUint::from(3 * 5 * 7 * 11_u32));
    }

    #[test]
    fn sets_of_remainders_have_the_sizes_of_number_theory() {
        let count = |set: &Remainders| set.0.iter().filter(|&&is_member| is_member).count();
        let check = |value: u64, infineon: usize| {
            let prime = SmallPrime::new(value);
            // Half of the remainders are squares, and zero is one.
            assert_eq!(count(&prime.squares), usize::try_from(value.div_ceil(2)).unwrap(), "{value}");
            assert_eq!(count(&prime.infineon), infineon, "{value}");
            assert!(prime.infineon.contains(1) && !prime.infineon.contains(0));
        };
        // The order of 65537, which is 2 by five, -1 by eleven, and generates all by 167.
        check(5, 4);
        check(11, 2);
        check(167, 166);
    }

    proptest! {
        #[test]
        fn remainders_agree_with_long_division(limbs in prop::collection::vec(any::<u64>(), 0..=LIMBS_MAX)) {
            let bytes: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
            let number = BigUint::from_bytes_le(&bytes);
            for group in GROUPS.iter() {
                prop_assert_eq!(BigUint::from(group.remainder(&limbs)), &number % group.product);
            }
        }

        #[test]
        fn squares_and_differences_agree_with_long_division(left in any::<u32>(), right in any::<u32>()) {
            for group in GROUPS.iter() {
                let (left, right) = (u64::from(left), u64::from(right) % group.product);
                let expected = (u128::from(left) * u128::from(left) + u128::from(group.product) - u128::from(right))
                    % u128::from(group.product);
                prop_assert_eq!(u128::from(group.difference(group.square(left), right)), expected);
            }
        }
    }
}
