//! The key policy: what sshd would take, and what it takes but must not.

use thiserror::Error;

use crate::Fingerprint;

/// The longest text that is read as a key.
pub const KEY_TEXT_BYTES_MAX: usize = 16 * 1024;

/// What is judged beyond the fixed rules.
#[derive(Debug, Clone, Default)]
pub struct Policy {}

/// A public key that the policy accepted; only [`ValidKey::check`] makes one.
#[derive(Debug, Clone)]
pub struct ValidKey {
    text: Box<str>,
    fingerprint: Fingerprint,
}

/// Why a text is refused as a key, in a sentence for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// stub
    #[error("stub")]
    Stub,
}

/// stub
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {}
/// stub
#[derive(Debug, Clone, Default)]
pub struct CompromisedList;
/// stub
#[derive(Debug, Clone, Error)]
#[error("stub")]
pub struct ParseCompromisedListError;

impl ValidKey {
    /// Judges `text`, one line as in a `.pub` file.
    pub fn check(text: &str, _policy: &Policy) -> Result<Self, Refusal> {
        Ok(Self { text: text.into(), fingerprint: Fingerprint::of(text.as_bytes()) })
    }
    /// The key as `type base64`, in the canonical encoding, without a comment.
    #[must_use]
    pub fn canonical_text(&self) -> &str {
        &self.text
    }
    /// The SHA-256 fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}
