//! Tokens, CA certificates and client certificates. They are read again for every connection, so a replaced file counts from
//! the next one on.

use std::path::{Path, PathBuf};

use pushkeys_files::{ReadFileError, Trust, read};
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Identity};
use thiserror::Error;

use crate::config::Remote;

/// A file of credentials is read up to this size: a bundle of all public CAs has a quarter of a mebibyte.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Who may have written what says which service is believed; tokens and keys are secrets on top.
const TRUST: Trust = Trust::ROOT_OR_SELF;
/// The longest token in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// Why credentials cannot be used. No variant holds what is in the file.
#[derive(Debug, Error)]
pub(crate) enum CredentialError {
    #[error(transparent)]
    File(#[from] ReadFileError),
    #[error("`{}` does not hold one line of printable ASCII, a token", .0.display())]
    Token(PathBuf),
    #[error("`{}` holds no certificate in PEM", path.display())]
    CaCertificates { path: PathBuf, source: Option<reqwest::Error> },
    #[error("`{}` and its key are not a client certificate in PEM", path.display())]
    Identity { path: PathBuf, source: reqwest::Error },
}

/// What this host shows to a key service, and which CAs it trusts.
pub(crate) struct Credentials {
    /// The value of `Authorization`, marked so that it is never printed.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) ca_certificates: Option<Vec<Certificate>>,
    pub(crate) identity: Option<Identity>,
}

impl Credentials {
    pub(crate) fn load(remote: &Remote) -> Result<Self, CredentialError> {
        Ok(Self {
            authorization: remote.token_file.as_deref().map(authorization).transpose()?,
            ca_certificates: remote.ca_file.as_deref().map(ca_certificates).transpose()?,
            identity: remote
                .client
                .as_ref()
                .map(|(certificate, key)| identity(certificate, key))
                .transpose()?,
        })
    }
}

fn authorization(path: &Path) -> Result<HeaderValue, CredentialError> {
    let bytes = read(path, TRUST.secret(), FILE_BYTES_MAX)?;
    let fault = || CredentialError::Token(path.to_owned());
    let token = std::str::from_utf8(&bytes).map_err(|_| fault())?.trim();
    if !(1..=TOKEN_BYTES_MAX).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(fault());
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| fault())?;
    value.set_sensitive(true);
    Ok(value)
}

fn ca_certificates(path: &Path) -> Result<Vec<Certificate>, CredentialError> {
    let bundle = read(path, TRUST, FILE_BYTES_MAX)?;
    let fault = |source| CredentialError::CaCertificates { path: path.to_owned(), source };
    let certificates = Certificate::from_pem_bundle(&bundle).map_err(|source| fault(Some(source)))?;
    if certificates.is_empty() { Err(fault(None)) } else { Ok(certificates) }
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, CredentialError> {
    let mut pem = read(certificate, TRUST, FILE_BYTES_MAX)?;
    pem.push(b'\n');
    pem.extend(read(key, TRUST.secret(), FILE_BYTES_MAX)?);
    Identity::from_pem(&pem)
        .map_err(|source| CredentialError::Identity { path: certificate.to_owned(), source })
}
