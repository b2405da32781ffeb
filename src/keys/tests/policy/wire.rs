//! Keys built from the wire format (RFC 4251 section 5, RFC 4253 section 6.6).

use base64ct::{Base64, Encoding};
use num_bigint::BigUint;

/// A field: its length in four bytes, then the bytes.
pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A number that is not negative, in its only canonical form.
pub(crate) fn mpint(number: &BigUint) -> Vec<u8> {
    let bytes = number.to_bytes_be();
    match bytes[..] {
        [0] => string(&[]),
        [0x80..=0xff, ..] => string(&[&[0], &bytes[..]].concat()),
        _ => string(&bytes),
    }
}

/// The line whose first word is `name` and whose second word encodes `fields` as they are.
pub(crate) fn line_of(name: &str, fields: &[Vec<u8>]) -> String {
    format!("{name} {}", Base64::encode_string(&fields.concat()))
}

/// The line of a key of type `name` whose fields after the type are `fields`.
pub(crate) fn line(name: &str, fields: &[Vec<u8>]) -> String {
    let mut all = vec![string(name.as_bytes())];
    all.extend_from_slice(fields);
    line_of(name, &all)
}

pub(crate) fn ed25519(point: &[u8]) -> String {
    line("ssh-ed25519", &[string(point)])
}

pub(crate) fn sk_ed25519(point: &[u8], application: &[u8]) -> String {
    line("sk-ssh-ed25519@openssh.com", &[string(point), string(application)])
}

/// `key` is that of ML-DSA-44 and the point of Ed25519 after it.
pub(crate) fn mldsa44_ed25519(key: &[u8]) -> String {
    line("ssh-mldsa44-ed25519", &[string(key)])
}

/// `curve` is such as `nistp256`.
pub(crate) fn ecdsa(curve: &str, point: &[u8]) -> String {
    line(&format!("ecdsa-sha2-{curve}"), &[string(curve.as_bytes()), string(point)])
}

pub(crate) fn sk_ecdsa(point: &[u8], application: &[u8]) -> String {
    line("sk-ecdsa-sha2-nistp256@openssh.com", &[string(b"nistp256"), string(point), string(application)])
}

pub(crate) fn rsa(exponent: &BigUint, modulus: &BigUint) -> String {
    line("ssh-rsa", &[mpint(exponent), mpint(modulus)])
}
