//! Certificates and keys, read from files that only trusted users may write, and loaded whole or not at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::sync::watch;

use super::possession::ProofOfPossession;
use super::settings::TlsSettings;
use crate::files::{FileError, read_private, read_trusted};

/// The longest file in bytes: a bundle of all public CAs has a quarter of a mebibyte.
const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Application protocols, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why the files of `[tls]` cannot be used. No variant holds their contents.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("`{}` holds no certificate in PEM", path.display())]
    Certificate { path: PathBuf, source: Option<pem::Error> },
    #[error("`{}` holds no private key in PEM", path.display())]
    Key { path: PathBuf, source: pem::Error },
    /// They do not belong together, or are of an unsupported kind.
    #[error("cannot use the certificate `{}` with the key `{}`", certificate.display(), key.display())]
    Pair { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error("cannot use the CA certificates in `{}`", path.display())]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("cannot verify clients by the CA certificates in `{}`", path.display())]
    Verifier { path: PathBuf, source: VerifierBuilderError },
}

/// What was loaded.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) server: Arc<ServerConfig>,
    /// Verifies the certificates of clients, where they are requested.
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// TLS with what is loaded at the moment; clones change together.
#[derive(Clone)]
pub(crate) struct Tls(watch::Receiver<Arc<Material>>);

impl Tls {
    pub(super) fn new(material: watch::Receiver<Arc<Material>>) -> Self {
        Self(material)
    }

    pub(super) fn material(&self) -> Arc<Material> {
        Arc::clone(&self.0.borrow())
    }
}

/// The contents of the files.
pub(super) struct Texts {
    certificate: String,
    key: String,
    client_ca: Option<String>,
}

impl Texts {
    pub(super) fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let client_ca = settings.client_ca.as_deref().map(|path| read_trusted(path, FILE_BYTES_MAX));
        Ok(Self {
            certificate: read_trusted(&settings.certificate, FILE_BYTES_MAX)?,
            key: read_private(&settings.key, FILE_BYTES_MAX)?,
            client_ca: client_ca.transpose()?,
        })
    }

    /// Differs when any of them has changed.
    pub(super) fn digest(&self) -> [u8; 32] {
        let client_ca = self.client_ca.as_deref().unwrap_or_default();
        let texts = [self.certificate.as_str(), self.key.as_str(), client_ca];
        Sha256::digest(texts.map(Sha256::digest).concat()).into()
    }

    pub(super) fn material(&self, settings: &TlsSettings) -> Result<Material, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let clients = match (&self.client_ca, &settings.client_ca) {
            (Some(text), Some(path)) => Some(verifier(text, path, Arc::clone(&provider))?),
            _ => None,
        };
        let chain = certificates(&self.certificate, &settings.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|source| TlsError::Key { path: settings.key.clone(), source })?;
        let server = server(chain, key, clients.clone(), provider).map_err(|source| TlsError::Pair {
            certificate: settings.certificate.clone(),
            key: settings.key.clone(),
            source,
        })?;
        Ok(Material { server: Arc::new(server), clients })
    }
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(Arc::new(ProofOfPossession(clients))),
    };
    let mut server = builder.with_single_cert(chain, key)?;
    server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(server)
}

fn verifier(
    text: &str,
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(text, path)? {
        roots.add(certificate).map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|source| TlsError::Verifier { path: path.to_owned(), source })
}

/// All certificates in `text`, at least one.
fn certificates(text: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::Certificate { path: path.to_owned(), source };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|source| wrong(Some(source)))?;
    if certificates.is_empty() { Err(wrong(None)) } else { Ok(certificates) }
}
