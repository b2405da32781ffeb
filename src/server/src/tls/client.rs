//! The certificate that a client showed, and what it is good for.
//!
//! A handshake only proves that the client holds the key of what it shows. Whether an authority of ours vouches for it is
//! asked each time it is to open something, so that an open connection, or a session that is resumed, outlives neither the
//! certificate nor the trust in its authority; and a client is refused with a sentence, where an alert in the handshake reaches
//! it as a connection that broke off.

use std::sync::Arc;

use rustls::CertificateError;
use rustls::pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use webpki::EndEntityCert;

use super::material::Tls;

/// The most names that are looked at: a host has one, or a few aliases.
const NAMES_MAX: usize = 16;

/// Why a certificate opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CertificateRefusal {
    /// It was good once.
    #[error("it has expired")]
    Expired,
    /// It will be good.
    #[error("it is not valid yet; compare the clocks")]
    NotYet,
    /// Anybody can sign anything.
    #[error("no authority in `client_ca` vouches for it")]
    Authority,
    /// Such as a web server's.
    #[error("it is not one for clients: its extended key usage lacks clientAuth")]
    Purpose,
    /// Everything else.
    #[error("{0}")]
    Other(String),
    /// The common name of a subject is not looked at.
    #[error("it is in no DNS name: those are looked for among its subject alternative names")]
    Nameless,
    /// A certificate for half a data centre is not one host's.
    #[error("it is in more than {NAMES_MAX} names")]
    Names,
}

impl From<rustls::Error> for CertificateRefusal {
    fn from(error: rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(error) = error else { return Self::Other(error.to_string()) };
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYet,
            // The latter is another authority by the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Authority,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::Purpose
            }
            other => Self::Other(other.to_string()),
        }
    }
}

/// A certificate whose key a client has proved to hold. It is nobody's until [`ShownCertificate::names`] says so.
#[derive(Clone)]
pub(crate) struct ShownCertificate {
    chain: Arc<[CertificateDer<'static>]>,
    tls: Tls,
}

impl ShownCertificate {
    pub(super) fn new(chain: &[CertificateDer<'_>], tls: Tls) -> Option<Self> {
        let chain: Arc<[_]> = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        (!chain.is_empty()).then_some(Self { chain, tls })
    }

    /// The DNS names that an authority vouches for at this moment, in lower case.
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

/// The certificate that a connection's client showed, whatever it is good for.
#[derive(Clone)]
pub(crate) struct ClientCertificate(pub(crate) Option<ShownCertificate>);
