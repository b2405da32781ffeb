//! Loading replaced TLS files while connections are served.

use std::sync::Arc;
use std::time::Duration;

use pushkeys_keys::ErrorReport;
use tokio::sync::watch;

use super::material::{Material, Texts, Tls, TlsError};
use super::settings::TlsSettings;

/// How often the files are checked for changes.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Loads replaced files.
pub(crate) struct TlsReloader {
    settings: TlsSettings,
    material: watch::Sender<Arc<Material>>,
    /// The files as they were last loaded or refused.
    applied: FileState,
    /// The files as they were at the last check.
    seen: FileState,
}

/// The state of the files: a digest, or why they cannot be read.
type FileState = Result<[u8; 32], String>;

/// Checks that the files of `settings` can be used.
pub(crate) fn check(settings: &TlsSettings) -> Result<(), TlsError> {
    Texts::read(settings)?.material(settings).map(|_| ())
}

impl Tls {
    /// Loads the files of `settings`.
    pub(crate) fn start(settings: &TlsSettings) -> Result<(Self, TlsReloader), TlsError> {
        let texts = Texts::read(settings)?;
        let (material, receiver) = watch::channel(Arc::new(texts.material(settings)?));
        let seen = Ok(texts.digest());
        let reloader = TlsReloader { settings: settings.clone(), material, applied: seen.clone(), seen };
        Ok((Self::new(receiver), reloader))
    }
}

impl TlsReloader {
    /// Loads files that have changed and were the same at two checks, since a certificate and its key are replaced one after
    /// the other.
    pub(crate) fn poll(&mut self) {
        let read = Texts::read(&self.settings);
        let seen = seen(&read);
        let has_settled = seen == self.seen;
        if has_settled && seen != self.applied {
            self.apply(read);
        }
        self.seen = seen;
    }

    /// Loads the files as they are.
    pub(crate) fn reload(&mut self) {
        self.apply(Texts::read(&self.settings));
    }

    fn apply(&mut self, read: Result<Texts, TlsError>) {
        self.applied = seen(&read);
        match read.and_then(|texts| texts.material(&self.settings)) {
            Ok(material) => {
                self.material.send_replace(Arc::new(material));
                tracing::info!(certificate = %self.settings.certificate.display(), "TLS files loaded");
            }
            Err(error) => {
                tracing::error!(
                    "the TLS files cannot be used, and those loaded before stay in use: {}",
                    ErrorReport::of(&error)
                );
            }
        }
    }
}

fn seen(read: &Result<Texts, TlsError>) -> FileState {
    read.as_ref().map(Texts::digest).map_err(|error| ErrorReport::of(error).to_string())
}
