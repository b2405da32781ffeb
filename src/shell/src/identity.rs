//! The account and key of a session, for refusals, the log, hooks and the operator's programs.
//!
//! Hooks are processes of git, so the identity is passed to them in environment variables.

use std::env;
use std::fmt;
use std::net::IpAddr;
use std::process::Command;
use std::str::FromStr;

use pushkeys_cache::Entry;
use pushkeys_keys::{AccountId, Fingerprint, KeyId, Login};
use thiserror::Error;

use crate::arguments::Arguments;

const LOGIN: &str = "PUSHKEYS_LOGIN";
const ACCOUNT: &str = "PUSHKEYS_ACCOUNT";
const ACCOUNT_NAME: &str = "PUSHKEYS_ACCOUNT_NAME";
const KEY_ID: &str = "PUSHKEYS_KEY_ID";
const KEY_NAME: &str = "PUSHKEYS_KEY_NAME";
const FINGERPRINT: &str = "PUSHKEYS_FINGERPRINT";
const ADDRESS: &str = "PUSHKEYS_ADDRESS";

/// Account and key of a session. The names are printable, since they were validated before they were written to the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) login: Login,
    pub(crate) account: AccountId,
    pub(crate) account_name: Option<String>,
    pub(crate) key_id: KeyId,
    pub(crate) key_name: Option<String>,
    pub(crate) fingerprint: Fingerprint,
    /// The client's address, if sshd provides it.
    pub(crate) address: Option<IpAddr>,
}

/// A variable of the identity is missing or invalid.
#[derive(Debug, Error)]
#[error("the variable `{0}` is missing or invalid")]
pub(crate) struct VariableError(pub(crate) &'static str);

impl Identity {
    /// The identity in `arguments`, without names.
    pub(crate) fn new(arguments: &Arguments, login: &Login, address: Option<IpAddr>) -> Self {
        let Arguments { account, key_id, fingerprint, .. } = arguments;
        Self {
            login: login.clone(),
            account: account.clone(),
            account_name: None,
            key_id: key_id.clone(),
            key_name: None,
            fingerprint: *fingerprint,
            address,
        }
    }

    /// The identity with the names of `entry`.
    pub(crate) fn named(self, entry: &Entry) -> Self {
        Self {
            account_name: entry.account_name.as_ref().map(ToString::to_string),
            key_name: entry.key_name.as_ref().map(ToString::to_string),
            ..self
        }
    }

    /// The account's name, or its id if it has none.
    pub(crate) fn account(&self) -> &str {
        self.account_name.as_deref().unwrap_or(self.account.as_str())
    }

    /// The account's name and id.
    pub(crate) fn account_with_id(&self) -> String {
        with_id(self.account_name.as_deref(), self.account.as_str())
    }

    /// The key's name and id.
    pub(crate) fn key_with_id(&self) -> String {
        with_id(self.key_name.as_deref(), self.key_id.as_str())
    }

    /// The first fields of a log line. No user can choose them.
    pub(crate) fn ids(&self) -> String {
        let Self { login, account, key_id, fingerprint, .. } = self;
        format!("login={login} account={account} key={key_id} fingerprint={fingerprint}")
    }

    /// The other fields of a log line. Names are quoted, so that a name cannot look like another field.
    pub(crate) fn details(&self) -> String {
        let named = |field: &str, name: &Option<String>| {
            name.as_ref().map(|name| format!(" {field}={}", quoted(name))).unwrap_or_default()
        };
        let address = self.address.map(|address| format!(" address={address}")).unwrap_or_default();
        named("account_name", &self.account_name) + &named("key_name", &self.key_name) + &address
    }

    /// Sets the variables of the identity for `process`.
    pub(crate) fn set(&self, process: &mut Command) {
        process
            .env(LOGIN, self.login.as_str())
            .env(ACCOUNT, self.account.as_str())
            .env(KEY_ID, self.key_id.as_str())
            .env(FINGERPRINT, self.fingerprint.to_string());
        let optional = [
            (ACCOUNT_NAME, self.account_name.clone()),
            (KEY_NAME, self.key_name.clone()),
            (ADDRESS, self.address.map(|address| address.to_string())),
        ];
        for (variable, value) in optional {
            if let Some(value) = value {
                process.env(variable, value);
            }
        }
    }

    /// The identity in this process's environment.
    pub(crate) fn from_variables() -> Result<Self, VariableError> {
        Ok(Self {
            login: required(LOGIN)?,
            account: required(ACCOUNT)?,
            account_name: env::var(ACCOUNT_NAME).ok(),
            key_id: required(KEY_ID)?,
            key_name: env::var(KEY_NAME).ok(),
            fingerprint: required(FINGERPRINT)?,
            address: env::var(ADDRESS).ok().and_then(|address| address.parse().ok()),
        })
    }
}

/// The account and key as part of a sentence.
impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, by key {}", self.account_with_id(), self.key_with_id())
    }
}

/// The value of an environment variable of this process.
pub(crate) fn required<T: FromStr>(variable: &'static str) -> Result<T, VariableError> {
    let value = env::var(variable).map_err(|_| VariableError(variable))?;
    value.parse().map_err(|_| VariableError(variable))
}

/// `text` in quotes, as the value of a field of a log line.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn with_id(name: Option<&str>, id: &str) -> String {
    match name {
        Some(name) if name != id => format!("{name} ({id})"),
        _ => id.to_owned(),
    }
}
