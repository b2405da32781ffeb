//! Which host sends a request of the feed.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use pushkeys_keys::Hint;
use thiserror::Error;

use super::authenticator::Authenticator;
use super::credential::Credential;
use crate::secret::TokenDigest;
use crate::store::{HostCredentialNumber, HostId, HostName, HostUse, StoreError};
use crate::tls::{CertificateRefusal, ShownCertificate};

const ADD_HOST: &str = "pushkeys-server host add NAME";

/// Why no host was recognised.
#[derive(Debug, Error)]
pub(crate) enum HostAuthError {
    /// Neither a token nor a certificate.
    #[error("this needs a host's token or client certificate")]
    Missing(#[source] Hint),
    /// Nobody's: wrong, revoked, or an account's.
    #[error("no host has this token")]
    Token(#[source] Hint),
    /// Expired, of an unknown authority, or not for clients.
    #[error("the client certificate is refused")]
    Certificate(#[from] CertificateRefusal),
    /// A good certificate that nobody has registered.
    #[error("no host is known by a client certificate for {names}")]
    Name {
        names: String,
        #[source]
        hint: Hint,
    },
    /// It would have to be guessed which host it is.
    #[error("the client certificate is in the names of two hosts, `{one}` and `{other}`")]
    TwoHosts { one: HostName, other: HostName },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A host that was recognised.
pub(crate) struct KnownHost {
    /// Which host.
    pub(crate) host: HostId,
    /// By what.
    pub(crate) credential: HostCredentialNumber,
    /// The same, where it is a certificate: it ends by itself.
    pub(crate) certificate: Option<ShownCertificate>,
}

impl Authenticator {
    /// The host whose token is in `headers` or, where they hold no credential at all, in whose name `certificate` is.
    pub(crate) async fn host(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ShownCertificate>,
    ) -> Result<KnownHost, HostAuthError> {
        if !headers.contains_key(AUTHORIZATION) {
            let certificate = certificate.ok_or_else(|| HostAuthError::Missing(Hint::new(ADD_HOST)))?;
            let HostUse { host, credential } = self.host_of_certificate(certificate).await?;
            return Ok(KnownHost { host, credential, certificate: Some(certificate.clone()) });
        }
        let unknown = || HostAuthError::Token(Hint::new(ADD_HOST));
        let Ok(Credential::Bearer(token)) = Credential::of(headers) else { return Err(unknown()) };
        let known = self.store.use_of_host_token(TokenDigest::of(token)).await?;
        let HostUse { host, credential } = known.ok_or_else(unknown)?;
        Ok(KnownHost { host, credential, certificate: None })
    }

    async fn host_of_certificate(&self, certificate: &ShownCertificate) -> Result<HostUse, HostAuthError> {
        let names = certificate.names()?;
        let mut known: Option<(HostName, HostUse)> = None;
        // What is no host's name, such as one with a wildcard, is nobody's.
        for name in names.iter().filter_map(|name| name.parse::<HostName>().ok()) {
            let Some(found) = self.store.use_of_host_certificate(&name).await? else { continue };
            match known {
                Some((one, of_one)) if of_one.host != found.host => {
                    return Err(HostAuthError::TwoHosts { one, other: name });
                }
                _ => known = Some((name, found)),
            }
        }
        let names =
            || names.iter().map(|name| format!("`{}`", pushkeys_keys::escape(name))).collect::<Vec<_>>();
        known.map(|(_, known)| known).ok_or_else(|| HostAuthError::Name {
            names: names().join(", "),
            hint: Hint::new("pushkeys-server host add NAME --certificate"),
        })
    }
}
