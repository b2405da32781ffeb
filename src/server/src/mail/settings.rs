//! `[smtp]` in the configuration.

use std::path::PathBuf;

use lettre::message::Mailbox;
use serde::{Deserialize, Deserializer};

use crate::files::{FileError, read_secret};
use crate::outbound::is_here;
use crate::store::mail_address;

/// How a connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SmtpTls {
    /// Plain text, then TLS by STARTTLS, which is required (port 587).
    #[default]
    Starttls,
    /// TLS from the first byte (port 465).
    Implicit,
    /// No TLS, for a server on this machine.
    None,
}

/// The mail server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SmtpSettings {
    /// Its host name, which must be in its certificate.
    pub(crate) host: String,
    /// Its port, if not the default for `tls`.
    pub(crate) port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub(crate) tls: SmtpTls,
    /// A file with CA certificates for it; without one, those of the system.
    pub(crate) ca_file: Option<PathBuf>,
    /// The user name to authenticate with, if the server requires it.
    pub(crate) username: Option<String>,
    /// A file with the password.
    pub(crate) password_file: Option<PathBuf>,
    /// The sender of mails: `pushkeys <keys@example.com>`.
    #[serde(deserialize_with = "mailbox")]
    pub(crate) from: Mailbox,
    /// Where users get help, in each mail: an address or a page.
    pub(crate) contact: Option<String>,
}

impl SmtpSettings {
    /// User name and password, if configured.
    pub(crate) fn credentials(&self) -> Result<Option<(String, String)>, FileError> {
        match (&self.username, &self.password_file) {
            (Some(username), Some(path)) => Ok(Some((username.clone(), read_secret(path)?))),
            _ => Ok(None),
        }
    }

    /// A setting with an invalid value, and what it must be.
    pub(crate) fn wrong_value(&self) -> Option<(&'static str, &'static str)> {
        if self.username.is_some() != self.password_file.is_some() {
            return Some(("smtp.username` or `smtp.password_file", "given with the other"));
        }
        if self.tls == SmtpTls::None && !is_here(&self.host) {
            return Some(("smtp.tls", "`starttls` or `implicit`, unless the server is on this machine"));
        }
        if self.tls == SmtpTls::None && (self.username.is_some() || self.ca_file.is_some()) {
            return Some(("smtp.tls", "`starttls` or `implicit`, for a password and for `ca_file`"));
        }
        if mail_address(self.from.email.as_ref()).is_err() {
            return Some(("smtp.from", "an address that mail servers take"));
        }
        let is_line = |text: &String| !text.is_empty() && !text.chars().any(char::is_control);
        if !is_line(&self.host) || !self.contact.as_ref().is_none_or(is_line) {
            return Some(("smtp.host` or `smtp.contact", "one line"));
        }
        None
    }
}

fn mailbox<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mailbox, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}
