//! The connection to the mail server.

use std::path::PathBuf;
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls as LettreTls, TlsParameters};
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use pushkeys_keys::Hint;
use thiserror::Error as ThisError;
use tokio::time::timeout;

use super::settings::{SmtpSettings, SmtpTls};
use crate::files::{FileError, read_trusted};
use crate::outbound::{is_about_name, rejected_certificate};

/// How long one SMTP command may take.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(20);
/// How long [`check`] may take.
const CHECK_TIME_MAX: Duration = Duration::from_secs(30);
/// The longest file of CA certificates in bytes.
const CA_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Why mails cannot be sent.
#[derive(Debug, ThisError)]
pub(crate) enum SmtpSetupError {
    /// The password file or the file of CA certificates.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its contents.
    #[error("`{}` contains no certificates in PEM", path.display())]
    CaFile { path: PathBuf, source: Error },
    /// The system's CA certificates cannot be read, or the server's name is not valid.
    #[error("cannot prepare a connection to the mail server `{host}`")]
    SmtpTls { host: String, source: Error },
}

/// Why the mail server cannot be used now.
#[derive(Debug, ThisError)]
pub(crate) enum SmtpCheckError {
    /// See [`SmtpSetupError`].
    #[error(transparent)]
    Prepare(#[from] SmtpSetupError),
    /// See [`CHECK_TIME_MAX`].
    #[error("the mail server `{host}` did not answer within {} s", CHECK_TIME_MAX.as_secs())]
    TooSlow { host: String },
    /// Unreachable, not authenticated, or refusing our credentials. lettre's message includes its cause.
    #[error("the mail server `{host}` cannot be used: {error}")]
    Refused {
        host: String,
        error: Error,
        #[source]
        hint: Option<Hint>,
    },
    /// It closed the connection.
    #[error("the mail server `{host}` accepts the connection and then does not answer")]
    Silent { host: String },
}

/// Connects and authenticates, and sends nothing.
pub(crate) async fn check(settings: &SmtpSettings) -> Result<(), SmtpCheckError> {
    let (transport, host) = (prepare(settings)?, || settings.host.clone());
    match timeout(CHECK_TIME_MAX, transport.test_connection()).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(SmtpCheckError::Silent { host: host() }),
        Ok(Err(error)) => Err(SmtpCheckError::Refused { host: host(), hint: hint(&error), error }),
        Err(_) => Err(SmtpCheckError::TooSlow { host: host() }),
    }
}

/// A transport to the server of `settings`; it connects when a mail is sent.
pub(super) fn prepare(settings: &SmtpSettings) -> Result<Transport, SmtpSetupError> {
    let (tls, usual_port) = match settings.tls {
        SmtpTls::Starttls => (LettreTls::Required(parameters(settings)?), 587),
        SmtpTls::Implicit => (LettreTls::Wrapper(parameters(settings)?), 465),
        SmtpTls::None => (LettreTls::None, 25),
    };
    // "Dangerous" is only a transport without TLS, which the configuration allows for a loopback server alone.
    let mut builder = Transport::builder_dangerous(&settings.host)
        .port(settings.port.unwrap_or(usual_port))
        .tls(tls)
        .timeout(Some(COMMAND_TIME_MAX));
    if let Some((username, password)) = settings.credentials()? {
        builder = builder.credentials(Credentials::new(username, password));
    }
    Ok(builder.build())
}

fn parameters(settings: &SmtpSettings) -> Result<TlsParameters, SmtpSetupError> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.ca_file {
        let text = read_trusted(path, CA_FILE_BYTES_MAX)?;
        let ca_certificates = Certificate::from_pem(text.as_bytes())
            .map_err(|source| SmtpSetupError::CaFile { path: path.clone(), source })?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(ca_certificates);
    }
    builder.build().map_err(|source| SmtpSetupError::SmtpTls { host: settings.host.clone(), source })
}

/// The server's reply code, if the error is one.
pub(super) fn status(error: &Error) -> Option<u16> {
    error.status().map(u16::from)
}

/// What to do if the server's certificate was rejected.
pub(super) fn hint(error: &Error) -> Option<Hint> {
    let hint = if is_about_name(rejected_certificate(error)?) {
        "`smtp.host` must be one of the names in the server's certificate"
    } else {
        "put the CA certificate that signed the server's certificate into `smtp.ca_file`"
    };
    Some(Hint::new(hint))
}
