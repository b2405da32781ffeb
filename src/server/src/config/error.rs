//! Why a configuration cannot be used.

use std::net::SocketAddr;
use std::path::PathBuf;

use pushkeys_keys::{Hint, ParseCompromisedListError};
use thiserror::Error;

use crate::files::FileError;

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The file itself, or one that it names.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not TOML, an unknown setting, or an invalid value; the parser names line and column.
    #[error("cannot use the configuration `{}`", path.display())]
    Parse { path: PathBuf, source: toml::de::Error },
    /// A value outside its bounds.
    #[error("cannot use `{setting}` in the configuration `{}`: it must be {expected}", path.display())]
    Value { path: PathBuf, setting: &'static str, expected: &'static str },
    /// The operator's list of compromised keys.
    #[error("cannot use the list of compromised keys `{}`", path.display())]
    Compromised { path: PathBuf, source: ParseCompromisedListError },
}

/// Tokens would be sent over the network in plain text.
#[derive(Debug, Error)]
#[error("tokens would be sent over the network in plain text at `{address}`")]
pub(crate) struct ExposedError {
    address: SocketAddr,
    #[source]
    hint: Hint,
}

impl ExposedError {
    pub(super) fn at(address: SocketAddr) -> Self {
        let hint =
            Hint::new("give a certificate in [tls], or name the proxies that speak TLS in `trusted_proxies`");
        Self { address, hint }
    }
}
