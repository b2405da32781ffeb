//! Replaced files are taken up while TLS is spoken.

use std::sync::Arc;
use std::time::Duration;

use pushkeys_keys::ErrorReport;
use tokio::sync::watch;

use super::material::{Material, Texts, Tls, TlsError};
use super::settings::Settings;

/// How often the files are looked at.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Whoever takes up replaced files.
pub(crate) struct Keeper {
    settings: Settings,
    material: watch::Sender<Arc<Material>>,
    /// What was in the files when they were last taken up, or refused.
    judged: Seen,
    /// What was in them at the last look.
    seen: Seen,
}

/// What a look at the files gave: a digest, or why they cannot be read.
type Seen = Result<[u8; 32], String>;

/// Checks that the files of `settings` can be used.
pub(crate) fn check(settings: &Settings) -> Result<(), TlsError> {
    Texts::read(settings)?.material(settings).map(|_| ())
}

impl Tls {
    /// Begins with what the files of `settings` hold now.
    pub(crate) fn start(settings: &Settings) -> Result<(Self, Keeper), TlsError> {
        let texts = Texts::read(settings)?;
        let (material, receiver) = watch::channel(Arc::new(texts.material(settings)?));
        let seen = Ok(texts.digest());
        let keeper = Keeper { settings: settings.clone(), material, judged: seen.clone(), seen };
        Ok((Self::new(receiver), keeper))
    }
}

impl Keeper {
    /// Takes up files that have changed and come to rest, since a certificate is replaced before its key or after it.
    pub(crate) fn look(&mut self) {
        let read = Texts::read(&self.settings);
        let seen = seen(&read);
        let has_settled = seen == self.seen;
        if has_settled && seen != self.judged {
            self.judge(read);
        }
        self.seen = seen;
    }

    /// Takes up the files as they are.
    pub(crate) fn reload(&mut self) {
        self.judge(Texts::read(&self.settings));
    }

    fn judge(&mut self, read: Result<Texts, TlsError>) {
        self.judged = seen(&read);
        match read.and_then(|texts| texts.material(&self.settings)) {
            Ok(material) => {
                self.material.send_replace(Arc::new(material));
                tracing::info!(certificate = %self.settings.certificate.display(), "TLS files taken up");
            }
            Err(error) => {
                tracing::error!(
                    "the TLS files are refused, and those before stay in force: {}",
                    ErrorReport::of(&error)
                );
            }
        }
    }
}

fn seen(read: &Result<Texts, TlsError>) -> Seen {
    read.as_ref().map(Texts::digest).map_err(|error| ErrorReport::of(error).to_string())
}
