//! The checksum by which a line or a file of the cache is found to be as it was written.

use sha2::{Digest, Sha256};

/// The length of a checksum in hexadecimal digits.
pub(crate) const CHECKSUM_CHARACTERS: usize = 16;

/// The first 64 bits of the SHA-256 over `parts` in hexadecimal: enough to notice any accident, and to be
/// recomputed with sha256sum.
pub(crate) fn checksum(parts: &[&[u8]]) -> [u8; CHECKSUM_CHARACTERS] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let mut text = [0; CHECKSUM_CHARACTERS];
    for (byte, pair) in hasher.finalize().iter().zip(text.chunks_exact_mut(2)) {
        for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_what_sha256sum_prints() {
        assert_eq!(&checksum(&[b"ab", b"c"]), b"ba7816bf8f01cfea");
    }
}
