//! The configuration file. Every setting has a default, and unknown settings are refused.

mod error;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pushkeys_keys::{CompromisedList, Policy};
use serde::Deserialize;

pub(crate) use self::error::{ConfigError, ExposedError};
use crate::auth::{Consumer, PublicUrl};
use crate::client_address::{ProxyHeader, TrustedProxies};
use crate::console::ConsoleSettings;
use crate::database::DatabaseUrl;
use crate::files::read_trusted;
use crate::origin::Origin;
use crate::percent::is_unreserved;
use crate::proof::ServiceUrl;
use crate::rate_limit::Rate;
use crate::store::StoreLimits;
use crate::values::{duration, optional, parsed};
use crate::{github, mail, oidc, tls};

/// The longest configuration file in bytes.
const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// The longest list of compromised keys in bytes: about a million fingerprints.
const COMPROMISED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The shortest and the longest time between two heartbeats.
const HEARTBEAT_MIN: Duration = Duration::from_millis(50);
const HEARTBEAT_MAX: Duration = Duration::from_mins(1);

/// The configuration of the service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The address to listen on; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// A file to write the bound address to.
    pub(crate) address_file: Option<PathBuf>,
    /// The URL that clients use, if the service is behind a proxy: OAuth signatures include it.
    #[serde(deserialize_with = "optional")]
    pub(crate) public_url: Option<PublicUrl>,
    /// TLS for the main listener.
    pub(crate) tls: Option<tls::TlsSettings>,
    /// The origins whose pages may use the API from a browser (CORS).
    pub(crate) allowed_origins: Vec<Origin>,
    /// The rate limit per account.
    pub(crate) account_rate: Rate,
    /// The rate limit per IPv4 address or IPv6 /64.
    pub(crate) address_rate: Rate,
    /// The most connections of one address, or one /64 of IPv6.
    pub(crate) connections_per_address_max: usize,
    /// Proxies that are trusted to tell the address of their peer.
    pub(crate) trusted_proxies: Vec<IpAddr>,
    /// Where they tell it.
    pub(crate) proxy_header: ProxyHeader,
    /// The database.
    #[serde(deserialize_with = "parsed")]
    pub(crate) database: DatabaseUrl,
    /// A file with the password for PostgreSQL, one line; without it, `PGPASSFILE` is used.
    pub(crate) database_password_file: Option<PathBuf>,
    /// The file with the service secret; created if it is missing.
    pub(crate) secret_file: PathBuf,
    /// The OAuth consumers whose signatures are accepted.
    #[serde(rename = "consumer")]
    pub(crate) consumers: Vec<Consumer>,
    /// Time between two heartbeats of the feed.
    #[serde(deserialize_with = "duration")]
    pub(crate) heartbeat: Duration,
    /// The maximum number of changes kept for hosts to resume from.
    pub(crate) changes_max: u64,
    /// The maximum number of keys that an account may register.
    pub(crate) keys_per_account_max: u64,
    /// Additional compromised keys: one fingerprint or public key per line.
    pub(crate) compromised_keys_file: Option<PathBuf>,
    /// The import of keys from GitHub.
    pub(crate) github: Option<github::GithubSettings>,
    /// Sign-in by OpenID Connect, in addition to passwords.
    pub(crate) oidc: Option<oidc::OidcSettings>,
    /// The mail server for mails about changes.
    pub(crate) smtp: Option<mail::SmtpSettings>,
    /// The web console.
    pub(crate) console: ConsoleSettings,
    /// The listener for Prometheus: a loopback address, or the path of a socket.
    pub(crate) metrics: Option<pushkeys_daemon::metrics::Address>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            address_file: None,
            public_url: None,
            tls: None,
            allowed_origins: Vec::new(),
            account_rate: rate(200, 5_000),
            address_rate: rate(1_000, 20_000),
            connections_per_address_max: 2_048,
            trusted_proxies: Vec::new(),
            proxy_header: ProxyHeader::default(),
            database: DatabaseUrl::at("/var/lib/pushkeys-server/pushkeys.db"),
            database_password_file: None,
            secret_file: "/var/lib/pushkeys-server/secret".into(),
            consumers: vec![Consumer::clever_tools()],
            heartbeat: Duration::from_secs(5),
            changes_max: 1_000_000,
            keys_per_account_max: 1_000,
            compromised_keys_file: None,
            github: None,
            oidc: None,
            smtp: None,
            console: ConsoleSettings::default(),
            metrics: None,
        }
    }
}

