//! Authentication: from a credential to an account or a host.
//!
//! Credentials of accounts and hosts are looked up in different tables: an account's is never good for the feed, a host's
//! never for the API, and a certificate never identifies an account. Credentials are neither logged nor repeated.

mod authenticator;
mod base_string;
mod base_url;
mod credential;
mod error;
mod host;
mod nonces;
mod oauth;

pub(crate) use self::authenticator::{Authenticator, Presented};
pub(crate) use self::base_url::PublicUrl;
pub(crate) use self::error::AuthError;
pub(crate) use self::host::{HostAuthError, KnownHost};
pub(crate) use self::oauth::Consumer;
