//! SSH public keys, their fingerprints and names, and the `authorized_keys` line for sshd.
//!
//! This crate is pure: it takes bytes and returns values, without I/O and without a clock.
//! Its values are valid by construction: an [`AccountId`], a [`Fingerprint`] or (with the
//! feature `policy`) a [`ValidKey`] needs no further check.

#![forbid(unsafe_code)]

#[cfg(feature = "policy")]
mod characters;
#[cfg(feature = "policy")]
mod chosen_name;
mod error_report;
mod escape;
mod expiry;
mod fingerprint;
mod id;
mod line;
mod name;
#[cfg(feature = "policy")]
mod policy;
#[cfg(feature = "policy")]
mod template;
mod use_kind;

#[cfg(feature = "policy")]
pub use chosen_name::{AccountName, KeyName};
pub use error_report::{ErrorReport, Hint, Hinted, shell_word};
pub use escape::{escape, unescape};
pub use expiry::{Expiry, ParseExpiryError};
pub use fingerprint::{Fingerprint, FingerprintText, ParseFingerprintError, SHARD_BITS_MAX};
pub use id::{AccountId, KeyId, Login, ParseIdError, SourceName};
pub use line::{AuthorizedKeysLine, LINE_BYTES_MAX, ParseLineError};
pub use name::{NAME_BYTES_MAX, NAME_ESCAPED_BYTES_MAX, Name, ParseNameError};
#[cfg(feature = "policy")]
pub use policy::{
    Algorithm, CompromisedList, KEY_TEXT_BYTES_MAX, ParseCompromisedListError, Policy, RSA_MODULUS_BITS_MIN,
    Refusal, ValidKey, md5_fingerprint, shared_factors,
};
#[cfg(feature = "policy")]
pub use template::{CommandTemplate, ParseTemplateError, RenderError};
pub use use_kind::{ParseUseKindError, UseKind};
