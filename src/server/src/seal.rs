//! What leaves this process and comes back, or lies in the database, and may be read by nobody else.
//!
//! AES-256-GCM under a key that is derived from the service's secret, one for each purpose, with random nonces (2^32
//! of them are safe under one key: a thousand a second for seven weeks would be needed). The context is not sealed but
//! bound: what was sealed for one account or one session does not open for another.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use thiserror::Error;

/// Seals and opens for one purpose; clones share the key.
///
/// Deliberately without `Debug`.
#[derive(Clone)]
pub(crate) struct Sealer(Arc<RandomizedNonceKey>);

/// The cryptographic library refused its work, for lack of memory or of random bytes.
#[derive(Debug, Error)]
#[error("the cryptographic library failed")]
pub(crate) struct SealError;

impl Sealer {
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, SealError> {
        RandomizedNonceKey::new(&AES_256_GCM, key).map(|key| Self(Arc::new(key))).map_err(|_| SealError)
    }

    /// The nonce, and then `text` sealed for `context`.
    pub(crate) fn seal(&self, context: &str, text: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut sealed = text.to_vec();
        let nonce =
            self.0.seal_in_place_append_tag(Aad::from(context), &mut sealed).map_err(|_| SealError)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// What was sealed for `context`. `None`: nothing was, or not by this service's secret, or it was changed.
    pub(crate) fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.0.open_in_place(nonce, Aad::from(context), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_for_its_context_and_for_no_other() {
        let sealer = Sealer::new(&[7; 32]).unwrap();
        let bytes = sealer.seal("acct_ana", b"token").unwrap();
        assert_eq!(sealer.open("acct_ana", &bytes).as_deref(), Some(b"token".as_slice()));
        assert_eq!(sealer.open("acct_bob", &bytes), None);
        assert_eq!(Sealer::new(&[8; 32]).unwrap().open("acct_ana", &bytes), None);
        assert_ne!(sealer.seal("acct_ana", b"token").unwrap(), bytes);
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let sealer = Sealer::new(&[7; 32]).unwrap();
        let bytes = sealer.seal("", b"token").unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.open("", &changed), None, "byte {at}");
            assert_eq!(sealer.open("", &bytes[..at]), None, "cut at {at}");
        }
    }
}
