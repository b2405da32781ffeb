//! Authentication of hosts.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use pushkeys_keys::Hint;
use thiserror::Error;

use super::authenticator::Authenticator;
use super::credential::Credential;
use crate::secret::TokenDigest;
use crate::store::{HostCredentialNumber, HostId, HostName, HostUse, StoreError};
use crate::tls::{CertificateRefusal, PresentedCertificate};

const ADD_HOST: &str = "pushkeys-server host add NAME";

/// Why a request is not authenticated as a host's.
#[derive(Debug, Error)]
pub(crate) enum HostAuthError {
    #[error("this needs a host's token or client certificate")]
    Missing(#[source] Hint),
    /// Wrong or revoked, or an account's.
    #[error("no host has this token")]
    Token(#[source] Hint),
    #[error("the client certificate is refused")]
    Certificate(#[from] CertificateRefusal),
    /// A valid certificate for names that are not registered.
    #[error("no host is identified by a client certificate for {names}")]
    Name {
        names: String,
        #[source]
        hint: Hint,
    },
    #[error("the client certificate is for two hosts, `{one}` and `{other}`")]
    TwoHosts { one: HostName, other: HostName },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An authenticated host.
pub(crate) struct KnownHost {
    pub(crate) host: HostId,
    pub(crate) credential: HostCredentialNumber,
    /// The certificate, if that is the credential, since it can expire.
    pub(crate) certificate: Option<PresentedCertificate>,
}

impl Authenticator {
    /// The host whose token is in `headers`, or without an `Authorization` header the host that `certificate` is for.
    pub(crate) async fn host(
        &self,
        headers: &HeaderMap,
        certificate: Option<&PresentedCertificate>,
    ) -> Result<KnownHost, HostAuthError> {
        if !headers.contains_key(AUTHORIZATION) {
            let certificate = certificate.ok_or_else(|| HostAuthError::Missing(Hint::new(ADD_HOST)))?;
            let HostUse { host, credential } = self.host_of_certificate(certificate).await?;
            return Ok(KnownHost { host, credential, certificate: Some(certificate.clone()) });
        }
        let unknown = || HostAuthError::Token(Hint::new(ADD_HOST));
        let Ok(Credential::Bearer(token)) = Credential::of(headers) else { return Err(unknown()) };
        let known = self.store.host_by_token(TokenDigest::of(token)).await?;
        let HostUse { host, credential } = known.ok_or_else(unknown)?;
        Ok(KnownHost { host, credential, certificate: None })
    }

    async fn host_of_certificate(
        &self,
        certificate: &PresentedCertificate,
    ) -> Result<HostUse, HostAuthError> {
        let names = certificate.names()?;
        let mut known: Option<(HostName, HostUse)> = None;
        // Names that cannot be a host's, such as wildcards, are ignored.
        for name in names.iter().filter_map(|name| name.parse::<HostName>().ok()) {
            let Some(found) = self.store.host_by_certificate(&name).await? else { continue };
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
