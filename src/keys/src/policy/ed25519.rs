//! Points of Ed25519: those for which only the holder of a private key can sign (RFC 8032 section 5.1.3).
//!
//! Whether a point is on the curve takes a square root to decide, which is slower than all other checks of a key. For
//! many points it is decided at once, see [`are_on_curve`].

use std::sync::LazyLock;

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use fiat_crypto::curve25519_64 as fiat;
use sha2::{Digest as _, Sha256};

use super::refusal::Refusal;

/// A point that is valid except that it may be off the curve.
///
/// Invariant: its y is reduced, and not that of a point of small order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate([u8; BYTES]);

/// The length of an encoded point.
pub(super) const BYTES: usize = 32;
/// The highest bit of an encoding is the sign of x; the others are y, in little-endian order.
const Y_MASK: u8 = 0x7f;

/// The y of the points of order 1, 2, 4 and 8, for which anyone can sign.
static SMALL_ORDER: LazyLock<[[u8; BYTES]; 8]> =
    LazyLock::new(|| EIGHT_TORSION.map(|point| without_sign(point.compress().to_bytes())));

impl Candidate {
    /// Validates an encoded point as far as possible without a square root.
    pub(super) fn read(encoded: &[u8]) -> Result<Self, Refusal> {
        let bytes: [u8; BYTES] = encoded.try_into().map_err(|_| Refusal::Ed25519Length(encoded.len()))?;
        if !is_reduced(&bytes) {
            return Err(Refusal::Ed25519NonCanonical);
        }
        // The only other non-canonical encoding, x = 0 with a negative sign, exists only for points of
        // order 1 and 2, which are refused here.
        if SMALL_ORDER.contains(&without_sign(bytes)) {
            return Err(Refusal::Ed25519SmallOrder);
        }
        Ok(Self(bytes))
    }

    /// Whether it is a point of the curve.
    pub(super) fn is_on_curve(&self) -> bool {
        CompressedEdwardsY(self.0).decompress().is_some()
    }

    /// A number that is a square exactly if this is a point of the curve.
    ///
    /// x² = u/v with u = y² − 1 and v = d·y² + 1. v is never 0, because −1/d is no square, and u is 0
    /// only for the points of order 1 and 2; so u/v is a square exactly if u·v is, and it is not 0.
    fn square_if_on_curve(&self) -> Element {
        let y = Element::from_bytes(&without_sign(self.0));
        let y_squared = y.times(&y);
        let u = y_squared.minus(&Element::ONE);
        let v = y_squared.times(&Element::from_bytes(&D)).plus(&Element::ONE);
        u.times(&v)
    }
}

/// Whether y is below 2^255 − 19.
fn is_reduced(bytes: &[u8; BYTES]) -> bool {
    let [lowest, middle @ .., highest] = bytes;
    *lowest < 0xed || highest & Y_MASK != Y_MASK || middle.iter().any(|&byte| byte != 0xff)
}

fn without_sign(mut bytes: [u8; BYTES]) -> [u8; BYTES] {
    let [.., highest] = &mut bytes;
    *highest &= Y_MASK;
    bytes
}

/// The number of points whose numbers are multiplied in all combinations before the products go into subsets.
const GROUP: usize = 4;
const COMBINATIONS: usize = 1 << GROUP;
/// The number of subsets whose product has to be a square.
const SUBSETS: u32 = u64::BITS;

/// The number of points from which on it is cheaper to check all at once: each product takes a power, which
/// takes as long as a square root.
const AT_ONCE_MIN: usize = 2 * SUBSETS as usize;

/// Whether all of `candidates` are points of the curve. For many points it takes a fraction of the time of their square
/// roots.
pub(super) fn are_on_curve(candidates: &[Candidate]) -> bool {
    if candidates.len() < AT_ONCE_MIN {
        candidates.iter().all(Candidate::is_on_curve)
    } else {
        are_on_curve_at_once(candidates)
    }
}

