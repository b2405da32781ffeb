//! What the provider says of itself: its addresses and its keys (OpenID Connect Discovery, section 4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use jsonwebtoken::jwk::Jwk;
use pushkeys_keys::Hint;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::outbound::{Outbound, OutboundError, RemoteUrl, is_private};

/// The most keys that are looked at.
const KEYS_MAX: usize = 64;
/// For how long a provider is believed without being asked again.
const FRESH_FOR: Duration = Duration::from_mins(15);
/// How long it is left alone after a token of a key that it did not publish.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(20);

/// Why the provider cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ProviderError {
    /// See [`OutboundError`].
    #[error("the OpenID provider cannot be reached")]
    Unreachable(#[from] OutboundError),
    /// It answers, but not with what was asked for.
    #[error("`{url}` of the OpenID provider failed (status {status})")]
    Status { url: String, status: u16 },
    /// Not JSON, or not what is specified.
    #[error("the answer of `{url}` is not what an OpenID provider says")]
    Malformed { url: String },
    /// Another provider answers there, or the configuration names this one otherwise.
    #[error("the OpenID provider calls itself `{found}`")]
    Issuer {
        found: String,
        #[source]
        hint: Hint,
    },
    /// An address that is not https.
    #[error("the OpenID provider names an address that is not https")]
    Plain,
}

/// A provider as it was when it was last asked.
pub(super) struct Provider {
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    /// Whether it takes our secret in the body of a request only.
    pub(super) is_secret_in_body: bool,
    pub(super) keys: Vec<Jwk>,
    read_at: Instant,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// Asks the provider when it has to be asked; whoever comes meanwhile waits for the same answer.
pub(super) struct Directory {
    outbound: Outbound,
    issuer: RemoteUrl,
    is_plain_allowed: bool,
    known: Mutex<Option<Arc<Provider>>>,
}

impl Directory {
    pub(super) fn new(outbound: Outbound, issuer: RemoteUrl, is_plain_allowed: bool) -> Self {
        Self { outbound, issuer, is_plain_allowed, known: Mutex::default() }
    }

    /// The provider, asked not long ago.
    pub(super) async fn provider(&self) -> Result<Arc<Provider>, ProviderError> {
        self.no_older_than(FRESH_FOR).await
    }

    /// The provider, asked again unless that was just done: it may have new keys.
    pub(super) async fn provider_anew(&self) -> Result<Arc<Provider>, ProviderError> {
        self.no_older_than(ASK_AGAIN_AFTER).await
    }

    async fn no_older_than(&self, age_max: Duration) -> Result<Arc<Provider>, ProviderError> {
        let mut known = self.known.lock().await;
        if let Some(provider) = known.as_ref().filter(|provider| provider.read_at.elapsed() < age_max) {
            return Ok(Arc::clone(provider));
        }
        let provider = Arc::new(self.ask().await?);
        *known = Some(Arc::clone(&provider));
        Ok(provider)
    }

    async fn ask(&self) -> Result<Provider, ProviderError> {
        let url = self.issuer.join("/.well-known/openid-configuration");
        let metadata: Metadata = self.get(&url).await?;
        if metadata.issuer != self.issuer.as_str() {
            let hint = Hint::new("set `oidc.issuer` to exactly that, if it is the right one");
            return Err(ProviderError::Issuer { found: metadata.issuer.chars().take(200).collect(), hint });
        }
        let addresses = [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri];
        if !addresses.into_iter().all(|address| is_private(address, self.is_plain_allowed)) {
            return Err(ProviderError::Plain);
        }
        let set: KeySet = self.get(&metadata.jwks_uri).await?;
        // A key of a kind that is not known here must not hide its neighbours.
        let keys = set.keys.into_iter().take(KEYS_MAX).filter_map(|key| serde_json::from_value(key).ok());
        let methods = metadata.token_endpoint_auth_methods_supported;
        Ok(Provider {
            authorization_endpoint: metadata.authorization_endpoint,
            token_endpoint: metadata.token_endpoint,
            is_secret_in_body: methods
                .is_some_and(|methods| !methods.iter().any(|method| method == "client_secret_basic")),
            keys: keys.collect(),
            read_at: Instant::now(),
        })
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, ProviderError> {
        let answer = self.outbound.send(self.outbound.client().get(url)).await?;
        if answer.status != StatusCode::OK {
            return Err(ProviderError::Status { url: url.to_owned(), status: answer.status.as_u16() });
        }
        serde_json::from_slice(&answer.body).map_err(|_| ProviderError::Malformed { url: url.to_owned() })
    }
}
