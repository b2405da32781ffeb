//! The checksum by which a line or a file of the cache is found to be as it was written.

use sha2::{Digest, Sha256};

use crate::error::Damage;

/// Begins the last line of a file that is covered by one checksum.
const LAST_LINE: &str = "checksum=";
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

/// Ends `text`, the lines of a small file, with a line that has its checksum.
pub(crate) fn append_checksum(text: &mut String) {
    let sum = checksum(&[text.as_bytes()]);
    text.push_str(LAST_LINE);
    text.extend(sum.map(char::from));
    text.push('\n');
}

/// The lines of the file with the contents `bytes` that are between its first one, `format`, and the one of
/// [`append_checksum`].
pub(crate) fn verified_lines<'a>(bytes: &'a [u8], format: &str) -> Result<&'a str, Damage> {
    let text = str::from_utf8(bytes).map_err(|_| Damage::Checksum)?;
    let body = text.strip_prefix(format).ok_or(Damage::Format)?;
    let (lines, sum) = body.rsplit_once(LAST_LINE).ok_or(Damage::Fields)?;
    let covered = bytes.get(..format.len() + lines.len()).unwrap_or_default();
    if sum.strip_suffix('\n').map(str::as_bytes) == Some(checksum(&[covered]).as_slice()) {
        Ok(lines)
    } else {
        Err(Damage::Checksum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_what_sha256sum_prints() {
        assert_eq!(&checksum(&[b"ab", b"c"]), b"ba7816bf8f01cfea");
    }
}
