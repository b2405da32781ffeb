//! Who sends a request: from the `Authorization` header to an account or a host.
//!
//! The credentials of the two are looked up in different tables: an account's never opens the feed, a
//! host's never opens the API, and a certificate is never an account. What a client sent is neither logged nor repeated.

mod authenticator;
mod base_string;
mod base_url;
mod credential;
mod error;
mod host;
mod nonces;
mod oauth;

pub(crate) use self::authenticator::Authenticator;
pub(crate) use self::base_url::PublicUrl;
pub(crate) use self::error::AuthError;
pub(crate) use self::host::{HostAuthError, KnownHost};
pub(crate) use self::oauth::Consumer;
