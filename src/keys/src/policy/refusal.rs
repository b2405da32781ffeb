//! Why a text is refused as a key.

use thiserror::Error;

use super::algorithm::Algorithm;
use super::limits::{
    APPLICATION_BYTES_MAX, KEY_TEXT_BYTES_MAX, RSA_EXPONENT_BITS_MAX, RSA_EXPONENT_MIN, RSA_MODULUS_BITS_MAX,
    RSA_MODULUS_BITS_MIN, RSA_SMALL_MODULUS_BITS_MAX,
};

/// Why a text is refused as a key. Each message names cause and remedy for the user who sent the
/// text, and repeats nothing of it but the name of a type or a single character: a refused text
/// can be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Only blanks.
    #[error("there is no key here: paste the one line of your `.pub` file")]
    Empty,
    /// More than [`KEY_TEXT_BYTES_MAX`].
    #[error(
        "the text is longer than {} KiB, which no public key is: paste the one line of your `.pub` file",
        KEY_TEXT_BYTES_MAX / 1024
    )]
    TooLong,
    /// A private key in any format, anywhere in the text.
    #[error(
        "this is a private key: it was not stored, but consider it exposed and make a new one with \
         `ssh-keygen -t ed25519`; then paste the `.pub` file, never the file without `.pub`"
    )]
    PrivateKey,
    /// A public key in the format of RFC 4716.
    #[error(
        "this is a public key in SSH2 format: convert it with `ssh-keygen -i -f FILE` and paste the line that prints"
    )]
    Ssh2PublicKey,
    /// A public key in PEM, as X.509's `SubjectPublicKeyInfo` (RFC 7468 section 13).
    #[error(
        "this is a public key in PEM format: convert it with `ssh-keygen -i -m PKCS8 -f FILE` and paste the line that prints"
    )]
    Pkcs8PublicKey,
    /// A public key in PEM, as PKCS #1 (RFC 8017 appendix A.1.1).
    #[error(
        "this is an RSA public key in PEM format: convert it with `ssh-keygen -i -m PEM -f FILE` and paste the line that prints"
    )]
    Pkcs1PublicKey,
    /// Line breaks inside the text.
    #[error(
        "the text has more than one line: add keys one at a time, each as one line without a line break in it"
    )]
    MoreThanOneLine,
    /// A control character other than blanks between the words.
    #[error(
        "the text contains the control character U+{:04X} (character {place} of it): copy the line again from your `.pub` file",
        u32::from(*character)
    )]
    ControlCharacter {
        /// The first one.
        character: char,
        /// Its place in the text, from 1.
        place: usize,
    },
    /// A character outside ASCII in the type or the base64: usually an invisible one that a page, a mail or a word
    /// processor inserted.
    #[error(
        "the text contains the character U+{:04X} (character {place} of it), which no key has there: copy the line again from your `.pub` file, not from a page or a mail",
        u32::from(*character)
    )]
    StrayCharacter {
        /// The first one.
        character: char,
        /// Its place in the text, from 1.
        place: usize,
    },
    /// A command that makes or lists keys.
    #[error(
        "this is a command, not a key: run it in a terminal, and then paste the one line of the `.pub` file that it writes"
    )]
    Command,
    /// Options of `authorized_keys`, a host name, or anything else before the type.
    #[error(
        "there is something before the key, such as options or a host name: paste the line from its type on, such as `ssh-ed25519 AAAA…`"
    )]
    Options,
    /// The base64 without the type before it.
    #[error("the key's type is missing: paste the whole line, with the word before `AAAA…`")]
    TypeMissing,
    /// Nothing that looks like a key.
    #[error(
        "this is not an SSH public key: paste the one line of your `.pub` file, which begins like `ssh-ed25519 AAAA…`"
    )]
    NotAKey,
    /// A type that is not accepted. The name is one to 64 of `a-z`, `0-9` and `-.@`.
    #[error("keys of type `{0}` are not accepted: make one that is with `ssh-keygen -t ed25519`")]
    UnknownType(Box<str>),
    /// An OpenSSH certificate.
    #[error(
        "this is a certificate, not a public key: paste the `.pub` file of the key itself, not the one that ends in `-cert.pub`"
    )]
    Certificate,
    /// DSA, which OpenSSH no longer supports.
    #[error("DSA keys are too weak and no longer supported: make a new key with `ssh-keygen -t ed25519`")]
    Dsa,
    /// The name of an experimental type of OpenSSH 10.4 and 10.5.
    #[error(
        "`ssh-mldsa44-ed25519@openssh.com` is an experimental type of OpenSSH 10.4 that later releases do not read: make a new key with `ssh-keygen -t mldsa44-ed25519` of OpenSSH 10.6"
    )]
    ExperimentalType,
    /// A type without a key after it.
    #[error("the line ends after the key's type: paste the whole line of your `.pub` file")]
    DataMissing,
    /// Not base64 (RFC 4648 section 4), or not its canonical form.
    #[error("the key is damaged, it is not valid base64: copy the whole line again from your `.pub` file")]
    Base64,
    /// The encoding ends in the middle of a field.
    #[error("the key is cut short: copy the whole line again from your `.pub` file")]
    Truncated,
    /// Bytes after the last field.
    #[error("there is more data after the key's end: copy the whole line again from your `.pub` file")]
    TrailingBytes,
    /// The line's first word and the encoded type differ.
    #[error(
        "the line says `{0}`, but the key in it is of another type: copy the whole line again from your `.pub` file"
    )]
    TypeMismatch(Algorithm),
    /// A non-canonical encoding of a number, which would give one key two fingerprints.
    #[error(
        "a number in the key is not in its shortest form: print the key again with `ssh-keygen -y -f PRIVATE_KEY_FILE`"
    )]
    Number,
    /// A negative modulus or exponent.
    #[error(
        "a number in the key is negative, which no real key has: make a new key with `ssh-keygen -t ed25519`"
    )]
    Negative,
    /// An Ed25519 key is 32 bytes.
    #[error("an Ed25519 key has 32 bytes, this one has {0}: copy the whole line again from your `.pub` file")]
    Ed25519Length(usize),
    /// A coordinate that is not reduced: a non-canonical encoding of a point.
    #[error("the key is not in Ed25519's only valid form: make a new one with `ssh-keygen -t ed25519`")]
    Ed25519NonCanonical,
    /// Not a point of the curve.
    #[error("the key is not a point of the curve Ed25519: copy the whole line again from your `.pub` file")]
    Ed25519OffCurve,
    /// A point of order 1, 2, 4 or 8, for which anybody can forge a signature that sshd accepts.
    #[error(
        "anybody could forge this key's signatures (its point has a small order): make a new key with `ssh-keygen -t ed25519`"
    )]
    Ed25519SmallOrder,
    /// A key of ML-DSA-44 is 1312 bytes, and one of Ed25519 is 32.
    #[error(
        "a key of type ssh-mldsa44-ed25519 has 1344 bytes, this one has {0}: copy the whole line again from your `.pub` file"
    )]
    MlDsaLength(usize),
    /// A key of ML-DSA with which a signature proves nothing.
    #[error(
        "anybody could forge this key's signatures (its ML-DSA half is degenerate): make a new key with `ssh-keygen -t mldsa44-ed25519`"
    )]
    MlDsaDegenerate,
    /// The curve that is named differs from the type's.
    #[error(
        "the key names a curve that does not match `{0}`: copy the whole line again from your `.pub` file"
    )]
    EcdsaCurve(Algorithm),
    /// The point at infinity.
    #[error(
        "the key is the point at infinity, which no real key is: make a new one with `ssh-keygen -t ed25519`"
    )]
    EcdsaIdentity,
    /// A compressed point (SEC 1 section 2.3.3), which SSH does not use.
    #[error(
        "the key's point is compressed, which OpenSSH does not read: print the key again with `ssh-keygen -y -f PRIVATE_KEY_FILE`"
    )]
    EcdsaCompressed,
    /// Neither compressed nor two coordinates.
    #[error(
        "the key's point does not have the form of `{0}`: copy the whole line again from your `.pub` file"
    )]
    EcdsaForm(Algorithm),
    /// Not a point of the curve.
    #[error("the key is not a point of its curve: copy the whole line again from your `.pub` file")]
    EcdsaOffCurve,
    /// A coordinate that sshd refuses.
    #[error("the key's point is one that OpenSSH refuses: make a new one with `ssh-keygen -t ed25519`")]
    EcdsaCoordinate,
    /// Fewer than 2048 bits.
    #[error(
        "the RSA key has {0} bits, and at least {RSA_MODULUS_BITS_MIN} are needed: make a new key with `ssh-keygen -t ed25519`"
    )]
    RsaTooSmall(u32),
    /// More than 16384 bits.
    #[error(
        "the RSA key has {0} bits, and OpenSSH reads at most {RSA_MODULUS_BITS_MAX}: make a new key with `ssh-keygen -t ed25519`"
    )]
    RsaTooLarge(u32),
    /// An even modulus has the factor two.
    #[error(
        "the RSA key's modulus is even, so anybody can break it: make a new key with `ssh-keygen -t ed25519`"
    )]
    RsaModulusEven,
    /// An even exponent has no private key.
    #[error(
        "the RSA key's exponent is even, which no real key has: make a new key with `ssh-keygen -t ed25519`"
    )]
    RsaExponentEven,
    /// An exponent below 65537; with 1, every signature is its own message.
    #[error(
        "the RSA key's exponent is smaller than {RSA_EXPONENT_MIN}, which makes forging signatures easier: make a new key with `ssh-keygen -t ed25519`"
    )]
    RsaExponentSmall,
    /// An exponent that is not smaller than the modulus.
    #[error(
        "the RSA key's exponent is not smaller than its modulus, which no real key has: make a new key with `ssh-keygen -t ed25519`"
    )]
    RsaExponentLarge,
    /// An exponent with which OpenSSL rejects all signatures.
    #[error(
        "the RSA key's exponent has {0} bits, and sshd takes at most {RSA_EXPONENT_BITS_MAX} with a modulus of more than {RSA_SMALL_MODULUS_BITS_MAX} bits, so this key could not log in: make a new key with `ssh-keygen -t ed25519`"
    )]
    RsaExponentLong(u32),
    /// A FIDO application that is not a short printable text.
    #[error(
        "the security key's application is not 1 to {APPLICATION_BYTES_MAX} printable ASCII characters: make a new key with `ssh-keygen -t ed25519-sk`"
    )]
    SkApplication,
    /// On the list of compromised keys.
    #[error(
        "the private half of this key has been published, so anybody can use it: make a new key with `ssh-keygen -t ed25519`"
    )]
    Published,
    /// The pattern of Infineon's prime generation (CVE-2017-15361).
    #[error(
        "this RSA key was made by a faulty chip and can be broken (ROCA, CVE-2017-15361): make a new key on a computer with `ssh-keygen -t ed25519`"
    )]
    Roca,
    /// Fermat's factorisation succeeds within a few steps (CVE-2022-26320).
    #[error(
        "this RSA key can be broken, its two primes are too close to each other: make a new key with `ssh-keygen -t ed25519`"
    )]
    ClosePrimes,
    /// The modulus is a prime, so the private exponent follows from the public one.
    #[error(
        "anybody can break this RSA key, its modulus is one prime in place of two: make a new key with `ssh-keygen -t ed25519`"
    )]
    RsaModulusPrime,
    /// Wiener's attack succeeds.
    #[error(
        "this RSA key can be broken, its private exponent is too short: make a new key with `ssh-keygen -t ed25519`"
    )]
    RsaPrivateExponentShort,
    /// The modulus is divisible by a small prime.
    #[error(
        "this RSA key can be broken or is damaged, its modulus has a small factor: make a new key with `ssh-keygen -t ed25519`"
    )]
    SmallFactor,
}
