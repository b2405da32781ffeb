//! The connection to the mail server: whom it is made to, and how it is protected.

use std::path::PathBuf;
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls as LettreTls, TlsParameters};
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use pushkeys_keys::Hint;
use thiserror::Error as ThisError;
use tokio::time::timeout;

use super::settings::{Settings, Tls};
use crate::files::{FileError, read_trusted};
use crate::outbound::{is_about_name, rejected_certificate};

/// How long each word of the two may take.
const WORD_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a server that is only looked at may take.
const CHECK_TIME_MAX: Duration = Duration::from_secs(30);
/// The longest file of authorities in bytes.
const AUTHORITIES_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(super) type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Why mails cannot be sent.
#[derive(Debug, ThisError)]
pub(crate) enum PrepareError {
    /// Our password at the mail server, or the file of authorities.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is in that file.
    #[error("`{}` holds no certificates in PEM", path.display())]
    Authorities { path: PathBuf, source: Error },
    /// The system's certificates cannot be read, or the server's name is none.
    #[error("cannot prepare a connection to the mail server `{host}`")]
    Tls { host: String, source: Error },
}

/// Why the mail server cannot be used now.
#[derive(Debug, ThisError)]
pub(crate) enum CheckError {
    /// Whatever the server says.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// See [`CHECK_TIME_MAX`].
    #[error("the mail server `{host}` did not answer within {} s", CHECK_TIME_MAX.as_secs())]
    TooSlow { host: String },
    /// It is away, is not who it should be, or does not let us in. What lettre says holds its cause already.
    #[error("the mail server `{host}` cannot be used: {error}")]
    Refused {
        host: String,
        error: Error,
        #[source]
        hint: Option<Hint>,
    },
    /// It hung up.
    #[error("the mail server `{host}` lets us in and then does not answer")]
    Silent { host: String },
}

/// Connects, and signs in where there is a password, and sends nothing.
pub(crate) async fn check(settings: &Settings) -> Result<(), CheckError> {
    let (transport, host) = (prepare(settings)?, || settings.host.clone());
    match timeout(CHECK_TIME_MAX, transport.test_connection()).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(CheckError::Silent { host: host() }),
        Ok(Err(error)) => Err(CheckError::Refused { host: host(), hint: hint(&error), error }),
        Err(_) => Err(CheckError::TooSlow { host: host() }),
    }
}

/// The way to the server of `settings`, which nothing is sent on yet.
pub(super) fn prepare(settings: &Settings) -> Result<Transport, PrepareError> {
    let (tls, usual_port) = match settings.tls {
        Tls::Starttls => (LettreTls::Required(parameters(settings)?), 587),
        Tls::Implicit => (LettreTls::Wrapper(parameters(settings)?), 465),
        Tls::None => (LettreTls::None, 25),
    };
    // Dangerous would be to do without TLS, which the configuration allows on this machine alone.
    let mut builder = Transport::builder_dangerous(&settings.host)
        .port(settings.port.unwrap_or(usual_port))
        .tls(tls)
        .timeout(Some(WORD_TIME_MAX));
    if let Some((username, password)) = settings.credentials()? {
        builder = builder.credentials(Credentials::new(username, password));
    }
    Ok(builder.build())
}

fn parameters(settings: &Settings) -> Result<TlsParameters, PrepareError> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.ca_file {
        let text = read_trusted(path, AUTHORITIES_BYTES_MAX)?;
        let authorities = Certificate::from_pem(text.as_bytes())
            .map_err(|source| PrepareError::Authorities { path: path.clone(), source })?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authorities);
    }
    builder.build().map_err(|source| PrepareError::Tls { host: settings.host.clone(), source })
}

/// The code of the server's answer, if it is one that the error comes from.
pub(super) fn status(error: &Error) -> Option<u16> {
    error.status().map(u16::from)
}

/// What to do about a server that did not prove who it is.
pub(super) fn hint(error: &Error) -> Option<Hint> {
    let hint = if is_about_name(rejected_certificate(error)?) {
        "`smtp.host` is to be one of the names in the server's certificate"
    } else {
        "name the authority that signed the server's certificate in `smtp.ca_file`"
    };
    Some(Hint::new(hint))
}
