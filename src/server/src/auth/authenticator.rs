//! Authentication of accounts.

use axum::http::request::Parts;
use base64ct::{Base64, Encoding as _};
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use sha2::Sha512;
use subtle::ConstantTimeEq as _;

use super::base_string::base_string;
use super::base_url::{PublicUrl, candidates};
use super::credential::Credential;
use super::error::AuthError;
use super::nonces::{Nonces, nonce};
use super::oauth::{Consumer, OauthCredential, SignatureMethod, Signed};
use crate::secret::{ServiceSecret, TokenDigest};
use crate::store::{Nonce, Store, TokenUse};

/// Authenticates accounts and hosts.
#[derive(Clone)]
pub(crate) struct Authenticator {
    pub(super) store: Store,
    secret: ServiceSecret,
    consumers: Vec<Consumer>,
    public_url: Option<PublicUrl>,
    nonces: Nonces,
}

/// A credential that is good.
pub(crate) struct Presented {
    pub(crate) token: TokenUse,
    /// That of a signed request.
    pub(crate) nonce: Option<Nonce>,
}

impl Authenticator {
    /// Authenticates the accounts of `store`, whose OAuth clients are `consumers` and reach the service at `public_url`, or
    /// without one at the host that a request names.
    pub(crate) fn new(
        store: Store,
        secret: ServiceSecret,
        consumers: Vec<Consumer>,
        public_url: Option<PublicUrl>,
    ) -> Self {
        let nonces = Nonces::of(&store);
        Self { store, secret, consumers, public_url, nonces }
    }

    /// The credential in `request`, with its account. Before it is served, [`Self::use_once`] takes the nonce.
    pub(crate) async fn account(&self, request: &Parts) -> Result<Presented, AuthError> {
        let presented = match Credential::of(&request.headers)? {
            Credential::Bearer(token) => {
                let token = self.store.token_by_bearer(TokenDigest::of(token)).await?;
                token.map(|token| Presented { token, nonce: None })
            }
            Credential::Oauth(sent) => self.use_of_oauth(&sent, request).await?,
        };
        presented.ok_or(AuthError::Unknown)
    }

    /// Refuses a signed request that was served before.
    pub(crate) async fn use_once(&self, nonce: Nonce) -> Result<(), AuthError> {
        self.nonces.use_once(nonce, Timestamp::now().as_second()).await
    }

    /// The secret of a new OAuth token.
    pub(crate) fn oauth_secret(&self, oauth_token: &str) -> String {
        self.secret.oauth_secret(oauth_token)
    }

    async fn use_of_oauth(
        &self,
        sent: &OauthCredential,
        request: &Parts,
    ) -> Result<Option<Presented>, AuthError> {
        let consumer = self.consumers.iter().find(|consumer| consumer.key == sent.consumer_key);
        let presented = self.store.token_by_oauth(&sent.token).await?;
        let (Some(consumer), Some(token)) = (consumer, presented) else { return Ok(None) };
        // Both consist of characters that percent-encoding does not change.
        let key = format!("{}&{}", consumer.secret, self.secret.oauth_secret(&sent.token));
        let is_right = match &sent.method {
            SignatureMethod::Plaintext => bool::from(key.as_bytes().ct_eq(sent.signature.as_bytes())),
            SignatureMethod::HmacSha512(signed) => self.is_signed(&key, &sent.signature, signed, request),
        };
        if !is_right {
            return Ok(None);
        }
        let nonce = match &sent.method {
            SignatureMethod::HmacSha512(signed) => {
                let now_s = Timestamp::now().as_second();
                Some(nonce(&sent.token, &signed.nonce, signed.timestamp_s, now_s)?)
            }
            SignatureMethod::Plaintext => None,
        };
        Ok(Some(Presented { token, nonce }))
    }

    fn is_signed(&self, key: &str, signature: &str, signed: &Signed, request: &Parts) -> bool {
        let Ok(signature) = Base64::decode_vec(signature) else { return false };
        let query = request.uri.query().unwrap_or_default();
        candidates(self.public_url.as_ref(), request).iter().any(|url| {
            base_string(&request.method, url, query, &signed.parameters)
                .is_some_and(|text| is_digest(key, &text, &signature))
        })
    }
}

fn is_digest(key: &str, text: &str, signature: &[u8]) -> bool {
    // HMAC accepts keys of any length.
    let Ok(hmac) = Hmac::<Sha512>::new_from_slice(key.as_bytes()) else { return false };
    hmac.chain_update(text).verify_slice(signature).is_ok()
}
