//! Client certificates.
//!
//! The handshake only proves that the client holds the key of its certificate. Whether one of our CAs signed it is checked
//! at each use, so that an open connection or a resumed session outlives neither the certificate nor the trust in its CA;
//! and the client is refused with a sentence, where a TLS alert would look like a broken connection.

use std::sync::Arc;

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use webpki::EndEntityCert;

use super::material::Tls;

/// The most names of a certificate: a host has one, and perhaps a few aliases.
const NAMES_MAX: usize = 16;

/// Why a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CertificateRefusal {
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet; compare the clocks")]
    NotYet,
    #[error("no CA in `client_ca` signed it")]
    Authority,
    #[error("it is not for clients: its extended key usage lacks clientAuth")]
    Purpose,
    #[error("{0}")]
    Other(String),
    /// The common name of the subject does not count.
    #[error("it has no DNS name among its subject alternative names")]
    Nameless,
    /// A certificate for many hosts identifies none.
    #[error("it is for more than {NAMES_MAX} names")]
    Names,
}

impl From<rustls::Error> for CertificateRefusal {
    fn from(error: rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(error) = error else { return Self::Other(error.to_string()) };
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYet,
            // The latter is another CA of the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Authority,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::Purpose
            }
            other => Self::Other(other.to_string()),
        }
    }
}

/// A certificate whose key the client holds. Whether it is trusted is what [`PresentedCertificate::names`] checks.
#[derive(Clone)]
pub(crate) struct PresentedCertificate {
    chain: Arc<[CertificateDer<'static>]>,
    tls: Tls,
}

impl PresentedCertificate {
    pub(super) fn new(chain: &[CertificateDer<'_>], tls: Tls) -> Option<Self> {
        let chain: Arc<[_]> = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        (!chain.is_empty()).then_some(Self { chain, tls })
    }

    /// The DNS names of the certificate in lower case, if it is valid at this moment.
    pub(crate) fn names(&self) -> Result<Vec<String>, CertificateRefusal> {
        let material = self.tls.material();
        let verifier = material.clients.as_ref().ok_or(CertificateRefusal::Authority)?;
        let (own, between) = self.chain.split_first().ok_or(CertificateRefusal::Authority)?;
        verifier.verify_client_cert(own, between, UnixTime::now())?;
        let own =
            EndEntityCert::try_from(own).map_err(|error| CertificateRefusal::Other(error.to_string()))?;
        let names: Vec<String> =
            own.valid_dns_names().take(NAMES_MAX + 1).map(str::to_ascii_lowercase).collect();
        match names.len() {
            0 => Err(CertificateRefusal::Nameless),
            1..=NAMES_MAX => Ok(names),
            _ => Err(CertificateRefusal::Names),
        }
    }
}

/// The certificate that the client of a connection presented, if any.
#[derive(Clone)]
pub(crate) struct ClientCertificate(pub(crate) Option<PresentedCertificate>);
