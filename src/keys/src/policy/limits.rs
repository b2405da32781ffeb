//! The limits of a key, for the rules and for the messages of refusals.

/// The longest text that is read as a key, in bytes. An RSA key of 16384 bits takes 2.8 KiB;
/// the rest is for a comment.
pub const KEY_TEXT_BYTES_MAX: usize = 16 * 1024;

/// The smallest RSA modulus in bits. NIST SP 800-131A section 3 disallows less; OpenSSH itself still takes 1024.
pub const RSA_MODULUS_BITS_MIN: u32 = 2048;

/// The largest RSA modulus in bits. OpenSSH reads no larger number (`SSHBUF_MAX_BIGNUM`), nor does OpenSSL verify with one.
pub(super) const RSA_MODULUS_BITS_MAX: u32 = 16384;

/// The smallest RSA exponent. FIPS 186-5 section 5.1 has exponents above 2^16. With e = 1 every message is its own
/// signature, and verifiers have a history of accepting forgeries with small exponents.
pub(super) const RSA_EXPONENT_MIN: u32 = 65537;

/// The largest RSA modulus in bits with which OpenSSL accepts an exponent of any size (`OPENSSL_RSA_SMALL_MODULUS_BITS`).
pub(super) const RSA_SMALL_MODULUS_BITS_MAX: u32 = 3072;

/// The longest RSA exponent in bits that OpenSSL accepts with a larger modulus (`OPENSSL_RSA_MAX_PUBEXP_BITS`). sshd reads
/// a key with a longer one, but rejects all its signatures.
pub(super) const RSA_EXPONENT_BITS_MAX: u32 = 64;

/// The largest RSA modulus in bits that is tested for primality, which takes a quarter of a second.
pub(super) const RSA_PRIME_TEST_BITS_MAX: u64 = 8192;

/// The longest FIDO application of an sk- key in bytes. `ssh-keygen` writes `ssh:` and a short name.
pub(super) const APPLICATION_BYTES_MAX: usize = 255;
