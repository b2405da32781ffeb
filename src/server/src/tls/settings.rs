//! The `[tls]` table of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

/// The files for TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsSettings {
    /// The service's certificate in PEM, followed by intermediate certificates.
    pub(crate) certificate: PathBuf,
    /// Its private key in PEM.
    pub(crate) key: PathBuf,
    /// The CA certificates in PEM that sign the certificates of hosts; without them, clients are not asked for one.
    pub(crate) client_ca: Option<PathBuf>,
}
