//! A shard: the keys whose fingerprints begin with the same bits, as sorted lines between two sentinels.
//!
//! The first line (`#shard …`) sorts before every entry and the last (`~end …`) after it. Each names the shard
//! and has a checksum, so every place where a key could stand lies between two lines that prove themselves.

use pushkeys_keys::Fingerprint;

use crate::checksum::checksum;
use crate::error::Damage;

/// Keys per shard when a generation is made: more than half of it, at most all of it, on average.
pub(crate) const KEYS_PER_SHARD: u64 = 256;

/// The longest sentinel in bytes, newline included.
pub(crate) const SENTINEL_BYTES_MAX: usize = 128;

const FIRST: &str = "#shard";
const LAST: &str = "~end";

/// Which shard of which generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardId {
    /// The generation.
    pub generation: u64,
    /// How many bits of a fingerprint choose the shard.
    pub bits: u8,
    /// The value of these bits.
    pub index: u32,
}

impl ShardId {
    /// The shard that holds `fingerprint`.
    #[must_use]
    pub fn of(fingerprint: &Fingerprint, generation: u64, bits: u8) -> Self {
        Self { generation, bits, index: fingerprint.leading_bits(bits) }
    }

    /// The file's name: the bits in hexadecimal.
    #[must_use]
    pub fn file_name(&self) -> String {
        let width = usize::from(self.bits.div_ceil(4).max(1));
        format!("{:0width$x}", self.index)
    }

    /// Appends the line that begins a shard of `count` entries.
    pub(crate) fn write_first(&self, count: u64, bytes: &mut Vec<u8>) {
        self.write_sentinel(FIRST, count, bytes);
    }

    /// Appends the line that ends a shard of `count` entries.
    pub(crate) fn write_last(&self, count: u64, bytes: &mut Vec<u8>) {
        self.write_sentinel(LAST, count, bytes);
    }

    fn write_sentinel(&self, word: &str, count: u64, bytes: &mut Vec<u8>) {
        let Self { generation, bits, .. } = self;
        let text = format!("{word}\t{generation}\t{bits}\t{}\t{count}\t", self.file_name());
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(&checksum(&[text.as_bytes()]));
        bytes.push(b'\n');
    }

    /// The number of entries that the sentinel `line` gives, if it is this shard's own.
    pub(crate) fn check_first(&self, line: &[u8]) -> Result<u64, Damage> {
        self.check_sentinel(FIRST, line)
    }

    /// See [`ShardId::check_first`].
    pub(crate) fn check_last(&self, line: &[u8]) -> Result<u64, Damage> {
        self.check_sentinel(LAST, line)
    }

    fn check_sentinel(&self, word: &str, line: &[u8]) -> Result<u64, Damage> {
        let text = str::from_utf8(line).map_err(|_| Damage::Sentinel)?;
        let count = text.split('\t').nth(4).and_then(|count| count.parse().ok()).ok_or(Damage::Sentinel)?;
        let mut expected = Vec::with_capacity(SENTINEL_BYTES_MAX);
        self.write_sentinel(word, count, &mut expected);
        expected.pop();
        if expected == line { Ok(count) } else { Err(Damage::Sentinel) }
    }
}

/// How many bits make shards of about [`KEYS_PER_SHARD`] keys each.
pub(crate) fn bits_for(keys: u64) -> u8 {
    let shards = keys.div_ceil(KEYS_PER_SHARD).max(1);
    let bits = shards.next_power_of_two().trailing_zeros();
    u8::try_from(bits).unwrap_or(pushkeys_keys::SHARD_BITS_MAX).min(pushkeys_keys::SHARD_BITS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_hold_about_256_keys() {
        let check = |keys, bits| assert_eq!(bits_for(keys), bits, "{keys}");
        check(0, 0);
        check(256, 0);
        check(257, 1);
        check(10_000, 6);
        check(1_000_000, 12);
        check(10_000_000, 16);
        check(u64::MAX, pushkeys_keys::SHARD_BITS_MAX);
    }

    #[test]
    fn a_shard_is_named_by_its_bits() {
        let fingerprint: Fingerprint = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww".parse().unwrap();
        let check = |bits, name| assert_eq!(ShardId::of(&fingerprint, 1, bits).file_name(), name);
        check(0, "0");
        check(4, "0");
        check(6, "03");
        check(12, "0f2");
        check(13, "01e4");
    }

    #[test]
    fn a_sentinel_is_that_of_its_own_shard() {
        let shard = ShardId { generation: 7, bits: 12, index: 0xf2 };
        let mut line = Vec::new();
        shard.write_last(256, &mut line);
        line.pop();
        assert_eq!(shard.check_last(&line), Ok(256));
        assert_eq!(shard.check_first(&line), Err(Damage::Sentinel));
        assert_eq!(ShardId { index: 0xf3, ..shard }.check_last(&line), Err(Damage::Sentinel));
        assert_eq!(ShardId { generation: 8, ..shard }.check_last(&line), Err(Damage::Sentinel));
    }
}
