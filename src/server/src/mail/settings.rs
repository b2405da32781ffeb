//! `[smtp]` in the configuration.

use std::path::PathBuf;

use lettre::message::Mailbox;
use serde::{Deserialize, Deserializer};

use crate::files::{FileError, read_secret};
use crate::outbound::is_here;

/// How a connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tls {
    /// It begins in plain text and goes on only over TLS (port 587).
    #[default]
    Starttls,
    /// TLS from the first byte (port 465).
    Implicit,
    /// Not at all, which is for a server on this machine.
    None,
}

/// The server that takes our mail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Its name, which its certificate is to bear.
    pub(crate) host: String,
    /// Its port, if not the usual one.
    pub(crate) port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub(crate) tls: Tls,
    /// A file with the authorities that may vouch for it; without one, those of the system.
    pub(crate) ca_file: Option<PathBuf>,
    /// Our name there, if it asks for one.
    pub(crate) username: Option<String>,
    /// A file with our password there.
    pub(crate) password_file: Option<PathBuf>,
    /// Whom mails are from: `pushkeys <keys@example.com>`.
    #[serde(deserialize_with = "mailbox")]
    pub(crate) from: Mailbox,
    /// Whom people turn to who did not make a change: an address or a page.
    pub(crate) contact: Option<String>,
}

impl Settings {
    /// Our name and password at the server, if there are any.
    pub(crate) fn credentials(&self) -> Result<Option<(String, String)>, FileError> {
        match (&self.username, &self.password_file) {
            (Some(username), Some(path)) => Ok(Some((username.clone(), read_secret(path)?))),
            _ => Ok(None),
        }
    }

    /// The setting that cannot be, and what it is to be.
    pub(crate) fn wrong_value(&self) -> Option<(&'static str, &'static str)> {
        if self.username.is_some() != self.password_file.is_some() {
            return Some(("smtp.username` or `smtp.password_file", "given with the other"));
        }
        if self.tls == Tls::None && !is_here(&self.host) {
            return Some(("smtp.tls", "`starttls` or `implicit`, unless the server is on this machine"));
        }
        if self.tls == Tls::None && (self.username.is_some() || self.ca_file.is_some()) {
            return Some(("smtp.tls", "`starttls` or `implicit`, for a password and for authorities"));
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