/// Each point has a number that is a square exactly if the point is on the curve. Being a square is multiplicative:
/// if one number is not a square, the product of a random subset is not one with probability 1/2. So 64 subsets, each
/// chosen by one bit per point, miss a point off the curve with probability 2^-64. The bits come from a hash of the
/// points, so the result is deterministic, and no point can be chosen after the bits. After 2^64 attempts, an attacker
/// would have a stored key with which no one can sign.
fn are_on_curve_at_once(candidates: &[Candidate]) -> bool {
    let mut bits = Bits::of(candidates);
    let mut products = [Element::ONE; SUBSETS as usize];
    for group in candidates.chunks(GROUP) {
        let combinations = combinations(group);
        let chosen = bits.next_group();
        for (subset, product) in (0..SUBSETS).zip(&mut products) {
            let combination =
                (0..GROUP).zip(&chosen).map(|(place, bits)| ((bits >> subset & 1) as usize) << place);
            if let Some(factor) = combinations.get(combination.sum::<usize>()) {
                *product = product.times(factor);
            }
        }
    }
    products.iter().all(Element::is_square)
}

/// The products of all subsets of `group`. The bits of an index choose the members of the subset. The last
/// group may be short; it is filled up with 1.
fn combinations(group: &[Candidate]) -> [Element; COMBINATIONS] {
    let mut products = [Element::ONE; COMBINATIONS];
    for place in 0..GROUP {
        let factor = group.get(place).map_or(Element::ONE, Candidate::square_if_on_curve);
        let (without, with) = products.split_at_mut(1 << place);
        for (product, half) in with.iter_mut().zip(without) {
            *product = half.times(&factor);
        }
    }
    products
}

/// An endless sequence of bits that depends on every point.
struct Bits {
    seed: [u8; BYTES],
    counter: u64,
}

impl Bits {
    fn of(candidates: &[Candidate]) -> Self {
        let mut hasher = Sha256::new();
        for candidate in candidates {
            hasher.update(candidate.0);
        }
        Self { seed: hasher.finalize().into(), counter: 0 }
    }

    /// For each point of a group, the subsets that it is in.
    fn next_group(&mut self) -> [u64; GROUP] {
        let block: [u8; BYTES] =
            Sha256::new().chain_update(self.seed).chain_update(self.counter.to_le_bytes()).finalize().into();
        self.counter += 1;
        let mut words = [0; GROUP];
        for (word, bytes) in words.iter_mut().zip(block.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    }
}

const _: () = assert!(GROUP * size_of::<u64>() == BYTES, "a block of SHA-256 is the bits of one group");

/// The curve's d = −121665/121666, in little-endian order (RFC 8032 section 5.1).
const D: [u8; BYTES] = [
    0xa3, 0x78, 0x59, 0x13, 0xca, 0x4d, 0xeb, 0x75, 0xab, 0xd8, 0x41, 0x41, 0x4d, 0x0a, 0x70, 0x00, 0x98,
    0xe8, 0x79, 0x77, 0x79, 0x40, 0xc7, 0x8c, 0x73, 0xfe, 0x6f, 0x2b, 0xee, 0x6c, 0x03, 0x52,
];

/// A number modulo 2^255 − 19, by fiat-crypto's formally verified arithmetic.
#[derive(Clone, Copy)]
struct Element(fiat::fiat_25519_tight_field_element);

impl Element {
    const ONE: Self = Self(fiat::fiat_25519_tight_field_element([1, 0, 0, 0, 0]));
    const ZERO: Self = Self(fiat::fiat_25519_tight_field_element([0; 5]));

    /// The number in `bytes`, whose highest bit is 0.
    fn from_bytes(bytes: &[u8; BYTES]) -> Self {
        let mut element = Self::ZERO;
        fiat::fiat_25519_from_bytes(&mut element.0, bytes);
        element
    }

    fn times(&self, other: &Self) -> Self {
        let mut product = Self::ZERO;
        fiat::fiat_25519_carry_mul(&mut product.0, &self.relaxed(), &other.relaxed());
        product
    }