fn rate(per_second: u32, burst: u32) -> Rate {
    let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Rate { per_second: at_least_one(per_second), burst: at_least_one(burst) }
}

impl Config {
    /// The configuration in the file at `path`.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_trusted(path, CONFIG_BYTES_MAX)?;
        let mut config: Self =
            toml::from_str(&text).map_err(|error| ConfigError::parse(path, &text, error))?;
        config.database = config.database.with_password_file(config.database_password_file.clone());
        match config.wrong_value() {
            None => Ok(config),
            Some((setting, expected)) => Err(ConfigError::Value { path: path.to_owned(), setting, expected }),
        }
    }

    /// Whether clients reach the service by TLS, its own or a proxy's.
    pub(crate) fn is_https(&self) -> bool {
        self.tls.is_some()
            || self.public_url.as_ref().is_some_and(PublicUrl::is_https)
            || self.console.base_url.as_ref().is_some_and(Origin::is_https)
    }

    /// The proxies that are trusted.
    pub(crate) fn proxies(&self) -> TrustedProxies {
        TrustedProxies::new(&self.trusted_proxies, self.proxy_header)
    }

    /// The limits of the store.
    pub(crate) fn store_limits(&self) -> StoreLimits {
        StoreLimits {
            changes_max: self.changes_max,
            keys_per_account_max: self.keys_per_account_max,
            audit_age_max: self.console.history_max,
            sends_mail: self.smtp.is_some(),
        }
    }

    /// The key policy, with the operator's list of compromised keys.
    pub(crate) fn policy(&self) -> Result<Policy, ConfigError> {
        let Some(path) = &self.compromised_keys_file else { return Ok(Policy::default().thorough()) };
        let text = read_trusted(path, COMPROMISED_BYTES_MAX)?;
        let list: CompromisedList =
            text.parse().map_err(|source| ConfigError::Compromised { path: path.clone(), source })?;
        Ok(Policy::default().thorough().with_compromised(list))
    }

    /// What challenges call this service: `public_url`, or else the console's `base_url`, or else the listen address
    /// `address`.
    pub(crate) fn service_url(&self, address: SocketAddr) -> ServiceUrl {
        let console = self.console.base_url.as_ref();
        let configured = self.public_url.as_ref().map(ToString::to_string);
        let configured = configured.or_else(|| console.map(|url| url.as_str().to_owned()));
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        ServiceUrl::new(&configured.unwrap_or_else(|| format!("{scheme}://{address}")))
    }

    /// Refuses to serve at `address` if credentials would be sent over the network in plain text.
    pub(crate) fn check_exposure(&self, address: SocketAddr) -> Result<(), ExposedError> {
        let is_local = address.ip().to_canonical().is_loopback();
        if self.tls.is_some() || !self.trusted_proxies.is_empty() || is_local {
            return Ok(());
        }
        Err(ExposedError::at(address))
    }

    fn wrong_value(&self) -> Option<(&'static str, &'static str)> {
        let is_token = |text: &str| !text.is_empty() && text.bytes().all(is_unreserved);
        if !(HEARTBEAT_MIN..=HEARTBEAT_MAX).contains(&self.heartbeat) {
            return Some(("heartbeat", "between 50ms and 60s"));
        }
        if self.connections_per_address_max == 0 {
            return Some(("connections_per_address_max", "at least 1"));
        }
        if self.changes_max == 0 || self.keys_per_account_max == 0 {
            return Some(("changes_max` or `keys_per_account_max", "at least 1"));
        }
        if !self.consumers.iter().all(|consumer| is_token(&consumer.key) && is_token(&consumer.secret)) {
            return Some(("consumer", "made of A-Z, a-z, 0-9, `-`, `.`, `_` and `~`"));
        }
        let github = self.github.as_ref().and_then(github::GithubSettings::wrong_value);
        let oidc = || self.oidc.as_ref().and_then(oidc::OidcSettings::wrong_value);
        let smtp = || self.smtp.as_ref().and_then(mail::SmtpSettings::wrong_value);
        github.or_else(oidc).or_else(smtp).or_else(|| self.console.wrong_value())
    }
}
