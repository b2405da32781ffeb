//! Who sends a request: from the `Authorization` header to an account or a host.
//!
//! The two kinds of credential are looked up in different tables: an account's never opens the feed, a
//! host's never opens the API. What a client sent is neither logged nor repeated.

mod oauth;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use keys::AccountId;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use self::oauth::Plaintext;
use crate::config::Consumer;
use crate::secret::{ServiceSecret, TokenDigest};
use crate::store::{HostId, Store, StoreError};

/// The longest `Authorization` header that is looked at, in bytes.
pub const AUTHORIZATION_BYTES_MAX: usize = 4096;

/// Why nobody was recognised.
#[derive(Debug, Error)]
pub enum AuthError {
    /// No `Authorization` header, several, or one of a form that is not ours.
    #[error(
        "this needs a credential: send `Authorization: Bearer TOKEN` or an OAuth 1.0a PLAINTEXT credential"
    )]
    Unreadable,
    /// A way to sign that is not served.
    #[error(
        "the OAuth signature method `HMAC-SHA512` is not supported here: use PLAINTEXT or a bearer token"
    )]
    Method,
    /// Nobody's credential: wrong, revoked, or the CLI's literal `undefined`.
    #[error("this credential is not known here: log in again, or ask for a new token")]
    Unknown,
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What it takes to recognise an account.
#[derive(Clone)]
pub struct Authenticator {
    store: Store,
    secret: ServiceSecret,
    consumers: Vec<Consumer>,
}

impl Authenticator {
    /// Recognises the accounts of `store` and clients that speak for one of `consumers`.
    #[must_use]
    pub fn new(store: Store, secret: ServiceSecret, consumers: Vec<Consumer>) -> Self {
        Self { store, secret, consumers }
    }

    /// The account whose credential is in `headers`.
    pub async fn account(&self, headers: &HeaderMap) -> Result<AccountId, AuthError> {
        let account = match Credential::of(headers)? {
            Credential::Bearer(token) => self.store.account_of_bearer(TokenDigest::of(token)).await?,
            Credential::Oauth(plaintext) => self.account_of_oauth(&plaintext).await?,
        };
        account.ok_or(AuthError::Unknown)
    }

    /// The host whose token is in `headers`.
    pub async fn host(&self, headers: &HeaderMap) -> Result<HostId, AuthError> {
        match Credential::of(headers)? {
            Credential::Bearer(token) => {
                self.store.host_of_token(TokenDigest::of(token)).await?.ok_or(AuthError::Unknown)
            }
            Credential::Oauth(_) => Err(AuthError::Unknown),
        }
    }

    async fn account_of_oauth(&self, sent: &Plaintext) -> Result<Option<AccountId>, AuthError> {
        let consumer = self.consumers.iter().find(|consumer| consumer.key == sent.consumer_key);
        let account = self.store.account_of_oauth_token(&sent.token).await?;
        let (Some(consumer), Some(account)) = (consumer, account) else { return Ok(None) };
        let expected = format!("{}&{}", consumer.secret, self.secret.oauth_secret(&sent.token));
        let is_right = bool::from(expected.as_bytes().ct_eq(sent.signature.as_bytes()));
        Ok(is_right.then_some(account))
    }
}

/// What a client shows.
enum Credential<'a> {
    Bearer(&'a str),
    Oauth(Plaintext),
}

impl<'a> Credential<'a> {
    fn of(headers: &'a HeaderMap) -> Result<Self, AuthError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        // Of two credentials, a proxy may have checked the other one.
        let (Some(value), None) = (values.next(), values.next()) else { return Err(AuthError::Unreadable) };
        if value.len() > AUTHORIZATION_BYTES_MAX {
            return Err(AuthError::Unreadable);
        }
        let text = value.to_str().map_err(|_| AuthError::Unreadable)?;
        let (scheme, rest) = text.trim().split_once(' ').ok_or(AuthError::Unreadable)?;
        if scheme.eq_ignore_ascii_case("bearer") {
            Ok(Self::Bearer(rest.trim()))
        } else if scheme.eq_ignore_ascii_case("oauth") {
            oauth::parse(rest).map(Self::Oauth)
        } else {
            Err(AuthError::Unreadable)
        }
    }
}