    fn plus(&self, other: &Self) -> Self {
        let mut sum = fiat::fiat_25519_loose_field_element([0; 5]);
        fiat::fiat_25519_add(&mut sum, &self.0, &other.0);
        Self::carried(&sum)
    }

    fn minus(&self, other: &Self) -> Self {
        let mut difference = fiat::fiat_25519_loose_field_element([0; 5]);
        fiat::fiat_25519_sub(&mut difference, &self.0, &other.0);
        Self::carried(&difference)
    }

    fn carried(loose: &fiat::fiat_25519_loose_field_element) -> Self {
        let mut element = Self::ZERO;
        fiat::fiat_25519_carry(&mut element.0, loose);
        element
    }

    fn relaxed(&self) -> fiat::fiat_25519_loose_field_element {
        let mut loose = fiat::fiat_25519_loose_field_element([0; 5]);
        fiat::fiat_25519_relax(&mut loose, &self.0);
        loose
    }

    fn squared(mut self, times: usize) -> Self {
        for _ in 0..times {
            let loose = self.relaxed();
            fiat::fiat_25519_carry_square(&mut self.0, &loose);
        }
        self
    }

    /// Whether it is a square and not 0: by Euler's criterion, whether its power of (p − 1)/2 = 2^254 − 10 is 1.
    fn is_square(&self) -> bool {
        // `ones_n` is the power of 2^n − 1, a number of n ones; `all_ones` has 250.
        let ones_2 = self.squared(1).times(self);
        let ones_4 = ones_2.squared(2).times(&ones_2);
        let ones_5 = ones_4.squared(1).times(self);
        let ones_10 = ones_5.squared(5).times(&ones_5);
        let ones_20 = ones_10.squared(10).times(&ones_10);
        let ones_40 = ones_20.squared(20).times(&ones_20);
        let ones_50 = ones_40.squared(10).times(&ones_10);
        let ones_100 = ones_50.squared(50).times(&ones_50);
        let ones_200 = ones_100.squared(100).times(&ones_100);
        let all_ones = ones_200.squared(50).times(&ones_50);
        // 2^254 − 10 = (2^250 − 1)·2^4 + 6
        let power = all_ones.squared(4).times(&ones_2.squared(1));
        power.to_bytes() == Self::ONE.to_bytes()
    }

    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        fiat::fiat_25519_to_bytes(&mut bytes, &self.0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Some candidates, half of which are on the curve.
    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        prop::collection::vec(any::<[u8; BYTES]>(), 1..64)
            .prop_map(|points| points.iter().filter_map(|point| Candidate::read(point).ok()).collect())
    }

    proptest! {
        #[test]
        fn one_point_is_on_the_curve_exactly_if_it_has_a_square_root(candidates in candidates()) {
            for candidate in candidates {
                prop_assert_eq!(are_on_curve_at_once(&[candidate]), candidate.is_on_curve());
                prop_assert_eq!(candidate.square_if_on_curve().is_square(), candidate.is_on_curve());
            }
        }

        #[test]
        fn many_points_are_on_the_curve_exactly_if_each_is(candidates in candidates(), spoiler in any::<prop::sample::Index>()) {
            let (mut good, bad): (Vec<_>, Vec<_>) = candidates.into_iter().partition(Candidate::is_on_curve);
            prop_assert!(are_on_curve_at_once(&good));
            for candidate in bad {
                let place = spoiler.index(good.len() + 1);
                good.insert(place, candidate);
                prop_assert!(!are_on_curve_at_once(&good));
                good.remove(place);
            }
        }

        #[test]
        fn two_points_off_the_curve_do_not_hide_each_other(candidates in candidates()) {
            let bad: Vec<_> = candidates.into_iter().filter(|candidate| !candidate.is_on_curve()).collect();
            for pair in bad.windows(2) {
                prop_assert!(!are_on_curve_at_once(pair));
            }
        }
    }

    #[test]
    fn no_points_are_all_on_the_curve() {
        assert!(are_on_curve_at_once(&[]));
    }
}
