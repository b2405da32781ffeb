//! `[tls]` in the configuration.

use std::path::PathBuf;

use serde::Deserialize;

/// Which files TLS is spoken with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The service's certificate in PEM, and those between it and an authority that clients know.
    pub(crate) certificate: PathBuf,
    /// Its private key in PEM.
    pub(crate) key: PathBuf,
    /// The authorities in PEM that sign the certificates of hosts; without them, no client is asked for one.
    pub(crate) client_ca: Option<PathBuf>,
}
