//! Encryption of cookies and of secrets in the database.
//!
//! AES-256-GCM with random nonces and a key for each purpose, derived from the service's secret. (2^32 nonces are safe
//! under one key, which takes a thousand a second for seven weeks.) The context is authenticated but not encrypted: what
//! was encrypted for one account or session does not decrypt for another.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use thiserror::Error;

/// Encrypts and decrypts for one purpose; clones share the key.
///
/// Deliberately without `Debug`.
#[derive(Clone)]
pub(crate) struct Cipher(Arc<RandomizedNonceKey>);

/// The cryptographic library failed, for lack of memory or of random bytes.
#[derive(Debug, Error)]
#[error("the cryptographic library failed")]
pub(crate) struct EncryptError;

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, EncryptError> {
        RandomizedNonceKey::new(&AES_256_GCM, key).map(|key| Self(Arc::new(key))).map_err(|_| EncryptError)
    }

    /// The nonce, followed by `text` encrypted for `context`.
    pub(crate) fn encrypt(&self, context: &str, text: &[u8]) -> Result<Vec<u8>, EncryptError> {
        let mut encrypted = text.to_vec();
        let nonce =
            self.0.seal_in_place_append_tag(Aad::from(context), &mut encrypted).map_err(|_| EncryptError)?;
        Ok([nonce.as_ref().as_slice(), &encrypted].concat())
    }

    /// The text that was encrypted for `context`. `None`: for another context, with another secret, or changed since.
    pub(crate) fn decrypt(&self, context: &str, encrypted: &[u8]) -> Option<Vec<u8>> {
        let (nonce, encrypted) = encrypted.split_first_chunk::<NONCE_LEN>()?;
        let mut text = encrypted.to_vec();
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
    fn decrypts_only_with_the_same_context_and_key() {
        let cipher = Cipher::new(&[7; 32]).unwrap();
        let bytes = cipher.encrypt("acct_ana", b"token").unwrap();
        assert_eq!(cipher.decrypt("acct_ana", &bytes).as_deref(), Some(b"token".as_slice()));
        assert_eq!(cipher.decrypt("acct_bob", &bytes), None);
        assert_eq!(Cipher::new(&[8; 32]).unwrap().decrypt("acct_ana", &bytes), None);
        assert_ne!(cipher.encrypt("acct_ana", b"token").unwrap(), bytes);
    }

    #[test]
    fn a_changed_or_truncated_text_does_not_decrypt() {
        let cipher = Cipher::new(&[7; 32]).unwrap();
        let bytes = cipher.encrypt("", b"token").unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(cipher.decrypt("", &changed), None, "byte {at}");
            assert_eq!(cipher.decrypt("", &bytes[..at]), None, "cut at {at}");
        }
    }
}
