//! RSA keys that share a prime, as devices with predictable random numbers generate them. With two such keys, both can be
//! broken by a division (Heninger and others, "Mining Your Ps and Qs", USENIX Security 2012).

use std::collections::{BTreeMap, HashSet};

use base64ct::{Base64, Encoding};
use num_bigint::BigUint;
use num_integer::Integer as _;

use super::algorithm::Algorithm;
use super::blob::rsa_modulus;
use super::small_primes::product;
use crate::fingerprint::Fingerprint;

/// The maximum number of RSA keys that are compared with each other. For 512 of 2048 bits it takes half a second.
const KEYS_MAX: usize = 512;

/// Which of `keys`, each as `type base64` with anything after it, have an RSA modulus that shares a factor with the modulus
/// of another one. Only the first 512 RSA keys are compared.
#[must_use]
pub fn shared_factors<'a>(keys: impl IntoIterator<Item = &'a str>) -> HashSet<Fingerprint> {
    let moduli: BTreeMap<Fingerprint, BigUint> = keys.into_iter().filter_map(read).take(KEYS_MAX).collect();
    let product = product(moduli.values().cloned().collect());
    let shares = |modulus: &BigUint| {
        // The product of the other moduli, modulo this one.
        let others = &product % modulus.pow(2) / modulus;
        others.gcd(modulus) != BigUint::from(1_u32)
    };
    moduli.iter().filter(|(_, modulus)| shares(modulus)).map(|(fingerprint, _)| *fingerprint).collect()
}

fn read(key: &str) -> Option<(Fingerprint, BigUint)> {
    let mut words = key.split_ascii_whitespace();
    if words.next()? != Algorithm::Rsa.name() {
        return None;
    }
    let blob = Base64::decode_vec(words.next()?).ok()?;
    Some((Fingerprint::of(&blob), BigUint::from_bytes_be(rsa_modulus(&blob)?)))
}
