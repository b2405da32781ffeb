//! The key policy: the keys that sshd accepts, except those that it should not accept.
//!
//! Each step of the validation has its own file, with the reasons: `text` parses what users
//! paste, `compromised` lists keys whose private half is public, `blob` reads the wire format and
//! refuses non-canonical encodings, `ed25519`, `ecdsa`, `mldsa` and `rsa` validate the numbers in it, and
//! `weak_rsa` finds moduli that can be factored.

mod algorithm;
mod blob;
mod compromised;
mod ecdsa;
mod ed25519;
mod limits;
mod mldsa;
mod refusal;
mod rsa;
mod shared_factors;
mod small_primes;
mod text;
mod valid_key;
mod weak_rsa;

pub use algorithm::Algorithm;
pub use compromised::{CompromisedList, ParseCompromisedListError};
pub use limits::{KEY_TEXT_BYTES_MAX, RSA_MODULUS_BITS_MIN};
pub use refusal::Refusal;
pub use shared_factors::shared_factors;
pub use valid_key::{Policy, ValidKey, md5_fingerprint};
