//! The provider's metadata and keys (OpenID Connect Discovery, section 4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use pushkeys_keys::Hint;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::Mutex;

use super::jws::PublishedKey;
use crate::outbound::{Outbound, OutboundError, Remedy, RemoteUrl, is_private};

/// The maximum number of keys that are read.
const KEYS_MAX: usize = 64;
/// How long metadata is used without being read again.
const FRESH_FOR: Duration = Duration::from_mins(15);
/// The least time between two reads for tokens whose key is not known.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(20);

/// Why the provider cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ProviderError {
    /// See [`OutboundError`].
    #[error("the OpenID provider cannot be reached")]
    Unreachable(#[from] OutboundError),
    /// Any status but 200.
    #[error("the OpenID provider answered with status {} at `{url}`", status.as_u16())]
    Status { url: String, status: StatusCode },
    /// Not JSON, or not as specified.
    #[error("the response of the OpenID provider at `{url}` cannot be read")]
    Malformed { url: String },
    /// Not the configured issuer.
    #[error("the OpenID provider's issuer is `{}`", pushkeys_keys::escape(found))]
    Issuer {
        found: String,
        #[source]
        hint: Hint,
    },
    /// An address that is not https.
    #[error("the OpenID provider has an endpoint that is not https")]
    Plain,
}

impl ProviderError {
    /// What helps against it.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Unreachable(error) => error.remedy(),
            Self::Status { status, .. } => Remedy::of_status(*status),
            Self::Malformed { .. } | Self::Issuer { .. } | Self::Plain => Remedy::Operator,
        }
    }
}

/// The provider's metadata and keys, as last read.
pub(super) struct Provider {
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    /// Whether it accepts the client secret only in the body of a request.
    pub(super) is_secret_in_body: bool,
    pub(super) keys: Vec<PublishedKey>,
    read_at: Instant,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    /// A list of texts, as a rule.
    token_endpoint_auth_methods_supported: Option<Value>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// Reads the metadata when needed; concurrent callers wait for the same read.
pub(super) struct ProviderCache {
    outbound: Outbound,
    issuer: RemoteUrl,
    is_plain_allowed: bool,
    known: Mutex<Option<Arc<Provider>>>,
}

impl ProviderCache {
    pub(super) fn new(outbound: Outbound, issuer: RemoteUrl, is_plain_allowed: bool) -> Self {
        Self { outbound, issuer, is_plain_allowed, known: Mutex::default() }
    }

    /// The provider, read within [`FRESH_FOR`].
    pub(super) async fn provider(&self) -> Result<Arc<Provider>, ProviderError> {
        self.no_older_than(FRESH_FOR).await
    }

    /// The provider, read within [`ASK_AGAIN_AFTER`], for keys that may be new.
    pub(super) async fn refreshed_provider(&self) -> Result<Arc<Provider>, ProviderError> {
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
        // A key of an unknown type must not prevent the use of the others.
        let keys = set.keys.iter().take(KEYS_MAX).filter_map(PublishedKey::read);
        let methods = metadata.token_endpoint_auth_methods_supported;
        let methods = methods.as_ref().and_then(Value::as_array).filter(|methods| !methods.is_empty());
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
            return Err(ProviderError::Status { url: url.to_owned(), status: answer.status });
        }
        serde_json::from_slice(&answer.body).map_err(|_| ProviderError::Malformed { url: url.to_owned() })
    }
}
