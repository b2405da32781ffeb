//! Why a configuration cannot be used.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use pushkeys_keys::{Hint, ParseCompromisedListError};
use thiserror::Error;

use crate::files::FileError;

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The file itself, or one that it names.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not TOML, an unknown setting, or an invalid value. The line is not quoted, since it may hold a password.
    #[error("cannot use line {line} of the configuration `{}`: {message}", path.display())]
    Parse {
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, and for a wrong value which setting has it.
        message: String,
    },
    /// A value outside its bounds.
    #[error("cannot use `{setting}` in the configuration `{}`: it must be {expected}", path.display())]
    Value { path: PathBuf, setting: &'static str, expected: &'static str },
    /// The operator's list of compromised keys.
    #[error("cannot use the list of compromised keys `{}`", path.display())]
    Compromised { path: PathBuf, source: ParseCompromisedListError },
}

impl ConfigError {
    /// `error` of the parser, in the file at `path`, which holds `text`.
    pub(super) fn parse(path: &Path, text: &str, mut error: toml::de::Error) -> Self {
        let offset = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1;
        error.set_input(None);
        let message = error.to_string().trim_end().replace('\n', " ");
        Self::Parse { path: path.to_owned(), line, message }
    }
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
