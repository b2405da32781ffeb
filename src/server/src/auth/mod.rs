//! Who sends a request: from the `Authorization` header to an account or a host.
//!
//! The credentials of the two are looked up in different tables: an account's never opens the feed, a
//! host's never opens the API, and a certificate is never an account. What a client sent is neither logged nor repeated.

mod base_string;
mod base_url;
mod host;
mod nonces;
mod oauth;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64ct::{Base64, Encoding as _};
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use sha2::Sha512;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

pub(crate) use self::base_url::PublicUrl;
pub(crate) use self::host::HostAuthError;
pub(crate) use self::host::KnownHost;
use self::nonces::Nonces;
pub(crate) use self::oauth::Consumer;
use self::oauth::{OauthCredential, SignatureMethod, Signed};
use crate::secret::{ServiceSecret, TokenDigest};
use crate::store::{Store, StoreError, TokenUse};

/// The longest `Authorization` header that is looked at, in bytes.
pub(crate) const AUTHORIZATION_BYTES_MAX: usize = 4096;

/// Why nobody was recognised.
#[derive(Debug, Error)]
pub(crate) enum AuthError {
    /// No `Authorization` header, several, or one of a form that is not ours.
    #[error("this needs a credential: send `Authorization: Bearer TOKEN` or an OAuth 1.0a credential")]
    Unreadable,
    /// A way to sign that is not served.
    #[error(
        "this OAuth signature method is not supported here: use HMAC-SHA512, PLAINTEXT or a bearer token"
    )]
    Method,
    /// A signature that is too old, or from the future.
    #[error(
        "this request was signed more than {} s from now: set the clock of the computer that sends it right",
        nonces::CLOCK_SKEW_S_MAX
    )]
    Clock,
    /// A signature that was served before.
    #[error("this signed request was served before: sign it anew, with another nonce")]
    Replayed,
    /// More signatures than can be remembered at once.
    #[error("too many signed requests at the moment: try again in a minute, or use a bearer token")]
    TooManySigned,
    /// Nobody's credential: wrong, revoked, or the CLI's literal `undefined`.
    #[error("this credential is not known here: log in again, or ask for a new token")]
    Unknown,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What it takes to recognise an account.
#[derive(Clone)]
pub(crate) struct Authenticator {
    store: Store,
    secret: ServiceSecret,
    consumers: Vec<Consumer>,
    public_url: Option<PublicUrl>,
    nonces: Nonces,
}

impl Authenticator {
    /// Recognises the accounts of `store` and clients that speak for one of `consumers`, who reach the service
    /// at `public_url`, or else at the host that their requests name.
    pub(crate) fn new(
        store: Store,
        secret: ServiceSecret,
        consumers: Vec<Consumer>,
        public_url: Option<PublicUrl>,
    ) -> Self {
        let nonces = Nonces::of(&store);
        Self { store, secret, consumers, public_url, nonces }
    }

    /// The credential in `request`, and whose it is.
    pub(crate) async fn account(&self, request: &Parts) -> Result<TokenUse, AuthError> {
        let shown = match Credential::of(&request.headers)? {
            Credential::Bearer(token) => self.store.use_of_bearer(TokenDigest::of(token)).await?,
            Credential::Oauth(sent) => self.use_of_oauth(&sent, request).await?,
        };
        shown.ok_or(AuthError::Unknown)
    }

    /// The secret half of an OAuth token that was just made.
    pub(crate) fn oauth_secret(&self, oauth_token: &str) -> String {
        self.secret.oauth_secret(oauth_token)
    }

    async fn use_of_oauth(
        &self,
        sent: &OauthCredential,
        request: &Parts,
    ) -> Result<Option<TokenUse>, AuthError> {
        let consumer = self.consumers.iter().find(|consumer| consumer.key == sent.consumer_key);
        let shown = self.store.use_of_oauth_token(&sent.token).await?;
        let (Some(consumer), Some(shown)) = (consumer, shown) else { return Ok(None) };
        // Both are made of characters that percent-encoding leaves as they are.
        let key = format!("{}&{}", consumer.secret, self.secret.oauth_secret(&sent.token));
        let is_right = match &sent.method {
            SignatureMethod::Plaintext => bool::from(key.as_bytes().ct_eq(sent.signature.as_bytes())),
            SignatureMethod::HmacSha512(signed) => self.is_signed(&key, &sent.signature, signed, request),
        };
        if !is_right {
            return Ok(None);
        }
        // Only now: a stranger could otherwise use up the nonces of others.
        if let SignatureMethod::HmacSha512(signed) = &sent.method {
            let now_s = Timestamp::now().as_second();
            self.nonces.use_once(&sent.token, &signed.nonce, signed.timestamp_s, now_s).await?;
        }
        Ok(Some(shown))
    }

    fn is_signed(&self, key: &str, signature: &str, signed: &Signed, request: &Parts) -> bool {
        let Ok(signature) = Base64::decode_vec(signature) else { return false };
        let query = request.uri.query().unwrap_or_default();
        base_url::candidates(self.public_url.as_ref(), request).iter().any(|url| {
            base_string::base_string(&request.method, url, query, &signed.parameters)
                .is_some_and(|text| is_digest(key, &text, &signature))
        })
    }
}

fn is_digest(key: &str, text: &str, signature: &[u8]) -> bool {
    // HMAC takes keys of every length.
    let Ok(hmac) = Hmac::<Sha512>::new_from_slice(key.as_bytes()) else { return false };
    hmac.chain_update(text).verify_slice(signature).is_ok()
}

/// What a client shows.
enum Credential<'a> {
    Bearer(&'a str),
    Oauth(OauthCredential),
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
